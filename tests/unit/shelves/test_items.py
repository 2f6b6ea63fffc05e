"""What is kept of the facts from one snapshot to the next, and what isn't."""

import weakref

import pytest

from jobs.catalogue import columns
from jobs.catalogue.columns import Table
from jobs.contract.items import Fact, FactContract, FactField
from jobs.shelves.items import Items

CONTRACT = FactContract("facts", (FactField(name="badge", kind="string"), FactField(name="stock", kind="int")))


def test_words_that_a_column_dropped_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "SPARE", 0)
    table, ids = Table([CONTRACT]), ["a"]
    table.take("facts", Fact("a", {"badge": "new"}))
    items = Items(ids, table.snapshot())
    before = weakref.ref(items.facts("badge").coder)
    for badge in ("sale", "last"):
        table.take("facts", Fact("a", {"badge": badge}))
    items = Items(ids, table.snapshot(), items)

    assert items.facts("badge").coder.words == ["last"]
    assert before() is None


def test_what_doesnt_change_is_made_once() -> None:
    table, ids = Table([CONTRACT]), ["a", "b"]
    table.take("facts", Fact("a", {"badge": "new", "stock": 1}))
    items = Items(ids, table.snapshot())
    before = {name: items.facts(name).values for name in ("id", "badge", "stock", "price_minor")}
    table.take("facts", Fact("a", {"badge": "new", "stock": 2}))
    items = Items(ids, table.snapshot(), items)

    kept = {name: items.facts(name).values is before[name] for name in before}
    assert kept == {"id": True, "badge": True, "stock": False, "price_minor": True}
