"""Parallelism changes no value. A job goes on from a savepoint, with another parallelism and in a later release."""

import itertools
import random
import shutil
import time
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from jobs.connect import addresses, fact_topics, flink_rest, kafka_admin, kafka_send
from jobs.connect.fact_topics import Change
from jobs.connect.users import GROUPS
from jobs.contract.events import SCHEMA_VERSION, Event
from jobs.features import plan
from jobs.features.definitions import feature_store
from jobs.lab.replay.produce import beat
from jobs.lab.replay.shift import shifted
from jobs.lab.replay.sources import read
from jobs.operate import apply as applying
from jobs.operate import running_jobs, submit
from jobs.operate.keep import MARK
from jobs.verify.run import verify
from liveshelf.reader import ShelfReader
from tests.support.saved_events import Expected, Outcome
from tests.support.saved_release import CENTURY_S, SAVEPOINTS, paths_in, send, settings_of
from tests.support.waiting import eventually

RELEASES = sorted(SAVEPOINTS.glob("*"))
PHASE = 200  # events; three of them are more than a day of this shop, so that windows and sessions end in between


def go_on(scenario, job: submit.Job, savepoint: str | None, parallelism: int = 1, **config: object) -> None:
    """Submit the job. Check that it runs with this parallelism, and from the savepoint."""
    settings = scenario.settings.model_copy(update={"parallelism": parallelism})
    job_id = submit.submit(settings, scenario.runtime, job, savepoint, **config)
    running_jobs.wait_running(scenario.runtime, job_id, limit_s=180)
    rest_url = scenario.runtime.flink_rest_url
    assert max(task["parallelism"] for task in flink_rest.ask(rest_url, f"/jobs/{job_id}")["vertices"]) == parallelism
    restored = flink_rest.ask(rest_url, f"/jobs/{job_id}/checkpoints")["latest"]["restored"]
    assert (restored and restored["is_savepoint"]) == (savepoint and True)


def wait_read(scenario, *jobs: submit.Job) -> None:
    """Wait until checkpoints of these jobs hold all that was sent."""
    topic, bootstrap = scenario.settings.events_topic, scenario.runtime.kafka_bootstrap
    ends = kafka_admin.end_offsets(bootstrap, topic)
    for job in jobs:
        eventually(lambda group=GROUPS[job]: kafka_admin.has_read(bootstrap, group, topic, ends), within_s=120)


def produce(scenario, events: list[Event], final_ms: int = 0) -> None:
    """Send events in their order, and at the end a heartbeat to each partition."""
    with closing(
        kafka_send.connect(scenario.runtime.kafka_bootstrap, scenario.settings.events_topic, fast=False)
    ) as sender:
        for event in events:
            sender.send(event["visitor_id"].encode(), msgspec.json.encode(event), event["event_time_ms"])
        if final_ms:
            beat(sender, final_ms)
        sender.flush()


def stop(scenario, job: submit.Job) -> str:
    return running_jobs.stop(scenario.settings, scenario.runtime, job)


@pytest.mark.bench
def test_parallelism_1_then_2_then_1_keeps_every_value(scenario):
    """Of both jobs, and of a view that was gone meanwhile."""
    real = itertools.islice(read("eshop2008", since="2008-08-01"), 3 * PHASE)
    events = list(shifted(list(real), None, time.time_ns() // 1_000_000))
    first, second, third = (events[begin : begin + PHASE] for begin in range(0, 3 * PHASE, PHASE))

    applying.apply(scenario.settings, scenario.runtime.redis_url)
    applying.create_topics(scenario.settings, scenario.runtime)
    produce(scenario, first)
    submit.side_by_side(lambda job: go_on(scenario, job, None))
    wait_read(scenario, *submit.JOBS)
    at_1 = submit.side_by_side(lambda job: stop(scenario, job))

    # The newest event again: ids that were seen with one parallelism are known with the next.
    produce(scenario, [first[-1], *second])
    store = feature_store(scenario.settings)
    view = store.get_stream_feature_view("category_activity")
    store.delete_feature_view(view.name)
    at_2 = {}
    for job in submit.JOBS:  # in turn: the cluster has two slots
        go_on(scenario, job, at_1[job], parallelism=2)
        wait_read(scenario, job)
        at_2[job] = stop(scenario, job)

    produce(scenario, [second[-1], *third], final_ms=third[-1]["event_time_ms"] + 62_000)
    store.apply([view])
    submit.side_by_side(lambda job: go_on(scenario, job, at_2[job]))
    report = verify(scenario.settings, scenario.runtime, wait_s=180)
    assert report.ok, report.to_json()[:4000]
    counts = {name: report.counts[name] for name in ("counted", "duplicates", "late", "refused", "heartbeats")}
    assert counts == {"counted": 3 * PHASE, "duplicates": 2, "late": 0, "refused": 0, "heartbeats": 2}
    assert scenario.failures() == []


def whole_second_events(count: int, end_ms: int) -> list[Event]:
    """Return events of 40 visitors by clocks that show whole seconds: about five of a visitor at one time.

    Every two events have one id. It counts once for a visitor, and again for another one.
    """
    chance, first_s = random.Random(13), end_ms // 1000 - count // 200
    return [
        {
            "schema_version": SCHEMA_VERSION,
            "event_id": f"e{number // 2}",
            "event_type": chance.choice(["view", "view", "add_to_cart", "purchase"]),
            "event_time_ms": 1000 * (first_s + number // 200),
            "visitor_id": f"v{chance.randrange(40)}",
            "item_id": f"i{number % 97}",
            "category": f"c{number % 7}",
            "price_minor": number,
        }
        for number in range(count)
    ]


def test_equal_event_times_change_nothing_at_parallelism_2(scenario):
    """The deduplication's shuffle changes the order in which a visitor's events come; partition and offset decide."""
    events = whole_second_events(4000, time.time_ns() // 1_000_000)
    applying.apply(scenario.settings, scenario.runtime.redis_url)
    applying.create_topics(scenario.settings, scenario.runtime)
    produce(scenario, events, final_ms=events[-1]["event_time_ms"] + 62_000)
    for job in submit.JOBS:  # in turn: the cluster has two slots
        go_on(scenario, job, None, parallelism=2)
        wait_read(scenario, job)
        running_jobs.stop(scenario.settings, scenario.runtime, job, savepoint=False)
    report = verify(scenario.settings, scenario.runtime)
    assert report.ok, report.to_json()[:4000]
    assert report.counts["counted"] == len({(event["visitor_id"], event["event_id"]) for event in events}) > 3800
    assert report.by_name["visitor_session:last_20_items"].compared == 40


def test_savepoints_of_releases_hold_no_path_and_are_small():
    assert RELEASES
    for folder in RELEASES:
        saved = [file for job in submit.JOBS for file in (folder / job).rglob("*") if file.is_file()]
        assert [path for file in saved for path in paths_in(file.read_bytes())] == []
        assert sum(file.stat().st_size for file in saved) < 300_000


# What a release before item facts doesn't have. Its other views never expire.
VIEW_OF_FACTS = """
from feast import FeatureView

item_offers = FeatureView(
    name="item_offers",
    entities=[item],
    source=KafkaSource(
        name="offers", topic="{}", timestamp_field="event_timestamp", message_format=JsonFormat(schema_json=""),
        batch_source=FileSource(name="no_offers", path="data/offers.parquet", timestamp_field="event_timestamp"),
    ),
    schema=[Field(name="item_id", dtype=String), Field(name="stock", dtype=Int64)],
)
"""


@pytest.mark.parametrize("folder", RELEASES, ids=lambda folder: folder.name)
def test_both_jobs_go_on_from_the_savepoints_of_a_release(scenario, folder: Path, tmp_path: Path):
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    scenario.settings = settings_of(moved, scenario.settings, moved / "feature_repo")
    plan.save(plan.load(moved / "plan.json"), plan.submitted_path(scenario.settings.state_dir))
    applying.create_topics(scenario.settings, scenario.runtime)
    topic, bootstrap = scenario.settings.events_topic, scenario.runtime.kafka_bootstrap
    send(bootstrap, topic, moved / "before.jsonl")
    say_that_redis_is_complete(scenario)
    with (moved / "feature_repo" / "definitions.py").open("a") as definitions:
        definitions.write(VIEW_OF_FACTS.format(scenario.settings.offers_topic))
    said = [
        Change(scenario.settings.offers_topic, "A1", {"stock": 3}),
        Change(scenario.settings.offers_topic, "new", {}),
    ]
    fact_topics.send(bootstrap, [scenario.settings.offers_topic], said, time.time_ns() // 1_000_000)
    applying.apply(scenario.settings, scenario.runtime.redis_url)
    submit.side_by_side(lambda job: go_on(scenario, job, (moved / job).as_uri(), history_ttl_s=CENTURY_S))
    send(bootstrap, topic, moved / "after.jsonl")
    report = verify(scenario.settings, scenario.runtime, wait_s=180)
    assert report.ok, report.to_json()[:4000]
    expected = msgspec.json.decode((moved / "expected.json").read_bytes(), type=Outcome)
    assert {name: report.counts[name] for name in expected.counts} == expected.counts
    assert report.by_name["item_offers:stock"].equal == 2
    assert [online(scenario, each) for each in expected.features] == expected.features
    reader = ShelfReader(addresses.redis_client(scenario.runtime.redis_url))
    assert {
        visitor: reader.get(visitor).session_events for visitor in expected.session_events
    } == expected.session_events
    assert scenario.failures() == []


def say_that_redis_is_complete(scenario) -> None:
    """Set the keeper's mark. Without it, the keeper takes Redis for emptied and has all features written again."""
    client = addresses.redis_client(scenario.runtime.redis_url)
    client.set(MARK, f"{client.info('server')['run_id']} {time.time():.3f}")


def online(scenario, asked: Expected) -> Expected:
    """Return what the online store holds where something is expected."""
    names = [f"{asked.view}:{name}" for name in asked.values]
    found = feature_store(scenario.settings).get_online_features(names, [{asked.key: asked.entity}]).to_dict()
    return msgspec.structs.replace(asked, values={name: found[name][0] for name in asked.values})
