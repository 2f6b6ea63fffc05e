"""Find rules that let too few items through, with the facts of today.

A rule of the item alone is counted over all items. One that also reads the item in view, or the cart, is counted for a
sample of items, or of carts that hold three of them, as for a stranger.
"""

import msgspec
import numpy as np
import numpy.typing as npt

from jobs.contract import shelf_plan as plan
from jobs.contract.shelf_plan import Condition, Shelf, ShelfPlan
from jobs.shelves.items import Items
from jobs.shelves.masks import Batch, Masks
from jobs.shelves.problems import Problems

LEAST = 0.03
ANCHORS = 64
CART = 3  # items
GATE_FIX = "correct the gate, or the facts: `liveshelf items show ITEM`"


def check(plan_: ShelfPlan, items: Items, now_ms: float, problems: Problems) -> None:
    """Add a problem for the gate, and for each shelf's rule, that lets fewer than 3 % of the items through.

    Where another shelf stands in, it is a warning: such a rule is of class S.
    """
    total = len(items)
    if not total:
        return
    if plan_.gate and (passing := _passing(plan_.gate.condition, plan_, items, now_ms)[0]) < LEAST * total:
        problems.at("SHOP", "gate").add(f"{passing:,} of {total:,} items pass", GATE_FIX)
        return
    for shelf in plan_.shelves:
        if shelf.where is None:
            continue
        counts = _passing(shelf.where.condition, plan_, items, now_ms, shelf)
        half = int(np.median(counts))
        if half >= LEAST * total:
            continue
        least, none = int(counts.min()), int((counts == 0).sum())
        told = f"{half:,} of {total:,} items pass"
        if len(counts) > 1:
            what = "carts of three items" if shelf.about == "cart" else "items in view"
            told = f"for half of the {what} fewer than {half + 1:,} of {total:,} items pass (least: {least:,}"
            told += f", for {none} of {len(counts)} sampled)" if none else ")"
        stands_in = f" (has: {', '.join(shelf.instead)})" if shelf.instead else ""
        problems.at(shelf.name, "where").add(
            told, f"a wider rule, or `instead`{stands_in}", is_warning=bool(shelf.instead) and half > 0
        )


def _passing(
    condition: Condition, plan_: ShelfPlan, items: Items, now_ms: float, shelf: Shelf | None = None
) -> npt.NDArray[np.int64]:
    """Return the number of items that pass, for each item in view that is looked at; int64 [A]."""
    has_anchor = shelf is not None and (shelf.about == "viewed" or shelf.of == "item")
    has_cart = shelf is not None and shelf.about == "cart"
    every = max(1, len(items) // ANCHORS)
    sample = np.arange(0, len(items), every)[:ANCHORS]
    anchors = sample if has_anchor or has_cart else np.array([-1])
    visitors = {each.name: [each.default] for each in plan_.visitor}
    counts = []
    for anchor in anchors.tolist():
        cart = [
            items.ids[number] for number in sample[np.arange(anchor // every, anchor // every + CART) % len(sample)]
        ]
        stranger = Batch(
            np.array([now_ms]),
            visitors,  # type: ignore[arg-type]
            np.array([anchor if has_anchor else -1]),
            [cart if has_cart else []],
        )
        counts.append(int(Masks(items, stranger).shaped(condition).sum()))
    return np.array(counts)


def with_classes(plan_: ShelfPlan, problems: Problems) -> ShelfPlan:
    """Return the plan with class S for the rules that were warned of."""

    few = {problem.shelf for problem in problems.found if problem.is_warning and problem.field == "where"}
    shelves = [
        msgspec.structs.replace(shelf, where=plan.Rule(shelf.where.condition, "S"))
        if shelf.name in few and shelf.where
        else shelf
        for shelf in plan_.shelves
    ]
    return msgspec.structs.replace(plan_, shelves=shelves)
