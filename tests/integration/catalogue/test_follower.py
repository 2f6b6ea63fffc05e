"""The follower on a real broker: everything before the first batch, what is new at once, refusals and tombstones."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from jobs.catalogue.follower import Follower
from jobs.connect import fact_topics, kafka_admin, kafka_send
from jobs.connect.fact_topics import Change
from jobs.contract.items import contracts
from jobs.contract.shelf import GATE_VERSION, shelf_key
from jobs.contract.shelf_plan import Compare, Count, Feature, Literals, Rule, Shelf, ShelfPlan, Source
from jobs.errors import ServiceError
from jobs.features.online_store import entity_key, feature_field
from jobs.lab.bench.out_of_stock import Shop, measure
from jobs.rankings.gate import GateWriter
from jobs.rankings.trends import Trends
from jobs.shelves.versions import ShelfVersions
from liveshelf import ShelfReader
from tests.support.waiting import eventually

CONTRACTS = contracts("items", "offers")


def say(bootstrap: str, *changes: Change) -> None:
    fact_topics.send(bootstrap, ["items", "offers"], changes, time.time_ns() // 1_000_000)


def stock(follower: Follower, item_id: str) -> object:
    (row,) = follower.snapshot.places([item_id])
    return follower.snapshot.columns["stock"].value(row) if row >= 0 else "unknown"


@pytest.fixture(scope="module")
def followed(bootstrap: str) -> Iterator[Follower]:
    fact_topics.create(bootstrap, ("items", "offers"))
    say(bootstrap, *(Change("offers", str(number), {"stock": number}) for number in range(5000)))
    follower = Follower(bootstrap, CONTRACTS).start()
    yield follower
    follower.close()


def test_everything_is_known_before_the_first_batch(followed: Follower):
    assert (followed.snapshot.items, stock(followed, "4999")) == (5000, 4999)
    assert followed.snapshot.offsets == {"items": 0, "offers": 5000}


def test_what_is_said_removed_or_refused_is_heard(followed: Follower, bootstrap: str):
    before = followed.snapshot
    sender = kafka_send.connect(bootstrap, "offers", fast=False)
    sender.send(b"2", b'{"stock": "7"}', 1)
    sender.flush()
    sender.close()
    say(bootstrap, Change("offers", "1", {"stock": 0}), Change("offers", "3", None), Change("items", "new", {}))
    eventually(lambda: followed.snapshot.items == 5000 and stock(followed, "3") is None)
    assert [stock(followed, item) for item in "123"] == [0, 2, None]
    assert (followed.refused, followed.read) == (1, 5004)
    (row,) = before.places(["1"])
    assert before.columns["stock"].value(row) == 1


def test_what_is_sold_out_leaves_all_lists_and_comes_back(
    followed: Follower, bootstrap: str, redis_url: str, client: redis.Redis, tmp_path: Path
) -> None:
    """Between Kafka and the reader stand a follower and the gate's writer, as in a worker. No list is written anew."""
    versions, source = ShelfVersions(tmp_path / "versions"), tmp_path / "shelves.py"
    source.write_text("")
    in_stock = Compare(">", Feature("item", "stock", "int"), Literals([0]))
    versions.activate(versions.publish(ShelfPlan(gate=Rule(in_stock, "N"), shelves=[]), source))
    for visitor in range(60):
        for shelf, first in (("home", 100), ("product", 200)):
            put(client, shelf_key(f"v{visitor}", shelf), [str(first + visitor + place) for place in range(4)])
    offers = next(contract for contract in CONTRACTS if contract.topic == "offers")
    shop = Shop(bootstrap, offers, ShelfReader(client), ["home", "product"])
    with closing(GateWriter(redis_url, versions, lambda: followed.snapshot)):
        eventually(lambda: client.exists(GATE_VERSION))
        measured = measure(shop, [f"v{visitor}" for visitor in range(60)])
    assert (len(measured.gone_s), len(measured.back_s)) == (60, 60)
    assert [shop.first(f"v{visitor}") for visitor in range(60)] == [str(100 + visitor) for visitor in range(60)]


def put(client: redis.Redis, key: str, items: list[str]) -> None:
    now_ms = time.time_ns() // 1_000_000
    value = {
        "version": "0" * 20, "items": items, "scores": [1.0] * len(items), "model": "m", "event_time_ms": now_ms,
        "computed_at_ms": now_ms, "session_events": 1, "fallback": None, "list_id": "0-1", "spare": 1,
    }  # fmt: skip
    client.set(key, json.dumps(value))


def test_its_age_is_told_though_nothing_changes(followed: Follower):
    eventually(lambda: followed.age_ms() < 1000)


def test_it_ends_when_it_is_closed(bootstrap: str):
    fact_topics.create(bootstrap, ("items", "offers"))
    follower = Follower(bootstrap, CONTRACTS).start()
    (thread,) = (each for each in threading.enumerate() if each is follower._thread)
    follower.close()
    assert not thread.is_alive()


@pytest.mark.parametrize(("topic", "reason"), [("absent", "no topic 'absent'"), ("wide", "2 partitions")])
def test_a_topic_that_cant_be_followed_is_named(bootstrap: str, topic: str, reason: str):
    kafka_admin.create_topics(bootstrap, {"wide": 2})
    with pytest.raises(ServiceError, match=reason):
        Follower(bootstrap, contracts(topic, "wide")).start()


def test_a_worker_says_trends_that_another_changed(bootstrap: str, redis_url: str, client: redis.Redis) -> None:
    """The first worker says 4, the second 0, and then the first finds 4 again. What it once said is no longer true."""
    fact_topics.create(bootstrap, ["trends"])
    counts = {"trend": "float", "trend_visitors": "int", "trend_category_visitors": "int"}
    (said,) = (each for each in contracts("items", "offers", {"trends": counts}) if each.topic == "trends")
    views, visitors = Count("v", "views_24h", "view", 86_400_000), Count("v", "visitors_24h", "view", 86_400_000)
    trend = Source(
        kind="trend",
        weights={"view": 2.0},
        half_life_ms=43_200_000,
        counts=[views],
        visitors=visitors,
        category_visitors=visitors,
    )
    plan = ShelfPlan(shelves=[Shelf(name="trending", of="place", take=[trend], size=5)])
    with (
        closing(Follower(bootstrap, [said]).start()) as follower,
        closing(Trends(redis_url, "shop", bootstrap, [said])) as one,
        closing(Trends(redis_url, "shop", bootstrap, [said])) as other,
    ):
        for worker, count in ((one, 4), (other, 0), (one, 4)):
            client.hset(entity_key("shop", {"item_id": "a"}), feature_field("v", "views_24h"), bytes((3 << 3, count)))
            assert worker.write(plan, ["a"], follower.snapshot) == 1
            eventually(lambda count=count: trend_of(follower, "a") == count)


def trend_of(follower: Follower, item_id: str) -> object:
    (row,) = follower.snapshot.places([item_id])
    return follower.snapshot.columns["trend"].value(row) if row >= 0 else None
