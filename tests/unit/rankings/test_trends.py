"""Trends by hand: what lies back counts less, and a place needs twenty visitors."""

from typing import Any

import numpy as np
import pytest

from jobs.catalogue.columns import Table
from jobs.contract.items import Fact, FactContract, FactField
from jobs.contract.shelf_plan import Count, Feature, Shelf, Source
from jobs.rankings.candidates.trending import TrendBoard
from jobs.rankings.trends import trend
from jobs.shelves.items import Items

HOUR_MS = 3_600_000
CONTRACT = FactContract(
    "facts",
    (
        FactField(name="category", kind="string"),
        FactField(name="trend", kind="float"),
        FactField(name="trend_visitors", kind="int"),
        FactField(name="trend_category_visitors", kind="int"),
    ),
)
SHELF = Shelf(
    name="trending", of="place", place=[Feature("item", "category", "string")], take=[Source(kind="trend")], size=5
)


def test_a_trend_halves_what_lies_back() -> None:
    """Views: 4 in the last hour (30 minutes old), 6 more in the day before (12.5 hours old); a purchase weighs 8."""
    source = Source(
        kind="trend",
        weights={"view": 1.0, "purchase": 8.0},
        half_life_ms=6 * HOUR_MS,
        counts=[
            Count("v", "views_1h", "view", HOUR_MS),
            Count("v", "views_24h", "view", 24 * HOUR_MS),
            Count("v", "purchases_24h", "purchase", 24 * HOUR_MS),
        ],
    )
    expected = 4 * 0.5 ** (0.5 / 6) + 6 * 0.5 ** (12.5 / 6) + 8 * 0.5 ** (12 / 6)
    assert trend(source, [4, 10, 1]) == pytest.approx(expected, rel=1e-5)
    assert trend(source, [0, 0, 0]) == 0


def board(facts: dict[str, tuple[Any, ...]]) -> tuple[TrendBoard, list[str]]:
    table = Table([CONTRACT])
    for item, values in facts.items():
        named = dict(zip(("category", "trend", "trend_category_visitors"), values, strict=True))
        table.take("facts", Fact(item, {name: value for name, value in named.items() if value is not None}))
    return TrendBoard(Items(list(facts), table.snapshot()), SHELF), list(facts)


def shown(made: TrendBoard, ids: list[str], place: tuple[int, ...]) -> list[str]:
    (row,) = made.offer([place]).numbers.tolist()
    return [ids[number] for number in row if number >= 0]


def test_a_place_shows_its_items_by_their_trends() -> None:
    made, ids = board(
        {"a": ("hats", 2.0, 5), "b": ("bags", 9.0, 40), "c": ("hats", 3.0, 20), "d": ("hats", None, None)}
    )

    assert shown(made, ids, made.of_values(["hats"])) == ["c", "a"]
    assert made.of_items(np.array([0, -1])) == [made.of_values(["hats"]), ()]
    assert made.offer([()]).scores[0].tolist() == pytest.approx(np.log([9, 3, 2]).tolist())


def test_a_place_with_few_visitors_shows_the_wider_one() -> None:
    made, ids = board({"a": ("hats", 2.0, 19), "b": ("bags", 9.0, 20)})
    assert shown(made, ids, made.of_values(["hats"])) == ["b", "a"]
    assert shown(made, ids, made.of_values(["no such thing"])) == ["b", "a"]


def test_nothing_trends_where_few_visitors_were() -> None:
    made, ids = board({"a": ("hats", 2.0, 19), "b": ("bags", 9.0, 19)})
    assert shown(made, ids, ()) == []
