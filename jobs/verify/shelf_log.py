"""The log of lists: the newest record of each list, and which versions of shelves answered which events."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from jobs.connect.kafka_read import Position, Record
from jobs.contract.shelf import read_logged
from jobs.errors import DataError

Key = tuple[str, str]  # visitor and shelf


class LogRecord(msgspec.Struct):
    """A record: the event that it answers and what the list was made from, then the list as Redis holds it."""

    visitor_id: str
    shelf: str
    partition: int
    offset: int
    context: list[float]
    context_features: list[str]
    session_items: list[str]
    now_ms: int = 0
    visitor: dict[str, Any] = {}
    wide: bool = False
    items: list[str] = []
    scores: list[float] = []
    model: str = ""
    event_time_ms: int = 0
    computed_at_ms: int = 0
    session_events: int = 0
    fallback: str | None = None
    list_id: str = ""
    shelves: str = ""
    facts: dict[str, int] = {}
    about: list[str] = []
    why: list[int] = []
    seen: list[str] = []
    because: list[int] = []
    spare: int = 0

    @property
    def place(self) -> Position:
        return self.partition, self.offset


@dataclass
class _Span:
    """From which offset of a partition to which a version has answered events."""

    first: int
    last: int


@dataclass
class ListLog:
    """What the log says. `newest` holds each list's newest record, `answered` the versions by the event's place."""

    newest: dict[Key, LogRecord] = field(default_factory=dict)
    answered: dict[Position, set[str]] = field(default_factory=dict)
    _spans: dict[int, dict[str, _Span]] = field(default_factory=dict)

    def take(self, logged: LogRecord) -> None:
        self.answered.setdefault(logged.place, set()).add(logged.shelves)
        spans = self._spans.setdefault(logged.partition, {})
        span = spans.setdefault(logged.shelves, _Span(logged.offset, logged.offset))
        span.first, span.last = min(span.first, logged.offset), max(span.last, logged.offset)
        before = self.newest.get((logged.visitor_id, logged.shelf), logged)
        if logged.partition != before.partition or logged.offset >= before.offset:
            self.newest[logged.visitor_id, logged.shelf] = logged

    def of_shelf(self, shelf: str) -> dict[str, LogRecord]:
        """Return each visitor's newest record of a shelf."""
        return {visitor: record for (visitor, name), record in self.newest.items() if name == shelf}

    def versions(self, place: Position) -> set[str]:
        """Return the versions that may have answered an event; none if the log holds nothing of its partition.

        An event that no list answers came in a batch with a later one of its visitor, or no shelf answers its type.
        """
        if place in self.answered:
            return self.answered[place]
        spans = self._spans.get(place[0], {})
        if around := {name for name, span in spans.items() if span.first <= place[1] <= span.last}:
            return around
        before = max(((span.last, name) for name, span in spans.items() if span.last < place[1]), default=None)
        after = min(((span.first, name) for name, span in spans.items() if span.first > place[1]), default=None)
        return {name for _, name in filter(None, (before, after))}


def read_log(records: Iterable[Record], forgotten: Collection[Position] = ()) -> ListLog:
    """Read the log. Of events in two partitions nobody knows which came last: the record that was logged last counts.

    Records that answer events at the places in `forgotten` aren't read: the topic's retention takes them.
    Raises DataError for a record that isn't one of this log.
    """
    log = ListLog()
    for record in records:
        try:
            logged = read_logged(record.value, LogRecord)
        except msgspec.DecodeError as error:
            place = f"partition {record.partition}, offset {record.offset}"
            what = f"the rankings log holds at {place} what isn't its record: {error}"
            raise DataError(what, "check rankings_topic") from error
        if logged.place not in forgotten:
            log.take(logged)
    return log
