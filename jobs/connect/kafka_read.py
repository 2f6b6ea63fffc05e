"""Read a topic's records, from the beginning or from given offsets, up to the end that it has now."""

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from jobs.connect import addresses
from jobs.connect.kafka_patience import patiently
from jobs.errors import ServiceError

TIMEOUT_S = 30.0  # without a record and without an end: 50,000 records take 1 s here
GROUP = "liveshelf-verify"  # librdkafka wants a name; nothing is committed under it

Position = tuple[int, int]  # partition, offset
Wanted = Callable[[bytes | None], bool]


class Record(NamedTuple):
    """One Kafka record as it lies in the topic."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None

    @property
    def position(self) -> Position:
        return self.partition, self.offset


@dataclass(frozen=True)
class Slice:
    """Records by partition and offset; `start` and `end` bound them (end exclusive), by partition."""

    topic: str
    records: list[Record] = field(repr=False)
    start: dict[int, int]
    end: dict[int, int]

    def covers(self, topic: str, position: Position) -> bool:
        """Return True if a record of that place is one of the slice's."""
        partition, offset = position
        return topic == self.topic and self.start.get(partition, 0) <= offset < self.end.get(partition, 0)

    def taken(self) -> Iterator[Record]:
        """Yield the records once. Each is released when the next is asked for, as millions of them fill the memory."""
        self.records.reverse()
        while self.records:
            yield self.records.pop()


def read_slice(
    bootstrap: str,
    topic: str,
    since: Mapping[int, int] | None = None,
    *,
    must_exist: bool = True,
    wanted: Wanted = lambda key: True,
) -> Slice:
    """Return the committed records of `topic` whose keys are `wanted`.

    `since` is the first offset by partition. A partition that it doesn't name is read from the beginning. The reader is
    `confluent_kafka` if it is installed (ten times as fast), else `kafka-python`.

    Raise `ServiceError` if the broker doesn't answer or the topic doesn't exist. With `must_exist=False` a missing
    topic is an empty slice, because side topics appear with their first record.
    """
    with _opened(bootstrap, topic, dict(since or {}), must_exist, wanted) as reading:
        records = sorted(reading.records, key=lambda record: record.position)
    return Slice(topic, records, reading.start, reading.end)


def stream(
    bootstrap: str,
    topic: str,
    since: Mapping[int, int] | None = None,
    *,
    must_exist: bool = True,
    wanted: Wanted = lambda key: True,
) -> Iterator[Record]:
    """Yield the committed records of `topic` while it is read, up to its present end: each partition's in order.

    It holds no more than a fetch of them. Arguments and errors are those of `read_slice`.
    """
    with _opened(bootstrap, topic, dict(since or {}), must_exist, wanted) as reading:
        yield from reading.records


@dataclass(frozen=True)
class _Reading:
    """A topic that is being read: its records, and the offsets that bound them, by partition (end exclusive)."""

    start: dict[int, int]
    end: dict[int, int]
    records: Iterator[Record]


@contextmanager
def _opened(bootstrap: str, topic: str, since: dict[int, int], must_exist: bool, wanted: Wanted) -> Iterator[_Reading]:
    fast = importlib.util.find_spec("confluent_kafka") is not None
    with (_open_fast if fast else _open_plain)(bootstrap, topic, since, wanted) as reading:
        if reading is None and must_exist:
            raise ServiceError(f"there is no topic {topic!r} on {bootstrap}", "liveshelf up, or name another topic")
        yield reading or _Reading({}, {}, iter(()))


def _stalled(topic: str) -> ServiceError:
    return ServiceError(f"topic {topic!r} gave no record for {TIMEOUT_S:.0f} s before its end", "liveshelf doctor")


@contextmanager
def _open_plain(bootstrap: str, topic: str, since: dict[int, int], wanted: Wanted) -> Iterator[_Reading | None]:
    try:
        consumer = KafkaConsumer(
            **addresses.kafka_python(bootstrap),
            enable_auto_commit=False,
            group_id=None,
            isolation_level="read_committed",  # a list of an aborted checkpoint was never published
            allow_auto_create_topics=False,
        )
    except (KafkaError, ValueError) as error:
        raise ServiceError(f"Kafka at {bootstrap} doesn't answer: {error}", "liveshelf up") from error
    try:
        partitions = [
            TopicPartition(topic, number) for number in sorted(patiently(consumer.partitions_for_topic, topic) or ())
        ]
        yield _begin_plain(consumer, topic, partitions, since, wanted) if partitions else None
    except KafkaError as error:
        raise ServiceError(f"topic {topic!r} can't be read on {bootstrap}: {error}") from error
    finally:
        consumer.close()


def _begin_plain(
    consumer: KafkaConsumer, topic: str, partitions: list, since: dict[int, int], wanted: Wanted
) -> _Reading:
    consumer.assign(partitions)
    beginnings = patiently(consumer.beginning_offsets, partitions)
    ends = patiently(consumer.end_offsets, partitions)
    start = {
        partition.partition: max(since.get(partition.partition, 0), beginnings[partition]) for partition in partitions
    }
    for partition in partitions:
        consumer.seek(partition, start[partition.partition])
    end = {partition.partition: ends[partition] for partition in partitions}
    return _Reading(start, end, _poll_plain(consumer, topic, ends, wanted))


def _poll_plain(consumer: KafkaConsumer, topic: str, ends: Mapping, wanted: Wanted) -> Iterator[Record]:
    while any(consumer.position(partition) < end for partition, end in ends.items()):
        batches = consumer.poll(timeout_ms=int(TIMEOUT_S * 1000), max_records=10_000)
        if not batches:
            raise _stalled(topic)
        for partition, batch in batches.items():
            for record in batch:
                if record.offset < ends[partition] and wanted(record.key):
                    yield Record(record.partition, record.offset, record.timestamp, record.key, record.value)


@contextmanager
def _open_fast(bootstrap: str, topic: str, since: dict[int, int], wanted: Wanted) -> Iterator[_Reading | None]:
    import confluent_kafka  # a development dependency

    consumer = confluent_kafka.Consumer(
        {
            **addresses.librdkafka(bootstrap),
            "group.id": GROUP,
            "enable.auto.commit": False,
            "enable.partition.eof": True,  # with read_committed the only sign that the last visible record was read
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "allow.auto.create.topics": False,
            "log_level": 0,
        }
    )
    try:
        described = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic]
        yield None if described.error else _begin_fast(consumer, topic, sorted(described.partitions), since, wanted)
    except confluent_kafka.KafkaException as error:
        raise ServiceError(f"topic {topic!r} can't be read on {bootstrap}: {error}", "liveshelf up") from error
    finally:
        consumer.close()


def _begin_fast(consumer, topic: str, partitions: list[int], since: dict[int, int], wanted: Wanted) -> _Reading:
    from confluent_kafka import TopicPartition as Place

    bounds = {
        partition: consumer.get_watermark_offsets(Place(topic, partition), timeout=TIMEOUT_S)
        for partition in partitions
    }
    start = {partition: max(since.get(partition, 0), low) for partition, (low, _) in bounds.items()}
    end = {partition: high for partition, (_, high) in bounds.items()}
    consumer.assign([Place(topic, partition, start[partition]) for partition in partitions])
    return _Reading(start, end, _poll_fast(consumer, topic, start, end, wanted))


def _poll_fast(consumer, topic: str, start: dict[int, int], end: dict[int, int], wanted: Wanted) -> Iterator[Record]:
    from confluent_kafka import KafkaError as Code
    from confluent_kafka import KafkaException

    unread = {partition for partition in start if start[partition] < end[partition]}
    while unread:
        messages = consumer.consume(10_000, timeout=0.05) or consumer.consume(1, timeout=TIMEOUT_S)
        if not messages:
            raise _stalled(topic)
        for message in messages:
            partition, offset = message.partition(), message.offset()
            if message.error() and message.error().code() != Code._PARTITION_EOF:
                raise KafkaException(message.error())
            if not message.error() and offset < end[partition] and wanted(message.key()):
                yield Record(partition, offset, message.timestamp()[1], message.key(), message.value())
            if message.error() or offset >= end[partition] - 1:
                unread.discard(partition)
