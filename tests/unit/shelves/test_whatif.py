"""Logged lists, made again: under the same plan nothing changes, and under another what changes is counted."""

import random
from collections.abc import Iterable

import msgspec

from jobs.catalogue.columns import Table
from jobs.connect.kafka_read import Record
from jobs.contract.items import FactContract
from jobs.contract.shelf import Logged, read_logged
from jobs.contract.shelf_plan import ShelfPlan
from jobs.whatif.count import Difference, Lost
from jobs.whatif.read import History, events_of
from jobs.whatif.replay import Facts, Replay, replayed
from tests.support.random_shop import GAP_MS, TERMS, WHAT, Shop, compare, of_item, plan


class FactsOf(Facts):
    """The facts of a random shop, instead of those in Kafka."""

    def __init__(self, shop: Shop) -> None:
        self._table, self._snapshot = Table([WHAT, TERMS]), None
        self._coming = {each.topic: self._told(each, shop) for each in (WHAT, TERMS)}

    def _told(self, contract: FactContract, shop: Shop) -> list:
        return list(self.of_records(contract, shop.facts[contract]))[::-1]


def difference(shop: Shop, edited: ShelfPlan) -> Difference:
    logged = [read_logged(record.value, Logged) for record in shop.log]
    history, found = History(GAP_MS), Difference()
    for record in shop.events:
        history.add(0, record.offset, msgspec.json.decode(record.value or b""))
    sessions = [(each, session) for each in logged if (session := history.session(each)) is not None]
    assert len(sessions) == len(logged)
    for pair in replayed(sessions, Replay(edited, shop.bundle), FactsOf(shop)):
        found.add(pair, shop.plan, edited, history.clicks(logged))
    return found


def shops() -> Iterable[Shop]:
    for seed in range(4):
        shop = Shop(random.Random(seed))
        for _ in range(8):
            shop.batch()
        yield shop


def test_the_same_plan_makes_the_same_lists() -> None:
    for shop in shops():
        found = difference(shop, shop.plan)
        assert (found.lists, found.unchanged) == (len(shop.log), len(shop.log))
        assert found.lost == []
        assert found.before == found.after


def test_a_gate_that_nothing_passes_loses_every_click() -> None:
    nothing = plan.Rule(compare(">", of_item("stock"), plan.Literals([99])), "N")
    before = after = lost = 0
    for shop in shops():
        found = difference(shop, msgspec.structs.replace(shop.plan, gate=nothing))
        before, after, lost = before + found.before.clicked, after + found.after.clicked, lost + len(found.lost)
        assert found.after.categories == [0] * found.lists
        assert max(found.kept) == 0
    assert after == 0
    assert lost == before > 0


def test_what_strangers_wrote_into_the_topic_is_passed_by() -> None:
    """Bytes that aren't UTF-8, brackets deeper than a decoder goes, another visitor, nothing."""
    strange = [b'{"visitor_id": "\xff"}', b'{"visitor_id":"v","x":' + b"[" * 100_000, b'{"visitor_id":"w"}', None]
    records = [Record(0, offset, 0, b"v", value) for offset, value in enumerate(strange)]
    assert list(events_of(records, {"v"})) == []


def test_a_lost_click_cant_write_to_the_terminal() -> None:
    found = Difference(lists=1, lost=[Lost("v\x1b[2J", "home", "0-1", "a\nb", 3)])
    assert found.text(show=True).splitlines()[-1] == r"lost: v\x1b[2J home 0-1: a\x0ab, which stood at 3"
