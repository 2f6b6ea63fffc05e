"""Small plans, right as they are. A test changes the one thing that it is about."""

from jobs.features.plan import FeaturePlan, Output, ViewPlan


def output(
    name: str, function: str = "sum", column: str = "is_view", dtype: str = "Int64", window_ms: int = 3_600_000
) -> Output:
    return Output(name, function, column, dtype, window_ms=window_ms)


def plan(*views: ViewPlan, topic: str = "events") -> FeaturePlan:
    return FeaturePlan("shop", topic, 1000, list(views))


def view_plan(*outputs: Output, name: str = "clicks", ttl_ms: int = 86_400_000, **changes: object) -> ViewPlan:
    right = {"name": name, "entity": "visitor_id", "frame": "range", "outputs": list(outputs), "ttl_ms": ttl_ms}
    return ViewPlan(**(right | changes))
