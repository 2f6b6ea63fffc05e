"""Measure what the rules of a shelf cost a list, by class: vectors of items, masks on candidates, steps of a list.

    python -m jobs.lab.bench.shelf_rules

64 lists of 100 candidates out of 18,009 made items, one thread, CPU time of the fastest of many rounds.
"""

import random
import time
from collections.abc import Callable

import numpy as np

from jobs.catalogue.columns import Table
from jobs.contract import shelf_plan as plan
from jobs.contract.items import Fact, Fields, contracts
from jobs.contract.shelf_plan import AtMost, Compare, Explore, Feature, Lift, Mmr, Rule, Shelf, ShelfPlan
from jobs.shelves.items import Items
from jobs.shelves.masks import Batch
from jobs.shelves.pick import pick
from jobs.shelves.rules import ShelfRules

ITEMS, LISTS, CANDIDATES = 18_009, 64, 100
SECONDS = 1.5  # of each measurement
NOW_MS = 1_790_000_000_000
DAY_MS = 86_400_000

PRICE, STOCK = Feature("item", "price_minor", "int"), Feature("item", "stock", "int")
ID, CATEGORY = Feature("item", "id", "string"), Feature("item", "category", "string")
IN_STOCK = plan.All(
    [
        Compare(">", STOCK, plan.Literals([0])),
        Compare("==", Feature("item", "status", "string"), plan.Literals(["active"])),
    ]
)
NEW = Compare(">", Feature("item", "created", "int"), plan.Moment(-30 * DAY_MS))
CHEAPER = Compare("<=", PRICE, plan.Scaled(1.5, Feature("anchor", "price_minor", "int")))
NOT_SEEN = plan.Not(plan.IsIn(ID, Feature("visitor", "session_purchases", "strings")))
OTHER_CATEGORY = plan.Not(plan.IsIn(CATEGORY, Feature("basket", "categories", "strings")))


def shop() -> Items:
    """Return made items: 300 categories, 500 brands, 6,000 groups."""
    rng = random.Random(1)
    of_items, of_offers = contracts("items", "offers")
    table = Table([of_items, of_offers])
    for number in range(ITEMS):
        created = NOW_MS - rng.randrange(400) * DAY_MS
        about: Fields = {"category": f"c{rng.randrange(300)}", "brand": f"b{rng.randrange(500)}", "created": created}
        table.take("items", Fact(str(number), about | {"group_id": f"g{rng.randrange(6000)}"}))
        price, stock = rng.randrange(500, 20_000), rng.randrange(20)
        table.take("offers", Fact(str(number), {"price_minor": price, "stock": stock, "status": "active"}))
    return Items([str(number) for number in range(ITEMS)], table.snapshot())


def batch(rng: np.random.Generator) -> Batch:
    lists = [[str(item) for item in rng.integers(0, ITEMS, 5)] for _ in range(LISTS)]
    return Batch(np.full(LISTS, NOW_MS, np.float64), {"session_purchases": lists}, rng.integers(0, ITEMS, LISTS), lists)


def shelf(**fields: object) -> Shelf:
    return Shelf(name="home", take=[plan.Source(kind="session")], **({"size": 20} | fields))  # type: ignore[arg-type]


def fastest_us(run: Callable[[], object]) -> float:
    """Return µs of CPU a list of the fastest round: other work on the machine only makes a round slower."""
    fastest, until = np.inf, time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        begun = time.thread_time()
        run()
        fastest = min(fastest, time.thread_time() - begun)
    return float(1e6 * fastest / LISTS)


def main() -> None:
    rng, items = np.random.default_rng(1), shop()
    asked = batch(rng)
    candidates = np.stack([rng.choice(ITEMS, CANDIDATES, replace=False) for _ in range(LISTS)])
    scores = -np.sort(-2 * np.asarray(rng.gumbel(size=candidates.shape), np.float32), axis=1)
    ids = [f"0:{number}" for number in range(LISTS)]

    def where(*conditions: plan.Condition) -> Callable[[], object]:
        one = shelf(where=Rule(plan.All(list(conditions)), "V"))
        rules = ShelfRules(ShelfPlan(gate=Rule(IN_STOCK, "N"), shelves=[one]), one, items)
        return lambda: rules.allowed(candidates, asked)

    base = fastest_us(where())
    print(f"N  gate, lift: a vector, gathered                     {base:6.2f} µs a list")
    for name, condition in (
        ("1.5 * anchor.price", CHEAPER),
        ("bought", NOT_SEEN),
        ("basket's categories", OTHER_CATEGORY),
    ):
        print(f"V  {name:50} {fastest_us(where(condition)) - base:6.2f}")
    one = shelf(lift=[Lift(Rule(IN_STOCK, "N"), 1.3), Lift(Rule(NEW, "N"), 1.2)])
    vector_us = LISTS * fastest_us(lambda: ShelfRules(ShelfPlan(shelves=[one]), one, items).bias(NOW_MS))
    print(f"N  the vector itself, once a change of facts       {vector_us / 1000:6.2f} ms")
    spread = [AtMost(4, "category", 10)]
    mmr, explore = Mmr(0.8, ["category", "brand"]), Explore(0.05, Rule(NEW, "N"))
    for name, fields, one_of in (
        ("nothing: the best", {}, ""),
        ("AtMost", {"spread": spread}, ""),
        ("one_of", {}, "group_id"),
        ("explore", {"explore": explore}, ""),
        ("Mmr", {"mmr": mmr}, ""),
        ("AtMost, Mmr, one_of, explore", {"spread": spread, "mmr": mmr, "explore": explore}, "group_id"),
    ):
        for size in (12, 20):
            one = shelf(size=size, **fields)
            rules = ShelfRules(ShelfPlan(gate=Rule(IN_STOCK, "N"), one_of=one_of, shelves=[one]), one, items)
            cost = fastest_us(lambda rules=rules, one_of=one_of: pick(rules, one_of, candidates, scores, asked, ids))  # type: ignore[misc]
            print(f"L  {name:38} {one.places:2} places   {cost:6.2f}")


if __name__ == "__main__":
    main()
