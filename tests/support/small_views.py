"""Small Feast views, right as they are. A test changes the one thing that it is about."""

from datetime import timedelta

from feast import Entity, FeatureView, Field, FileSource, KafkaSource, StreamFeatureView, ValueType
from feast.aggregation import Aggregation
from feast.data_format import JsonFormat
from feast.types import Int64, String

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


def fact_view(topic: str = "offers", delay: timedelta | None = None, **changes: object) -> FeatureView:
    """`terms`: the stock of an item, by its newest record."""
    right = {
        "name": "terms",
        "entities": [ITEM],
        "source": kafka("terms", topic=topic, delay=delay),
        "ttl": timedelta(days=3650),
        "schema": [Field(name="item_id", dtype=String), Field(name="stock", dtype=Int64)],
    }
    return FeatureView(**(right | changes))
