"""Hear what others wrote to the consent topic: another collector, or the shop's own commands."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from jobs.connect import addresses, users
from jobs.contract import consent_record

LIMIT_MS = 3_000  # for one answer of the broker
PAUSE_S = 0.05  # between two readings; all who ask meanwhile share the next one

log = logging.getLogger(__name__)


class Others:
    """Read the topic from where it ended when this was made, each time somebody asks.

    `heard` is called with each visitor of whom something was written, and with the state that was written last. Needs
    the right to read the topic. Without it, or without a broker, nobody is sure.
    """

    def __init__(self, bootstrap: str, topic: str, heard: Callable[[str, str], None]) -> None:
        self._bootstrap, self._topic, self._heard = bootstrap, topic, heard
        self._consumer: KafkaConsumer | None = None
        self._next: dict[TopicPartition, int] = {}
        self._is_told = False
        self._waiting: asyncio.Task[bool] | None = None
        self._reading: asyncio.Task[bool] | None = None
        with suppress(KafkaError, ValueError):
            self._next = self._open().end_offsets(self._partitions())

    async def are_heard(self) -> bool:
        """Return True when all that was in the topic at this call has been heard, False if that can't be known."""
        if self._waiting is None:
            self._waiting = asyncio.create_task(self._read_after(self._reading))
        return await asyncio.shield(self._waiting)

    async def _read_after(self, before: asyncio.Task[bool] | None) -> bool:
        if before is not None:
            await asyncio.wait([before])
        await asyncio.sleep(PAUSE_S)
        self._reading, self._waiting = self._waiting, None  # who asks from now on waits for the next one
        try:
            said = await asyncio.to_thread(self._read)
        except (KafkaError, ValueError) as error:
            if not self._is_told:
                log.warning("what others write to %s isn't heard, so denials are repeated: %s", self._topic, error)
            self._is_told = True
            await self.close()
            return False
        for visitor, state in said.items():
            self._heard(visitor, state)
        return True

    def _read(self) -> dict[str, str]:
        """Return the last state of each visitor in what is new. Raises KafkaError."""
        consumer = self._open()
        said: dict[str, str] = {}
        ends = consumer.end_offsets(self._partitions())
        if set(ends) != consumer.assignment():
            consumer.assign(list(ends))
            for partition in ends:
                consumer.seek(partition, self._next.get(partition, 0))
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            batches = consumer.poll(timeout_ms=LIMIT_MS)
            if not batches:
                raise KafkaError(f"{self._topic} gave no record before its end")
            for batch in batches.values():
                for record in batch:
                    said |= _said(record)
        self._next = {partition: consumer.position(partition) for partition in ends}
        return said

    def _open(self) -> KafkaConsumer:
        if self._consumer is None:
            self._consumer = KafkaConsumer(
                **addresses.kafka_python(addresses.as_user(self._bootstrap, users.COLLECTOR)),
                group_id=None,
                auto_offset_reset="earliest",
                enable_auto_commit=False,
                allow_auto_create_topics=False,
                bootstrap_timeout_ms=LIMIT_MS,
                request_timeout_ms=LIMIT_MS,
            )
        return self._consumer

    def _partitions(self) -> list[TopicPartition]:
        numbers = self._open().partitions_for_topic(self._topic) or ()
        return [TopicPartition(self._topic, number) for number in sorted(numbers)]

    async def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await asyncio.to_thread(consumer.close)


def _said(record) -> dict[str, str]:
    """Return the state after a record by visitor, nothing if it can't be read."""
    visitor = consent_record.visitor_of(record.key)
    said = consent_record.parse(record.value, record.timestamp) if record.value else None
    if isinstance(visitor, str) and isinstance(said, consent_record.Record):
        return {visitor: said.after}
    return {}
