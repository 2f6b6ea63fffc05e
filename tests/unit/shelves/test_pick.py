"""Lists place by place: against the oracle's check on random shelves, and by hand where a rule is easy to see."""

import os
import random
from typing import Any

import msgspec
import numpy as np

from jobs.catalogue.columns import Table
from jobs.contract import shelf_plan as plan
from jobs.contract.items import Fact, FactContract, FactField
from jobs.contract.shelf_plan import AtMost, Explore, Feature, Mmr, Pin, Rule, Shelf, ShelfPlan, Source
from jobs.shelves.items import Items
from jobs.shelves.masks import Batch
from jobs.shelves.pick import EXPLORED, INSTEAD, PINNED, Picked, fill, pick
from jobs.shelves.rules import ShelfRules
from jobs.verify.shelf_lists import Asked, first_wrong, lift
from jobs.verify.shelf_rules import Known

SHELVES = int(os.environ.get("LIVESHELF_RANDOM_SHELVES", "500")) // 10
CONTRACT = FactContract(
    "facts",
    tuple(
        FactField(name=name, kind=kind)
        for name, kind in (("category", "string"), ("brand", "string"), ("group_id", "string"), ("stock", "int"))
    ),
)
STOCK, CATEGORY = Feature("item", "stock", "int"), Feature("item", "category", "string")
IN_STOCK = plan.Compare(">", STOCK, plan.Literals([0]))
NEW = plan.Compare(">", STOCK, plan.Moment(-3))
NOT_SEEN = plan.Not(plan.IsIn(Feature("item", "id", "string"), Feature("visitor", "seen", "strings")))
TAKE = [Source(kind="session")]


class Shop:
    """Items with facts, in the form of the evaluation and in the oracle's."""

    def __init__(self, facts: dict[str, dict[str, Any]]) -> None:
        table = Table([CONTRACT])
        for item, fields in facts.items():
            table.take("facts", Fact(item, fields))
        self.facts, self.ids = facts, list(facts)
        self.items = Items(self.ids, table.snapshot())

    def lists(
        self, plan_: ShelfPlan, scores: list[dict[str, float]], knowns: list[Known], list_ids: list[str]
    ) -> list[Picked]:
        numbers = np.array([[self.ids.index(item) for item in row] for row in scores])
        given = np.array([list(row.values()) for row in scores], np.float32)
        shelf = plan_.shelves[0]
        return pick(ShelfRules(plan_, shelf, self.items), plan_.one_of, numbers, given, batch_of(knowns), list_ids)

    def names(self, picked: Picked) -> list[str]:
        return [self.ids[number] for number in picked.numbers]


def batch_of(knowns: list[Known]) -> Batch:
    return Batch(
        np.array([known.now_ms for known in knowns], np.float64),
        {"seen": [known.visitor.get("seen", []) for known in knowns]},
        np.full(len(knowns), -1),
        [],
    )


def shelf_of(**fields: Any) -> Shelf:
    return Shelf(name="home", take=TAKE, **{"size": 4} | fields)


def picked_names(
    shop: Shop, shelf: Shelf, scores: dict[str, float], one_of: str = "", gate: Rule | None = None
) -> list[str]:
    plan_ = ShelfPlan(gate=gate, one_of=one_of, shelves=[shelf])
    (picked,) = shop.lists(plan_, [scores], [Known(0, shop.facts)], ["list"])
    return shop.names(picked)


def random_shop(rng: random.Random) -> Shop:
    facts = {}
    for number in range(30):
        fields = {
            "category": rng.choice(("shoes", "hats", "bags")),
            "brand": rng.choice(("one", "other")),
            "group_id": rng.choice(("g1", "g2", "g3", "g4")),
            "stock": rng.randrange(-1, 9),
        }
        facts[f"{number:02}"] = {
            name: value for name, value in fields.items() if rng.random() < (0.3 if name == "group_id" else 0.8)
        }
    return Shop(facts)


def random_plan(rng: random.Random) -> ShelfPlan:
    windows = [AtMost(rng.randrange(1, 3), rng.choice(("category", "brand")), rng.choice((0, 3, 4))) for _ in range(2)]
    pins = [
        Pin(f"{rng.randrange(33):02}", at, None, rng.choice((None, 3)), rng.choice((None, 6)))
        for at in sorted(rng.sample(range(1, 7), 2))
    ]
    shelf = Shelf(
        name="home",
        take=TAKE,
        where=rng.choice((None, Rule(NOT_SEEN, "V"), Rule(plan.All([NOT_SEEN, IN_STOCK]), "V"))),
        lift=[plan.Lift(Rule(NEW, "N"), 3.0)] if rng.random() < 0.5 else [],
        spread=rng.sample(windows, rng.randrange(3)),
        mmr=Mmr(0.6, ["category", "brand"]) if rng.random() < 0.5 else None,
        explore=Explore(0.3, Rule(NEW, "N")) if rng.random() < 0.5 else None,
        pins=pins if rng.random() < 0.5 and pins[0].item != pins[1].item else [],
        size=rng.randrange(1, 7),
        least=rng.choice((0, 4)),
        instead=["popular"],
    )
    gate = Rule(IN_STOCK, "N") if rng.random() < 0.5 else None
    return ShelfPlan(gate=gate, one_of=rng.choice(("", "group_id")), shelves=[shelf])


def test_random_lists_are_what_the_oracle_would_pick() -> None:
    """And the oracle sees it when two neighbours change places, unless they are as good."""
    how: set[int] = set()
    noticed = exchanged = 0
    for seed in range(SHELVES):
        rng = random.Random(seed)
        shop, plan_ = random_shop(rng), random_plan(rng)
        shelf, rules = plan_.shelves[0], ShelfRules(plan_, plan_.shelves[0], shop.items)
        knowns = [
            Known(rng.randrange(10), shop.facts, {"seen": rng.sample(shop.ids, rng.randrange(9))}) for _ in range(4)
        ]
        raw = [{item: rng.gauss(0, 2) for item in rng.sample(shop.ids, 15)} for _ in knowns]
        numbers = np.array([[shop.ids.index(item) for item in row] for row in raw])
        batch = batch_of(knowns)
        lifted = np.array([list(row.values()) for row in raw], np.float32) + rules.lifts(numbers, batch)
        order = np.argsort(-lifted, axis=1, kind="stable")
        numbers, lifted = (np.take_along_axis(each, order, axis=1) for each in (numbers, lifted))
        list_ids = [f"list {seed} {row}" for row in range(4)]
        lists = pick(rules, plan_.one_of, numbers, lifted, batch, list_ids)
        popular = rng.sample(shop.ids, 25)
        short = [row for row, each in enumerate(lists) if len(each.numbers) < shelf.least]
        if short:
            others = np.array([shop.items.numbers(popular)] * len(short))
            filled = fill(rules, plan_.one_of, [lists[row] for row in short], [others], batch.of(short))
            for row, each in zip(short, filled, strict=True):
                lists[row] = each
        for row, picked in enumerate(lists):
            scores = {item: score + lift(shelf, knowns[row], item) for item, score in raw[row].items()}
            asked = Asked(plan_, shelf, knowns[row], list_ids[row], scores, shop.ids, [popular])
            names = shop.names(picked)
            assert first_wrong(asked, names) == "", (seed, row, names, picked.how)
            how |= set(picked.how)
            if len(names) > 2:
                exchanged += 1
                noticed += bool(first_wrong(asked, [names[1], names[0], *names[2:]]))
    assert how == {0, EXPLORED, PINNED, INSTEAD}
    assert noticed > 0.99 * exchanged > SHELVES


def test_what_is_filled_up_keeps_scores_and_marks() -> None:
    shop = Shop({"a": {}, "b": {}, "c": {}})
    shelf = shelf_of(size=3, least=2, instead=["popular"])
    rules, batch = ShelfRules(ShelfPlan(shelves=[shelf]), shelf, shop.items), batch_of([Known(0, {})])
    (filled,) = fill(rules, "", [Picked([1], [2.5], [PINNED])], [np.array([[1, 2, -1]]), np.array([[2, 0, 1]])], batch)
    assert filled == Picked([1, 2, 0], [2.5, 0.0, 0.0], [PINNED, INSTEAD, INSTEAD + 1])


def test_at_most_two_of_a_category_within_three_places() -> None:
    shop = Shop({item: {"category": item[0]} for item in ("a1", "a2", "a3", "b1", "b2", "a4")})
    shelf = shelf_of(spread=[AtMost(2, "category", 3)])
    scores = {item: 9.0 - place for place, item in enumerate(shop.ids)}
    assert picked_names(shop, shelf, scores) == ["a1", "a2", "b1", "a3", "b2", "a4"]


def test_of_one_group_only_the_best_is_shown() -> None:
    shop = Shop({"a": {"group_id": "g"}, "b": {"group_id": "g"}, "c": {}, "d": {}})
    assert picked_names(shop, shelf_of(), {"b": 4, "a": 3, "c": 2, "d": 1}, one_of="group_id") == ["b", "c", "d"]


def test_likeness_weighs_against_the_score() -> None:
    """With λ 0.5 the second shoe (0.9) is worth 0.45 - 0.5, and the hat (0.2) 0.1 - 0."""
    shop = Shop({"a": {"category": "shoes"}, "b": {"category": "shoes"}, "c": {"category": "hats"}, "d": {}})
    shelf = shelf_of(mmr=Mmr(0.5, ["category"]))
    assert picked_names(shop, shelf, {"a": 1.0, "b": 0.9, "c": 0.2, "d": 0.0}) == ["a", "c", "d", "b"]


def test_a_pin_that_the_gate_refuses_leaves_its_place() -> None:
    shop = Shop({"a": {"stock": 1}, "b": {"stock": 1}, "c": {"stock": 0}, "d": {"stock": 1}})
    shelf = shelf_of(pins=[Pin("c", 1), Pin("d", 2)])
    assert picked_names(shop, shelf, {"a": 2, "b": 1}, gate=Rule(IN_STOCK, "N")) == ["a", "d", "b"]


def test_a_pin_behind_the_lists_end_stands_at_the_end() -> None:
    shop = Shop({"a": {}, "b": {}})
    assert picked_names(shop, shelf_of(pins=[Pin("b", 4)]), {"a": 2, "b": 1}) == ["a", "b"]


def test_a_vector_that_reads_now_is_right_on_both_sides() -> None:
    """Stock 5 is greater than now - 3 until now is 8."""
    shop = Shop({"a": {"stock": 5}, "b": {"stock": 9}})
    shelf = shelf_of(where=Rule(NEW, "N"))
    plan_ = ShelfPlan(shelves=[shelf])
    rules = ShelfRules(plan_, shelf, shop.items)
    candidates = np.array([[0, 1]])
    found = [rules.allowed(candidates, batch_of([Known(now, {})]))[0].tolist() for now in (7, 8, 7, 11, 12)]
    assert found == [[True, True], [False, True], [True, True], [False, True], [False, False]]
    both = rules.allowed(np.array([[0, 1], [0, 1]]), batch_of([Known(7, {}), Known(12, {})]))
    assert both.tolist() == [[True, True], [False, False]]


def test_a_bias_lifts_and_drops() -> None:
    shop = Shop({"a": {"stock": 5}, "b": {"stock": 0}, "c": {}})
    shelf = shelf_of(lift=[plan.Lift(Rule(IN_STOCK, "N"), 2.0)])
    bias = ShelfRules(ShelfPlan(gate=Rule(IN_STOCK, "N"), shelves=[shelf]), shelf, shop.items).bias(0)
    np.testing.assert_allclose(bias.added, [np.log(2), -1e9, -1e9], rtol=1e-6)
    np.testing.assert_allclose(bias.lifts, [np.log(2), 0, 0], rtol=1e-6)


def test_a_plan_is_the_same_after_it_was_written() -> None:
    plan_ = random_plan(random.Random(1))
    assert plan.decode(plan.encode(plan_)) == plan_
    assert plan.version_of(plan.encode(plan_)) != plan.version_of(
        plan.encode(msgspec.structs.replace(plan_, one_of="x"))
    )
