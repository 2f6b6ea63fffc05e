"""A Redis that lost its lists gets them back from the log, with a real broker and a real Redis."""

import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
import requests

from jobs.cluster import runtime
from jobs.cluster.runtime import Runtime
from jobs.connect import consent_topic, kafka_admin, kafka_send
from jobs.connect.redis_pipeline import Connection
from jobs.contract import consent
from jobs.contract.ranker_settings import RankerSettings
from jobs.errors import ServiceError
from jobs.flow import submissions
from jobs.flow.submissions import BEGUN, Config, Submitted, begun_mark
from jobs.operate import rebuild, refuse
from jobs.operate.keep import MARK, NO_RUN, Keeper
from jobs.settings import Settings
from tests.support.clock import Clock

CLOCK = Clock()
HOUR_S = 3600


def shelf(offset: int, item: str, event_time_ms: int | None = None) -> dict:
    """A list as Redis should hold it, by hand."""
    event_time_ms = CLOCK.now_ms if event_time_ms is None else event_time_ms
    return {
        "version": f"{offset:020d}",
        "items": [item],
        "scores": [1.5],
        "model": "m",
        "event_time_ms": event_time_ms,
        "computed_at_ms": CLOCK.now_ms,
        "session_events": 1,
        "fallback": None,
        "list_id": f"0-{offset}",
    }


def logged(visitor: str, value: dict, shelf: str = "home") -> bytes:
    origin = {"partition": 0, "offset": 1, "context": [], "context_features": [], "session_items": []}
    name = "channel" if visitor == "b" else "shelf"  # the field's name in records of release 0.1.0
    return json.dumps({"visitor_id": visitor, name: shelf} | value | origin).encode()


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = Settings(state_dir=tmp_path_factory.mktemp("rebuild"), kafka_port=0)
    try:
        address = runtime.up(settings, ["kafka"]).kafka_bootstrap
        kafka_admin.create_topics(address, {"rankings": 2, "consent": 1})
        consent_topic.send(address, "consent", {"erased": consent.Record("erased", CLOCK.now_ms + 1, {"0": 2})})
        sender = kafka_send.connect(address, "rankings", fast=False)
        log = [
            ("a", logged("a", shelf(7, "newest"))),
            ("a", logged("a", shelf(5, "older, by a zombie"))),
            ("b", logged("b", shelf(3, "b"))),
            ("b", logged("b", shelf(4, "another page"), shelf="basket")),
            ("erased", logged("erased", shelf(1, "of somebody who is forgotten"))),
            ("gone", logged("gone", shelf(9, "expired", CLOCK.now_ms - 2 * HOUR_S * 1000))),
        ]
        for visitor, value in log:
            sender.send(visitor.encode(), value, CLOCK.now_ms)
        sender.flush()
        sender.close()
        yield address
    finally:
        runtime.down(settings)


@pytest.fixture
def config(bootstrap: str, redis_url: str) -> Config:
    return Config(
        kafka_bootstrap=bootstrap, redis_url=redis_url, events_topic="events", rankings_topic="rankings",
        ranker=RankerSettings(model_dir="", list_ttl_s=HOUR_S), consent_topic="consent", consent="assumed",
    )  # fmt: skip


def stored(client: redis.Redis) -> dict[str, dict]:
    return {key.decode(): json.loads(client.get(key)) for key in client.scan_iter("shelf:*")}


def test_an_emptied_redis_gets_its_living_lists_again(config: Config, client: redis.Redis) -> None:
    """An emptied Redis holds newest living lists again but not of the erased."""
    rebuild.lists(config, Connection(config.redis_url))
    assert stored(client) == {"shelf:{a}:home": shelf(7, "newest"), "shelf:{b}:home": shelf(3, "b")}
    assert 0 < client.ttl("shelf:{a}:home") <= HOUR_S


def test_who_is_heard_of_meanwhile_gets_no_list(
    config: Config, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two are erased, one withdraws just before the last lists are written. What the job wrote as it obeyed stays."""
    topic = f"consent-{time.time_ns()}"
    kafka_admin.create_topics(config.kafka_bootstrap, {topic: 1}, consent_topic.TOPIC)
    read_log = rebuild._log

    def log(*arguments: Any) -> Iterator[bytes]:
        yield from read_log(*arguments)
        erased, withdrawn = (consent.Record(state, CLOCK.now_ms + 1) for state in ("erased", "withdrawn"))
        consent_topic.send(config.kafka_bootstrap, topic, {"a": erased, "erased": erased, "b": withdrawn})
        obeyed = shelf(9, "popular") | {"fallback": "no_consent", "list_id": ""}
        client.set("shelf:{b}:home", json.dumps(obeyed, separators=(",", ":")))

    monkeypatch.setattr(rebuild, "_log", log)
    rebuild.lists(msgspec.structs.replace(config, consent_topic=topic), Connection(config.redis_url))
    assert {key: each["fallback"] for key, each in stored(client).items()} == {"shelf:{b}:home": "no_consent"}


def test_a_second_rebuild_and_a_newer_list_change_nothing(config: Config, client: redis.Redis) -> None:
    newer, same = json.dumps(shelf(8, "written since")), json.dumps(shelf(3, "published again, not yet logged"))
    client.set("shelf:{a}:home", newer.replace(" ", ""))
    client.set("shelf:{b}:home", same.replace(" ", ""))
    rebuild.lists(config, Connection(config.redis_url))
    assert stored(client)["shelf:{a}:home"]["version"] == f"{8:020d}"
    assert stored(client)["shelf:{b}:home"]["items"] == ["publishedagain,notyetlogged"]


def test_only_what_was_logged_since_is_read(config: Config, client: redis.Redis) -> None:
    rebuild.lists(config, Connection(config.redis_url), since_ms=CLOCK.now_ms + 1)
    assert stored(client) == {}


def test_of_two_partitions_the_newest_list_comes_back(redis_url: str, client: redis.Redis) -> None:
    """In whatever order they were logged; of one event time the one that was computed later stands."""
    partition_1 = 10**16  # the first four digits of a version are the partition
    lists = [shelf(partition_1 + 7, "before", CLOCK.now_ms), shelf(4, "after", CLOCK.now_ms + 1000)]
    later = shelf(partition_1 + 8, "after, and knows more", CLOCK.now_ms + 1000) | {"computed_at_ms": CLOCK.now_ms + 5}
    connection = Connection(redis_url)
    for order in itertools.permutations([*lists, later]):
        client.flushall()
        for value in order:
            times = value["event_time_ms"], value["computed_at_ms"]
            compact = json.dumps(value, separators=(",", ":")).encode()
            connection.run(
                rebuild.SCRIPT, [(b"shelf:{v}:home", value["version"], compact, CLOCK.now_ms + 10**7, *times)]
            )
        assert stored(client)["shelf:{v}:home"]["items"] == ["after, and knows more"]


RANKINGS = Submitted("rankings", "a1", ["flink", "run", "-d"], {})
BOTH = {"shelf:{a}:home", "shelf:{b}:home"}


@pytest.fixture
def keeper(tmp_path: Path, config: Config) -> Keeper:
    submissions.note(tmp_path, RANKINGS)
    submissions.config_path(tmp_path, "rankings").write_bytes(msgspec.json.encode(config))
    return Keeper(tmp_path, "http://127.0.0.1:1")


def test_the_keeper_fills_a_redis_without_its_mark_once(keeper: Keeper, client: redis.Redis) -> None:
    assert keeper.repair([RANKINGS])
    assert stored(client).keys() == BOTH
    client.delete(*BOTH)
    assert not keeper.repair([RANKINGS])  # the mark says that all is there
    client.flushall()
    assert keeper.repair([RANKINGS])
    assert stored(client).keys() == BOTH


def test_after_restart_it_reads_from_where_the_surviving_data_ends(keeper: Keeper, client: redis.Redis) -> None:
    client.set(
        MARK, f"{'0' * 40} {CLOCK.now_ms / 1000 + 1:.3f}"
    )  # as another run of the server left it, after all was logged
    assert keeper.repair([RANKINGS])
    assert stored(client) == {}
    client.set(MARK, f"{'0' * 40} {CLOCK.now_ms / 1000 - 1:.3f}")
    assert keeper.repair([RANKINGS])
    assert stored(client).keys() == BOTH


def test_a_repair_that_died_is_done_again(keeper: Keeper, client: redis.Redis) -> None:
    client.set(MARK, f"{NO_RUN} 0.000")
    assert keeper.repair([RANKINGS])
    assert stored(client).keys() == BOTH


def test_redis_with_all_since_the_job_began_needs_no_restart(
    keeper: Keeper, client: redis.Redis, tmp_path: Path
) -> None:
    """A job isn't started again while Redis has all since it began."""
    job = Submitted("features", "f1", ["flink", "run", "-d"], {}, at_s=CLOCK.now_ms / 1000)
    submissions.config_path(tmp_path, "rankings").rename(submissions.config_path(tmp_path, "features"))
    checkpoint = tmp_path / "flink" / "checkpoints" / "f1" / "chk-1"
    checkpoint.mkdir(parents=True)
    (checkpoint / "_metadata").touch()
    run_id = client.info("server")["run_id"]
    client.set(
        BEGUN + "features", begun_mark("0" * 40, job.at_s)
    )  # of a server that restarted, maybe without its last second
    with pytest.raises(requests.ConnectionError):  # the JobManager, who should cancel it
        keeper.repair([job])
    client.set(BEGUN + "features", begun_mark(run_id, job.at_s))
    assert keeper.repair([job])
    assert client.get(MARK).decode().startswith(run_id)


def test_a_redis_that_evicts_is_refused_before_anything_is_submitted(redis_url: str, client: redis.Redis) -> None:
    running = Runtime(redis_url=redis_url)
    refuse.refuse_unfit(running)
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(ServiceError, match="has maxmemory-policy allkeys-lru"):
            refuse.refuse_unfit(running)
    finally:
        client.config_set("maxmemory-policy", "noeviction")
