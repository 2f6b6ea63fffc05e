"""Follow the topics of item facts: read them to their ends, then take what is new, and swap in the next snapshot.

A worker starts with everything that the topics know. Later a thread takes what is new. It makes at most one snapshot in
`SWAP_S`, so that a catalogue that changes all the time copies its columns ten times a second. What a worker ranks with
changes only where it asks for `snapshot` again: between two batches.
"""

import logging
import threading
import time
from collections.abc import Sequence

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from jobs.catalogue.columns import MAX_ITEMS, Snapshot, Table
from jobs.connect import addresses
from jobs.connect.kafka_patience import patiently
from jobs.contract.items import FactContract, Refusal, parse
from jobs.errors import ServiceError

SWAP_S = 0.1
LOOK_S = 0.5  # between two questions where the topics end
STALLED_S = 60.0  # at the start, without a record and without an end
RETRY_S = 1.0
BATCH = 5000
LOG = logging.getLogger(__name__)


class Follower:
    """Hold what the topics know. `snapshot` is the newest, `read` and `refused` count records."""

    def __init__(self, bootstrap: str, contracts: Sequence[FactContract], max_items: int = MAX_ITEMS) -> None:
        self._bootstrap = bootstrap
        self._contracts = {contract.topic: contract for contract in contracts}
        self._table = Table(contracts, max_items)
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._swapped_s = self._current_s = self._looked_s = 0.0
        self.read = self.refused = 0
        self.snapshot: Snapshot = self._table.snapshot()

    def start(self) -> "Follower":
        """Read the topics to the ends that they have now, then follow them on a thread.

        Raise ServiceError if Kafka doesn't answer, or a topic isn't there or has several partitions.
        """
        consumer = self._connected()
        heard_s = time.monotonic()
        try:
            while not self._is_current(consumer):
                if self._take(consumer, 1.0):
                    heard_s = time.monotonic()
                elif time.monotonic() - heard_s > STALLED_S:
                    raise ServiceError(
                        f"the topics {list(self._contracts)} can't be read to their ends", "liveshelf doctor"
                    )
        except (KafkaError, ServiceError) as error:
            consumer.close()
            raise error if isinstance(error, ServiceError) else self._unreadable(error) from error
        self._swap(is_current=True)
        self._thread = threading.Thread(target=self._follow, args=(consumer,), name="item-facts", daemon=True)
        self._thread.start()
        return self

    def age_ms(self) -> int:
        """Return how long ago the follower last knew everything that the topics held."""
        return round((time.monotonic() - self._current_s) * 1000)

    def close(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _follow(self, consumer: KafkaConsumer) -> None:
        while not self._stopped.is_set():
            try:
                new = self._take(consumer, SWAP_S)
                if new and not self._stopped.wait(max(0.0, self._swapped_s + SWAP_S - time.monotonic())):
                    self._swap(is_current=new + self._take(consumer, 0.0) < BATCH)
                if not new and self._looked_s + LOOK_S <= time.monotonic():
                    self._is_current(consumer)
            except KafkaError as error:
                LOG.warning("item facts stay as they are: %s", error)
                consumer = self._again(consumer)
        consumer.close()

    def _again(self, consumer: KafkaConsumer) -> KafkaConsumer:
        """Return a new connection, once there is one, or the old one if the follower is closed."""
        while not self._stopped.wait(RETRY_S):
            try:
                connected = self._connected()
            except ServiceError:
                continue
            consumer.close()
            return connected
        return consumer

    def _take(self, consumer: KafkaConsumer, wait_s: float) -> int:
        """Take what has come, and return how many records that was."""
        count = 0
        for place, records in consumer.poll(timeout_ms=int(wait_s * 1000), max_records=BATCH).items():
            contract = self._contracts[place.topic]
            for record in records:
                fact = parse(contract, record.key, record.value)
                if isinstance(fact, Refusal) or not self._table.take(place.topic, fact):
                    self.refused += 1
                self._table.offsets[place.topic] = record.offset + 1
            count += len(records)
        self.read += count
        return count

    def _is_current(self, consumer: KafkaConsumer) -> bool:
        """Ask where the topics end, and return True if everything before was read."""
        asked_s = self._looked_s = time.monotonic()
        ends = consumer.end_offsets(self._places())
        positions = {place: consumer.position(place) for place in ends}
        if any(positions[place] > end for place, end in ends.items()):
            LOG.warning("a topic of item facts was made anew: all are read again")
            self._table.forget()
            consumer.seek_to_beginning(*ends)
            return False
        if any(positions[place] < end for place, end in ends.items()):
            return False
        for place, end in ends.items():
            self._table.offsets[place.topic] = end  # a marker of a transaction may be the last record
        self._current_s = asked_s
        return True

    def _swap(self, is_current: bool) -> None:
        self.snapshot = self._table.snapshot()
        self._swapped_s = time.monotonic()
        if is_current:
            self._current_s = self._swapped_s

    def _places(self) -> list[TopicPartition]:
        return [TopicPartition(topic, 0) for topic in self._contracts]

    def _connected(self) -> KafkaConsumer:
        try:
            consumer = KafkaConsumer(
                **addresses.kafka_python(self._bootstrap),
                enable_auto_commit=False,
                group_id=None,
                isolation_level="read_committed",
                allow_auto_create_topics=False,
                auto_offset_reset="earliest",
                fetch_max_wait_ms=round(SWAP_S * 1000),
            )
        except (KafkaError, ValueError) as error:
            raise self._unreadable(error) from error
        try:
            self._check(consumer)
            consumer.assign(self._places())
            for place in self._places():
                consumer.seek(place, self._table.offsets[place.topic])
        except (KafkaError, ServiceError) as error:
            consumer.close()
            raise error if isinstance(error, ServiceError) else self._unreadable(error) from error
        return consumer

    def _check(self, consumer: KafkaConsumer) -> None:
        for topic in self._contracts:
            partitions = patiently(consumer.partitions_for_topic, topic)
            if not partitions:
                raise ServiceError(f"there is no topic {topic!r} on {self._bootstrap}", "liveshelf apply")
            if len(partitions) > 1:
                what = (
                    f"topic {topic!r} has {len(partitions)} partitions: nobody could say which record of an item counts"
                )
                raise ServiceError(what, "make it anew with one partition, and load it again")

    def _unreadable(self, error: Exception) -> ServiceError:
        return ServiceError(f"item facts can't be read from Kafka at {self._bootstrap}: {error}", "liveshelf status")
