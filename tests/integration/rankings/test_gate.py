"""The gate's set in a real Redis: what stands in it, who may write it, and what becomes of it when Redis is emptied."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from redis.crc import key_slot

from jobs.catalogue.columns import Snapshot, Table
from jobs.contract import shelf_plan as plan
from jobs.contract.items import Fact, contracts
from jobs.contract.shelf import GATE, GATE_GONE, GATE_STATE, GATE_VERSION
from jobs.contract.shelf_plan import Compare, Feature, Literals, Moment, Rule, ShelfPlan
from jobs.rankings import gate
from jobs.rankings.gate import GateWriter
from jobs.shelves.items import Items
from jobs.shelves.versions import PLAN, ShelfVersions
from tests.support.waiting import eventually

IN_STOCK = Compare(">", Feature("item", "stock", "int"), Literals([0]))
DAY_MS = 86_400_000
ON_SALE = Compare("<=", Feature("item", "created", "int"), Moment(0))


class Shop:
    """A catalogue, a folder of versions of shelves, and the workers that follow them."""

    def __init__(self, folder: Path, redis_url: str, client: redis.Redis) -> None:
        self.versions, self.client = ShelfVersions(folder), client
        self._source = folder.with_name("shelves.py")
        self._source.write_text("")
        self._redis_url = redis_url
        self._table = Table(contracts("items", "offers"))
        self._workers: list[GateWriter] = []
        self.snapshot = self._table.snapshot()

    def activate(self, *gates: plan.Condition) -> None:
        gate = Rule(plan.All(list(gates)), "N") if gates else None
        self.versions.activate(self.versions.publish(ShelfPlan(gate=gate, shelves=[]), self._source))

    def say(self, topic: str = "offers", **fields: dict | None) -> Snapshot:
        """Say facts of items; each is a record."""
        for item, values in fields.items():
            self._table.take(topic, Fact(item, values))
            self._table.offsets[topic] += 1
        self.snapshot = self._table.snapshot()
        return self.snapshot

    def worker(
        self, *ids: str, facts: Callable[[], Snapshot] | None = None, versions: ShelfVersions | None = None
    ) -> GateWriter:
        worker = GateWriter(self._redis_url, versions or self.versions, facts or (lambda: self.snapshot))
        worker.offer(Items(ids, self.snapshot) if ids else None)
        self._workers.append(worker)
        return worker

    @property
    def held(self) -> set[str]:
        return {each.decode() for each in self.client.smembers(GATE)}

    @property
    def version(self) -> bytes | None:
        return self.client.get(GATE_VERSION)

    def confirmed(self) -> bytes | None:
        return self.client.hget(GATE_STATE, "at_ms")

    def holds(self, *ids: str) -> None:
        """Wait until just these items are held back, and a worker has confirmed it."""
        eventually(lambda: self.held == set(ids) and self.version is not None)
        before = self.confirmed()
        eventually(lambda: self.confirmed() != before)
        assert self.held == set(ids)

    def close(self) -> None:
        for worker in self._workers:
            worker.close()


@pytest.fixture
def shop(tmp_path: Path, redis_url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.setattr(gate, "CONFIRM_S", 0.1)
    monkeypatch.setattr(gate, "LOOK_AT_VERSIONS_S", 0.1)
    shop = Shop(tmp_path / "versions", redis_url, client)
    yield shop
    shop.close()


def test_items_that_fail_or_are_unknown_are_held_back(shop: Shop) -> None:
    shop.activate(IN_STOCK)
    shop.say(a={"stock": 3}, b={"stock": 0}, c={"price_minor": 100})
    shop.worker("a", "b", "c", "d")

    shop.holds("b", "c", "d")


def test_before_a_worker_offers_items_those_with_facts_count(shop: Shop) -> None:
    shop.activate(IN_STOCK)
    shop.say(a={"stock": 3}, b={"stock": 0})
    shop.worker()
    shop.holds("b")

    shop.say(c={"stock": 0})
    shop.holds("b", "c")


def test_stock_that_changes_changes_set_and_version(shop: Shop) -> None:
    shop.activate(IN_STOCK)
    shop.say(a={"stock": 3}, b={"stock": 0})
    shop.worker("a", "b")
    shop.holds("b")
    before = shop.version

    shop.say(a={"stock": 0}, b={"stock": 1})
    shop.holds("a")
    assert shop.version != before

    shop.say(a={"stock": 1}, b={"stock": 0})
    shop.holds("b")


def test_a_change_is_written_as_a_difference(shop: Shop) -> None:
    ids = [f"i{number}" for number in range(5000)]
    shop.activate(IN_STOCK)
    shop.say(**{item: {"stock": 0} for item in ids})
    shop.worker(*ids)
    shop.holds(*ids)
    shop.client.config_resetstat()

    shop.say(i7={"stock": 1})
    eventually(lambda: not shop.client.sismember(GATE, "i7"))

    calls = shop.client.info("commandstats")
    assert (calls["cmdstat_srem"]["calls"], "cmdstat_sadd" in calls, "cmdstat_smembers" in calls) == (1, False, False)


def test_workers_that_know_the_same_write_once(shop: Shop) -> None:
    shop.activate(IN_STOCK)
    shop.say(a={"stock": 3}, b={"stock": 0})
    shop.worker("a", "b")
    shop.holds("b")
    shop.client.config_resetstat()

    shop.worker("a", "b")
    shop.holds("b")
    assert "cmdstat_set" not in shop.client.info("commandstats")  # the version stays


def test_late_facts_change_nothing_while_others_confirm(shop: Shop) -> None:
    """A worker that outlived its own failure follows no topic any more."""
    shop.activate(IN_STOCK)
    old = shop.say(a={"stock": 3}, b={"stock": 0})
    shop.say(a={"stock": 0}, b={"stock": 1})
    shop.worker("a", "b")
    shop.holds("a")

    shop.worker("a", "b", facts=lambda: old)
    for _ in range(3):
        shop.holds("a")


def test_topics_made_anew_count_when_nobody_confirms(shop: Shop) -> None:
    shop.activate(IN_STOCK)
    new = shop.say(a={"stock": 3})
    shop.say(a={"stock": 0})
    worker = shop.worker("a")
    shop.holds("a")
    worker.close()

    shop.client.hset(GATE_STATE, "at_ms", int(time.time() * 1000) - 11_000)
    shop.worker("a", facts=lambda: new)
    shop.holds()


def test_a_new_version_of_shelves_counts_before_facts(shop: Shop) -> None:
    """The old worker reads newer facts, and confirms them every moment."""
    shop.activate(IN_STOCK)
    old = shop.say(a={"stock": 0}, b={"stock": 0})
    shop.say(b={"stock": 1})
    shop.worker("a", "b", versions=ShelfVersions(shutil.copytree(shop.versions.folder, shop.versions.folder / "old")))
    shop.holds("a")

    shop.activate(Compare("==", Feature("item", "stock", "int"), Literals([0])))
    shop.worker("a", "b", facts=lambda: old)
    for _ in range(3):
        shop.holds()


def test_without_a_gate_the_set_is_empty(shop: Shop) -> None:
    shop.activate(IN_STOCK)
    shop.say(a={"stock": 0})
    shop.worker("a", "b")
    shop.holds("a", "b")
    shop.client.sadd(GATE, "a stranger")

    shop.activate()
    shop.holds()


def test_nothing_is_written_while_no_version_is_active(shop: Shop) -> None:
    shop.worker("a")
    time.sleep(0.2)
    assert shop.client.keys() == []


def test_broken_shelves_are_told_once(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    shop.activate(IN_STOCK)
    shop.say(a={"stock": 0})
    (plan_file,) = shop.versions.folder.glob(f"*/{PLAN}")
    whole = plan_file.read_bytes()
    plan_file.write_bytes(b"half a fi")
    shop.worker("a")
    eventually(lambda: caplog.records)
    time.sleep(0.5)
    plan_file.write_bytes(whole)

    shop.holds("a")
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_stranger_stays_held_back(shop: Shop) -> None:
    """Another worker has held it back: its model had an item of which no facts are known."""
    shop.activate(IN_STOCK)
    shop.say(a={"stock": 0})
    worker = shop.worker("a", "gone")
    shop.holds("a", "gone")
    worker.close()

    shop.worker("a")
    shop.say(a={"stock": 1})
    shop.holds("gone")


def test_items_long_gone_are_let_go(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """No list can hold `old` any more; `back` is known again, and `late` went a moment ago."""
    monkeypatch.setattr(gate, "LOOK_AT_GONE_S", 0.1)
    shop.activate(IN_STOCK)
    shop.say(a={"stock": 0})
    first = shop.worker("a", "old", "late", "back")
    shop.holds("a", "old", "late", "back")
    first.close()
    second = shop.worker("a")
    eventually(lambda: set(shop.client.hkeys(GATE_GONE)) == {b"old", b"late", b"back"})
    second.close()

    long_ago_ms = int(time.time() * 1000) - 31 * DAY_MS
    shop.client.hset(GATE_GONE, mapping={"old": long_ago_ms - 2000, "back": long_ago_ms, "late": long_ago_ms + DAY_MS})
    shop.worker("a", "back")
    shop.holds("a", "late", "back")
    eventually(lambda: shop.client.hkeys(GATE_GONE) == [b"late"])
    shop.holds("a", "late", "back")


def test_an_item_removed_while_no_worker_ran_is_held(shop: Shop) -> None:
    """Compaction has taken what was said of it, and the model doesn't know it; an old list may hold it."""
    shop.activate(IN_STOCK)
    shop.say(a={"stock": 1}, gone=None)
    shop.worker("a")
    shop.holds("gone")

    shop.say(other=None, gone={"stock": 1})
    shop.worker("a", "gone")
    shop.holds("other")


def test_redis_that_was_emptied_gets_the_set_back(shop: Shop) -> None:
    shop.activate(IN_STOCK)
    shop.say(a={"stock": 0})
    shop.worker("a")
    shop.holds("a")

    shop.client.flushall()
    shop.holds("a")


@pytest.mark.parametrize("key", [GATE, GATE_VERSION, GATE_STATE])
def test_a_lost_key_is_written_anew(key: str, shop: Shop) -> None:
    shop.activate(IN_STOCK)
    shop.say(a={"stock": 0}, b={"stock": 0})
    shop.worker("a", "b")
    shop.holds("a", "b")
    before = shop.version

    shop.client.delete(key)
    shop.holds("a", "b")
    assert shop.version == before


def test_a_gate_on_time_opens_by_itself(shop: Shop) -> None:
    shop.activate(ON_SALE)
    now_ms = time.time_ns() // 1_000_000
    shop.say("items", a={"created": now_ms + 1500}, b={"created": now_ms - 10})
    shop.worker("a", "b")

    shop.holds("a")
    shop.holds()


def test_other_items_are_judged_when_they_are_offered(shop: Shop) -> None:
    shop.activate(IN_STOCK)
    shop.say(a={"stock": 0}, b={"stock": 0}, c={"stock": 1})
    worker = shop.worker("a")
    shop.holds("a")

    worker.offer(Items(["c", "b", "a"], shop.snapshot))
    shop.holds("a", "b")
    shop.say(a={"stock": 1})
    shop.holds("b")


def test_all_keys_lie_on_one_server_of_a_cluster() -> None:
    assert len({key_slot(key.encode()) for key in (GATE, GATE_VERSION, GATE_STATE)}) == 1
