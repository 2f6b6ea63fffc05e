"""Send records into a Kafka topic, with kafka-python, or with confluent-kafka if it is installed and speed counts.

Both keep each partition's order, wait for all replicas, place keys as Java's producer does (murmur2) and set the
record's timestamp. A failure raises `ServiceError`, at the latest in `flush`.
"""

from contextlib import suppress
from typing import Protocol

from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError

from jobs.connect import addresses
from jobs.connect.kafka_patience import patiently
from jobs.errors import ServiceError

MAX_RECORD_BYTES = 4 * 1024 * 1024  # what the embedded broker takes
LINGER_MS = 2
CONNECT_LIMIT_MS = 10_000
DELIVERY_LIMIT_MS = 30_000


class Sender(Protocol):
    """A producer for one topic. `partitions` is the topic's number of partitions."""

    partitions: int

    def send(self, key: bytes | None, value: bytes | None, timestamp_ms: int, partition: int | None = None) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


def connect(bootstrap: str, topic: str, fast: bool, linger_ms: int = LINGER_MS) -> Sender:
    """Return a sender to a topic that exists; raise `ServiceError` if the broker or the topic doesn't answer.

    `fast` asks for confluent-kafka, which is a development dependency. Without it kafka-python does the same, slower.
    A record waits up to `linger_ms` for others that leave with it.
    """
    if fast and has_confluent():
        return ConfluentSender(bootstrap, topic, linger_ms)
    return KafkaPythonSender(bootstrap, topic, linger_ms)


def has_confluent() -> bool:
    """Return True if confluent-kafka is installed."""
    try:
        import confluent_kafka  # noqa: F401
    except ImportError:
        return False
    return True


def _lost(bootstrap: str, topic: str, error: object) -> ServiceError:
    what = f"Kafka at {bootstrap} doesn't take records for {topic!r}: {error}"
    return ServiceError(what, "liveshelf up, or correct kafka_bootstrap")


class KafkaPythonSender:
    """kafka-python's producer. It buffers without a limit, so it is flushed every `_FLUSH_EVERY` records."""

    _FLUSH_EVERY = 10_000

    def __init__(self, bootstrap: str, topic: str, linger_ms: int) -> None:
        self._bootstrap, self._topic = bootstrap, topic
        self._error: Exception | None = None
        self._unconfirmed = 0
        try:
            self._producer = KafkaProducer(
                **addresses.kafka_python(bootstrap),
                bootstrap_timeout_ms=CONNECT_LIMIT_MS,
                acks="all",
                linger_ms=linger_ms,
                batch_size=65_536,
                max_request_size=MAX_RECORD_BYTES,
                max_block_ms=CONNECT_LIMIT_MS,
                request_timeout_ms=CONNECT_LIMIT_MS,
                delivery_timeout_ms=DELIVERY_LIMIT_MS,
                allow_auto_create_topics=False,
            )
        except (KafkaError, ValueError) as error:
            raise _lost(bootstrap, topic, error) from error
        try:
            self.partitions = len(patiently(self._producer.partitions_for, topic))
        except KafkaError as error:
            self.close()
            raise _lost(bootstrap, topic, error) from error

    def send(self, key: bytes | None, value: bytes | None, timestamp_ms: int, partition: int | None = None) -> None:
        try:
            future = self._producer.send(
                self._topic, key=key, value=value, timestamp_ms=timestamp_ms, partition=partition
            )
        except KafkaError as error:
            raise _lost(self._bootstrap, self._topic, error) from error
        future.add_errback(self._failed)
        self._unconfirmed += 1
        if self._unconfirmed >= self._FLUSH_EVERY or self._error:
            self.flush()

    def flush(self) -> None:
        try:
            self._producer.flush(timeout=DELIVERY_LIMIT_MS / 1000)
        except KafkaError as error:
            raise _lost(self._bootstrap, self._topic, error) from error
        self._unconfirmed = 0
        if self._error:
            raise _lost(self._bootstrap, self._topic, self._error) from self._error

    def close(self) -> None:
        with suppress(KafkaTimeoutError):  # records that weren't sent are given up, as after Ctrl-C
            self._producer.close(timeout=0)

    def _failed(self, error: Exception) -> None:
        self._error = self._error or error


class ConfluentSender:
    """librdkafka's producer."""

    def __init__(self, bootstrap: str, topic: str, linger_ms: int) -> None:
        from confluent_kafka import KafkaException, Producer

        self._bootstrap, self._topic = bootstrap, topic
        self._error: object = None
        self._exception = KafkaException
        self._producer = Producer(
            {
                **addresses.librdkafka(bootstrap),
                "enable.idempotence": True,
                "linger.ms": linger_ms,
                "partitioner": "murmur2_random",
                "message.max.bytes": MAX_RECORD_BYTES,
                "message.timeout.ms": DELIVERY_LIMIT_MS,
                "allow.auto.create.topics": False,
                "delivery.report.only.error": True,
                "log_level": 0,
            },
        )
        try:
            metadata = self._producer.list_topics(topic, timeout=CONNECT_LIMIT_MS / 1000).topics[topic]
        except KafkaException as error:
            raise _lost(bootstrap, topic, error) from error
        if metadata.error is not None:
            raise _lost(bootstrap, topic, metadata.error)
        self.partitions = len(metadata.partitions)

    def send(self, key: bytes | None, value: bytes | None, timestamp_ms: int, partition: int | None = None) -> None:
        at = -1 if partition is None else partition
        while True:
            try:
                self._producer.produce(self._topic, value, key, at, timestamp=timestamp_ms, on_delivery=self._delivered)
                break
            except BufferError:
                self._producer.poll(0.1)  # 100,000 records wait: let some go first
            except self._exception as error:
                raise _lost(self._bootstrap, self._topic, error) from error
        self._producer.poll(0)
        self._raise_if_lost()

    def flush(self) -> None:
        left = self._producer.flush(DELIVERY_LIMIT_MS / 1000)
        self._raise_if_lost()
        if left:
            raise _lost(self._bootstrap, self._topic, f"{left} records weren't confirmed")

    def close(self) -> None:
        self._producer.purge()

    def _delivered(self, error: object, _message: object) -> None:
        self._error = self._error or error

    def _raise_if_lost(self) -> None:
        if self._error:
            raise _lost(self._bootstrap, self._topic, self._error)
