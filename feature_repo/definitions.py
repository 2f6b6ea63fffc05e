"""What the shop knows about its visitors, items and categories: plain Feast, and the only file a feature owner edits.

Columns: the fields of an event and the derived ones (`liveshelf lint --columns` lists them).
Item facts: a FeatureView with the fields of a topic's records (`liveshelf schema items`), without windows.
Functions: sum count min max mean std count_distinct first last last_N; also span (max - min) and is_single.
Windows: tags={"window": "session", "gap": "30m"}; a time_window, as of each event; a time_window with a slide_interval.
"""

from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, KafkaSource, StreamFeatureView, ValueType
from feast.aggregation import Aggregation
from feast.data_format import JsonFormat
from feast.types import Array, Bool, Float64, Int64, String

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
WINDOWS = {"5m": 5 * MINUTE, "1h": HOUR, "24h": DAY}

visitor = Entity(
    name="visitor", join_keys=["visitor_id"], value_type=ValueType.STRING, description="one browser or app"
)
item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING, description="what the shop sells")
category = Entity(
    name="category", join_keys=["category"], value_type=ValueType.STRING, description="a shelf of the shop"
)


def events_for(view: str) -> KafkaSource:
    """The event topic, with the folder that holds the view's history."""
    return KafkaSource(
        name=f"{view}_events",
        topic="events",
        timestamp_field="event_timestamp",
        message_format=JsonFormat(schema_json="liveshelf event contract, version 1"),
        watermark_delay_threshold=timedelta(seconds=1),
        batch_source=FileSource(
            name=f"{view}_history",
            path=f"data/{view}.parquet",
            timestamp_field="event_timestamp",
            created_timestamp_column="created",
        ),
    )


def per_window(function: str, column: str, name: str, slide: timedelta | None = None) -> list[Aggregation]:
    """The same aggregation over each of `WINDOWS`, named `{name}_{window}`."""
    return [
        Aggregation(column=column, function=function, time_window=size, slide_interval=slide, name=f"{name}_{label}")
        for label, size in WINDOWS.items()
    ]


def fields(aggregations: list[Aggregation], dtypes: dict[str, object]) -> list[Field]:
    """A field for each output; `dtypes` says which aren't Int64, by the name without its window."""

    def dtype(name: str) -> object:
        return next((dtypes[key] for key in (name, name.rpartition("_")[0]) if key in dtypes), Int64)

    return [Field(name=each.name, dtype=dtype(each.name)) for each in aggregations]


session = [
    Aggregation(column="is_view", function="sum", name="view_count"),
    Aggregation(column="is_search", function="sum", name="search_count"),
    Aggregation(column="is_add_to_cart", function="sum", name="add_to_cart_count"),
    Aggregation(column="is_remove_from_cart", function="sum", name="remove_from_cart_count"),
    Aggregation(column="is_purchase", function="sum", name="purchase_count"),
    Aggregation(column="is_rating", function="sum", name="rating_count"),
    Aggregation(column="is_impression", function="sum", name="impression_count"),
    Aggregation(column="is_click", function="sum", name="click_count"),
    Aggregation(column="item_id", function="count_distinct", name="distinct_items"),
    Aggregation(column="category", function="count_distinct", name="distinct_categories"),
    Aggregation(column="event_time_s", function="span", name="duration_s"),
    Aggregation(column="dwell_ms", function="mean", name="mean_dwell_ms"),
    Aggregation(column="cart_delta_minor", function="sum", name="cart_value_minor"),
    Aggregation(column="viewed_price_minor", function="mean", name="mean_price_minor"),
    Aggregation(column="viewed_price_minor", function="max", name="max_price_minor"),
    Aggregation(column="category", function="last", name="last_category"),
    Aggregation(column="item_id", function="last_20", name="last_20_items"),
    Aggregation(column="event_type", function="last", name="last_event_type"),
    Aggregation(column="event_id", function="is_single", name="bounce"),
]
visitor_session = StreamFeatureView(
    name="visitor_session",
    description="the visitor's current session, as of its newest event",
    entities=[visitor],
    source=events_for("visitor_session"),
    timestamp_field="event_timestamp",
    ttl=timedelta(days=30),
    tags={"window": "session", "gap": "30m"},
    aggregations=session,
    schema=[
        Field(name="visitor_id", dtype=String),
        *fields(
            session,
            {
                "duration_s": Float64,
                "mean_dwell_ms": Float64,
                "mean_price_minor": Float64,
                "last_category": String,
                "last_20_items": Array(String),
                "last_event_type": String,
            },
        ),
    ],
)

activity = [
    *per_window("sum", "is_view", "views"),
    *per_window("sum", "is_search", "searches"),
    *per_window("sum", "is_add_to_cart", "carts"),
    *per_window("sum", "is_purchase", "purchases"),
    *per_window("sum", "purchase_value_minor", "spend_minor"),
    *per_window("mean", "is_purchase", "conversion"),
]
visitor_activity = StreamFeatureView(
    name="visitor_activity",
    description="what the visitor did up to the newest event; conversion is the share of events that are purchases",
    entities=[visitor],
    source=events_for("visitor_activity"),
    timestamp_field="event_timestamp",
    ttl=timedelta(days=30),
    aggregations=activity,
    schema=[Field(name="visitor_id", dtype=String), *fields(activity, {"conversion": Float64})],
)

popularity = [
    *per_window("sum", "is_view", "views", MINUTE),
    *per_window("sum", "is_add_to_cart", "carts", MINUTE),
    *per_window("sum", "is_purchase", "purchases", MINUTE),
    *per_window("count_distinct", "visitor_id", "visitors", MINUTE),
]
item_activity = StreamFeatureView(
    name="item_activity",
    description="how an item does, as of the last full minute in which that changed",
    entities=[item],
    source=events_for("item_activity"),
    timestamp_field="event_timestamp",
    ttl=timedelta(days=30),
    aggregations=popularity,
    schema=[Field(name="item_id", dtype=String), *fields(popularity, {})],
)
category_activity = StreamFeatureView(
    name="category_activity",
    description="how a category does, as of the last full minute in which that changed",
    entities=[category],
    source=events_for("category_activity"),
    timestamp_field="event_timestamp",
    ttl=timedelta(days=30),
    aggregations=popularity,
    schema=[Field(name="category", dtype=String), *fields(popularity, {})],
)


def facts_from(topic: str, view: str) -> KafkaSource:
    """A compacted topic of item facts. Nobody writes its history unless the shop does."""
    return KafkaSource(
        name=f"{view}_records",
        topic=topic,
        timestamp_field="event_timestamp",
        message_format=JsonFormat(schema_json="liveshelf item contract"),
        batch_source=FileSource(name=f"{view}_history", path=f"data/{view}.parquet", timestamp_field="event_timestamp"),
    )


FOR_GOOD = timedelta(days=3650)  # a fact stands until it is said anew, or removed

item_facts = FeatureView(
    name="item_facts",
    description="what an item is: its newest record in the topic items",
    entities=[item],
    source=facts_from("items", "item_facts"),
    ttl=FOR_GOOD,
    schema=[
        Field(name="item_id", dtype=String),
        Field(name="title", dtype=String),
        Field(name="category", dtype=String),
        Field(name="brand", dtype=String),
        Field(name="colour", dtype=String),
        Field(name="group_id", dtype=String),
        Field(name="created", dtype=Int64),
        Field(name="url", dtype=String),
        Field(name="image_url", dtype=String),
    ],
)
item_offers = FeatureView(
    name="item_offers",
    description="on what terms an item is sold: its newest record in the topic offers",
    entities=[item],
    source=facts_from("offers", "item_offers"),
    ttl=FOR_GOOD,
    schema=[
        Field(name="item_id", dtype=String),
        Field(name="price_minor", dtype=Int64),
        Field(name="currency", dtype=String),
        Field(name="stock", dtype=Int64),
        Field(name="status", dtype=String),
        Field(name="on_offer", dtype=Bool),
    ],
)

item_trends = FeatureView(
    name="item_trends",
    description="what happens around an item now: the rankings job's newest record in the topic trends",
    entities=[item],
    source=facts_from("trends", "item_trends"),
    ttl=FOR_GOOD,
    schema=[
        Field(name="item_id", dtype=String),
        Field(name="trend", dtype=Float64),  # weighted counts of the last day, halved every few hours
        Field(name="trend_visitors", dtype=Int64),  # different ones of the item in that day
        Field(name="trend_category_visitors", dtype=Int64),  # of its category
    ],
)

ranker_context = FeatureService(
    name="ranker_context",
    description="what the ranker reads beside the session itself, in the order of the model's context input",
    features=[
        visitor_session[["view_count", "duration_s", "mean_price_minor"]],
        visitor_activity[["views_1h"]],
    ],
)
