"""Consent: what all records about a visitor mean for an event. Pure.

The order in which records arrive changes nothing. They stand by `at_ms`; of equal times the denial counts. The jobs
decide in the JVM (`Person.java`). This is the same rule for the oracle, the commands and training. It asks two
questions of an event.

1. Was it allowed when it happened? The newest withdrawal up to the event's time denies it, unless a grant is newer. A
   first grant reaches back to its `since_ms`, or else its `at_ms`. A grant after a denial holds from its Kafka
   timestamp on: what a visitor did in between stays undone. An event that wasn't allowed counts nowhere
   (`suppressed`).
2. Was its visitor forgotten since, by a withdrawal or an erasure? Then it counts in aggregates that hold no person, and
   in nothing of the visitor's own (`forgotten`).

An erasure doesn't lift a withdrawal. A record that can't be read (`consent_record.py`) is a withdrawal at its Kafka
timestamp. A record without a value says nothing: it only lets Kafka's compaction drop what was said.

A visitor takes the same memory however often they speak. Of each state the earliest record and the newest `KEPT` are
kept. Whoever denies more often than that is denied all the time between.
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable
from typing import Literal, NamedTuple

from jobs.contract.consent_record import KEPT, Reason, Record, Refusal, State, parse, visitor_of

__all__ = ["Consents", "Mode", "Reason", "Record", "State", "Unread", "Verdict", "gathered"]

Mode = Literal["assumed", "required"]
Verdict = Literal["counts", "forgotten", "suppressed"]
NEVER = -1 << 63
MAX_UNREAD = 1000  # places that are remembered, the last that were read; all are counted


class Unread(NamedTuple):
    """A record that wasn't understood: its place in the topic, its Kafka timestamp, and why."""

    partition: int
    offset: int
    recorded_ms: int
    reason: Reason
    field: str = ""

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset} {self.reason}{f' of {self.field}' if self.field else ''}"


class _Times:
    """The earliest of many times and the newest `KEPT`. Adding is a union: neither order nor repetition matter."""

    __slots__ = ("are_merged", "times")

    def __init__(self) -> None:
        self.times: list[int] = []
        self.are_merged = False

    def add(self, time_ms: int) -> None:
        place = bisect_left(self.times, time_ms)
        if self.times[place : place + 1] != [time_ms]:
            self.times.insert(place, time_ms)
            if len(self.times) > KEPT + 1:
                del self.times[1]
                self.are_merged = True

    def last(self) -> int:
        return self.times[-1] if self.times else NEVER

    def last_until(self, time_ms: int) -> int:
        place = bisect_right(self.times, time_ms)
        return self.times[place - 1] if place else NEVER

    def has_gap_at(self, time_ms: int) -> bool:
        """Return True if times around this one were dropped."""
        return self.are_merged and self.times[0] <= time_ms < self.times[1]


class _Person:
    """What is kept of one visitor's records. `grants` maps a grant's time to the earliest time at which it was said."""

    __slots__ = ("before", "erasures", "grants", "withdrawals")

    def __init__(self) -> None:
        self.grants: dict[int, int] = {}
        self.withdrawals, self.erasures = _Times(), _Times()
        self.before: dict[str, int] = {}

    def add(self, record: Record, recorded_ms: int) -> None:
        at_ms = min(record.at_ms, recorded_ms)
        if record.state == "granted":
            # Two grants: the one stands by its time, the other only reaches back.
            self._grant(at_ms, recorded_ms)
            self._grant(min(record.since_ms or at_ms, at_ms), recorded_ms)
            return
        if record.state == "erased":
            self.erasures.add(at_ms)
        if record.after == "withdrawn":
            self.withdrawals.add(at_ms)
        for partition, offset in record.before.items():
            self.before[partition] = max(self.before.get(partition, 0), offset)

    def _grant(self, at_ms: int, recorded_ms: int) -> None:
        self.grants[at_ms] = min(self.grants.get(at_ms, recorded_ms), recorded_ms)
        if len(self.grants) > KEPT + 1:
            del self.grants[sorted(self.grants)[1]]

    def allows(self, required: bool, time_ms: int) -> bool:
        """Return True if an event of that time was allowed."""
        denials = [self.withdrawals, self.erasures] if required else [self.withdrawals]
        if any(each.has_gap_at(time_ms) for each in denials):
            return False
        denied_ms = max(each.last_until(time_ms) for each in denials)
        if denied_ms == NEVER and not required:
            return True
        return any(
            at_ms > denied_ms
            and (
                said_ms <= time_ms or (at_ms <= time_ms and all(each.last_until(said_ms) == NEVER for each in denials))
            )
            for at_ms, said_ms in self.grants.items()
        )

    def forgets(self, partition: int, offset: int, time_ms: int) -> bool:
        """Return True if a denial came after the event, by time or by place: a producer's clock may be ahead."""
        return time_ms < max(self.withdrawals.last(), self.erasures.last()) or offset < self.before.get(
            str(partition), NEVER
        )

    def is_withdrawn_at(self, time_ms: int) -> bool:
        """Return True if no grant up to a time is newer than the newest withdrawal up to it."""
        withdrawn_ms = self.withdrawals.last_until(time_ms)
        return withdrawn_ms != NEVER and not any(withdrawn_ms < at_ms <= time_ms for at_ms in self.grants)

    def records(self) -> list[Record]:
        """Return what is kept as records, the newest last; of equal times a denial is the newer."""
        said = [(at_ms, Record("granted", at_ms)) for at_ms in self.grants]
        only_withdrawn = [at_ms for at_ms in self.withdrawals.times if at_ms not in self.erasures.times]
        said += [(at_ms, Record("withdrawn", at_ms)) for at_ms in only_withdrawn]
        said += [
            (at_ms, Record("erased", at_ms, self.before, self.is_withdrawn_at(at_ms))) for at_ms in self.erasures.times
        ]
        return [record for _, record in sorted(said, key=lambda each: each[0])]

    def since_ms(self) -> int:
        """Return the time since which the newest record holds."""
        denied_ms, granted_ms = max(self.withdrawals.last(), self.erasures.last()), max(self.grants, default=NEVER)
        if denied_ms >= granted_ms:
            return denied_ms
        said_ms = self.grants[granted_ms]
        denials = self.withdrawals, self.erasures
        return said_ms if any(each.last_until(said_ms) != NEVER for each in denials) else granted_ms


class Consents:
    """What every visitor has said. `unread` names records that weren't understood, `unread_count` counts them all."""

    def __init__(self, mode: Mode) -> None:
        self._required = mode == "required"
        self._persons: dict[str, _Person] = {}
        self.unread: deque[Unread] = deque(maxlen=MAX_UNREAD)
        self.unread_count = 0

    def add(self, visitor_id: str, record: Record, recorded_ms: int | None = None) -> None:
        """Add a record about a visitor. `recorded_ms` is its Kafka timestamp, or the time that it tells if absent."""
        said_ms = record.at_ms if recorded_ms is None else recorded_ms
        self._persons.setdefault(visitor_id, _Person()).add(record, said_ms)

    def take(self, place: tuple[int, int], key: bytes | None, value: bytes | None, recorded_ms: int) -> None:
        """Add a record as it lies in the topic. One about a visitor that can't be read is a withdrawal."""
        visitor = visitor_of(key)
        if isinstance(visitor, Refusal):
            self._miss(Unread(*place, recorded_ms, *visitor))
        elif value is not None:
            record = parse(value, recorded_ms)
            if isinstance(record, Refusal):
                self._miss(Unread(*place, recorded_ms, *record))
                record = Record("withdrawn", recorded_ms)
            self.add(visitor, record, recorded_ms)

    def _miss(self, unread: Unread) -> None:
        self.unread_count += 1
        self.unread.append(unread)

    def of(self, visitor_id: str) -> list[Record]:
        """Return what is kept of a visitor's records, the newest last."""
        person = self._persons.get(visitor_id)
        return person.records() if person else []

    def visitors(self) -> list[str]:
        """Return the visitors who have said something."""
        return list(self._persons)

    def latest(self, visitor_id: str) -> Record | None:
        """Return a visitor's newest record; None if there is none."""
        records = self.of(visitor_id)
        return records[-1] if records else None

    def knows(self, visitor_id: str) -> bool:
        """Return True if a visitor has said something."""
        return visitor_id in self._persons

    def holds(self, visitor_id: str, state: State) -> bool:
        """Return True if a state is what a visitor's newest record says. An erasure lifts no withdrawal."""
        latest = self.latest(visitor_id)
        return latest is not None and state in (latest.state, latest.after)

    def since_ms(self, visitor_id: str) -> int:
        """Return the time since which a visitor's newest record holds; a time before all others if there is none."""
        person = self._persons.get(visitor_id)
        return person.since_ms() if person else NEVER

    def verdict(self, visitor_id: str, partition: int, offset: int, event_time_ms: int) -> Verdict:
        """Return how a visitor's event at a place of the events topic counts."""
        person = self._persons.get(visitor_id)
        if person is None:
            return "suppressed" if self._required else "counts"
        if not person.allows(self._required, event_time_ms):
            return "suppressed"
        return "forgotten" if person.forgets(partition, offset, event_time_ms) else "counts"


def gathered(records: Iterable[tuple[int, int, int, bytes | None, bytes | None]], mode: Mode) -> Consents:
    """Build consents from partitions, offsets, Kafka timestamps, keys and values, in whatever order."""
    consents = Consents(mode)
    for partition, offset, recorded_ms, key, value in records:
        consents.take((partition, offset), key, value, recorded_ms)
    return consents
