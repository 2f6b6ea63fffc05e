"""The features job as PyFlink's tutorials write it, to measure against: state per visitor in Python, a write per event.

It does less than the features job: one frame instead of three, no items and categories, no checks, no deduplication.
"""

import argparse
import json

import redis
from pyflink.common import Types, WatermarkStrategy
from pyflink.common.serialization import SimpleStringSchema
from pyflink.datastream import KeyedProcessFunction, RuntimeContext, StreamExecutionEnvironment
from pyflink.datastream.connectors.kafka import KafkaOffsetsInitializer, KafkaSource, KafkaTopicPartition
from pyflink.datastream.state import ValueStateDescriptor

SESSION_GAP_MS = 30 * 60 * 1000


def source(bootstrap: str, topic: str, group: str, ends: dict[int, int]) -> KafkaSource:
    """Return the topic from its beginning up to the offsets `ends`, as strings."""
    stop = {KafkaTopicPartition(topic, partition): offset for partition, offset in ends.items()}
    return (
        KafkaSource.builder()
        .set_bootstrap_servers(bootstrap)
        .set_topics(topic)
        .set_group_id(group)
        .set_starting_offsets(KafkaOffsetsInitializer.earliest())
        .set_bounded(KafkaOffsetsInitializer.offsets(stop))
        .set_value_only_deserializer(SimpleStringSchema())
        .build()
    )


class SessionFeatures(KeyedProcessFunction):
    """Counts a visitor's session and writes it with every event."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url

    def open(self, runtime_context: RuntimeContext) -> None:
        self._redis = redis.Redis.from_url(self._redis_url)
        self._session = runtime_context.get_state(ValueStateDescriptor("session", Types.PICKLED_BYTE_ARRAY()))

    def process_element(self, event: dict, ctx: KeyedProcessFunction.Context):
        session = self._session.value()
        if session is None or event["event_time_ms"] - session["last_ms"] > SESSION_GAP_MS:
            session = {
                "first_ms": event["event_time_ms"],
                "counts": {},
                "items": [],
                "categories": [],
                "prices": [],
                "cart": 0,
            }
        kind = event["event_type"]
        session["last_ms"] = event["event_time_ms"]
        session["counts"][kind] = session["counts"].get(kind, 0) + 1
        if "item_id" in event:
            session["items"] = [*session["items"], event["item_id"]][-20:]
            session["categories"] = [*session["categories"], event["category"]][-20:]
        if kind == "view":
            session["prices"] = [*session["prices"], event["price_minor"]][-50:]
        elif kind == "add_to_cart":
            session["cart"] += event["price_minor"]
        elif kind == "remove_from_cart":
            session["cart"] -= event["price_minor"]
        self._session.update(session)
        self._redis.hset(f"features:{event['visitor_id']}", mapping=features(session))
        yield event["visitor_id"]


def features(session: dict) -> dict[str, str | int | float]:
    """Return the fields of the hash."""
    counts, prices = session["counts"], session["prices"]
    return {
        "view_count": counts.get("view", 0),
        "search_count": counts.get("search", 0),
        "add_to_cart_count": counts.get("add_to_cart", 0),
        "remove_from_cart_count": counts.get("remove_from_cart", 0),
        "purchase_count": counts.get("purchase", 0),
        "distinct_items": len(set(session["items"])),
        "distinct_categories": len(set(session["categories"])),
        "duration_s": (session["last_ms"] - session["first_ms"]) / 1000,
        "cart_value_minor": session["cart"],
        "mean_price_minor": sum(prices) / len(prices) if prices else 0.0,
        "max_price_minor": max(prices, default=0),
        "last_category": session["categories"][-1] if session["categories"] else "",
        "last_20_items": json.dumps(session["items"]),
    }


def main() -> None:
    """Run the job: the entry point of `flink run -py`."""
    parser = argparse.ArgumentParser()
    for name in ("bootstrap", "topic", "redis", "ends", "model"):
        parser.add_argument(f"--{name}")
    arguments = parser.parse_args()
    ends = {int(partition): offset for partition, offset in json.loads(arguments.ends).items()}
    environment = StreamExecutionEnvironment.get_execution_environment()
    environment.set_parallelism(1)
    records = environment.from_source(
        source(arguments.bootstrap, arguments.topic, "tutorial-features", ends),
        WatermarkStrategy.no_watermarks(),
        "events",
    )
    (
        records.map(json.loads)
        .key_by(lambda event: event["visitor_id"], key_type=Types.STRING())
        .process(SessionFeatures(arguments.redis), output_type=Types.STRING())
    )
    environment.execute("tutorial features")


if __name__ == "__main__":
    main()
