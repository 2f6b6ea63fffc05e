"""Consent: the records of the topic `consent`, and what they mean for an event. Pure.

The topic is compacted. Its key is the visitor's id, its value {"state": "granted" | "withdrawn" | "erased", "at_ms":
…}. A record that erases also says where the events topic ended (`before`: partition → offset), and whether consent was
withdrawn (`withdrawn`), because an erasure doesn't lift a withdrawal. Compaction must lag behind the retention of
events: a replay needs what was said in between.

The jobs decide in the JVM (`Person.java`). This is the same rule for the oracle, the commands and training. It asks two
questions. Was the event allowed when it happened? The newest record up to its time decides; an event that wasn't
allowed counts nowhere (`suppressed`). Was its visitor forgotten since? Then it counts in aggregates that hold no
person, and in nothing of the visitor's own (`forgotten`).
"""

from collections.abc import Iterable
from itertools import accumulate
from typing import Literal

import msgspec

Mode = Literal["assumed", "required"]
State = Literal["granted", "withdrawn", "erased"]
Verdict = Literal["counts", "forgotten", "suppressed"]


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """The value of one record. Decoding anything else raises msgspec.DecodeError."""

    state: State
    at_ms: int
    before: dict[str, int] = {}
    withdrawn: bool = False

    @property
    def after(self) -> State:
        """The state that holds after this record."""
        return "withdrawn" if self.withdrawn else self.state

    def covers(self, partition: int, offset: int, event_time_ms: int) -> bool:
        """Return True if it forgets an event: by time, and by place, because a producer's clock may be ahead."""
        return self.state != "granted" and (event_time_ms < self.at_ms or offset < self.before.get(str(partition), -1))


class Consents:
    """All records of every visitor."""

    def __init__(self, mode: Mode) -> None:
        self._default: State = "granted" if mode == "assumed" else "withdrawn"
        self._records: dict[str, dict[int, list[Record]]] = {}  # visitor → partition → in order of arrival

    def add(self, visitor_id: str, record: Record | None, partition: int = 0) -> None:
        """Add a partition's next record about a visitor; None forgets all records about them."""
        if record is None:
            self._records.pop(visitor_id, None)
        else:
            self._records.setdefault(visitor_id, {}).setdefault(partition, []).append(record)

    def of(self, visitor_id: str) -> list[Record]:
        """Return a visitor's records, the newest last.

        Within a partition they stand in order of arrival. A visitor's records lie in several partitions if partitions
        were added to the topic. Then time decides between them: the newest that a partition has shown up to the record.
        """
        by_partition = self._records.get(visitor_id, {})
        if len(by_partition) < 2:
            return next(iter(by_partition.values()), [])
        dated = [
            (newest_ms, partition, record)
            for partition, records in by_partition.items()
            for newest_ms, record in zip(accumulate((each.at_ms for each in records), max), records, strict=True)
        ]
        return [record for *_, record in sorted(dated, key=lambda each: each[:2])]

    def visitors(self) -> list[str]:
        """Return the visitors with at least one record."""
        return list(self._records)

    def latest(self, visitor_id: str) -> Record | None:
        return self.of(visitor_id)[-1] if self.of(visitor_id) else None

    def verdict(self, visitor_id: str, partition: int, offset: int, event_time_ms: int) -> Verdict:
        """Return how a visitor's event at a place of the events topic counts."""
        records = self.of(visitor_id)
        said = [record.after for record in records if record.at_ms <= event_time_ms]
        state = said[-1] if said else "erased"
        if (self._default if state == "erased" else state) != "granted":
            return "suppressed"
        return "forgotten" if any(each.covers(partition, offset, event_time_ms) for each in records) else "counts"


def gathered(records: Iterable[tuple[int, bytes | None, bytes | None]], mode: Mode) -> Consents:
    """Build consents from partitions, keys and values, each partition's in order. Skip what isn't a record."""
    consents = Consents(mode)
    for partition, key, value in records:
        if key is None:
            continue
        try:
            consents.add(key.decode(), msgspec.json.decode(value, type=Record) if value else None, partition)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return consents
