"""Send records to Kafka, and confirm each only when all replicas have it.

The producer is idempotent: its own retries write nothing twice. A record whose confirmation came too late may be in the
topic all the same. Its sender is told to send it again, and an `event_id` counts once in 24 hours.
"""

import asyncio
import logging
import threading
from collections.abc import Sequence
from typing import NamedTuple

from kafka import KafkaProducer
from kafka.errors import KafkaError

from jobs.connect import addresses, users
from jobs.connect.kafka_patience import patiently
from jobs.errors import ServiceError

CONNECT_LIMIT_MS = 10_000
# A broker that is restarted is back in 3 to 6 s: what comes in the meantime waits instead of being refused.
DELIVERY_LIMIT_S = 8.0
REQUEST_LIMIT_MS = 3_000
SEND_LIMIT_MS = (
    2_000  # `send` waits in the event loop while a topic's partitions aren't known: they are, once connected
)
LINGER_MS = 2
RECONNECT_MAX_MS = 1_000  # kafka-python's 30 s would refuse events long after the broker is back
RECONNECT_PAUSE_S = 1.0
MAX_WAITING = 20_000  # records; at 500 bytes these are 10 MB, and twice what a core confirms in a second

log = logging.getLogger(__name__)


class Record(NamedTuple):
    """A record to send. `key` is the visitor's pseudonym."""

    topic: str
    key: str
    value: bytes
    timestamp_ms: int


class NotDeliveredError(Exception):
    """Kafka hasn't confirmed all records of a request. Some may be in the topic."""


class Deliveries:
    """Hold one producer for all requests. `waiting` is the number of records without a confirmation.

    Raises ServiceError if the broker doesn't answer or a topic isn't there. A producer that failed to deliver is
    replaced: after 12 s without a broker, kafka-python 3.0.12 never got a producer id again. Until a new one is
    connected, every request is refused at once.
    """

    def __init__(self, bootstrap: str, topics: Sequence[str]) -> None:
        self._bootstrap, self._topics = bootstrap, topics
        self._producer: KafkaProducer | None = _connect(bootstrap, topics)
        self._reconnecting: asyncio.Task[None] | None = None
        self.waiting = 0

    @property
    def connected(self) -> bool:
        """True if the last delivery succeeded, or a producer has been connected since."""
        return self._producer is not None

    async def deliver(self, records: Sequence[Record]) -> None:
        """Return when all replicas have all records.

        Raises NotDeliveredError if that takes too long, or if too many records wait.
        """
        if not records:
            return
        producer = self._producer
        if producer is None or self.waiting + len(records) > MAX_WAITING:
            raise NotDeliveredError
        self.waiting += len(records)
        try:
            async with asyncio.timeout(DELIVERY_LIMIT_S):
                await _confirmed(producer, records)
        except (KafkaError, TimeoutError) as error:
            self._replace(producer)
            raise NotDeliveredError from error
        finally:
            self.waiting -= len(records)

    def _replace(self, failed: KafkaProducer) -> None:
        if self._producer is failed:
            log.warning("Kafka at %s doesn't confirm: events are refused until it does", self._bootstrap)
            self._producer = None
            self._reconnecting = asyncio.create_task(self._reconnect(failed))

    async def _reconnect(self, failed: KafkaProducer) -> None:
        # Its close() flushes first, raises when that takes too long, and leaves its thread running.
        failed.flush = lambda timeout=None: None
        await asyncio.to_thread(failed.close, timeout=0)  # those who still wait for it are refused, too
        while self._producer is None:
            try:
                self._producer = await asyncio.to_thread(_connect, self._bootstrap, self._topics)
            except ServiceError:
                await asyncio.sleep(RECONNECT_PAUSE_S)
        log.warning("Kafka at %s confirms again", self._bootstrap)

    async def close(self) -> None:
        """Wait for the records under way, then close."""
        if self._reconnecting:
            self._reconnecting.cancel()
        if self._producer:
            await asyncio.to_thread(self._producer.close, timeout=DELIVERY_LIMIT_S)


def _connect(bootstrap: str, topics: Sequence[str]) -> KafkaProducer:
    try:
        producer = KafkaProducer(
            **addresses.kafka_python(addresses.as_user(bootstrap, users.COLLECTOR)),
            bootstrap_timeout_ms=CONNECT_LIMIT_MS,
            acks="all",
            enable_idempotence=True,
            linger_ms=LINGER_MS,
            max_block_ms=SEND_LIMIT_MS,
            request_timeout_ms=REQUEST_LIMIT_MS,
            delivery_timeout_ms=round(DELIVERY_LIMIT_S * 1000),
            reconnect_backoff_max_ms=RECONNECT_MAX_MS,
            allow_auto_create_topics=False,
        )
    except (KafkaError, ValueError) as error:
        raise ServiceError(
            f"Kafka at {bootstrap} doesn't answer: {error}", "liveshelf up, or correct kafka_bootstrap"
        ) from error
    try:
        for topic in topics:
            patiently(producer.partitions_for, topic)
    except KafkaError as error:
        producer.close(timeout=0)
        raise ServiceError(f"Kafka at {bootstrap} has no topic {topic!r}: {error}", "liveshelf up") from error
    return producer


async def _confirmed(producer: KafkaProducer, records: Sequence[Record]) -> None:
    confirmation = _Confirmation(len(records))
    for topic, key, value, timestamp_ms in records:
        producer.send(topic, value, key.encode(), timestamp_ms=timestamp_ms).add_both(confirmation.one_came)
    await confirmation.all_came


class _Confirmation:
    """Count a request's records down in the producer's thread, and wake the event loop once."""

    def __init__(self, records: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._left, self._lock = records, threading.Lock()
        self.all_came = self._loop.create_future()

    def one_came(self, outcome: object) -> None:
        failed = isinstance(outcome, BaseException)
        with self._lock:
            self._left -= 1
            wake = failed or not self._left
        if wake:
            self._loop.call_soon_threadsafe(self._settle, outcome if failed else None)

    def _settle(self, error: BaseException | None) -> None:
        if not self.all_came.done():
            self.all_came.set_exception(error) if error else self.all_came.set_result(None)
