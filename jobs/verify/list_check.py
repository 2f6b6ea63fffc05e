"""Compare the lists in Redis and their log with the list oracle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs.connect.kafka_read import read_slice
from jobs.contract import consent
from jobs.contract.shelf import ShelfValue
from jobs.verify import expiry, lists, shared_lists, shelf, shelf_check
from jobs.verify.answered import Answered, Answers
from jobs.verify.checked import Checked, now_ms
from jobs.verify.classify import Classified, Entry
from jobs.verify.facts import fact_history
from jobs.verify.lost import NOT_WHOLE
from jobs.verify.plans import Plans
from jobs.verify.report import Report
from jobs.verify.sample import Sample
from jobs.verify.shelf_log import ListLog, LogRecord, read_log


@dataclass
class _Found:
    """The lists of one shelf: what stands in Redis, what each must answer, and who has none of their own."""

    shelf: str
    stored: dict[str, bytes]
    answered: dict[str, Answered]
    denied: dict[str, tuple[int, int]]
    fates: dict[str, expiry.Fate]
    logged: dict[str, LogRecord]
    values: dict[str, ShelfValue] = field(default_factory=dict)  # of those that name a version of shelves

    def only(self, visitors: Sequence[str] | set[str]) -> None:
        """Keep what concerns some visitors."""
        for name in ("answered", "denied", "logged", "values"):
            kept = {visitor: each for visitor, each in getattr(self, name).items() if visitor in visitors}
            setattr(self, name, kept)


class _Lists:
    """Looks at all lists of one verification."""

    def __init__(self, checked: Checked, classified: Classified, consents: consent.Consents, plans: Plans) -> None:
        self._checked, self._plans = checked, plans
        self._gap_ms = checked.settings.ranker.session_gap_s * 1000
        self._said = {visitor for visitor in consents.visitors() if checked.sample.holds(visitor)}
        arrived = _arrived(classified, checked.sample)
        self.denied = lists.without_consent(arrived, consents, self._said)
        self.suppressed = lists.by_visitor(entry for entry in arrived if entry.kind == "suppressed")
        allowed = (each for each in arrived if each.kind != "suppressed")
        self.arrivals = {
            visitor: entries for visitor, entries in lists.by_visitor(allowed).items() if visitor not in self.denied
        }
        self.log = _log(checked, classified)

    def found(self, name: str) -> _Found:
        """Read a shelf's lists, and say which event each must answer."""
        ranker = self._checked.settings.ranker
        answers = Answers(name, ranker.shelf, self._plans, self.log, self._gap_ms)
        begin_ms = now_ms()
        stored = shelf.read_lists(self._checked.client, [*self.arrivals, *self.denied], name)
        reading = expiry.Reading(begin_ms, now_ms())
        answered: dict[str, Answered] = {}
        for visitor, entries in self.arrivals.items():
            given = shelf.decode(stored.get(visitor, b""))
            one = answers.of(entries, given, by_consent=visitor in self._said)
            if one is not None:
                answered[visitor] = one
        denied = {visitor: times for visitor, times in self.denied.items() if visitor in stored or name == ranker.shelf}
        fates = _list_fates(reading, ranker.list_ttl_s * 1000, answered, denied)
        found = _Found(name, stored, answered, denied, fates, self.log.of_shelf(name))
        for visitor, value in stored.items():
            decoded = shelf_check.decode_value(value)
            if decoded is not None and decoded.shelves:
                found.values[visitor] = decoded
        return found


def verify_lists(
    report: Report,
    checked: Checked,
    classified: Classified,
    since: Classified,
    consents: consent.Consents,
    certain_ms: float,
    plans: Plans,
) -> int:
    """Compare every visitor's lists and their log records; return how many lists have outlived their time to live.

    Only visitors with an event in `since` are compared, and sessions that don't reach back behind `certain_ms`.
    """
    looked = _Lists(checked, classified, consents, plans)
    chosen = {entry.event["visitor_id"] for entry in _arrived(since, checked.sample)} if checked.since else None
    expired, cases = 0, list[shelf_check.Case]()
    for name in sorted({checked.settings.ranker.shelf, *plans.names()}):
        found = looked.found(name)
        expired += sum(fate == "gone" for fate in found.fates.values())
        if report.lost:
            known = _whole(found, checked.settings.ranker.session_gap_s * 1000, certain_ms)
            report.not_compared[NOT_WHOLE] += len(found.answered.keys() - known)
            found.only(known if chosen is None else known & chosen)
        else:  # where events were lost, lists of visitors whom only lost events name stand rightly
            shelf.compare_list_keys(report, checked.client, found.fates, name, checked.sample)
            if chosen is not None:
                found.only(chosen)
        _compare_plain(report, checked, found)
        cases += _cases(found, looked)
    if plans.by_version:
        history = fact_history(checked)
        shelf_check.compare_shelf_lists(report, cases, plans, checked.versions, history)
        shared_lists.verify_shared_lists(report, checked, plans, history)
    return expired


def _whole(found: _Found, gap_ms: int, certain_ms: float) -> set[str]:
    """Return the visitors whose sessions hold no event that was lost."""
    reach_ms = {visitor: one.session.events[0]["event_time_ms"] - gap_ms for visitor, one in found.answered.items()}
    return {visitor for visitor, oldest_ms in reach_ms.items() if oldest_ms >= certain_ms} | found.denied.keys()


def _arrived(classified: Classified, sample: Sample) -> list[Entry]:
    """Return the entries of the sample's visitors that the ranker looks at."""
    accepted = classified.remembered("counted", "late", "duplicate", "suppressed")
    return [entry for entry in accepted if sample.holds(entry.event["visitor_id"])]


def _log(checked: Checked, classified: Classified) -> ListLog:
    """Return what the log of lists says."""

    def in_sample(key: bytes | None) -> bool:
        return key is None or checked.sample.holds(key.decode(errors="replace"))

    topic = checked.settings.rankings_topic
    log = read_slice(checked.runtime.kafka_bootstrap, topic, must_exist=False, wanted=in_sample)
    gone = {entry.record.position for entry in classified.entries if entry.forgotten or entry.kind == "suppressed"}
    return read_log(log.records, gone)


def _list_fates(
    reading: expiry.Reading,
    ttl_ms: int,
    answered: Mapping[str, Answered],
    denied: Mapping[str, tuple[int, int]],
) -> dict[str, expiry.Fate]:
    """Return by visitor whether a list must stand."""
    newest_ms = {visitor: one.session.event_time_ms for visitor, one in answered.items()}
    times_ms = {visitor: (time_ms, time_ms) for visitor, time_ms in newest_ms.items()}
    return {
        visitor: reading.fate(earliest_ms + ttl_ms, latest_ms + ttl_ms)
        for visitor, (earliest_ms, latest_ms) in (times_ms | dict(denied)).items()
    }


def _cases(found: _Found, looked: _Lists) -> list[shelf_check.Case]:
    """Return the lists that name a version of shelves, each with what is known of it."""
    cases = []
    for visitor, value in found.values.items():
        answered = found.answered.get(visitor)
        is_denied = visitor in found.denied
        if answered is None and not is_denied:
            continue  # the comparison of keys has named it
        arrived_ms = answered.entry.record.timestamp_ms if answered else _denied_ms(value, looked, visitor)
        given: dict[str, Any] = {"visitor": visitor, "shelf": found.shelf, "value": found.stored[visitor]}
        fate = found.fates.get(visitor, "stands")
        logged = None if is_denied else found.logged.get(visitor)
        given |= {"found": value, "answered": answered, "logged": logged, "fate": fate, "is_anonymous": is_denied}
        cases.append(shelf_check.Case(**given, now_ms=arrived_ms))
    return cases


def _denied_ms(value: ShelfValue, looked: _Lists, visitor: str) -> int:
    """Return the moment of a list without consent: its event's arrival, or the withdrawal."""
    for entry in looked.suppressed.get(visitor, ()):
        if f"{entry.record.partition}-{entry.record.offset}" == value.list_id:
            return entry.record.timestamp_ms
    return value.event_time_ms


def _compare_plain(report: Report, checked: Checked, found: _Found) -> None:
    """Compare lists that name no version of shelves, and those that should stand and don't."""
    serving, list_size = checked.versions.serving, checked.settings.ranker.list_size
    sessions = {visitor: one.session for visitor, one in found.answered.items() if visitor not in found.values}
    logged = {visitor: record for visitor, record in found.logged.items() if visitor not in found.values}
    made_by = {visitor: checked.versions.named(shelf.model_of(found.stored.get(visitor, b""))) for visitor in sessions}
    for bundle in {bundle.version: bundle for bundle in (serving, *made_by.values())}.values():
        group = {visitor: session for visitor, session in sessions.items() if made_by[visitor] is bundle}
        # A logged visitor without a session is one too many, whichever model made the list.
        theirs = {visitor: record for visitor, record in logged.items() if made_by.get(visitor, serving) is bundle}
        contexts = {
            visitor: record.context
            for visitor, record in theirs.items()
            if record.context_features == bundle.context_features
            and len(record.context) == len(bundle.context_features)
        }
        rankings = lists.rank(group, contexts, bundle)
        shelf.compare_log(report, group, theirs, bundle, found.shelf)
        shelf.compare_lists(
            report,
            group,
            rankings,
            found.stored,
            found.fates,
            model=bundle.version,
            list_size=list_size,
            shelf=found.shelf,
        )
    no_consent = {visitor: found.fates[visitor] for visitor in found.denied if visitor not in found.values}
    shelf.compare_without_consent(report, no_consent, found.stored, serving, list_size, found.shelf)
