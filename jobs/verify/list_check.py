"""Compare the lists in Redis and their log with the list oracle."""

from collections.abc import Mapping

from jobs.connect.kafka_read import read_slice
from jobs.contract import consent
from jobs.verify import expiry, lists, shelf
from jobs.verify.checked import Checked, now_ms
from jobs.verify.classify import Classified, Entry
from jobs.verify.lost import NOT_WHOLE
from jobs.verify.report import Report
from jobs.verify.sample import Sample


def verify_lists(
    report: Report,
    checked: Checked,
    classified: Classified,
    since: Classified,
    consents: consent.Consents,
    certain_ms: float,
) -> int:
    """Compare every visitor's list and its log record; return how many lists have outlived their time to live.

    Only visitors with an event in `since` are compared, and sessions that don't reach back behind `certain_ms`.
    """
    settings, sample = checked.settings, checked.sample
    arrived = _arrived(classified, sample)
    said = {visitor for visitor in consents.visitors() if sample.holds(visitor)}
    denied = lists.without_consent(arrived, consents, said)
    allowed = [entry for entry in arrived if entry.kind != "suppressed" and entry.event["visitor_id"] not in denied]
    sessions = lists.current_sessions(allowed, settings.ranker.session_gap_s * 1000)
    logged = _logged(checked, classified)
    begin_ms = now_ms()
    stored = shelf.read_lists(checked.client, [*sessions, *denied], settings.ranker.shelf)
    fates = _list_fates(expiry.Reading(begin_ms, now_ms()), settings.ranker.list_ttl_s * 1000, sessions, denied)
    chosen = {entry.event["visitor_id"] for entry in _arrived(since, sample)} if checked.since else None
    if report.lost:
        gap_ms = settings.ranker.session_gap_s * 1000
        reach_ms = {visitor: session.events[0]["event_time_ms"] - gap_ms for visitor, session in sessions.items()}
        known = {visitor for visitor, oldest_ms in reach_ms.items() if oldest_ms >= certain_ms} | denied.keys()
        report.not_compared[NOT_WHOLE] += len(sessions.keys() - known)
        chosen = known if chosen is None else known & chosen
    else:  # where events were lost, lists of visitors whom only lost events name stand rightly
        shelf.compare_list_keys(report, checked.client, fates, settings.ranker.shelf, sample)
    if chosen is not None:
        sessions = {visitor: session for visitor, session in sessions.items() if visitor in chosen}
        logged = {visitor: record for visitor, record in logged.items() if visitor in chosen}
        denied = {visitor: times for visitor, times in denied.items() if visitor in chosen}
    _compare_lists(report, checked, sessions, logged, stored, fates)
    no_consent = {visitor: fates[visitor] for visitor in denied}
    shelf.compare_without_consent(report, no_consent, stored, checked.versions.serving, settings.ranker.list_size)
    return sum(fate == "gone" for fate in fates.values())


def _arrived(classified: Classified, sample: Sample) -> list[Entry]:
    """Return the entries of the sample's visitors that the ranker looks at."""
    accepted = classified.remembered("counted", "late", "duplicate", "suppressed")
    return [entry for entry in accepted if sample.holds(entry.event["visitor_id"])]


def _logged(checked: Checked, classified: Classified) -> dict[str, shelf.LogRecord]:
    """Return each visitor's newest record in the log of lists."""

    def in_sample(key: bytes | None) -> bool:
        return key is None or checked.sample.holds(key.decode(errors="replace"))

    topic = checked.settings.rankings_topic
    log = read_slice(checked.runtime.kafka_bootstrap, topic, must_exist=False, wanted=in_sample)
    gone = {entry.record.position for entry in classified.entries if entry.forgotten or entry.kind == "suppressed"}
    return shelf.newest_logged(log.records, checked.settings.ranker.shelf, gone)


def _list_fates(
    reading: expiry.Reading,
    ttl_ms: int,
    sessions: Mapping[str, lists.Session],
    denied: Mapping[str, tuple[int, int]],
) -> dict[str, expiry.Fate]:
    """Return by visitor whether a list must stand."""
    times_ms = {visitor: (session.event_time_ms, session.event_time_ms) for visitor, session in sessions.items()}
    return {
        visitor: reading.fate(earliest_ms + ttl_ms, latest_ms + ttl_ms)
        for visitor, (earliest_ms, latest_ms) in (times_ms | dict(denied)).items()
    }


def _compare_lists(
    report: Report,
    checked: Checked,
    sessions: Mapping[str, lists.Session],
    logged: Mapping[str, shelf.LogRecord],
    stored: Mapping[str, bytes],
    fates: Mapping[str, expiry.Fate],
) -> None:
    """Compare lists and log with the rankings of the model that each list names."""
    serving, list_size = checked.versions.serving, checked.settings.ranker.list_size
    made_by = {visitor: checked.versions.named(shelf.model_of(stored.get(visitor, b""))) for visitor in sessions}
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
        shelf.compare_log(report, group, theirs, bundle)
        shelf.compare_lists(report, group, rankings, stored, fates, model=bundle.version, list_size=list_size)
