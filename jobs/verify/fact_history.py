"""What was known of each item at any moment: facts as of the offsets that a list names.

A record counts for a list if it lies before the list's offset in its topic. Records are kept as bytes, and read when
somebody asks: a list needs those of some hundred items.

Compaction takes records away that a later one replaces. Then what was known before the later one can't be said any
more, and `is_whole` says so. Kafka leaves alone what is younger than the topic's `min.compaction.lag.ms`.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from jobs.connect.kafka_read import Record
from jobs.contract import items
from jobs.contract.items import FactContract, Refusal

LAG_MS = 6 * 3_600_000  # of the topics that liveshelf makes, see `jobs/connect/fact_topics.py`
TOMBSTONES_MS = 7 * 24 * 3_600_000  # so long a removal is kept
HELD = 64  # moments that are remembered; lists are looked at in the order of their moments

Offsets = Mapping[str, int]
NOTHING: Mapping[str, Any] = {}


class Said(NamedTuple):
    """A record: where it lies and what it says. `fields` is None for a removal."""

    topic: str
    partition: int
    offset: int
    time_ms: int
    fields: items.Fields | None


class _Topic:
    """The records of one topic, by item and in their order."""

    def __init__(self, contract: FactContract, records: Iterable[Record]) -> None:
        self.contract = contract
        self.offsets: dict[str, list[int]] = {}
        self._records: dict[str, list[Record]] = {}
        self._read: dict[tuple[str, int], Said | None] = {}
        self.order: list[tuple[int, str]] = []  # offset and item of each record
        self.end, self.first_gap = 0, math.inf
        for record in records:
            if record.offset > self.end:
                self.first_gap = min(self.first_gap, self.end)
            self.end = record.offset + 1
            item_id = items.item_of(record.key)
            if isinstance(item_id, Refusal):
                continue
            self.offsets.setdefault(item_id, []).append(record.offset)
            self._records.setdefault(item_id, []).append(record)
            self.order.append((record.offset, item_id))

    def said(self, item: str, before: int) -> Said | None:
        """Return what the item's newest record before an offset says; a refused one says nothing."""
        places = self.offsets.get(item)
        if places is None:
            return None
        for place in range(bisect_left(places, before) - 1, -1, -1):
            found = self._at(item, place)
            if found is not None:
                return found
        return None

    def was_named(self, item: str, before: int) -> bool:
        """Return True if a record before an offset says something of the item."""
        for place, offset in enumerate(self.offsets.get(item, ())):
            said = self._at(item, place) if offset < before else None
            if said is not None and said.fields is not None:
                return True
        return False

    def _at(self, item: str, place: int) -> Said | None:
        if (item, place) not in self._read:
            record = self._records[item][place]
            fact = items.parse(self.contract, record.key, record.value)
            where = (self.contract.topic, record.partition, record.offset, record.timestamp_ms)
            self._read[item, place] = None if isinstance(fact, Refusal) else Said(*where, fact.fields)
        return self._read[item, place]

    def changed_since(self, time_ms: int) -> set[str]:
        return {item for item, records in self._records.items() if records[-1].timestamp_ms >= time_ms}

    def unsure_until(self, old_ms: int) -> int:
        """Return the offset up to which an item's earlier record may have been taken away, 0 for none.

        What compaction takes goes with all that stood before it. So an item may only have lost something if its first
        record is old. If that one is refused, what was said before it stood, until the next one that isn't.
        """
        until = 0
        for item, records in self._records.items():
            if records[0].timestamp_ms < old_ms:
                places = (place for place in range(len(records)) if self._at(item, place) is not None)
                until = max(until, records[next(places, -1)].offset)
        return until


class FactHistory:
    """All records of all topics of facts, as they lie in Kafka now."""

    def __init__(self, topics: Mapping[FactContract, Iterable[Record]], now_ms: int, lag_ms: int = LAG_MS) -> None:
        self._topics = {contract.topic: _Topic(contract, records) for contract, records in topics.items()}
        self._gaps = {name: topic for name, topic in self._topics.items() if topic.first_gap < topic.end}
        self._unsure = {name: topic.unsure_until(now_ms - lag_ms) for name, topic in self._gaps.items()}
        self.now_ms, self._lag_ms = now_ms, lag_ms
        self._topic_of = {
            field.name: contract.topic for contract in topics for field in contract.fields if not field.is_shown_only
        }
        self.at = lru_cache(HELD)(self._at)

    @property
    def ends(self) -> dict[str, int]:
        """Return the offsets before which everything lies that was read."""
        return {name: topic.end for name, topic in self._topics.items()}

    def items(self) -> set[str]:
        """Return all items of which a record was ever kept."""
        return set().union(*(topic.offsets for topic in self._topics.values()))

    def is_whole(self, offsets: Offsets, list_ms: int) -> bool:
        """Return True if everything is still there that was known at a moment `list_ms`, before these offsets."""
        if list_ms > self.now_ms - self._lag_ms:
            return True
        if list_ms < self.now_ms - TOMBSTONES_MS and self._gaps:
            return False
        befores = {name: offsets.get(name, 0) for name in self._gaps}
        return all(
            before > self._unsure[name] or before <= self._gaps[name].first_gap for name, before in befores.items()
        )

    def _at(self, offsets: tuple[tuple[str, int], ...]) -> "FactsAt":
        return FactsAt(self, dict(offsets))

    def facts(self, offsets: Offsets) -> "FactsAt":
        """Return what was known before these offsets."""
        return self.at(tuple(sorted(offsets.items())))

    def said(self, item: str, topic: str, before: int) -> Said | None:
        """Return what a topic's newest record of an item before an offset says, None for no record."""
        return self._topics[topic].said(item, before) if topic in self._topics else None

    def was_named(self, item: str, offsets: Offsets) -> bool:
        """Return True if a topic had said something of an item before these offsets, even if that is gone since."""
        return any(topic.was_named(item, offsets.get(name, 0)) for name, topic in self._topics.items())

    def topic_of(self, fact: str) -> str:
        """Return the topic that tells a fact, "" for one that no topic has."""
        return self._topic_of.get(fact, "")

    def changed(self, one: Offsets, other: Offsets) -> set[str]:
        """Return the items of which a record lies between two moments, whichever is earlier."""
        found: set[str] = set()
        for name, topic in self._topics.items():
            low, high = sorted((one.get(name, 0), other.get(name, 0)))
            begin, end = bisect_left(topic.order, (low, "")), bisect_left(topic.order, (high, ""))
            found.update(item for _, item in topic.order[begin:end])
        return found

    def changed_since(self, time_ms: int) -> set[str]:
        """Return the items of which a record is as young as this."""
        return set().union(*(topic.changed_since(time_ms) for topic in self._topics.values()))


class FactsAt(Mapping[str, Mapping[str, Any]]):
    """The facts of each item at one moment: item → fact → value. An item of which nothing is known isn't in it."""

    def __init__(self, history: FactHistory, offsets: Offsets) -> None:
        self.history, self.offsets = history, offsets
        self._known: dict[str, Mapping[str, Any]] = {}

    def get(self, item: str, default: Any = NOTHING) -> Any:
        known = self._known.get(item)
        if known is None:
            known = self._known[item] = self._read(item)
        return known or default

    def __getitem__(self, item: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.get(item)
        if not found and not self.is_known(item):
            raise KeyError(item)
        return found

    def __contains__(self, item: object) -> bool:
        return isinstance(item, str) and self.is_known(item)

    def __iter__(self) -> Iterator[str]:
        return (item for item in self.history.items() if self.is_known(item))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def is_known(self, item: str) -> bool:
        """Return True if a topic says something of the item, if only that it exists."""
        said = (self.history.said(item, topic, before) for topic, before in self.offsets.items())
        return any(each is not None and each.fields is not None for each in said)

    def _read(self, item: str) -> Mapping[str, Any]:
        fields: dict[str, Any] = {}
        for topic, before in self.offsets.items():
            said = self.history.said(item, topic, before)
            if said is not None and said.fields:
                fields |= said.fields
        return fields
