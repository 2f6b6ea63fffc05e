"""Conditions on arrays against the oracle's, on random conditions, facts and lists."""

import os
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from jobs.catalogue.columns import Table
from jobs.contract import shelf_plan as plan
from jobs.contract.items import Fact, FactContract, FactField, Kind
from jobs.contract.shelf_plan import Condition, Feature
from jobs.shelves.items import Items
from jobs.shelves.masks import Batch, Masks
from jobs.shelves.member import member
from jobs.verify.shelf_rules import Known, truth

DEFINITIONS = int(os.environ.get("LIVESHELF_RANDOM_SHELVES", "500"))
KINDS: dict[str, Kind] = {
    "category": "string",
    "brand": "string",
    "price_minor": "int",
    "stock": "int",
    "weight": "float",
    "on_offer": "bool",
}
CONTRACT = FactContract("facts", tuple(FactField(name=name, kind=kind) for name, kind in KINDS.items()))
VISITOR: dict[str, plan.Kind] = {"country": "string", "spent": "float", "is_new": "bool", "liked": "strings"}
WORDS = ("shoes", "hats", "bags", "4", "red")
IDS = tuple(f"{number}" for number in range(12))


def value(kind: str, rng: random.Random) -> Any:
    if kind == "string":
        return rng.choice((*WORDS, "a word that no item has"))
    if kind == "bool":
        return rng.random() < 0.5
    if kind == "strings":
        return rng.sample((*WORDS, *IDS, "nowhere"), rng.randrange(4))
    return rng.randrange(-3, 8) if kind == "int" else rng.choice((0.5, 1.5, -2.0, 3.0))


class Case:
    """Random facts of 12 items, half of them not known, and three lists."""

    def __init__(self, rng: random.Random) -> None:
        self.facts: dict[str, dict[str, Any]] = {}
        table = Table([CONTRACT])
        for item in rng.sample(IDS, 9):
            self.facts[item] = {name: value(kind, rng) for name, kind in KINDS.items() if rng.random() < 0.6}
            self.facts[item] = {name: given for name, given in self.facts[item].items() if given not in WORDS[4:]}
            floats = {name: float(given) if name == "weight" else given for name, given in self.facts[item].items()}
            table.take("facts", Fact(item, floats))
        self.items = Items(IDS, table.snapshot())
        self.candidates = np.array([rng.sample(range(len(IDS)), 7) for _ in range(3)])
        self.rows = [self._row(rng) for _ in range(3)]
        self.batch = Batch(
            np.array([row.now_ms for row in self.rows], np.float64),
            {name: [row.visitor[name] for row in self.rows] for name in VISITOR},
            np.array([-1 if row.anchor is None else IDS.index(row.anchor) for row in self.rows]),
            [row.basket for row in self.rows],
        )

    def _row(self, rng: random.Random) -> Known:
        visitor = {name: value(kind, rng) for name, kind in VISITOR.items()}
        anchor = rng.choice((None, *IDS))
        return Known(rng.randrange(-3, 8), self.facts, visitor, anchor, rng.sample(IDS, rng.randrange(4)))

    def oracle(self, condition: Condition) -> list[list[bool]]:
        return [
            [truth(condition, row, IDS[number]) is True for number in numbers]
            for row, numbers in zip(self.rows, self.candidates.tolist(), strict=True)
        ]


def features(kinds: Sequence[str]) -> list[Feature]:
    found = [Feature(base, name, kind) for base in ("item", "anchor") for name, kind in KINDS.items()]
    found += [Feature(base, "id", "string") for base in ("item", "anchor")]
    found += [Feature("visitor", name, kind) for name, kind in VISITOR.items()]
    found += [Feature("basket", "size", "int"), Feature("basket", "value_minor", "int")]
    found += [Feature("basket", "items", "strings"), Feature("basket", "categories", "strings")]
    return [feature for feature in found if feature.kind in kinds]


def term(kinds: Sequence[str], rng: random.Random) -> plan.Term:
    if rng.random() < 0.3:
        return plan.Literals([value(rng.choice(kinds), rng)])
    if "int" in kinds and rng.random() < 0.2:
        return plan.Moment(rng.randrange(-4, 4))
    feature = rng.choice(features(kinds))
    return plan.Scaled(rng.choice((0.5, 1.5, -1.0)), feature) if "int" in kinds and rng.random() < 0.3 else feature


def condition(rng: random.Random, depth: int = 3) -> Condition:
    kind = rng.choice(
        ("compare", "in", "holds") if not depth else ("compare", "compare", "in", "holds", "not", "all", "any")
    )
    if kind == "not":
        return plan.Not(condition(rng, depth - 1))
    if kind in ("all", "any"):
        parts = [condition(rng, depth - 1) for _ in range(rng.randrange(4))]
        return plan.All(parts) if kind == "all" else plan.Any(parts)
    if kind == "holds":
        return plan.Holds(rng.choice(features(("bool",))))
    if kind == "in":
        if rng.random() < 0.5:
            return plan.IsIn(rng.choice(features(("string",))), rng.choice(features(("strings",))))
        kinds = rng.choice((("string",), ("int", "float")))
        values = [value(rng.choice(kinds), rng) for _ in range(rng.choice((1, 3, 12)))]
        return plan.IsIn(rng.choice(features(kinds)), plan.Literals(values))
    kinds = rng.choice((("string",), ("bool",), ("int", "float"), ("int", "float")))
    op = rng.choice(("==", "!=") if kinds[0] in ("string", "bool") else ("==", "!=", "<", "<=", ">", ">="))
    return plan.Compare(op, term(kinds, rng), term(kinds, rng))


def test_random_conditions_are_what_the_oracle_says() -> None:
    """`LIVESHELF_RANDOM_SHELVES=10000` asks more of them."""
    seen = {True: 0, False: 0}
    for seed in range(DEFINITIONS):
        rng = random.Random(seed)
        case, asked = Case(rng), condition(rng)
        expected = case.oracle(asked)
        found = Masks(case.items, case.batch, case.candidates).shaped(asked)
        assert found.tolist() == expected, (seed, asked)
        for row in expected:
            for each in row:
                seen[each] += 1
    assert min(seen.values()) > DEFINITIONS  # both happen often enough to mean something


@pytest.mark.parametrize("negated", [False, True])
def test_what_is_not_known_is_not_true_under_not_either(negated: bool) -> None:
    table = Table([CONTRACT])
    table.take("facts", Fact("0", {"stock": 3}))
    table.take("facts", Fact("1", {"brand": "red"}))
    items = Items(IDS[:2], table.snapshot())
    in_stock: Condition = plan.Compare(">", Feature("item", "stock", "int"), plan.Literals([5]))
    batch = Batch(np.zeros(1), {}, np.array([-1]), [])
    found = Masks(items, batch, np.array([[0, 1]])).shaped(plan.Not(in_stock) if negated else in_stock)
    assert found.tolist() == [[negated, False]]


def test_facts_of_the_next_snapshot_are_seen() -> None:
    table = Table([CONTRACT])
    table.take("facts", Fact("0", {"stock": 3}))
    first = Items(IDS, table.snapshot())
    assert first.facts("stock").values[0] == 3
    table.take("facts", Fact("0", {"stock": 0}))
    table.take("facts", Fact("5", {"stock": 7, "category": "hats"}))
    then = Items(IDS, table.snapshot(), first)
    assert then.facts("stock").values[[0, 5]].tolist() == [0, 7]
    assert first.facts("stock").values[0] == 3
    assert then.facts("category").values[[0, 5]].tolist() == [-1, 0]


def test_members_that_share_a_slot_are_told_apart() -> None:
    codes = np.array([[1, 4097, 2], [1, 4097, 2]])
    assert member(codes, [[4097], [2, 1]]).tolist() == [[False, True, False], [True, False, True]]
