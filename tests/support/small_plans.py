"""Small plans, right as they are. A test changes the one thing that it is about."""

from collections.abc import Iterable

from jobs.features.plan import FactTopic, FeaturePlan, Output, ViewPlan


def output(
    name: str, function: str = "sum", column: str = "is_view", dtype: str = "Int64", window_ms: int = 3_600_000
) -> Output:
    return Output(name, function, column, dtype, window_ms=window_ms)


def plan(*views: ViewPlan, topic: str = "events", facts: Iterable[FactTopic] = ()) -> FeaturePlan:
    return FeaturePlan("shop", topic, 1000, list(views), facts=list(facts))


def facts(topic: str = "offers", ttl_ms: int = 315_360_000_000, **dtypes: str) -> FactTopic:
    """A topic of facts with one view, `TOPIC_view`."""
    outputs = [Output(name, "newest", name, dtype) for name, dtype in dtypes.items()]
    return FactTopic(topic, [ViewPlan(f"{topic}_view", "item_id", "fact", outputs, ttl_ms)])


def view_plan(*outputs: Output, name: str = "clicks", ttl_ms: int = 86_400_000, **changes: object) -> ViewPlan:
    right = {"name": name, "entity": "visitor_id", "frame": "range", "outputs": list(outputs), "ttl_ms": ttl_ms}
    return ViewPlan(**(right | changes))
