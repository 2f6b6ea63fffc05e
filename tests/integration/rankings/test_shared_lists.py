"""Lists of items and places in a real Redis: they stand there again after each loss, and don't expire while served."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import redis

from jobs.catalogue.columns import Snapshot, Table
from jobs.contract.items import Fact, contracts
from jobs.contract.shelf import shared_key
from jobs.contract.shelf_plan import Compare, Feature, Literals, Rule, Shelf, ShelfPlan, Source
from jobs.rankings import shared_lists
from jobs.rankings.shared_lists import SharedLists
from jobs.rankings.shelf_source import ShelfSource
from jobs.rankings.trends import Trends
from jobs.shelves.versions import ShelfVersions
from tests.support.small_model import SmallBundle
from tests.support.waiting import eventually

SIMILAR = Shelf(name="similar", of="item", take=[Source(kind="together", what="anchor", as_type="view")], size=3)
POPULAR = Shelf(name="popular", of="place", take=[Source(kind="popular")], size=3)
ITEMS = 72
OF_ITEM, OF_EVERYWHERE = shared_key("item", "01", "similar"), shared_key("place", "", "popular")

Start = Callable[..., SharedLists]


@pytest.fixture
def start(tmp_path: Path, redis_url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Yield a function that starts a worker's thread; if nothing else is given, facts don't change meanwhile."""
    monkeypatch.setattr(shared_lists, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(shared_lists, "AFTER_ERROR_S", 0.05)
    versions = ShelfVersions(tmp_path / "shelves")
    source = tmp_path / "shelves.py"
    source.write_text("")
    bundle, no_facts = SmallBundle(random.Random(1), ITEMS), Table(()).snapshot()
    workers = []

    def started(
        url: str = redis_url,
        ttl_s: int = 3600,
        shelves: tuple[Shelf, ...] = (SIMILAR, POPULAR),
        facts: Callable[[], Snapshot] = lambda: no_facts,
    ) -> SharedLists:
        versions.activate(versions.publish(ShelfPlan(shelves=list(shelves)), source))
        worker = SharedLists(
            url,
            ttl_s,
            ShelfSource(str(versions.folder)),
            bundle=lambda: bundle,
            snapshot=facts,
            trends=Trends(url, "shop", "", ()),
        )
        workers.append(worker)
        return worker

    yield started
    for worker in workers:
        worker.close()


def test_each_item_and_place_has_a_list(start: Start, client: redis.Redis) -> None:
    start()
    eventually(lambda: client.exists(OF_ITEM) and client.exists(OF_EVERYWHERE))
    assert len(client.keys("shelf:{item/*")) == ITEMS


def test_an_emptied_redis_gets_its_lists_again(start: Start, client: redis.Redis) -> None:
    start()
    eventually(lambda: client.exists(OF_EVERYWHERE))
    client.flushall()
    eventually(lambda: client.exists(OF_ITEM) and client.exists(OF_EVERYWHERE))


def test_a_list_that_redis_refused_is_written_later(start: Start, redis_url: str, client: redis.Redis) -> None:
    client.acl_setuser("lists", enabled=True, reset=True, nopass=True, categories=["+@all"], keys=["shelf:lease"])
    start(redis_url.replace("://", "://lists:any@"))
    eventually(lambda: client.exists("shelf:lease"))
    eventually(lambda: len(client.acl_log()))
    client.acl_setuser("lists", enabled=True, nopass=True, categories=["+@all"], keys=["*"])

    eventually(lambda: client.exists(OF_ITEM) and client.exists(OF_EVERYWHERE))
    client.acl_deluser("lists")


def test_lists_are_renewed_before_they_expire(start: Start, client: redis.Redis) -> None:
    start(ttl_s=4)
    eventually(lambda: client.exists(OF_EVERYWHERE))
    left_ms = client.pttl(OF_EVERYWHERE)
    eventually(lambda: 0 < client.pttl(OF_EVERYWHERE) < left_ms)
    left_ms = client.pttl(OF_EVERYWHERE)
    eventually(lambda: client.pttl(OF_EVERYWHERE) > left_ms)


def test_a_shelf_is_made_as_often_as_it_says(
    start: Start, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the plan the hourly shelf comes first, so it would be written first."""
    monkeypatch.setattr(shared_lists, "AGAIN_S", 0.0)
    in_stock = Rule(Compare(">", Feature("item", "stock", "int"), Literals([0])), "N")
    hourly = msgspec.structs.replace(POPULAR, name="hourly", every_ms=3_600_000, where=in_stock)
    often = msgspec.structs.replace(POPULAR, name="often", where=in_stock)
    first, second = SmallBundle(random.Random(1), ITEMS).popular[:2]
    table = Table(contracts("items", "offers"))
    for item in (first, second):
        table.take("offers", Fact(item, {"stock": 1}))
    known = [table.snapshot()]

    def items(shelf: str) -> list[str]:
        return json.loads(client.get(shared_key("place", "", shelf)) or "{}").get("items", [])

    start(shelves=(hourly, often), facts=lambda: known[-1])
    eventually(lambda: items("hourly") == items("often") == [first, second])
    table.take("offers", Fact(first, {"stock": 0}))
    known.append(table.snapshot())
    eventually(lambda: items("often") == [second])
    assert items("hourly") == [first, second]
