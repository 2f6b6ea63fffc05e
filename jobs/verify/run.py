"""Verify a topic: read it, recompute it, compare the result with the stores, and report."""

import time
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, get_args

from jobs.connect import addresses, consent_topic
from jobs.connect.kafka_read import read_slice
from jobs.errors import DefinitionError, SettingsError
from jobs.flow import submissions
from jobs.settings import Settings
from jobs.verify import conservation, features, gate, lost
from jobs.verify.caught_up import wait_caught_up
from jobs.verify.checked import Addresses, Checked
from jobs.verify.classify import Classified, Kind, classify
from jobs.verify.facts import Facts
from jobs.verify.feature_check import verify_features
from jobs.verify.list_check import verify_lists
from jobs.verify.plans import Plans
from jobs.verify.report import Report
from jobs.verify.sample import Sample
from jobs.verify.views import fact_views, plain_views

if TYPE_CHECKING:
    from feast import FeatureStore


SHOWN = 10  # places of consent records that weren't understood
PAUSE_S = 2.0  # between two comparisons; the jobs share the machine with verify


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
    of_facts = fact_views(store.list_feature_views())
    versions = Versions(settings.model_dir, read_public_key(settings.model_public_key))
    with addresses.redis_client(runtime.redis_url) as client:
        topic = topic or settings.events_topic
        checked = Checked(settings, runtime, topic, since, store, views, of_facts, versions, client, Sample(sample))
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
    report.unread_consents, report.unread = (
        consents.unread_count,
        [str(each) for each in list(consents.unread)[-SHOWN:]],
    )
    dead = conservation.letters_for(events, read_slice(bootstrap, settings.dead_topic, must_exist=False))
    late = conservation.letters_for(events, read_slice(bootstrap, settings.late_topic, must_exist=False))
    classified = classify(
        events.taken(),
        checked.views[0].delay_ms,
        horizon_ms=settings.dedup_horizon_s * 1000,
        refused_as_future=conservation.refused_as_future(dead),
        max_skew_ms=settings.max_clock_skew_s * 1000,
        consents=consents,
        ids_shared=not submissions.secret_mark(settings.state_dir, "features"),
        reduced=lambda event: checked.sample.reduced(event, checked.views),
    )
    since = classified.since(checked.since or {})
    certain_ms = lost.certain_from_ms(
        classified.entries, report.lost, late, checked.views[0].delay_ms, settings.dedup_horizon_s * 1000
    )
    letters = _from(checked.since, dead), _from(checked.since, late)
    conservation.compare_letters(report, since, *letters, certain_ms)
    facts = Facts(checked)
    expired = verify_features(report, checked, classified, since, certain_ms, facts)
    facts.compare_letters(report, settings.items_dead_topic)
    plans = Plans.of(settings)
    expired += verify_lists(report, checked, classified, since, consents, certain_ms, plans)
    gate.verify_gate(report, checked, plans)
    report.watermark_ms = classified.watermark_ms
    report.refused_by_reason = since.refused_by_reason()
    counts = {"expired": expired, "items_with_facts": facts.items}
    report.counts = balance(since, settings.ranker.session_gap_s * 1000) | counts
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
        "sessions": sum(len(features.session_starts(sorted(of_visitor), gap_ms)) for of_visitor in times_ms.values()),
    }
