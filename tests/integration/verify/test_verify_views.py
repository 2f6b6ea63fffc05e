"""Feast definitions as plain values; the definitions are Feast's own classes, after a trip through the registry."""

from datetime import timedelta

import pytest

from jobs.errors import DefinitionError
from jobs.verify.views import Aggregate, View, plain_view, plain_views

MINUTE = timedelta(minutes=1)

pytestmark = pytest.mark.filterwarnings("ignore:Stream feature views are experimental")


def definition(*aggregations: dict, name: str = "shelf", delay_s: int = 1, tags: dict | None = None):
    from feast import Entity, Field, FileSource, KafkaSource, StreamFeatureView
    from feast.aggregation import Aggregation
    from feast.data_format import JsonFormat
    from feast.types import Float32, String

    source = KafkaSource(
        name="events",
        topic="events",
        timestamp_field="ts",
        message_format=JsonFormat(schema_json=""),
        watermark_delay_threshold=timedelta(seconds=delay_s),
        batch_source=FileSource(path="x", timestamp_field="ts"),
    )
    made = [Aggregation(**each) for each in aggregations]
    view = StreamFeatureView(
        name=name,
        entities=[Entity(name="item", join_keys=["item_id"])],
        source=source,
        timestamp_field="ts",
        ttl=timedelta(days=2),
        tags=tags or {},
        aggregations=made,
        schema=[Field(name="item_id", dtype=String), Field(name="mean_price", dtype=Float32)],
    )
    return StreamFeatureView.from_proto(view.to_proto())


def test_session_view_has_gap_of_its_tag_and_no_windows():
    tagged = definition(
        {"column": "price_minor", "function": "mean", "name": "mean_price"}, tags={"window": "session", "gap": "45m"}
    )
    assert plain_view(tagged) == View(
        name="shelf",
        keys=("item_id",),
        delay_ms=1000,
        ttl_ms=172_800_000,
        gap_ms=2_700_000,
        aggregates=(Aggregate("mean_price", "price_minor", "mean", None, "Float32"),),
    )


def test_window_without_slide_is_a_view_as_of_each_event():
    view = plain_view(definition({"column": "is_view", "function": "sum", "time_window": 5 * MINUTE}))
    assert view.slide_ms is None
    assert view.aggregates == (Aggregate("sum_is_view_300s", "is_view", "sum", 300_000),)


def test_a_slide_holds_for_the_whole_view():
    views = {"column": "is_view", "function": "sum", "slide_interval": MINUTE}
    both = definition(views | {"name": "1m", "time_window": MINUTE}, views | {"name": "5m", "time_window": 5 * MINUTE})
    assert plain_view(both).slide_ms == 60_000
    tumbling = definition({"column": "is_view", "function": "sum", "time_window": MINUTE}, tags={"slide": "1m"})
    assert plain_view(tumbling).slide_ms == 60_000


def test_what_cannot_be_read_is_named():
    with pytest.raises(DefinitionError, match=r"shelf\.n has no time_window"):
        plain_view(definition({"column": "is_view", "function": "sum", "name": "n"}))
    tagged = definition({"column": "is_view", "function": "sum"}, tags={"window": "session", "gap": "half an hour"})
    with pytest.raises(DefinitionError, match="shelf: 'half an hour' isn't a duration"):
        plain_view(tagged)


def test_views_with_different_delays_are_refused():
    """Views with different delays are refused because late is a property of an event."""
    windowed = {"column": "is_view", "function": "sum", "time_window": MINUTE}
    with pytest.raises(DefinitionError, match="a 1000 ms, b 5000 ms"):
        plain_views([definition(windowed, name="a", delay_s=1), definition(windowed, name="b", delay_s=5)])
    assert [view.name for view in plain_views([definition(windowed), definition(name="batch only")])] == ["shelf"]
