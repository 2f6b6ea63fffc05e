"""Verify a topic: read it, recompute it, compare the result with the stores, and report."""

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, get_args

import redis

from jobs.connect import addresses, consent_topic
from jobs.connect.kafka_read import read_slice
from jobs.contract import consent
from jobs.errors import DefinitionError, SettingsError
from jobs.flow import began
from jobs.settings import Settings
from jobs.verify import conservation, expiry, features, lists, online, parts, shelf
from jobs.verify.caught_up import wait_caught_up
from jobs.verify.classify import Classified, Entry, Kind, classify
from jobs.verify.report import Report
from jobs.verify.sample import Sample
from jobs.verify.views import View, plain_views

if TYPE_CHECKING:
    from feast import FeatureStore

    from jobs.verify.versions import Versions

PAUSE_S = 2.0  # between two comparisons; the jobs share the machine with verify


class Addresses(Protocol):
    """The services' addresses, as in `jobs.cluster.runtime.Runtime`."""

    kafka_bootstrap: str
    redis_url: str


@dataclass(frozen=True)
class Checked:
    """A topic, the definitions, the models and the stores. Only what events from `since` on changed is compared."""

    settings: Settings
    runtime: Addresses
    topic: str
    since: Mapping[int, int] | None
    store: "FeatureStore"
    views: list[View]
    versions: "Versions"
    client: redis.Redis
    sample: Sample


def verify(
    settings: Settings,
    runtime: Addresses,
    *,
    topic: str = "",
    since: Mapping[int, int] | None = None,
    wait_s: float = 0,
    store: "FeatureStore | None" = None,
    sample: int = 1,
) -> Report:
    """Compare the jobs' results for a topic with the oracle, until they are equal or `wait_s` is over.

    Args:
        topic: the events topic if empty.
        since: first offsets by partition. All events are read, because those before are in features and lists too. But
            only letters from there on are compared, and entities that have an event from there on.
        store: opened from the settings if absent.
        sample: with n, all letters are compared, and features and lists of one entity in n.

    Differences are in the report. Raises ServiceError, DefinitionError, ModelError, DataError or SettingsError.
    """
    from jobs.verify.versions import Versions
    from models.serving.signature import read_public_key

    store = store or open_store(settings)
    views = plain_views(store.list_stream_feature_views())
    if not views:
        raise DefinitionError(f"project {store.project!r} has no stream feature view with aggregations", "feast apply")
    versions = Versions(settings.model_dir, read_public_key(settings.model_public_key))
    with addresses.redis_client(runtime.redis_url) as client:
        topic = topic or settings.events_topic
        checked = Checked(settings, runtime, topic, since, store, views, versions, client, Sample(sample))
        deadline_s = time.monotonic() + wait_s
        while True:
            behind = wait_caught_up(runtime.kafka_bootstrap, topic, deadline_s)
            report = verify_once(checked)
            report.behind = behind
            if report.ok or time.monotonic() + PAUSE_S > deadline_s:
                return report
            time.sleep(PAUSE_S)


def open_store(settings: Settings) -> "FeatureStore":
    """Open Feast with the running system's configuration in the state folder, or else with the repository's own."""
    from feast import FeatureStore

    running = settings.state_dir / "feature_store.yaml"
    return FeatureStore(repo_path=str(settings.feature_repo), fs_yaml_file=running if running.is_file() else None)


def verify_once(checked: Checked) -> Report:
    """Compare everything once, as it stands now."""
    started_s, report = time.monotonic(), Report()
    settings, bootstrap = checked.settings, checked.runtime.kafka_bootstrap
    events = read_slice(bootstrap, checked.topic)
    if foreign := (checked.since or {}).keys() - events.end.keys():
        raise SettingsError(
            f"--since names partition {min(foreign)}, and {checked.topic} has {len(events.end)} partitions",
            f"a partition from 0 to {len(events.end) - 1}",
        )
    report.lost = {partition: offset for partition, offset in events.start.items() if offset}
    consents = consent_topic.read(bootstrap, settings.consent_topic, settings.consent)
    dead = conservation.letters_for(events, read_slice(bootstrap, settings.dead_topic, must_exist=False))
    late = conservation.letters_for(events, read_slice(bootstrap, settings.late_topic, must_exist=False))
    classified = classify(
        events.taken(),
        checked.views[0].delay_ms,
        horizon_ms=settings.dedup_horizon_s * 1000,
        refused_as_future=conservation.refused_as_future(dead),
        max_skew_ms=settings.max_clock_skew_s * 1000,
        consents=consents,
        reduced=lambda event: checked.sample.reduced(event, checked.views),
    )
    since = classified.since(checked.since or {})
    conservation.compare_letters(report, since, _from(checked.since, dead), _from(checked.since, late))
    expired = _verify_features(report, checked, classified, since)
    expired += _verify_lists(report, checked, classified, since, consents)
    report.watermark_ms = classified.watermark_ms
    report.refused_by_reason = since.refused_by_reason()
    report.counts = balance(since, settings.ranker.session_gap_s * 1000) | {"expired": expired}
    report.seconds = time.monotonic() - started_s
    return report


def _from(since: Mapping[int, int] | None, letters: conservation.Letters) -> conservation.Letters:
    """Return the letters about records from these offsets on."""
    return {place: about for place, about in letters.items() if place[1] >= (since or {}).get(place[0], 0)}


def balance(classified: Classified, gap_ms: int) -> dict[str, int]:
    """Return the slice in numbers.

    `accepted + refused = read`, and `heartbeats + suppressed + late + duplicates + counted = accepted`. `forgotten` are
    the events among them whose visitors have withdrawn or were erased.
    """
    kinds = {kind: len(classified.of_kind(kind)) for kind in get_args(Kind)}
    counted = classified.of_kind("counted")
    times_ms: dict[str, list[int]] = defaultdict(list)
    for entry in counted:
        if not entry.forgotten:
            times_ms[entry.event["visitor_id"]].append(entry.event["event_time_ms"])
    return {
        "read": len(classified.entries),
        "accepted": len(classified.entries) - kinds["refused"],
        "refused": kinds["refused"],
        "heartbeats": kinds["heartbeat"],
        "suppressed": kinds["suppressed"],
        "late": kinds["late"],
        "duplicates": kinds["duplicate"],
        "counted": kinds["counted"],
        "forgotten": sum(entry.forgotten for entry in classified.entries),
        "after_watermark": sum(entry.event["event_time_ms"] > classified.watermark_ms for entry in counted),
        "visitors": len(times_ms),
        "sessions": sum(len(features.session_starts(sorted(each), gap_ms)) for each in times_ms.values()),
    }


def _verify_features(report: Report, checked: Checked, classified: Classified, since: Classified) -> int:
    """Compare every view, entity and feature; return how many rows have outlived their time to live."""
    counted, watermark_ms = classified.of_kind("counted"), classified.watermark_ms or 0
    cap, sample = checked.settings.max_window_events, checked.sample
    beginnings = began.read(checked.settings.state_dir) if checked.topic == checked.settings.events_topic else {}
    expected = parts.expected_rows(checked.views, beginnings, counted, watermark_ms, cap, sample)
    expired, fates_by_keys = 0, {}
    for names, views in online.by_keys(checked.views).items():
        rows = {view.name: expected[view.name].rows for view in views}
        entities = set().union(*rows.values())
        if checked.since:
            entities &= features.events_by_key(names, since.of_kind("counted"), sample).keys()
        begin_ms = _now_ms()
        stored = online.read_rows(checked.store, views, entities)
        reading = expiry.Reading(begin_ms, _now_ms())
        gone_ms = expiry.entity_expiries(views, rows)
        fates_by_keys[names] = {entity: reading.fate(at_ms, at_ms) for entity, at_ms in gone_ms.items()}
        for view in views:
            of_view = expected[view.name]
            fates = {
                entity: reading.fate(expiry.expiry_ms(view, row), gone_ms[entity])
                for entity, row in of_view.rows.items()
            }
            expired += sum(fate == "gone" for fate in fates.values())
            online.compare_view(report, view, of_view.only(entities), stored[view.name], fates)
    online.compare_keys(report, checked.store, checked.client, fates_by_keys, sample)
    return expired


def _verify_lists(
    report: Report, checked: Checked, classified: Classified, since: Classified, consents: consent.Consents
) -> int:
    """Compare every visitor's list and its log record; return how many lists have outlived their time to live."""
    settings, sample = checked.settings, checked.sample
    arrived = _arrived(classified, sample)
    said = {visitor for visitor in consents.visitors() if sample.holds(visitor)}
    denied = lists.without_consent(arrived, consents, said)
    allowed = [entry for entry in arrived if entry.kind != "suppressed" and entry.event["visitor_id"] not in denied]
    sessions = lists.current_sessions(allowed, settings.ranker.session_gap_s * 1000)
    logged = _logged(checked, classified)
    begin_ms = _now_ms()
    stored = shelf.read_lists(checked.client, [*sessions, *denied], settings.ranker.shelf)
    fates = _list_fates(expiry.Reading(begin_ms, _now_ms()), settings.ranker.list_ttl_s * 1000, sessions, denied)
    shelf.compare_list_keys(report, checked.client, fates, settings.ranker.shelf, sample)
    if checked.since:
        touched = {entry.event["visitor_id"] for entry in _arrived(since, sample)}
        sessions = {visitor: session for visitor, session in sessions.items() if visitor in touched}
        logged = {visitor: record for visitor, record in logged.items() if visitor in touched}
        denied = {visitor: times for visitor, times in denied.items() if visitor in touched}
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


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
