"""The main path on a real cluster: what the jobs made of real events equals what the oracle makes of them."""

import heapq
import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import psutil
import pytest
import requests
from kafka import KafkaProducer

from jobs.cluster import processes
from jobs.connect import addresses, kafka_admin, kafka_send
from jobs.connect.kafka_read import read_slice
from jobs.contract.events import Event
from jobs.features.definitions import feature_store
from jobs.lab.replay.produce import ReplayReport, replay
from jobs.lab.replay.sources import read
from jobs.operate import running_jobs
from jobs.verify.report import Report
from jobs.verify.run import verify
from tests.support import prometheus
from tests.support.waiting import eventually

HARD = {"shuffle_within_s": 60, "duplicate": 0.02, "corrupt": 0.01, "seed": 1}


def shipped_events() -> Iterator[Event]:
    """Yield August of eshop2008, and a day of onlineretail's purchases moved to its first day.

    The first has views of items that the packaged model knows, the second purchases with quantities and prices.
    """
    views = list(read("eshop2008", since="2008-08-01"))
    purchases = list(read("onlineretail", until="2010-12-02"))
    later_ms = views[0]["event_time_ms"] - purchases[0]["event_time_ms"]
    moved = [event | {"event_time_ms": event["event_time_ms"] + later_ms} for event in purchases]
    yield from heapq.merge(views, moved, key=lambda event: event["event_time_ms"])


def send(scenario, events: Iterable[Event], delay_s: int, **how: float) -> ReplayReport:
    return replay(
        scenario.runtime.kafka_bootstrap, scenario.settings.events_topic, events,
        shift_to_now=True, watermark_delay_s=delay_s, **HARD, **how,
    )  # fmt: skip


def assert_equal_to_the_oracle(report: Report, sent: ReplayReport) -> None:
    assert report.ok, report.to_json()
    assert report.counts["refused"] == sent.corrupted.total()
    assert report.counts["read"] == sent.produced + sent.heartbeats
    assert report.counts["expired"] == 0


def assert_hard_events_equal_the_oracle(scenario, events: Iterable[Event], least_compared: int) -> Report:
    scenario.change_definitions(
        "watermark_delay_threshold=timedelta(seconds=1)", "watermark_delay_threshold=timedelta(seconds=60)"
    )
    scenario.start()
    send_facts(scenario)
    sent = send(scenario, events, delay_s=60)
    report = verify(scenario.settings, scenario.runtime, wait_s=180)
    assert_equal_to_the_oracle(report, sent)
    assert report.counts["late"] == 0
    assert report.counts["duplicates"] == sent.duplicates
    assert report.compared > least_compared
    assert scenario.failures() == []
    return report


def test_features_and_lists_of_hard_events_equal_the_oracle(scenario):
    """Every feature and list of shuffled, repeated and corrupted events, and item facts; the sets are shipped."""
    scenario.definitions.write_text(scenario.definitions.read_text() + VIEW_OF_OWN_TOPIC)
    report = assert_hard_events_equal_the_oracle(scenario, shipped_events(), least_compared=100_000)
    assert_metrics_of_alerts_are_there(scenario)
    compared = {name: report.by_name[name].compared for name in ("item_offers:stock", "item_facts:title")}
    assert compared == {"item_offers:stock": 2, "item_facts:title": 2}
    assert report.by_name["item_margins:margin"].equal == 1
    assert report.by_name["items_dead:original"].equal == 3
    assert report.counts["items_with_facts"] == 3
    facts = ["item_offers:stock", "item_offers:on_offer", "item_facts:title", "item_activity:views_24h"]
    both = item_features(scenario, "B4", *facts)
    assert (both["stock"], both["on_offer"], both["title"]) == (2, True, None)
    assert both["views_24h"] is not None
    assert list(item_features(scenario, "only in the catalogue", *facts).values())[3:] == ["naïve", None]
    assert set(item_features(scenario, "removed", *facts).values()) == {"removed", None}


# Flink shows a counter of Python once it has counted something.
RARE = {f"flink_taskmanager_job_task_operator_lists_{kind}" for kind in ("popular", "model_error", "no_consent")}


def assert_metrics_of_alerts_are_there(scenario) -> None:
    """Every metric that the alerts and the board read is on the pages of a real run."""
    pages = [requests.get(url, timeout=10).text for url in scenario.runtime.metrics_urls]
    there = {line.partition("{")[0] for page in pages for line in page.splitlines()}
    named = set(prometheus.METRIC.findall(prometheus.RULES.read_text() + prometheus.BOARD.read_text()))
    assert "flink_taskmanager_job_task_operator_pendingRecords" in named
    assert named - there <= RARE


VIEW_OF_OWN_TOPIC = """
item_margins = FeatureView(
    name="item_margins", entities=[item], source=facts_from("margins", "item_margins"), ttl=FOR_GOOD,
    schema=[Field(name="item_id", dtype=String), Field(name="margin", dtype=Float64)],
)
"""
# Topic, key, value: what is said of items. Three records are refused: they change nothing.
FACTS: list[tuple[str, bytes, bytes | None]] = [
    ("items", b"only in the catalogue", '{"title": "naïve", "brand": "ö"}'.encode()),
    ("items", b"removed", b'{"title": "rain boots"}'),
    ("items", b"B4", b'{"title": "replaced"}'),
    ("items", b"B4", b'{"category": "2"}'),
    ("items", b"removed", None),
    ("offers", b"removed", b'{"stock": 1}'),
    ("offers", b"removed", None),
    ("offers", b"B4", b'{"stock": 2, "on_offer": true}'),
    ("offers", b"B4", b'{"stock": "2"}'),
    ("offers", b"a key that isn't UTF-8 \xff", b'{"stock": 1, "status": "\xff"}'),
    ("offers", b"never right", b'{"stock": 1.5}'),
    ("margins", b"sold", b'{"margin": 3}'),
    ("offers", b"sold", b'{"price_minor": 1999}'),
]


BRAND = '        Field(name="brand", dtype=String),\n'


def send_facts(scenario) -> None:
    there = kafka_admin.topics(scenario.runtime.kafka_bootstrap)
    for kind in ("items", "offers", "margins"):
        topic = getattr(scenario.settings, f"{kind}_topic", kind)
        if topic not in there:
            continue
        with closing(kafka_send.connect(scenario.runtime.kafka_bootstrap, topic, fast=True)) as sender:
            for of_kind, key, value in FACTS:
                if of_kind == kind:
                    sender.send(key, value, 0)
            sender.flush()


def item_features(scenario, item_id: str, *features: str) -> dict[str, object]:
    found = feature_store(scenario.settings).get_online_features(list(features), [{"item_id": item_id}]).to_dict()
    return {name: values[0] for name, values in found.items()}


@pytest.mark.bench
def test_features_and_lists_of_retailrocket_equal_the_oracle(scenario, retailrocket):
    """The same for 46,350 events of a set that may not be shipped."""
    assert_hard_events_equal_the_oracle(scenario, retailrocket, least_compared=800_000)


@pytest.mark.bench  # tests/chaos has late events, too
def test_job_and_oracle_leave_the_same_late_events_out(scenario, retailrocket):
    """Late events are kept and left out by job and oracle alike."""
    scenario.start()
    sent = send(scenario, retailrocket, delay_s=1)
    report = verify(scenario.settings, scenario.runtime, wait_s=180)
    assert_equal_to_the_oracle(report, sent)
    assert report.counts["late"] > 10_000
    assert scenario.failures() == []


@pytest.mark.bench
def test_nothing_is_lost_when_workers_are_killed_in_mid_replay(scenario, retailrocket, record_property):
    """Nothing is lost or wrong when two task managers and a Python worker are killed in mid replay."""
    scenario.change_definitions(
        "watermark_delay_threshold=timedelta(seconds=1)", "watermark_delay_threshold=timedelta(seconds=60)"
    )
    scenario.start()
    killed: list[str] = []
    chaos = threading.Thread(target=kill_three, args=(scenario, killed))
    chaos.start()
    sent = send(scenario, retailrocket, delay_s=60, speed=8 * 86_400 / 75)
    chaos.join()
    assert killed == ["task manager", "python worker", "task manager"]
    report = verify(scenario.settings, scenario.runtime, wait_s=240)
    gap_s = longest_publishing_gap_s(scenario)
    record_property("longest publishing gap, s", gap_s)
    print(f"longest gap in publishing: {gap_s:.1f} s")
    assert_equal_to_the_oracle(report, sent)
    assert report.counts["late"] == 0
    assert len(scenario.failures()) >= 3


def kill_three(scenario, killed: list[str]) -> None:
    for what, find in (
        ("task manager", task_manager),
        ("python worker", python_worker),
        ("task manager", task_manager),
    ):
        time.sleep(20)
        find(scenario.settings.state_dir).send_signal(signal.SIGKILL)
        killed.append(what)


def task_manager(state_dir: Path) -> psutil.Process:
    return owned(state_dir, lambda words: "org.apache.flink.runtime.taskexecutor.TaskManagerRunner" in words)


def python_worker(state_dir: Path) -> psutil.Process:
    return owned(state_dir, lambda words: "pyflink.fn_execution.beam.beam_boot" in words)


def owned(state_dir: Path, is_it: Callable[[list[str]], bool]) -> psutil.Process:
    return next(process for process in processes.owned(state_dir, "flink") if is_it(processes.words(process)))


def longest_publishing_gap_s(scenario) -> float:
    """The longest time between two lists, as their own `computed_at_ms` tell it."""
    log = read_slice(scenario.runtime.kafka_bootstrap, scenario.settings.rankings_topic)
    times = sorted(msgspec.json.decode(record.value)["computed_at_ms"] for record in log.records)
    return max(after - before for before, after in itertools.pairwise(times)) / 1000


def good(event_id: str, **changed: object) -> dict[str, object]:
    now_ms = time.time_ns() // 1_000_000
    base = {
        "schema_version": 1,
        "event_id": event_id,
        "event_type": "view",
        "event_time_ms": now_ms,
        "visitor_id": "v1",
        "item_id": "A1",
    }
    return base | changed


def encoded(event_id: str, **changed: object) -> bytes:
    return msgspec.json.encode(good(event_id, **changed))


REFUSED: dict[str, tuple[bytes, tuple[str, str]]] = {
    "not JSON": (b"GET / HTTP/1.1", ("not_json", "")),
    "wrong type": (encoded("w", price_minor="19.99"), ("wrong_type", "price_minor")),
    "unknown type": (encoded("u", event_type="teleport"), ("unknown_value", "event_type")),
    "missing field": (
        b'{"schema_version":1,"event_type":"view","event_id":"m","event_time_ms":1,"item_id":"A1"}',
        ("missing_field", "visitor_id"),
    ),
    "NaN": (encoded("n").replace(b'"A1"', b'"A1","rating":NaN'), ("not_json", "")),
    "Infinity": (encoded("i").replace(b'"A1"', b'"A1","rating":Infinity'), ("not_json", "")),
    "a 2 MB message": (encoded("big", query="x" * 2_000_000), ("too_large", "")),
    "null bytes": (encoded("z", item_id="A\0"), ("control_character", "item_id")),
    "invalid UTF-8": (encoded("utf").replace(b"A1", b"A\xff"), ("not_utf8", "")),
    "empty value": (b"", ("empty", "")),
    "array at top level": (b"[" + encoded("a") + b"]", ("not_an_object", "")),
    "a clock in the year 2100": (
        encoded("f", event_time_ms=4_102_444_800_000),
        ("future_event_time", "event_time_ms"),
    ),
    "another schema": (encoded("s", schema_version=2), ("out_of_range", "schema_version")),
}


def test_bad_records_are_refused_and_the_job_never_restarts(scenario):
    """Every kind of bad record is refused with its reason and the job never restarts."""
    scenario.start("features")
    producer = KafkaProducer(**addresses.kafka_python(scenario.runtime.kafka_bootstrap), max_request_size=4 << 20)
    places = {}
    for name, (value, expected) in REFUSED.items():
        sent = producer.send(scenario.settings.events_topic, value=value, key=b"v1").get(timeout=30)
        places[sent.partition, sent.offset] = (name, expected, value)
        producer.send(scenario.settings.events_topic, value=encoded(f"good after {name}"), key=b"v1").get(timeout=30)
    letters = wait_for_letters(scenario, len(places))
    for place, (name, (reason, field), value) in places.items():
        letter = letters[place]
        assert (letter["reason"], letter["field"]) == (reason, field), name
        original = (
            msgspec.json.decode(msgspec.json.encode(letter["original_base64"] or ""), type=bytes)
            or letter["original"].encode()
        )
        assert original == value, name
    assert len(letters) == len(REFUSED)
    assert scenario.failures() == []


def wait_for_letters(scenario, count: int) -> dict[tuple[int, int], dict]:
    """Return `count` dead letters by the partition and offset of what was refused."""

    def letters() -> dict[tuple[int, int], dict]:
        records = read_slice(scenario.runtime.kafka_bootstrap, scenario.settings.dead_topic).records
        letters = [msgspec.json.decode(record.value) for record in records]
        assert len(letters) >= count
        return {(letter["partition"], letter["offset"]): letter for letter in letters}

    return eventually(letters, within_s=60)


def send_views(scenario, *items: str) -> None:
    """Views of one visitor now, and heartbeats that let the features be written."""
    producer = KafkaProducer(
        **addresses.kafka_python(scenario.runtime.kafka_bootstrap), value_serializer=msgspec.json.encode
    )
    for item in items:
        event = good(f"{item}-{time.time_ns()}", item_id=item, price_minor=1000, rating=4.0)
        producer.send(scenario.settings.events_topic, value=event, key=b"v1", timestamp_ms=event["event_time_ms"])
    beat = {"schema_version": 1, "event_type": "heartbeat", "event_time_ms": time.time_ns() // 1_000_000 + 5000}
    for partition in producer.partitions_for(scenario.settings.events_topic):
        producer.send(scenario.settings.events_topic, value=beat, partition=partition)
    producer.flush()


def online(scenario, *features: str) -> dict[str, object]:
    store = feature_store(scenario.settings)
    found = store.get_online_features(features=list(features), entity_rows=[{"visitor_id": "v1"}]).to_dict()
    return {name: values[0] for name, values in found.items()}


def wait_online(scenario, expected: dict[str, object], *features: str) -> None:
    def are_expected() -> bool:
        assert online(scenario, *features) == expected
        return True

    eventually(are_expected, within_s=60)


def test_an_added_feature_is_readable_and_others_keep_their_values(scenario):
    """A feature added to a running view is readable, and the old ones keep their values. So is a fact, of all items."""
    scenario.change_definitions(BRAND, "")
    scenario.start("features")
    send_facts(scenario)
    send_views(scenario, "A1", "A2", "A3")
    old = ("visitor_session:view_count", "visitor_session:distinct_items")
    wait_online(scenario, {"visitor_id": "v1", "view_count": 3, "distinct_items": 3}, *old)
    known = ("only in the catalogue", "item_facts:title")
    eventually(lambda: item_features(scenario, *known)["title"] == "naïve", within_s=60)
    savepoint = running_jobs.stop(scenario.settings, scenario.runtime, "features")
    scenario.change_definitions(
        'Field(name="category", dtype=String),\n', f'Field(name="category", dtype=String),\n{BRAND}'
    )
    scenario.change_definitions(
        'Aggregation(column="event_id", function="is_single", name="bounce"),',
        'Aggregation(column="event_id", function="is_single", name="bounce"),\n'
        '    Aggregation(column="rating", function="max", name="best_rating"),',
    )
    scenario.change_definitions('"duration_s": Float64,', '"duration_s": Float64, "best_rating": Float64,')
    scenario.start("features", from_savepoint=savepoint)
    assert online(scenario, *old) == {"visitor_id": "v1", "view_count": 3, "distinct_items": 3}
    time.sleep(5)  # the heartbeats before the savepoint lie 5 s ahead of the clock: what comes sooner is late
    send_views(scenario, "A3")
    expected = {"visitor_id": "v1", "view_count": 4, "distinct_items": 3, "best_rating": 4.0}
    wait_online(scenario, expected, *old, "visitor_session:best_rating")
    added = item_features(scenario, "only in the catalogue", "item_facts:title", "item_facts:brand")
    assert (added["title"], added["brand"]) == ("naïve", "ö")
    assert scenario.failures() == []
