"""Which event a list must answer: of its visitor's events the newest that its shelf names.

A shelf may have been activated after an event, or named other types then. So an event obliges if every version that may
have been active when it came makes the list at it. The log of lists says which versions those are.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from jobs.connect.kafka_read import Position
from jobs.verify.classify import Entry
from jobs.verify.lists import Session, current_session
from jobs.verify.plans import WITHOUT, Plans
from jobs.verify.shelf_log import ListLog


@dataclass(frozen=True)
class Answered:
    """A visitor's event that a list answers or must answer, and the session as of it.

    `is_sure` is False where the visitor's events lie in several partitions and this isn't the newest of its own: nobody
    knows what had come from the others.
    """

    entry: Entry
    session: Session
    is_sure: bool = True


class Answers:
    """Says for one shelf which events its lists answer. `default` is the shelf that a job without shelves makes."""

    def __init__(self, shelf: str, default: str, plans: Plans, log: ListLog, gap_ms: int) -> None:
        self._shelf, self._default, self._plans, self._log, self._gap_ms = shelf, default, plans, log, gap_ms
        self._types: dict[str, Collection[str] | None] = {}
        self._any = {WITHOUT, *plans.by_version}  # where the log says nothing

    def of(self, arrivals: Sequence[Entry], found: Mapping[str, object], by_consent: bool = False) -> Answered | None:
        """Return the event that a visitor's list must answer: the one that it names if it may, None for no list.

        `found` holds the list's fields. `by_consent`: a record of consent may have made the list anew at any event.
        """
        obliged = self.obliged(arrivals)
        named, version = found.get("list_id"), str(found.get("shelves") or WITHOUT)
        for entry in reversed(arrivals):
            if f"{entry.record.partition}-{entry.record.offset}" != named:
                continue
            bound = next((each for each in obliged if each.record.partition == entry.record.partition), None)
            is_new = bound is None or entry.record.offset >= bound.record.offset
            if is_new and (by_consent or self._makes(version, entry)):
                return self._as_of(arrivals, entry)
        return self._as_of(arrivals, obliged[-1]) if obliged else None

    def obliged(self, arrivals: Sequence[Entry]) -> list[Entry]:
        """Return of each partition the newest event that must have made a list, in the order of `arrivals`."""
        newest: dict[int, Entry] = {}
        for entry in reversed(arrivals):
            if entry.record.partition not in newest and self._obliges(entry):
                newest[entry.record.partition] = entry
        return sorted(newest.values(), key=lambda entry: entry.record.position)

    def _obliges(self, entry: Entry) -> bool:
        return all(self._makes(version, entry) for version in self._log.versions(entry.record.position) or self._any)

    def _makes(self, version: str, entry: Entry) -> bool:
        """Return True if a version makes the list at an event. Of a version that isn't there any more nobody knows."""
        if version not in self._types:
            shelf = self._plans.shelf(version, self._shelf)
            self._types[version] = None if version == WITHOUT else shelf.events if shelf else ()
        types = self._types[version]
        if types is None:
            return self._shelf == self._default
        assert entry.event is not None, "only events that count are asked about"
        return entry.event["event_type"] in types

    def _as_of(self, arrivals: Sequence[Entry], entry: Entry) -> Answered:
        partition, offset = entry.record.position
        then = [each for each in arrivals if each.record.partition != partition or each.record.offset <= offset]
        others = {each.record.partition for each in arrivals} != {partition}
        is_last = not any(each.record.partition == partition and each.record.offset > offset for each in arrivals)
        return Answered(entry, _at(current_session(then, self._gap_ms), entry.record.position), is_last or not others)


def _at(session: Session, position: Position) -> Session:
    return Session(session.events, position, session.ends | {position})
