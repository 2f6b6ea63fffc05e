"""A feature edit: stop with a savepoint, edit, apply, submit from the savepoint. `verify` finds no difference."""

import time
from contextlib import closing

import msgspec
from kafka import KafkaAdminClient, TopicPartition

from jobs.connect import addresses, flink_rest, kafka_admin, kafka_send
from jobs.connect.users import GROUPS
from jobs.contract.events import Event
from jobs.features.definitions import feature_store
from jobs.flow import began, submissions
from jobs.flow.began import Beginning
from jobs.lab.replay.produce import beat
from jobs.operate import apply as applying
from jobs.operate import rebuild, running_jobs, submit
from jobs.verify.lost import NOT_WHOLE
from jobs.verify.run import verify
from tests.support.waiting import eventually

MINUTE_MS = 60_000
ADDED = {
    '    Aggregation(column="is_search", function="sum", name="search_count"),\n': (
        '    Aggregation(column="purchased_pieces", function="sum", name="pieces"),\n'
    ),
    '    *per_window("sum", "is_search", "searches"),\n': '    *per_window("count", "item_id", "touches"),\n',
    '    *per_window("count_distinct", "visitor_id", "visitors", MINUTE),\n': (
        '    Aggregation(column="is_purchase", function="sum", time_window=WINDOWS["5m"], slide_interval=MINUTE, '
        'name="bought_5m"),\n'
    ),
}


def event(event_id: str, time_ms: int, visitor: str, kind: str = "view", item: str = "shared", **more: object) -> Event:
    return {
        "schema_version": 1,
        "event_id": event_id,
        "event_type": kind,
        "event_time_ms": time_ms,
        "visitor_id": visitor,
        "item_id": item,
        "category": f"of {item}",
    } | more


def send(scenario, events: list[Event], beat_ms: int) -> None:
    place = scenario.runtime.kafka_bootstrap, scenario.settings.events_topic
    with closing(kafka_send.connect(*place, fast=False)) as sender:
        for one in events:
            sender.send(one["visitor_id"].encode(), msgspec.json.encode(one), one["event_time_ms"])
        sender.send(None, b"{}", beat_ms, 0)  # refused, whatever else is known
        beat(sender, beat_ms)
        sender.flush()


def lose(scenario, before: dict[int, int]) -> None:
    """Take the records before these offsets away, as the topic's retention does."""
    topic = scenario.settings.events_topic
    with closing(KafkaAdminClient(**addresses.kafka_python(scenario.runtime.kafka_bootstrap))) as admin:
        admin.delete_records({TopicPartition(topic, partition): offset for partition, offset in before.items()})


def wait_read(scenario) -> dict[int, int]:
    """Wait until checkpoints of both jobs hold all that was sent; return where the topic ends."""
    bootstrap, topic = scenario.runtime.kafka_bootstrap, scenario.settings.events_topic
    ends = kafka_admin.end_offsets(bootstrap, topic)
    eventually(lambda: all(kafka_admin.has_read(bootstrap, GROUPS[job], topic, ends) for job in submit.JOBS), 120)
    return ends


def online(scenario, key: str, entity: str, *features: str) -> list[object]:
    answer = feature_store(scenario.settings).get_online_features(list(features), [{key: entity}]).to_dict()
    return [answer[name.partition(":")[2]][0] for name in features]


def test_what_is_added_counts_from_savepoint_and_old_from_beginning(scenario):
    start_ms = time.time_ns() // 1_000_000 // MINUTE_MS * MINUTE_MS - 120 * MINUTE_MS
    at = lambda minute: start_ms + minute * MINUTE_MS  # noqa: E731
    bought = {"kind": "purchase", "price_minor": 100}
    before = [
        event("ancient", 1, "ancient"),  # of 1970: nothing of it may stand
        event("old", 1_220_000_000_000, "old", item="outdated"),
        event("b1", at(0), "before", **bought, quantity=5),
        event("t1", at(1), "throughout", **bought, quantity=3),
        event("t2", at(2), "throughout", item="first"),
    ]
    after = [
        event("t3", at(10), "throughout", **bought),
        event("t1", at(10), "throughout", **bought, quantity=3),  # a duplicate of one that the savepoint holds
        event("a1", at(11), "after", **bought, quantity=2),
        event("t4", at(12), "throughout", item="second"),
    ]
    scenario.start()
    send(scenario, before, at(3))
    ends = wait_read(scenario)
    savepoint = running_jobs.stop(scenario.settings, scenario.runtime, "features")

    for line, added in ADDED.items():
        scenario.change_definitions(line, line + added)
    applying.apply(scenario.settings, scenario.runtime.redis_url)
    job_id = submit.submit(scenario.settings, scenario.runtime, "features", savepoint)
    running_jobs.wait_running(scenario.runtime, job_id, limit_s=180)
    send(scenario, after, at(75))
    wait_read(scenario)

    beginnings = began.read(scenario.settings.state_dir)
    assert set(beginnings) == {
        "visitor_session:pieces",
        *(f"visitor_activity:touches_{window}" for window in ("5m", "1h", "24h")),
        *(f"{view}:bought_5m" for view in ("item_activity", "category_activity")),
    }
    assert all(beginning == Beginning(1, ends) for beginning in beginnings.values())

    report = verify(scenario.settings, scenario.runtime, wait_s=120)
    assert report.ok, report.to_json()[:4000]
    assert report.counts["counted"] == 8
    assert report.counts["duplicates"] == 1
    # Of two visitors the rows in two views and the lists; of `outdated` the item and its category. `shared` lives on.
    assert report.counts["expired"] == 2 * 2 + 2 + 2
    assert report.by_name["visitor_session:pieces"].compared == 3
    session = ("visitor_session:view_count", "visitor_session:purchase_count", "visitor_session:pieces")
    assert online(scenario, "visitor_id", "throughout", *session) == [2, 2, 1]
    assert online(scenario, "visitor_id", "before", *session) == [0, 1, None]
    assert online(scenario, "visitor_id", "ancient", *session) == [None, None, None]

    touched = verify(scenario.settings, scenario.runtime, since=ends)
    assert touched.ok, touched.to_json()[:4000]
    assert touched.counts["read"] == len(after) + 3
    assert touched.by_name["visitor_session:pieces"].compared == 2

    began.rewind(scenario.settings.state_dir)
    unknowing = verify(scenario.settings, scenario.runtime)
    assert set(unknowing.by_kind) == {"wrong_value"}
    assert {name for name, count in unknowing.by_name.items() if count.mismatched} <= set(beginnings)
    began.save(scenario.settings.state_dir, beginnings)

    (submitted,) = (one for one in submissions.noted(scenario.settings.state_dir) if one.job == "features")
    again = rebuild.features(scenario.settings.state_dir, scenario.runtime.flink_rest_url, submitted)
    running_jobs.wait_running(scenario.runtime, again.job_id, limit_s=180)
    rewound = began.read(scenario.settings.state_dir)
    assert rewound == dict.fromkeys(beginnings, Beginning(1, {}))
    whole = verify(scenario.settings, scenario.runtime, wait_s=120)
    assert whole.ok, whole.to_json()[:4000]
    assert online(scenario, "visitor_id", "throughout", *session) == [2, 2, 4]
    checkpoints = flink_rest.ask(scenario.runtime.flink_rest_url, f"/jobs/{again.job_id}/checkpoints")
    assert checkpoints["latest"]["restored"] is None
    assert scenario.failures() == []

    lose(scenario, ends)
    rest = verify(scenario.settings, scenario.runtime)
    assert rest.ok, rest.to_json()[:4000]
    assert rest.lost == ends
    assert rest.by_name.keys() == {"dead:reason", "dead:original"}  # all others may hold lost events for a day
    assert rest.not_compared[NOT_WHOLE] > 100
