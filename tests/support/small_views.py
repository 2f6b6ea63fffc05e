"""Small Feast views and plans, right as they are; a test changes the one thing that it is about."""

from datetime import timedelta

from feast import Entity, Field, FileSource, KafkaSource, StreamFeatureView, ValueType
from feast.aggregation import Aggregation
from feast.data_format import JsonFormat
from feast.types import Int64, String

from jobs.features.plan import FeaturePlan, Output, ViewPlan

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
VISITOR = Entity(name="visitor", join_keys=["visitor_id"], value_type=ValueType.STRING)
ITEM = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)


def history(name: str) -> FileSource:
    return FileSource(name=f"{name}_history", path=f"{name}.parquet", timestamp_field="event_timestamp")


def kafka(name: str = "clicks", topic: str = "events", delay: timedelta | None = timedelta(seconds=1)) -> KafkaSource:
    return KafkaSource(
        name=f"{name}_events",
        topic=topic,
        timestamp_field="event_timestamp",
        watermark_delay_threshold=delay,
        message_format=JsonFormat(schema_json=""),
        batch_source=history(name),
    )


def views_sum(**changes: object) -> Aggregation:
    """Views of the last hour, as of each event."""
    return Aggregation(**({"column": "is_view", "function": "sum", "time_window": HOUR, "name": "views"} | changes))


def view(**changes: object) -> StreamFeatureView:
    """`clicks`: a visitor's views of the last hour."""
    right = {
        "name": "clicks",
        "entities": [VISITOR],
        "source": kafka(),
        "timestamp_field": "event_timestamp",
        "ttl": timedelta(days=1),
        "aggregations": [views_sum()],
        "schema": [Field(name="visitor_id", dtype=String), Field(name="views", dtype=Int64)],
    }
    return StreamFeatureView(**(right | changes))


def session_view(*aggregations: Aggregation, gap: str = "30m", **changes: object) -> StreamFeatureView:
    """`clicks` of the current session."""
    chosen = list(aggregations) or [views_sum(time_window=None)]
    return view(**({"tags": {"window": "session", "gap": gap}, "aggregations": chosen} | changes))


def output(
    name: str, function: str = "sum", column: str = "is_view", dtype: str = "Int64", window_ms: int = 3_600_000
) -> Output:
    return Output(name, function, column, dtype, window_ms=window_ms)


def plan(*views: ViewPlan, topic: str = "events") -> FeaturePlan:
    return FeaturePlan("shop", topic, 1000, list(views))


def view_plan(*outputs: Output, name: str = "clicks", ttl_ms: int = 86_400_000, **changes: object) -> ViewPlan:
    right = {"name": name, "entity": "visitor_id", "frame": "range", "outputs": list(outputs), "ttl_ms": ttl_ms}
    return ViewPlan(**(right | changes))
