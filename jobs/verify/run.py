"""`verify`: read, recompute, compare, report."""

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, get_args

import redis

from jobs.connect import addresses, consent_topic
from jobs.connect.kafka_read import read_slice
from jobs.contract import consent
from jobs.errors import DefinitionError
from jobs.settings import Settings
from jobs.verify import conservation, features, lists, online, shelf
from jobs.verify.caught_up import wait_caught_up
from jobs.verify.classify import Classified, Kind, classify
from jobs.verify.report import Report
from jobs.verify.sample import Sample
from jobs.verify.views import View, plain_views

if TYPE_CHECKING:
    from feast import FeatureStore

    from jobs.verify.versions import Versions

PAUSE_S = 2.0  # between two looks at a job that hasn't caught up; it shares the machine with verify


class Addresses(Protocol):
    """Where the services answer, as in `jobs.cluster.runtime.Runtime`."""

    kafka_bootstrap: str
    redis_url: str


@dataclass(frozen=True)
class Checked:
    """What is verified: a topic's slice from `since` on, the definitions, the models and the stores."""

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
    """Compares what the jobs made of a topic with the oracle, again and again until it is equal or `wait_s` is over.

    `topic` is the events topic if empty. `since` gives first offsets by partition; the jobs must have started there
    with empty stores, else older entities count as too many. `store` is opened from the settings if absent.
    With a `sample` of n every event is classified and every letter compared, but only one entity in n: features, lists.
    Raises ServiceError, DefinitionError, ModelError or DataError; differences are in the report, not raised.
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
            wait_caught_up(runtime.kafka_bootstrap, topic, deadline_s)
            report = verify_once(checked)
            if report.ok or time.monotonic() + PAUSE_S > deadline_s:
                return report
            time.sleep(PAUSE_S)


def open_store(settings: Settings) -> "FeatureStore":
    """Feast on the running system: its configuration in the state folder, or else the repository's own."""
    from feast import FeatureStore

    running = settings.state_dir / "feature_store.yaml"
    return FeatureStore(repo_path=str(settings.feature_repo), fs_yaml_file=running if running.is_file() else None)


def verify_once(checked: Checked) -> Report:
    """One look at everything, as it stands now."""
    started_s, report = time.monotonic(), Report()
    settings, bootstrap = checked.settings, checked.runtime.kafka_bootstrap
    events = read_slice(bootstrap, checked.topic, checked.since)
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
    conservation.compare_letters(report, classified, dead, late)
    expired = _verify_features(report, checked, classified) + _verify_lists(report, checked, classified, consents)
    report.watermark_ms = classified.watermark_ms
    report.refused_by_reason = classified.refused_by_reason()
    report.counts = balance(classified, settings.ranker.session_gap_s * 1000) | {"expired": expired}
    report.seconds = time.monotonic() - started_s
    return report


def balance(classified: Classified, gap_ms: int) -> dict[str, int]:
    """The slice in numbers; `accepted + refused = read` and `heartbeats + suppressed + late + duplicates + counted = accepted`.

    `forgotten` are those of them whose visitors withdrew or were erased since.
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


def _verify_features(report: Report, checked: Checked, classified: Classified) -> int:
    """Every view, entity and feature; how many expected rows have outlived their ttl."""
    counted, watermark_ms = classified.of_kind("counted"), classified.watermark_ms or 0
    cap, sample = checked.settings.max_window_events, checked.sample
    expected = {view.name: features.newest_rows(view, counted, watermark_ms, cap, sample) for view in checked.views}
    groups = online.by_keys(checked.views)
    entities = {names: set().union(*(expected[view.name] for view in views)) for names, views in groups.items()}
    for names, views in groups.items():
        found = online.read_rows(checked.store, views, entities[names])
        for view in views:
            online.compare_view(report, view, expected[view.name], found[view.name])
    online.compare_keys(report, checked.store, checked.client, entities, sample)
    now_ms = time.time_ns() // 1_000_000
    return sum(
        row.event_time_ms + view.ttl_ms <= now_ms
        for view in checked.views
        if view.ttl_ms
        for row in expected[view.name].values()
    )


def _verify_lists(report: Report, checked: Checked, classified: Classified, consents: consent.Consents) -> int:
    """Every visitor's list and its log record; how many lists have outlived their ttl."""
    settings, ranker = checked.settings, checked.settings.ranker
    accepted = classified.remembered("counted", "late", "duplicate", "suppressed")
    arrived = [each for each in accepted if checked.sample.holds(each.event["visitor_id"])]
    said = {visitor for visitor in consents.visitors() if checked.sample.holds(visitor)}
    denied = lists.without_consent(arrived, consents, said)
    allowed = [each for each in arrived if each.kind != "suppressed" and each.event["visitor_id"] not in denied]
    sessions = lists.current_sessions(allowed, ranker.session_gap_s * 1000)
    wanted = lambda key: key is None or checked.sample.holds(key.decode(errors="replace"))  # noqa: E731
    log = read_slice(checked.runtime.kafka_bootstrap, settings.rankings_topic, must_exist=False, wanted=wanted)
    gone = {entry.record.position for entry in classified.entries if entry.forgotten or entry.kind == "suppressed"}
    logged = shelf.newest_logged(log.records, ranker.shelf, gone)
    stored = shelf.read_lists(checked.client, [*sessions, *denied], ranker.shelf)
    serving = checked.versions.serving
    made_by = {visitor: checked.versions.named(shelf.model_of(stored.get(visitor, b""))) for visitor in sessions}
    now_ms = time.time_ns() // 1_000_000
    expired = {visitor for visitor, each in sessions.items() if each.event_time_ms + ranker.list_ttl_s * 1000 <= now_ms}
    for bundle in {each.version: each for each in (serving, *made_by.values())}.values():
        group = {visitor: session for visitor, session in sessions.items() if made_by[visitor] is bundle}
        # A logged visitor without a session is one too many, whoever made its list.
        theirs = {visitor: record for visitor, record in logged.items() if made_by.get(visitor, serving) is bundle}
        fitting = {
            visitor: record.context
            for visitor, record in theirs.items()
            if record.context_features == bundle.context_features
            and len(record.context) == len(bundle.context_features)
        }
        rankings = lists.rank(group, fitting, bundle)
        shelf.compare_log(report, group, theirs, bundle)
        standing = {visitor: session for visitor, session in group.items() if visitor not in expired}
        shelf.compare_lists(report, standing, rankings, stored, model=bundle.version, list_size=ranker.list_size)
    shelf.compare_without_consent(report, denied, stored, serving, ranker.list_size)
    shelf.compare_list_keys(report, checked.client, [*sessions, *denied], ranker.shelf, checked.sample)
    return len(expired)
