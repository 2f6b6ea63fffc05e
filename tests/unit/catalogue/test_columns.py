"""Item facts as columns: what a snapshot says, that it stays as it is, and how much may be held in vain."""

import math

import numpy as np
import pytest

from jobs.catalogue import columns
from jobs.catalogue.columns import Snapshot, Table
from jobs.contract.items import Fact, contracts
from jobs.errors import SettingsError

CONTRACTS = contracts("items", "offers", {"margins": {"margin": "float"}})


def known(snapshot: Snapshot, item_id: str) -> dict[str, object]:
    (row,) = snapshot.places([item_id])
    values = {name: column.value(row) for name, column in snapshot.columns.items()} if row >= 0 else {}
    return {name: value for name, value in values.items() if value is not None}


def test_a_snapshot_says_what_the_topics_said() -> None:
    table = Table(CONTRACTS)
    table.take("items", Fact("1", {"category": "shoes", "title": "boots", "created": 5}))
    table.take("offers", Fact("1", {"stock": 0, "on_offer": False}))
    table.take("margins", Fact("2", {"margin": 0.25}))
    snapshot = table.snapshot()
    assert known(snapshot, "1") == {"category": "shoes", "created": 5, "stock": 0, "on_offer": False}
    assert known(snapshot, "2") == {"margin": 0.25}
    assert (snapshot.size, snapshot.items) == (2, 2)
    assert snapshot.places(["2", "3", "1"]).tolist() == [1, -1, 0]


def test_a_record_replaces_the_one_before_as_a_whole() -> None:
    table = Table(CONTRACTS)
    table.take("offers", Fact("1", {"stock": 5, "price_minor": 100, "status": "active"}))
    table.take("offers", Fact("1", {"stock": 4}))
    assert known(table.snapshot(), "1") == {"stock": 4}


def test_a_tombstone_takes_away_what_its_topic_said() -> None:
    table = Table(CONTRACTS)
    table.take("items", Fact("1", {"category": "shoes"}))
    table.take("offers", Fact("1", {"stock": 5}))
    table.take("offers", Fact("1", None))
    table.take("offers", Fact("unknown", None))
    assert known(table.snapshot(), "1") == {"category": "shoes"}
    table.take("items", Fact("1", None))
    assert (known(table.snapshot(), "1"), table.snapshot().items) == ({}, 0)


def test_a_removal_of_an_unknown_item_is_remembered() -> None:
    table = Table(CONTRACTS)
    table.take("items", Fact("1", None))
    table.take("items", Fact("2", None))
    before = table.snapshot()
    assert (before.gone, before.size, before.items) == ({"1", "2"}, 0, 0)
    table.take("offers", Fact("1", {"stock": 1}))
    table.take("offers", Fact("1", None))
    assert (before.gone, table.snapshot().gone) == ({"1", "2"}, {"2"})
    table.forget()
    assert table.snapshot().gone == set()


def test_a_snapshot_stays_as_it_was() -> None:
    table = Table(CONTRACTS)
    table.take("offers", Fact("1", {"stock": 5, "status": "active"}))
    before = table.snapshot()
    table.take("offers", Fact("1", {"stock": 0, "status": "gone"}))
    table.take("offers", Fact("2", {"stock": 1}))
    assert known(before, "1") == {"stock": 5, "status": "active"}
    assert before.places(["2"]).tolist() == [-1]
    assert known(table.snapshot(), "1") == {"stock": 0, "status": "gone"}
    with pytest.raises(ValueError, match="read-only"):
        before.columns["stock"].values[0] = 7


def test_columns_that_nothing_changed_are_shared() -> None:
    table = Table(CONTRACTS)
    table.take("offers", Fact("1", {"stock": 5, "price_minor": 100}))
    before = table.snapshot().columns
    table.take("offers", Fact("1", {"stock": 4, "price_minor": 100}))
    after = table.snapshot().columns
    shared = {name for name in before if before[name].values is after[name].values}
    assert set(before) - shared == {"stock"}


def test_what_isnt_known_has_a_value_of_its_own() -> None:
    table = Table(CONTRACTS)
    table.take("items", Fact("1", {}))
    snapshot = table.snapshot()
    assert snapshot.columns["stock"].values[0] == np.iinfo(np.int64).min
    assert (snapshot.columns["brand"].values[0], snapshot.columns["on_offer"].values[0]) == (-1, -1)
    assert math.isnan(snapshot.columns["margin"].values[0])


def test_a_table_grows_to_its_limit_and_no_further() -> None:
    table = Table(CONTRACTS, max_items=3000)
    taken = [table.take("offers", Fact(str(number), {"stock": number})) for number in range(3001)]
    assert taken == [True] * 3000 + [False]
    assert known(table.snapshot(), "2999") == {"stock": 2999}
    assert table.take("offers", Fact("0", None))
    assert table.take("offers", Fact("3000", {"stock": 1}))


def test_rows_of_items_that_are_gone_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "SPARE", 10)
    table = Table(CONTRACTS)
    for number in range(100):
        table.take("offers", Fact(str(number), {"stock": number, "status": f"s{number}"}))
    before = table.snapshot()
    for number in range(99):
        table.take("offers", Fact(str(number), None))
    after = table.snapshot()
    assert (after.size, after.items, known(after, "99")) == (1, 1, {"stock": 99, "status": "s99"})
    assert known(before, "3") == {"stock": 3, "status": "s3"}
    assert len(after.columns["status"].words) == 1


def test_two_fields_of_one_name_are_refused() -> None:
    with pytest.raises(SettingsError, match="stock is a field of margins"):
        Table(contracts("items", "offers", {"margins": {"stock": "int"}}))
