"""Which new items a worker lists by their facts, and what it keeps of them from one snapshot to the next."""

import random
from typing import Any

import numpy as np
import pytest

from jobs.catalogue.columns import Table
from jobs.contract.items import Fact, FactContract, FactField
from jobs.rankings.candidates.newcomers import Newcomers
from jobs.shelves.items import Items
from models.serving.newcomers import Words
from tests.support.small_model import SmallBundle

OWN = 3  # items of the bundle


def bundle() -> SmallBundle:
    """A bundle that knows the words of categories, brands and prices, 5 and 12 being where a price's word ends."""
    return next(made for seed in range(9) if (made := SmallBundle(random.Random(seed), OWN + 70)).words)


def table(**kinds: Any) -> Table:
    return Table([FactContract("all", tuple(FactField(name=name, kind=kind) for name, kind in kinds.items()))])


def items_of(facts: Table, own: SmallBundle, *new: str) -> Items:
    return Items([*own.items[1:], *new], facts.snapshot())


@pytest.fixture
def shop() -> Table:
    return table(category="string", brand="string", price="float")


def test_words_are_those_that_the_oracle_reads(shop):
    """Prices on a bound, beyond all bounds, and such that aren't a number."""
    own, prices = bundle(), [4.9, 5, 5.1, 12, 1e300, float("inf"), float("nan")]
    said = [
        {"category": random.Random(number).choice("abcd"), "price": price} for number, price in enumerate(prices)
    ] + [{"brand": "x"}, {"brand": "never seen"}, {}]
    for number, each in enumerate(said):
        shop.take("all", Fact(f"n{number}", each))
    names = [f"n{number}" for number in range(len(said))]
    rows = np.array([own.words.rows(each.get) for each in said])
    known = rows.any(axis=1)
    found = Newcomers(own).of(items_of(shop, own, *names))
    assert found.numbers.tolist() == (len(own.items) - 1 + np.flatnonzero(known)).tolist()
    assert found.vectors == pytest.approx(own.newcomers(rows[known]))


def test_facts_of_another_type_are_not_known():
    own, facts = bundle(), table(category="int", brand="bool", price="string")
    facts.take("all", Fact("n", {"category": 1, "brand": True, "price": "7"}))
    assert Newcomers(own).of(items_of(facts, own, "n")) is None


def test_items_that_are_gone_do_not_count(shop, monkeypatch):
    monkeypatch.setattr(Words, "MOST", 2)
    own = bundle()
    for item in ("n1", "gone", "n2"):
        shop.take("all", Fact(item, {"category": "a"}))
    made = Newcomers(own)
    assert made.of(items_of(shop, own, "n1", "gone", "n2")) is None
    shop.take("all", Fact("gone", None))
    first = len(own.items) - 1
    assert made.of(items_of(shop, own, "n1", "gone", "n2")).numbers.tolist() == [first, first + 2]


def test_vectors_are_kept_while_their_facts_stay():
    own, facts = bundle(), table(category="string", price="float", stock="int")
    facts.take("all", Fact("n", {"category": "a", "price": 7.0}))
    made, before = Newcomers(own), items_of(facts, own, "n")
    found = made.of(before)
    facts.take("all", Fact("n", {"category": "a", "price": 7.0, "stock": 3}))
    after = Items(before.ids, facts.snapshot(), before)
    assert made.of(after) is found
    facts.take("all", Fact("n", {"category": "a", "price": 13.0, "stock": 3}))
    assert made.of(Items(before.ids, facts.snapshot(), after)) is not found
