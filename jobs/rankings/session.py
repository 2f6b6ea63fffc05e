"""Cut a visitor's current session out of the packed history of a row. Pure.

The JVM keeps each visitor's last events and hands them over as one string, because ARRAY columns on their way from
Arrow to pandas cost more than the model. RECORD_SEPARATOR joins events, which stand by Kafka partition and offset: in
one partition, that is the order of arrival. UNIT_SEPARATOR joins an event's fields: event_time_ms, event_type, item_id
("" when absent), event_id, and one that is kept empty.
"""

from collections.abc import Iterable, Sequence
from operator import le
from typing import NamedTuple

RECORD_SEPARATOR = "\x1e"
UNIT_SEPARATOR = "\x1f"
FIELDS_PER_EVENT = 5


class Session(NamedTuple):
    """A visitor's current session in event-time order. The three lists are parallel; `items` holds "" for no item."""

    event_times_ms: list[int]
    types: list[str]
    items: list[str]
    purchased: frozenset[str]

    @classmethod
    def nothing(cls, event_time_ms: int) -> "Session":
        """Return the session of a visitor without consent, which tells only that something happened."""
        return cls([event_time_ms], [""], [""], frozenset())

    @property
    def session_events(self) -> int:
        """Return the number of events of every type, without repeats."""
        return sum(map(bool, self.types))

    @property
    def event_time_ms(self) -> int:
        """Return the newest event's time."""
        return self.event_times_ms[-1]


def newest_rows(visitor_ids: Iterable[str]) -> list[int]:
    """Return the place of each visitor's last row in a batch, ascending.

    The list of an earlier row would be overwritten at once.
    """
    return sorted({visitor_id: row for row, visitor_id in enumerate(visitor_ids)}.values())


def current_session(history: str, gap_ms: int) -> Session:
    """Return the events after the last pause longer than `gap_ms`, of a history of at least one event.

    Of events with one event_id the first in the history counts. Order is by event time, then by place in the history.
    So a late event takes its place, and may join two sessions or belong to one that is over. A pause of exactly
    `gap_ms` ends nothing.
    """
    return current_sessions([history], gap_ms)[0]


def current_sessions(histories: Sequence[str], gap_ms: int) -> list[Session]:
    """Return the `current_session` of each history."""
    # One split for all events of a batch: on its own, each history took as long as the model over few items.
    parts = RECORD_SEPARATOR.join(histories).replace(RECORD_SEPARATOR, UNIT_SEPARATOR).split(UNIT_SEPARATOR)
    times = list(map(int, parts[0::FIELDS_PER_EVENT])) if histories else []
    types, items, event_ids = (parts[field::FIELDS_PER_EVENT] for field in (1, 2, 3))
    sessions, end = [], 0
    for history in histories:
        start, end = end, end + history.count(RECORD_SEPARATOR) + 1
        events = slice(start, end)
        sessions.append(_cut(times[events], types[events], items[events], event_ids[events], gap_ms))
    return sessions


def _cut(times: list[int], types: list[str], items: list[str], event_ids: list[str], gap_ms: int) -> Session:
    rows = _in_order(times, event_ids)
    if rows is not None:
        times, types, items = ([each[row] for row in rows] for each in (times, types, items))  # type: ignore[assignment]
    start = _session_start(times, gap_ms)
    if start:
        times, types, items = times[start:], types[start:], items[start:]
    return Session(times, types, items, _purchased(types, items))


def _in_order(times: list[int], event_ids: list[str]) -> list[int] | None:
    """Return the places of the events that count, in the order of their times; None if all stand in order already."""
    if len(set(event_ids)) == len(event_ids) and all(map(le, times, times[1:])):
        return None
    first: dict[str, int] = {}
    for row, event_id in enumerate(event_ids):
        first.setdefault(event_id, row)
    return sorted(first.values(), key=times.__getitem__)  # stable: partition and offset decide between equal times


def _session_start(times: list[int], gap_ms: int) -> int:
    """Return the index of the first event of the last session; `times` (ms) are in order."""
    if times[-1] - times[0] > gap_ms:
        for row in range(len(times) - 1, 0, -1):
            if times[row] - times[row - 1] > gap_ms:
                return row
    return 0


def _purchased(types: list[str], items: list[str]) -> frozenset[str]:
    if "purchase" not in types:
        return frozenset()
    return frozenset(item for kind, item in zip(types, items, strict=True) if kind == "purchase" and item)
