"""What one person may ask for, on a real cluster: not to be personalized, to be forgotten, and to stay forgotten."""

import time
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis
import requests
from kafka import KafkaProducer

from jobs.cluster import runtime
from jobs.connect import consent_topic
from jobs.contract import consent
from jobs.operate import running_jobs, submit
from jobs.person import erase as erasing
from jobs.person import export, known, traces
from jobs.person.ids import ids_of
from jobs.settings import Settings
from jobs.verify.run import verify
from liveshelf.reader import ShelfReader
from tests.support.waiting import eventually

ITEMS = msgspec.json.decode((Settings().model_dir / "vocabulary.json").read_bytes())["items"]


def view(visitor: str, number: int, event_time_ms: int) -> dict[str, object]:
    return {
        "schema_version": 1, "event_id": f"{visitor}-{number}", "event_type": "view", "event_time_ms": event_time_ms,
        "visitor_id": visitor, "item_id": ITEMS[sum(visitor.encode()) % 100 + number], "category": "c",
        "price_minor": 100 * number, "currency": "EUR",
    }  # fmt: skip


def send(scenario, events: list[dict[str, Any]], ahead_ms: int = 1100) -> None:
    """Events, then a heartbeat in every partition that lets those up to now be written: the views' delay is 1 s.

    What comes in less than `ahead_ms` - 1000 is late; item views are written up to the last full minute.
    """
    topic = scenario.settings.events_topic
    kafka = scenario.runtime.kafka_bootstrap
    producer = KafkaProducer(bootstrap_servers=kafka, value_serializer=msgspec.json.encode, linger_ms=20)
    for event in events:
        producer.send(topic, value=event, key=event["visitor_id"].encode(), timestamp_ms=event["event_time_ms"])
    producer.flush()
    now_ms = time.time_ns() // 1_000_000
    beat = {"schema_version": 1, "event_type": "heartbeat", "event_time_ms": now_ms + ahead_ms}
    for partition in producer.partitions_for(topic):
        producer.send(topic, value=beat, partition=partition, timestamp_ms=now_ms)
    producer.close()


def say(scenario, state: str, *visitors: str) -> None:
    record = consent.Record(state, time.time_ns() // 1_000_000)
    consent_topic.send(
        scenario.runtime.kafka_bootstrap, scenario.settings.consent_topic, dict.fromkeys(visitors, record)
    )


def wait_for_state(scenario, visitor: str, state: str, fallback: str | None = None) -> None:
    reader = ShelfReader(scenario.runtime.redis_url)

    def has_that_state() -> bool:
        shelf = reader.get(visitor)
        assert (shelf.state, shelf.fallback) == (state, fallback)
        return True

    eventually(has_that_state, within_s=60)


def features_of(scenario, client: redis.Redis, visitor: str) -> dict[bytes, bytes]:
    return client.hgetall(traces.redis_keys(scenario.settings, visitor)[-1])


def assert_verified(scenario) -> dict[str, int]:
    report = verify(scenario.settings, scenario.runtime, wait_s=180)
    assert report.ok, report.to_json()[:4000]
    return report.counts


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def test_who_withdraws_counts_nowhere_until_the_next_grant(scenario):
    """Who withdraws gets the popularity list and counts nowhere until the next grant."""
    scenario.start()
    client = redis.Redis.from_url(scenario.runtime.redis_url)
    start_ms = now_ms() - 600_000
    send(
        scenario,
        [view(visitor, number, start_ms + 1000 * number) for number in (1, 2, 3) for visitor in ("anna", "bert")],
    )
    for visitor in ("anna", "bert"):
        wait_for_state(scenario, visitor, "fresh")
    assert assert_verified(scenario)["counted"] == 6

    say(scenario, "withdrawn", "anna")
    wait_for_state(scenario, "anna", "fallback", "no_consent")
    time.sleep(2)
    send(scenario, [view("anna", 4, now_ms()), view("bert", 4, now_ms())])
    counts = assert_verified(scenario)
    assert (counts["counted"], counts["suppressed"], counts["forgotten"]) == (7, 1, 3)
    assert ShelfReader(scenario.runtime.redis_url).get("bert").session_events == 4
    assert not any(name.startswith(b"_ts:") for name in features_of(scenario, client, "anna"))

    say(scenario, "granted", "anna")
    wait_for_state(scenario, "anna", "absent")
    time.sleep(2)
    send(scenario, [view("anna", 5, now_ms()), view("bert", 5, now_ms())], ahead_ms=120_000)
    wait_for_state(scenario, "anna", "fresh")
    assert ShelfReader(scenario.runtime.redis_url).get("anna").session_events == 1
    counts = assert_verified(scenario)
    assert (counts["counted"], counts["suppressed"], counts["forgotten"]) == (9, 1, 3)
    assert scenario.failures() == []


def test_required_consent_personalizes_only_who_gave_it(scenario):
    """Where consent is required nobody is personalized who hasn't given it."""
    scenario.settings.consent = "required"
    scenario.start()
    say(scenario, "granted", "anna")
    time.sleep(2)
    at_ms = now_ms()
    send(scenario, [view(visitor, number, at_ms + number) for visitor in ("anna", "bert") for number in (1, 2)])
    wait_for_state(scenario, "anna", "fresh")
    wait_for_state(scenario, "bert", "fallback", "no_consent")
    counts = assert_verified(scenario)
    assert (counts["counted"], counts["suppressed"]) == (2, 2)
    say(scenario, "granted", "anna")  # once more, which takes nothing from her
    time.sleep(2)
    assert assert_verified(scenario) == counts
    wait_for_state(scenario, "anna", "fresh")
    assert scenario.failures() == []


def test_a_denial_in_other_words_is_heard_and_counted(scenario):
    """And an old grant that arrives after a newer withdrawal lifts nothing."""
    scenario.start()
    start_ms = now_ms() - 600_000
    people = ("anna", "bert", "cleo")
    send(scenario, [view(visitor, number, start_ms + 1000 * number) for number in (1, 2) for visitor in people])
    for visitor in people:
        wait_for_state(scenario, visitor, "fresh")
    unread = runtime.unread_consents(scenario.settings)
    producer = KafkaProducer(bootstrap_servers=scenario.runtime.kafka_bootstrap)
    topic = scenario.settings.consent_topic
    for key, state, at_ms in (("anna", "denied", now_ms()), ('"bert"', "withdrawn", now_ms())):
        producer.send(topic, msgspec.json.encode({"state": state, "at_ms": at_ms}), key.encode())
    producer.flush()
    say(scenario, "withdrawn", "cleo")
    old = {"state": "granted", "at_ms": start_ms}
    producer.send(topic, msgspec.json.encode(old), b"cleo")
    producer.close()
    for visitor in ("anna", "cleo"):
        wait_for_state(scenario, visitor, "fallback", "no_consent")
    eventually(lambda: runtime.unread_consents(scenario.settings) >= unread + 2, within_s=60)
    found = verify(scenario.settings, scenario.runtime, wait_s=180)
    assert found.ok, found.to_json()[:4000]
    assert sorted(each.split(" ", 1)[1] for each in found.unread) == ["quoted of key", "unknown_value of state"]
    assert found.counts["forgotten"] == 4
    assert scenario.failures() == []


VISITORS = [f"visitor-{number:04d}-x" for number in range(1000)]
ERASED = VISITORS[::10]


def test_100_of_1000_erased_visitors_leave_no_trace(scenario, tmp_path):
    """100 of 1000 visitors erased in mid stream leave no trace."""
    scenario.start()
    client = redis.Redis.from_url(scenario.runtime.redis_url)
    erase_100_of_1000(scenario, client, tmp_path)


@pytest.mark.bench
def test_replay_from_0_brings_none_of_100_erased_visitors_back(scenario, tmp_path):
    scenario.start()
    client = redis.Redis.from_url(scenario.runtime.redis_url)
    erase_100_of_1000(scenario, client, tmp_path)
    before = stored(client)

    for kind in submit.JOBS:
        running_jobs.stop(scenario.settings, scenario.runtime, kind, savepoint=False)
    client.flushall()
    scenario.start()
    counts = assert_verified(scenario)
    assert (counts["counted"], counts["forgotten"]) == (3900, 300)
    assert_no_trace(scenario, client)
    assert stored(client) == before


def erase_100_of_1000(scenario, client: redis.Redis, folder: Path) -> None:
    start_ms = now_ms() - 1_200_000
    send(scenario, [view(visitor, number, start_ms + 60_000 * number) for number in (1, 2, 3) for visitor in VISITORS])
    wait_for_state(scenario, VISITORS[-1], "fresh")
    assert assert_verified(scenario)["counted"] == 3000
    offline = write_offline(scenario)
    assert_known(scenario, folder / "before", events=3, offline=1)
    made = erasing.erase(scenario.settings, scenario.runtime, ids_of(scenario.settings, ERASED))
    assert [each.visitor.given for each in made] == ERASED
    assert all(each.visitor.given.encode() not in each.path.read_bytes() for each in made)
    assert_known(scenario, folder / "after", events=0, offline=0)
    assert pq.read_table(offline).to_pylist() == [
        {"visitor_id": each, "n": 3} for each in VISITORS if each not in ERASED
    ]
    time.sleep(2)
    send(scenario, [view(each, 4, now_ms()) for each in VISITORS if each not in ERASED], ahead_ms=120_000)
    counts = assert_verified(scenario)
    assert (counts["counted"], counts["forgotten"]) == (3900, 300)
    assert_no_trace(scenario, client)


def write_offline(scenario) -> Path:
    """A row a visitor where Feast looks for the history of a view over visitors."""
    path = scenario.settings.feature_repo / "data" / "visitor_session.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table({"visitor_id": VISITORS, "n": [3] * len(VISITORS)}), path)
    return path


def assert_known(scenario, folder: Path, events: int, offline: int) -> None:
    """What an erased visitor is given: what was sent, a list for each of it, and features of it; or nothing."""
    (visitor,) = ids_of(scenario.settings, [ERASED[0]])
    found = known.find(scenario.settings, scenario.runtime, visitor)
    counts = export.export(scenario.settings, scenario.runtime, visitor, folder).counts
    assert (counts["events"], counts["offline"], counts["list"]) == (events, offline, min(events, 1))
    assert [event["event_id"] for event in found.events] == [f"{ERASED[0]}-{number}" for number in range(1, events + 1)]
    assert {each["value"] for each in found.features if each["feature"] == "view_count"} == (
        {events} if events else set()
    )
    assert bool(found.lists) == bool(events)
    assert found.hidden_events == 3 - events


def stored(client: redis.Redis) -> dict[bytes, object]:
    """All of Redis, but for the moments at which lists were computed."""
    found: dict[bytes, object] = {}
    for key in client.scan_iter(count=1000):
        if key.startswith(b"shelf:"):
            found[key] = {
                name: each for name, each in msgspec.json.decode(client.get(key)).items() if name != "computed_at_ms"
            }
        elif not key.startswith(b"liveshelf:"):  # the keeper's
            found[key] = client.hgetall(key)
    return found


def assert_no_trace(scenario, client: redis.Redis) -> None:
    """Assert that Redis and the newest checkpoints hold everybody but the erased, and logs and metrics nobody."""
    content = stored(client)
    text = b" ".join([*content, *(msgspec.json.encode(str(each)) for each in content.values())])
    assert [each for each in ERASED if each.encode() in text] == []
    assert VISITORS[1].encode() in text
    jobs = [running_jobs.running_job(scenario.runtime, kind) for kind in submit.JOBS]
    checkpoints = checkpoints_from_now(scenario, jobs)
    assert len(checkpoints) == 2
    assert traces.in_checkpoints(scenario.settings, checkpoints, VISITORS) == set(VISITORS) - set(ERASED)
    assert traces.in_files(checkpoints, VISITORS) == set(VISITORS) - set(ERASED)  # nowhere else in the bytes either
    logs = [scenario.settings.state_dir / "flink" / "log", *scenario.settings.state_dir.glob("*/*.log")]
    assert traces.in_files(logs, VISITORS) == set()
    metrics = "".join(requests.get(f"{url}/metrics", timeout=10).text for url in scenario.runtime.metrics_urls)
    assert "lists_personal" in metrics
    assert [each for each in VISITORS if each in metrics] == []


def checkpoints_from_now(scenario, jobs: list[str]) -> list[Path]:
    """Return the newest checkpoint of each job, begun and completed after this call: two more than now."""

    def newest() -> list[Path]:
        paths = traces.newest_checkpoints(scenario.settings, jobs)
        assert len(paths) == len(jobs)
        return paths

    def number(checkpoint: Path) -> int:
        return int(checkpoint.name.removeprefix("chk-"))

    before = eventually(newest, within_s=60)

    def newer() -> list[Path]:
        paths = newest()
        assert all(number(path) >= number(first) + 2 for path, first in zip(paths, before, strict=True))
        return paths

    return eventually(newer, within_s=60)
