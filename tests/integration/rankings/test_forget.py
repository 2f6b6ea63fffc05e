"""Test what a withdrawal and an erasure do in a real Redis: to the list, the online features and late writers."""

import time
from collections.abc import Iterator

import msgspec
import pytest
import redis

from jobs.features.online_store import Row, feature_field
from jobs.features.operator import newest_rows
from jobs.features.plan import FeaturePlan, Output, ViewPlan
from jobs.features.redis_writer import RedisWriter
from jobs.rankings.publish import Encoder, Forgotten, Publication, Publisher
from jobs.rankings.ranked_list import RankedList
from jobs.rankings.session import Session
from liveshelf.reader import Shelf, ShelfReader
from tests.support.clock import Clock

CLOCK = Clock(behind_ms=60_000)
HOUR_S = 3600
KEY = "shelf:{v}:home"
POPULAR = RankedList(["p1", "p2"], [0.0, 0.0], "no_consent", [])
ENCODER = Encoder("m-1", [])


@pytest.fixture
def publisher(redis_url: str, client: redis.Redis) -> Iterator[Publisher]:
    publisher = Publisher(redis_url, HOUR_S)
    yield publisher
    publisher.close()


def publish(publisher: Publisher, offset: int, event_time_ms: int | None = None) -> int:
    event_time_ms = CLOCK.now_ms if event_time_ms is None else event_time_ms
    session = Session([event_time_ms], ["view"], ["a"], frozenset())
    one = Publication("v", "home", 0, offset, RankedList(["a"], [1.0], None, ["a"]), session, [], CLOCK.now_ms)
    return publisher.publish([one], [ENCODER.value(one)]).written


def now_ms() -> int:
    """The mark's expiry is counted from when it was made; the clock may be minutes ago by then."""
    return time.time_ns() // 1_000_000


def forget(publisher: Publisher, one: Forgotten) -> int:
    return publisher.forget([one], [ENCODER.behind_version(one)])


def erase(publisher: Publisher, newest_offset: int = -1, before_ms: int | None = None) -> int:
    before_ms = CLOCK.now_ms + 1 if before_ms is None else before_ms
    return forget(publisher, Forgotten("v", "home", (0, newest_offset), before_ms, None, now_ms(), False))


def withdraw(publisher: Publisher, newest_offset: int = -1) -> int:
    return forget(publisher, Forgotten("v", "home", (0, newest_offset), CLOCK.now_ms, POPULAR, now_ms(), True))


def test_an_erased_list_is_absent_at_once(publisher, client, redis_url) -> None:
    """An erased list is absent at once and its key is gone after 20 seconds."""
    publish(publisher, 7)

    assert erase(publisher) == 1
    assert ShelfReader(redis_url).get("v") == Shelf("v")
    assert b"a" not in msgspec.json.decode(client.get(KEY))["items"]
    assert 15_000 < client.pttl(KEY) <= 20_000


@pytest.mark.parametrize("act", [erase, withdraw])
def test_an_old_worker_cant_put_a_forgotten_list_back(publisher, act) -> None:
    """A worker that outlived its failure can't put a forgotten list back and the next event can."""
    publish(publisher, 7)
    act(publisher, newest_offset=9)  # 8 and 9 were on their way

    assert [publish(publisher, offset) for offset in (7, 8, 9)] == [0, 0, 0]
    assert publish(publisher, 10) == 1


def test_forgetting_twice_changes_nothing_more(publisher, client) -> None:
    publish(publisher, 7)
    assert (erase(publisher), erase(publisher)) == (1, 0)
    assert msgspec.json.decode(client.get(KEY))["version"] == "00000000000000000008"


def test_an_erasure_leaves_a_list_for_an_event_since(publisher, client, redis_url) -> None:
    """An erasure leaves a list for an event since and writes nothing where nothing is."""
    assert erase(publisher) == 0
    assert client.keys() == []
    publish(publisher, 7)
    assert erase(publisher, before_ms=CLOCK.now_ms) == 0
    assert ShelfReader(redis_url).get("v").state == "fresh"


def test_who_withdraws_gets_popularity_list_said_so_whatever_stood_there(publisher, client, redis_url) -> None:
    assert withdraw(publisher) == 1
    publish(publisher, 7)
    assert withdraw(publisher) == 1
    shelf = ShelfReader(redis_url).get("v")
    assert (shelf.state, shelf.fallback, shelf.items, shelf.session_events) == (
        "fallback",
        "no_consent",
        ("p1", "p2"),
        0,
    )
    assert shelf.event_time_ms == CLOCK.now_ms
    assert client.get(KEY).startswith(b'{"version":"00000000000000000008",')


VIEW = ViewPlan("visits", "visitor_id", "session", [Output("n", "count", "item_id", "Int64")], 86_400_000, gap_ms=1000)
PLAN = FeaturePlan("shop", "events", 0, [VIEW, msgspec.structs.replace(VIEW, name="more", part=1)])


def test_an_entitys_row_goes_and_no_late_writer_revives_it(redis_url, client) -> None:
    """An entitys row goes and its hash with its last row and no late writer brings it back."""
    writer = RedisWriter(redis_url, PLAN)
    old, new = Row("v", CLOCK.now_ms, 3, "[5]"), Row("v", CLOCK.now_ms + 1, 1, "[6]")
    writer.write([("visitor_id", old), ("visitor_id_part1", old)])
    (key,) = client.keys()

    assert writer.erase([("visitor_id", "v", CLOCK.now_ms)]) == 0  # of events before, and there is none
    assert writer.erase([("visitor_id", "v", CLOCK.now_ms + 1), ("visitor_id", "nobody", CLOCK.now_ms + 1)]) == 1
    assert set(client.hkeys(key)) == {b"_v:visitor_id", b"_v:visitor_id_part1", b"_ts:more", feature_field("more", "n")}
    assert client.pttl(key) > 20_000
    assert writer.erase([("visitor_id_part1", "v", CLOCK.now_ms + 1)]) == 1
    assert 15_000 < client.pttl(key) <= 20_000
    assert writer.write([("visitor_id", old)]).written == 0
    assert writer.write([("visitor_id", new)]).written == 1
    assert client.hget(key, feature_field("visits", "n")) == b"\x20\x06"
    assert client.pttl(key) > 20_000
    writer.close()


def test_of_a_batch_only_rows_behind_an_erasure_are_written() -> None:
    rows = [("o", "v", 5, 1), ("o", "w", 6, 1), ("o", "v", 9, 0), ("o", "v", 7, 1)]
    assert newest_rows(rows, {("o", "v"): 2}) == [1, 3]
