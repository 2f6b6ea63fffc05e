"""Lists into a real Redis: versions, replays, expiry, outages; and the whole operator on one batch."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import redis

from jobs.cluster import processes
from jobs.cluster import redis as redis_server
from jobs.contract.ranker_settings import RankerSettings
from jobs.contract.shelf_plan import Kind, VisitorFeature
from jobs.errors import ServiceError, SettingsError
from jobs.features.online_store import entity_key, feature_field
from jobs.rankings.context import ContextReader
from jobs.rankings.publish import Encoder, Publication, PublishCounts, Publisher
from jobs.rankings.ranked_list import RankedList
from jobs.rankings.session import Session
from jobs.settings import REPOSITORY
from tests.support.clock import Clock
from tests.support.waiting import eventually

ESHOP = REPOSITORY / "models" / "artifacts" / "eshop"
ENCODER = Encoder("model-1", [])
CLOCK = Clock()
HOUR_S = 3600


@pytest.fixture
def publisher(redis_url: str, client: redis.Redis) -> Iterator[Publisher]:
    publisher = Publisher(redis_url, HOUR_S)
    yield publisher
    publisher.close()


def publication(visitor: str, offset: int, item: str = "a", event_time_ms: int | None = None) -> Publication:
    event_time_ms = CLOCK.now_ms if event_time_ms is None else event_time_ms
    session = Session([event_time_ms], ["view"], [item], frozenset())
    return Publication(visitor, "home", 0, offset, RankedList([item], [1.0], None, [item]), session, [], CLOCK.now_ms)


def publish(publisher: Publisher, *publications: Publication) -> PublishCounts:
    return publisher.publish(publications, [ENCODER.value(one) for one in publications])


def stored_items(client: redis.Redis, visitor: str) -> list[str]:
    return json.loads(client.get(f"shelf:{{{visitor}}}:home"))["items"]


def test_a_list_is_written_under_its_key_as_encoded(publisher: Publisher, client: redis.Redis) -> None:
    one = publication("v1", 7)

    assert publish(publisher, one) == PublishCounts(written=1, stale=0)
    assert client.keys() == [b"shelf:{v1}:home"]
    assert client.get("shelf:{v1}:home") == ENCODER.value(one)


def test_an_older_list_never_replaces_a_newer_one(publisher: Publisher, client: redis.Redis) -> None:
    publish(publisher, publication("v1", 10, "new"), publication("v2", 5, "old"))

    counts = publish(publisher, publication("v1", 9, "old"), publication("v2", 6, "new"))

    assert counts == PublishCounts(written=1, stale=1)
    assert stored_items(client, "v1") == stored_items(client, "v2") == ["new"]


def test_versions_beyond_what_a_double_holds_are_compared_exactly(publisher: Publisher, client: redis.Redis) -> None:
    publish(publisher, publication("v1", 2**53 + 1, "new"))

    assert publish(publisher, publication("v1", 2**53, "old")).stale == 1
    assert stored_items(client, "v1") == ["new"]


def test_a_replayed_batch_writes_the_same_again(publisher: Publisher, client: redis.Redis) -> None:
    batch = [publication(f"v{number}", number) for number in range(50)]
    publish(publisher, *batch)
    before = {key: client.get(key) for key in client.scan_iter()}

    assert publish(publisher, *batch) == PublishCounts(written=50, stale=0)
    assert {key: client.get(key) for key in client.scan_iter()} == before


def test_two_writers_leave_the_newest_list_of_each_visitor(redis_url: str, client: redis.Redis) -> None:
    def write(offsets: list[int]) -> None:
        publisher = Publisher(redis_url, HOUR_S)
        for offset in offsets:
            publish(publisher, *(publication(f"v{visitor}", offset, f"i{offset}") for visitor in range(20)))
        publisher.close()

    forward, backward = list(range(0, 100)), list(range(99, -1, -1))
    writers = [threading.Thread(target=write, args=(offsets,)) for offsets in (forward, backward)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert [stored_items(client, f"v{visitor}") for visitor in range(20)] == [["i99"]] * 20


def test_a_server_that_forgot_the_script_gets_it_again(publisher: Publisher, client: redis.Redis) -> None:
    publish(publisher, publication("v1", 1, "old"), publication("v2", 9, "new"))
    client.script_flush()

    counts = publish(publisher, publication("v1", 2, "new"), publication("v2", 8, "old"))

    assert counts == PublishCounts(written=1, stale=1)
    assert stored_items(client, "v1") == stored_items(client, "v2") == ["new"]


def test_a_list_expires_at_its_event_time_plus_the_ttl(publisher: Publisher, client: redis.Redis) -> None:
    """A list expires at its event time plus the ttl however often it is written."""
    ten_minutes_ago_ms = CLOCK.now_ms - 600_000
    for _ in range(2):
        publish(publisher, publication("v1", 1, event_time_ms=ten_minutes_ago_ms))

    left_ms = client.pttl("shelf:{v1}:home")

    now_ms = time.time_ns() // 1_000_000
    assert now_ms + left_ms == pytest.approx(ten_minutes_ago_ms + HOUR_S * 1000, abs=500)


def test_a_list_whose_time_is_over_is_absent_at_once(publisher: Publisher, client: redis.Redis) -> None:
    publish(publisher, publication("v1", 1, event_time_ms=CLOCK.now_ms - 2 * HOUR_S * 1000))

    assert client.get("shelf:{v1}:home") is None


def test_a_foreign_value_is_an_error_without_the_visitor(publisher: Publisher, client: redis.Redis) -> None:
    """A foreign value under a key is an error that names the key without the visitor."""
    client.rpush("shelf:{v2}:home", "mine")

    with pytest.raises(ServiceError, match=r"shelf:\{…\}:home.*WRONGTYPE") as raised:
        publish(publisher, publication("v1", 1), publication("v2", 2))
    assert "v2" not in str(raised.value)
    assert publish(publisher, publication("v3", 3)).written == 1  # no reply of the failed batch is left over


def test_connections_that_were_cut_are_opened_again(publisher: Publisher, client: redis.Redis) -> None:
    publish(publisher, publication("v1", 1, "old"))
    client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    assert publish(publisher, publication("v1", 2, "new")).written == 1
    assert stored_items(client, "v1") == ["new"]


def test_server_that_comes_back_within_the_patience_gets_the_batch(tmp_path: Path) -> None:
    (port,) = processes.free_ports(1)
    url = redis_server.url(port)
    late = threading.Timer(0.7, redis_server.start, (tmp_path, port))
    late.start()
    try:
        counts = publish(Publisher(url, HOUR_S, patience_s=20), publication("v1", 1))
    finally:
        late.join()
        eventually(lambda: redis_server.answers(url), within_s=20)
        processes.stop(processes.owned(tmp_path))

    assert counts == PublishCounts(written=1, stale=0)


def test_a_full_redis_is_waited_for_until_there_is_room(publisher: Publisher, client: redis.Redis) -> None:
    """A full Redis is waited for and the batch written when there is room."""
    client.config_set("maxmemory", 1)
    room = threading.Timer(0.5, client.config_set, ("maxmemory", 0))
    room.start()
    try:
        counts = publish(publisher, publication("v1", 1, "A"))
    finally:
        room.join()

    assert counts == PublishCounts(written=1, stale=0)
    assert stored_items(client, "v1") == ["A"]


def test_server_that_forgets_its_scripts_all_time_gets_every_batch(publisher: Publisher, client: redis.Redis) -> None:
    ending = threading.Event()

    def forget() -> None:
        with redis.Redis(connection_pool=client.connection_pool) as other:
            while not ending.is_set():
                other.script_flush()

    forgetting = threading.Thread(target=forget)
    forgetting.start()
    try:
        counts = [publish(publisher, publication("v1", offset), publication("v2", offset)) for offset in range(200)]
    finally:
        ending.set()
        forgetting.join()

    assert counts == [PublishCounts(written=2, stale=0)] * 200


def test_a_server_that_stays_away_is_named_after_the_patience() -> None:
    """A server that stays away is an error that names it after the patience."""
    (port,) = processes.free_ports(1)
    started = time.monotonic()

    with pytest.raises(ServiceError, match=f"127.0.0.1:{port} didn't answer for 0.5 s"):
        publish(Publisher(redis_server.url(port), HOUR_S, patience_s=0.5), publication("v1", 1))
    assert time.monotonic() - started > 0.1


def test_error_about_server_that_is_away_doesnt_show_its_password() -> None:
    (port,) = processes.free_ports(1)
    publisher = Publisher(f"redis://someone:hunter2@127.0.0.1:{port}/0", HOUR_S, patience_s=0.1)

    with pytest.raises(ServiceError) as raised:
        publish(publisher, publication("v1", 1))
    assert "hunter2" not in str(raised.value)


FEATURES = ["visitor_session:view_count", "visitor_session:mean_dwell_ms", "visitor_activity:views_1h"]


def store_features(client: redis.Redis, visitor: str, **values: bytes) -> None:
    """`view__feature=value` as Feast's Redis store holds it."""
    fields = {feature_field(*name.split("__")): value for name, value in values.items()}
    client.hset(entity_key("liveshelf", {"visitor_id": visitor}), mapping=fields)


def test_context_is_each_visitors_values_in_the_services_order(redis_url: str, client: redis.Redis) -> None:
    value_pb2 = pytest.importorskip("feast.protos.feast.types.Value_pb2")
    views = value_pb2.Value(int64_val=3).SerializeToString()
    dwell = value_pb2.Value(double_val=1500.5).SerializeToString()
    store_features(client, "v1", visitor_session__view_count=views, visitor_session__mean_dwell_ms=dwell)
    store_features(client, "v3", visitor_activity__views_1h=views, visitor_session__mean_dwell_ms=b"")

    context = ContextReader(redis_url, "liveshelf", FEATURES).read(["v1", "v2", "v3"])

    assert context.dtype == np.float32
    assert context.tolist() == [[3, 1500.5, 0], [0, 0, 0], [0, 0, 3]]


def test_feature_that_isnt_number_is_an_error_that_names_it(redis_url: str, client: redis.Redis) -> None:
    value_pb2 = pytest.importorskip("feast.protos.feast.types.Value_pb2")
    store_features(client, "v1", visitor_session__mean_dwell_ms=value_pb2.Value(string_val="x").SerializeToString())

    with pytest.raises(SettingsError, match="visitor_session:mean_dwell_ms"):
        ContextReader(redis_url, "liveshelf", FEATURES).read(["v1"])


def test_a_visitors_feature_of_another_type_is_not_known(
    redis_url: str, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    value_pb2 = pytest.importorskip("feast.protos.feast.types.Value_pb2")
    texts, number = value_pb2.Value(string_val="7"), value_pb2.Value(int64_val=7)
    for visitor in ("v1", "v2"):
        store_features(
            client, visitor, views__count=texts.SerializeToString(), views__country=number.SerializeToString(),
            views__mean=number.SerializeToString(), views__bought=number.SerializeToString(),
        )  # fmt: skip
    kinds: dict[str, Kind] = {"count": "int", "country": "string", "mean": "float", "bought": "strings"}
    of_rules = [VisitorFeature(name, "views", kind, 0) for name, kind in kinds.items()]

    _, known = ContextReader(redis_url, "liveshelf", [], of_rules=of_rules).read_all(["v1", "v2"])

    assert known == [{"mean": 7.0}, {"mean": 7.0}]
    assert [record.args and record.args[1] for record in caplog.records] == ["count", "country", "bought"]
    assert "rules read a feature of type int, and the store holds a string" in caplog.text


@pytest.mark.skipif(not (ESHOP / "manifest.json").is_file(), reason="the eshop bundle isn't there")
def test_operator_publishes_newest_row_of_each_visitor_and_logs_it(
    redis_url: str, client: redis.Redis, counters: dict
) -> None:
    udf = pytest.importorskip("jobs.rankings.operator")
    known = json.loads((ESHOP / "vocabulary.json").read_text())["items"]
    operator = udf.RankSessions(udf.RankConfig(RankerSettings(model_dir=str(ESHOP)), redis_url, "liveshelf"))
    operator.open(counters)

    def history(*items: str) -> str:
        return "\x1e".join(f"{CLOCK.now_ms + n}\x1fview\x1f{item}\x1fe{n}\x1f" for n, item in enumerate(items))

    records = operator.eval(
        pd.Series(["v1", "v2", "v1"]),
        pd.Series([0, 0, 0]),
        pd.Series([11, 12, 13]),
        pd.Series([history(known[0]), history("unknown"), history(known[0], known[1])]),
        pd.Series([CLOCK.now_ms, CLOCK.now_ms, CLOCK.now_ms]),
        pd.Series([None, None, None], dtype=object),
        pd.Series(["view", "view", "view"]),
        pd.Series([CLOCK.now_ms, CLOCK.now_ms, CLOCK.now_ms]),
    )
    operator.close()

    assert records[0] is None
    popular, personal = json.loads(records[1]), json.loads(records[2])
    assert (popular["visitor_id"], popular["fallback"], popular["items"]) == ("v2", "popular", known[:20])
    assert (personal["fallback"], personal["list_id"], personal["session_events"]) == (None, "0-13", 2)
    assert personal["session_items"] == known[:2]
    assert len(personal["items"]) == 20
    assert personal["context"] == [0, 0, 0, 0]
    assert personal.items() >= json.loads(client.get("shelf:{v1}:home")).items()
    assert (counters["batch_rows"], counters["rows_superseded"], counters["lists_written"]) == (3, 1, 2)


def test_a_visitor_on_another_partition_gets_no_old_list(publisher: Publisher, client: redis.Redis) -> None:
    """A visitor who moved to a higher partition gets its new lists and no old one back."""
    publish(publisher, publication("v1", 900, "before the topic grew"))
    moved = publication("v1", 3, "after", CLOCK.now_ms + 1)._replace(partition=4)

    assert publish(publisher, moved) == PublishCounts(written=1, stale=0, elsewhere=1)
    assert publish(publisher, publication("v1", 901, "a zombie's")) == PublishCounts(written=0, stale=1, elsewhere=1)
    assert stored_items(client, "v1") == ["after"]


def test_of_two_partitions_the_newest_events_list_stands(publisher: Publisher, client: redis.Redis) -> None:
    """Two producers place a visitor in two partitions; what is seen follows the visitor, as it does within one."""

    def seen(partition: int, offset: int, item: str, after_ms: int) -> PublishCounts:
        one = publication("v1", offset, item, CLOCK.now_ms + after_ms)._replace(partition=partition)
        counts = publish(publisher, one)
        found.append(*stored_items(client, "v1"))
        return counts

    found: list[str] = []
    assert seen(1, 7, "a", 0) == PublishCounts(written=1, stale=0, elsewhere=0)
    assert seen(0, 3, "b", 10) == PublishCounts(written=1, stale=0, elsewhere=1)
    assert seen(0, 4, "c", 20) == PublishCounts(written=1, stale=0, elsewhere=0)
    assert seen(1, 8, "d", 30) == PublishCounts(written=1, stale=0, elsewhere=1)
    assert seen(0, 5, "an older one", 29) == PublishCounts(written=0, stale=1, elsewhere=1)
    assert seen(0, 5, "knows d too", 30) == PublishCounts(written=1, stale=0, elsewhere=1)
    assert seen(0, 4, "a zombie's", 40) == PublishCounts(written=0, stale=1, elsewhere=0)  # offsets decide within one
    assert found == ["a", "b", "c", "d", "d", "knows d too", "knows d too"]
