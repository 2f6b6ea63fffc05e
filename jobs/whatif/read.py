"""Read the last logged lists, and of each event that they answer the visitor's events before and after it."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from jobs.connect import kafka_admin
from jobs.connect.kafka_read import Record, stream
from jobs.contract.events import HEARTBEAT, Event, Refusal, parse, visitor_of
from jobs.contract.shelf import Logged, read_logged
from jobs.errors import DataError
from jobs.rankings.session import RECORD_SEPARATOR, UNIT_SEPARATOR, Session, current_session
from jobs.settings import Settings

LAST_EVENTS = 50  # arrivals of a visitor that the ranker keeps
LOOK_BACK = 100_000  # records of events before the first that a list answers


class Visit(NamedTuple):
    """An event, and its place in its partition."""

    offset: int
    event: Event


class Clicks(NamedTuple):
    """Items that visitors clicked after a list. `are_told`: events named the list, else they are the next views."""

    of_list: Mapping[tuple[str, str], list[str]]  # by list_id and visitor
    are_told: bool


class History:
    """The events of all visitors of whom lists are looked at, in their order."""

    def __init__(self, gap_ms: int) -> None:
        self._gap_ms = gap_ms
        self._visits: dict[tuple[str, int], list[Visit]] = defaultdict(list)
        self._told: dict[tuple[str, str], list[str]] = defaultdict(list)

    def add(self, partition: int, offset: int, event: Event) -> None:
        self._visits[event["visitor_id"], partition].append(Visit(offset, event))
        if event["event_type"] == "click" and event.get("list_id") and event.get("item_id"):
            self._told[str(event["list_id"]), str(event["visitor_id"])].append(str(event["item_id"]))

    def session(self, logged: Logged) -> Session | None:
        """Return the session that a list answers, None where some of its events aren't there any more."""
        visits = self._visits.get((logged.visitor_id, logged.partition), [])
        end = bisect_right(visits, logged.offset, key=lambda visit: visit.offset)
        arrived = [visit.event for visit in visits[max(0, end - LAST_EVENTS) : end]]
        if not arrived:
            return None
        session = current_session(RECORD_SEPARATOR.join(map(_packed, arrived)), self._gap_ms)
        return session if session.session_events == logged.session_events else None

    def clicks(self, lists: Sequence[Logged]) -> Clicks:
        """Return what was clicked of each list: what events say, or else what its visitor viewed next."""
        if any((logged.list_id, logged.visitor_id) in self._told for logged in lists):
            return Clicks(self._told, True)
        found = {(logged.list_id, logged.visitor_id): self._next_views(logged) for logged in lists}
        return Clicks(found, False)

    def _next_views(self, logged: Logged) -> list[str]:
        visits = self._visits.get((logged.visitor_id, logged.partition), [])
        begin = bisect_right(visits, logged.offset, key=lambda visit: visit.offset)
        for _, event in visits[begin:]:
            if event["event_time_ms"] - logged.event_time_ms > self._gap_ms:
                break
            if event["event_type"] == "view" and event.get("item_id"):
                return [str(event["item_id"])]
        return []


def _packed(event: Event) -> str:
    """Return an event as `jobs/rankings/session.py` reads it."""
    fields = (event["event_time_ms"], event["event_type"], event.get("item_id") or "", event["event_id"], "")
    return UNIT_SEPARATOR.join(map(str, fields))


def last_lists(settings: Settings, bootstrap: str, count: int) -> list[Logged]:
    """Return the newest lists of the log that shelves made, in the order in which they were made.

    Raises DataError for a log without such lists.
    """
    topic = settings.rankings_topic
    ends = kafka_admin.end_offsets(bootstrap, topic)
    since = {partition: max(0, end - count) for partition, end in ends.items()}
    found = []
    for record in stream(bootstrap, topic, since):
        try:
            logged = read_logged(record.value, Logged)
        except msgspec.DecodeError:
            continue
        if logged.shelves:
            found.append(logged)
    if not found:
        raise DataError(f"{topic} holds no list that shelves made", "liveshelf shelves publish --activate; send events")
    return sorted(found, key=lambda logged: logged.computed_at_ms)[-count:]


def history_of(settings: Settings, bootstrap: str, lists: Sequence[Logged]) -> History:
    """Read the events before and after the events that lists answer."""
    history = History(settings.ranker.session_gap_s * 1000)
    first: dict[int, int] = kafka_admin.end_offsets(bootstrap, settings.events_topic)
    for logged in lists:
        first[logged.partition] = min(first.get(logged.partition, logged.offset), logged.offset)
    since = {partition: max(0, offset - LOOK_BACK) for partition, offset in first.items()}
    visitors = {logged.visitor_id for logged in lists}
    records = stream(bootstrap, settings.events_topic, since)
    for partition, offset, event in events_of(records, visitors):
        history.add(partition, offset, event)
    return history


def events_of(records: Iterable[Record], visitors: Collection[str]) -> Iterator[tuple[int, int, Event]]:
    """Yield the events of some visitors, each with its partition and offset. Whatever else is there is passed by."""
    for record in records:
        if visitor_of(record.value) not in visitors:
            continue
        event = parse(record.value, record.timestamp_ms)
        if not isinstance(event, Refusal) and event["event_type"] != HEARTBEAT:
            yield record.partition, record.offset, event
