"""Make the topics of item facts, read them and write to them. What their records hold: `jobs/contract/items.py`.

Such a topic has one partition. So the order of its records is the order of what was said, whatever a producer does with
keys, and one offset names everything that was known at a moment.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from jobs.connect import kafka_admin, kafka_send
from jobs.connect.kafka_read import Record, read_slice, stream
from jobs.contract.items import FactContract, Fields, Refusal, encode, parse
from jobs.errors import ServiceError

HOUR_MS = 3_600_000
TOPIC = {
    "cleanup.policy": "compact",
    # How far back `verify` can see what was known, and as long a refused record leaves the one before it readable.
    "min.compaction.lag.ms": str(6 * HOUR_MS),
    # Kafka compacts closed segments only, and closes one after a week: at 100 changes/s after 60 million records.
    "segment.ms": str(HOUR_MS),
    # A job that goes on from a savepoint of last week still hears what was removed.
    "delete.retention.ms": str(7 * 24 * HOUR_MS),
    # The broker dates records: `now` in a rule is such a time, and a producer's clock would date its own mistake.
    "message.timestamp.type": "LogAppendTime",
}
# What must be right of a topic that somebody else made. The other settings are hours that one may choose.
NEEDED = ("cleanup.policy", "message.timestamp.type")


class Known(NamedTuple):
    """What a topic says of an item now, and the record that said it."""

    fields: Fields
    partition: int
    offset: int
    time_ms: int


def create(bootstrap: str, topics: Iterable[str]) -> None:
    """Make the topics that don't exist yet; raise ServiceError if the broker doesn't."""
    kafka_admin.create_topics(bootstrap, dict.fromkeys(topics, 1), TOPIC)


class State(NamedTuple):
    """What a topic of facts is like: partitions, 0 if it doesn't exist; records; settings that it should have."""

    partitions: int
    records: int
    missing: dict[str, str]

    @property
    def fault(self) -> str:
        """Return what is wrong, "" for nothing."""
        if not self.partitions:
            return "it isn't there"
        if self.partitions > 1:
            return f"it has {self.partitions} partitions: nobody could say which record of an item counts"
        settings = ",".join(f"{name}={value}" for name, value in self.missing.items())
        return f"it isn't set: {settings}" if settings else ""


ABSENT = State(0, 0, {})


def states(bootstrap: str, topics: Sequence[str]) -> dict[str, State]:
    """Return what topics of facts are like; raise ServiceError if the broker doesn't tell."""
    there = kafka_admin.topics(bootstrap)
    present = [topic for topic in topics if topic in there]
    settings = dict(zip(present, kafka_admin.configs(bootstrap, present), strict=True)) if present else {}
    return {topic: _state(bootstrap, topic, settings[topic]) if topic in settings else ABSENT for topic in topics}


def _state(bootstrap: str, topic: str, settings: dict[str, str]) -> State:
    missing = {name: TOPIC[name] for name in NEEDED if TOPIC[name] not in settings[name].split(",")}
    return State(len(kafka_admin.end_offsets(bootstrap, topic)), kafka_admin.held(bootstrap, topic), missing)


def read(bootstrap: str, contract: FactContract) -> dict[str, Known]:
    """Return what a topic says of each item now. A topic that doesn't exist says nothing; a refused record neither."""
    known: dict[str, Known] = {}
    for record in stream(bootstrap, contract.topic, must_exist=False):
        _take(known, contract, record)
    return known


def read_one(bootstrap: str, contract: FactContract, item_id: str) -> Known | None:
    """Return what a topic says of one item now, None if it says nothing."""
    key, known = item_id.encode(), dict[str, Known]()
    records = read_slice(bootstrap, contract.topic, must_exist=False, wanted=lambda each: each == key).records
    for record in records:
        _take(known, contract, record)
    return known.get(item_id)


def _take(known: dict[str, Known], contract: FactContract, record: Record) -> None:
    fact = parse(contract, record.key, record.value)
    if isinstance(fact, Refusal):
        return
    if fact.fields is None:
        known.pop(fact.item_id, None)
    else:
        known[fact.item_id] = Known(fact.fields, record.partition, record.offset, record.timestamp_ms)


class Change(NamedTuple):
    """What is to be said of an item in a topic; no fields remove it."""

    topic: str
    item_id: str
    fields: Fields | None


def send(bootstrap: str, topics: Sequence[str], changes: Iterable[Change], now_ms: int) -> int:
    """Write records, each as a whole, and return how many when Kafka has them; raise ServiceError if it doesn't."""
    count = 0
    if missing := sorted(set(topics) - kafka_admin.topics(bootstrap)):
        raise ServiceError(f"there is no topic {missing[0]!r} on {bootstrap}", "liveshelf apply")
    senders = {topic: kafka_send.connect(bootstrap, topic, fast=True) for topic in topics}
    try:
        for change in changes:
            value = None if change.fields is None else encode(change.fields)
            senders[change.topic].send(change.item_id.encode(), value, now_ms)
            count += 1
        for sender in senders.values():
            sender.flush()
    finally:
        for sender in senders.values():
            sender.close()
    return count
