"""Check a published list place by place: given what stands before it, is each item one that the rules would pick?

Greedy steps depend on nothing but what stands already. So a near tie changes one step and not the oracle's opinion of
all that follow. Plain Python, as `shelf_rules.py`.
"""

import math
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from jobs.contract import shelf_plan as plan
from jobs.verify.shelf_rules import Known, is_true, truth

BITS = 2**64 - 1
# Sums of float32 in another batch differ by up to 1e-5, and rounding adds 5e-7.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Asked:
    """What a list was made from; `scores` hold the candidates' with lifts, `items` all that a worker may show.

    `others` are the lists of the shelves that stand in, in their order. `pool` holds the items that may be explored, by
    id, and `of_items` the items for which all conditions are true that read the item alone; both are worked out if they
    aren't given.
    """

    shop: plan.ShelfPlan
    shelf: plan.Shelf
    known: Known
    list_id: str
    scores: Mapping[str, float]
    items: Container[str]
    others: Sequence[Sequence[str]] = ()
    pool: Sequence[str] | None = None
    of_items: Mapping[str, bool] | None = None
    _shown: dict[str, bool] = field(default_factory=dict, repr=False)

    def may_show(self, item: str) -> bool:
        found = self._shown.get(item)
        if found is None:
            found = self._shown[item] = self._may_show(item)
        return found

    def _may_show(self, item: str) -> bool:
        if self.of_items is not None and item in self.of_items:
            return self.of_items[item] and all(truth(each, self.known, item) is True for each in self._rest_of_where)
        return is_true(self.shop.gate, self.known, item) and is_true(self.shelf.where, self.known, item)

    @cached_property
    def _rest_of_where(self) -> list[plan.Condition]:
        return parts_beyond_item(self.shelf.where.condition) if self.shelf.where else []

    def is_one_kind(self, one: str, other: str) -> bool:
        """Return True for one item, and for two of one group."""
        return one == other or (bool(self.shop.one_of) and self.are_equal(one, other, self.shop.one_of))

    def are_equal(self, one: str, other: str, fact: str) -> bool:
        value = self.known.fact(one, fact)
        return value is not None and value == self.known.fact(other, fact)


@dataclass
class Verdict:
    """What is wrong at the first place that is, "" for a right list, and how each item came into its place.

    `how` is "own", "explored", "pinned", or the number of the shelf that stands in, from 1.
    """

    wrong: str = ""
    how: list[str | int] = field(default_factory=list)


def lift(shelf: plan.Shelf, known: Known, item: str) -> float:
    """Return what the lifts add to an item's score."""
    return sum(math.log(each.factor) for each in shelf.lift if is_true(each.rule, known, item))


def lift_of_items(shelf: plan.Shelf, known: Known, item: str) -> float:
    """Return what the lifts add that read the item alone: they are a part of what the model is asked."""
    lifts = (each for each in shelf.lift if each.rule.cost == "N")
    return sum(math.log(each.factor) for each in lifts if is_true(each.rule, known, item))


def first_wrong(asked: Asked, published: Sequence[str], tolerance: float = TOLERANCE) -> str:
    """Return what is wrong at the first place that is, "" for a right list."""
    return judge(asked, published, tolerance).wrong


def judge(asked: Asked, published: Sequence[str], tolerance: float = TOLERANCE) -> Verdict:
    """Walk a list from its first place to the first that is wrong."""
    steps, verdict = Steps(asked, tolerance), Verdict()
    for place, item in enumerate(published):
        how, choices = steps.choices()
        if item not in choices:
            verdict.wrong = f"place {place + 1} holds {item!r} and not one of {sorted(choices)}"
            return verdict
        verdict.how.append(how)
        steps.place(item)
    if len(published) < asked.shelf.places:
        _, missing = steps.choices()
        if missing:
            verdict.wrong = f"place {len(published) + 1} is empty, and {sorted(missing)} may stand there"
    return verdict


class Steps:
    """Goes down a list: what may stand at the next place, given what stands already."""

    def __init__(self, asked: Asked, tolerance: float = TOLERANCE) -> None:
        self._asked, self._tolerance, self.placed = asked, tolerance, list[str]()
        self._ids, self._groups = set[str](), set[object]()
        self._windows: list[list[object]] = [[] for _ in asked.shelf.spread]
        self.pins = [pin for pin in asked.shelf.pins if self.holds(pin)]
        free = [item for item in asked.scores if asked.may_show(item) and not self.waits(item)]
        scores = {item: asked.scores[item] for item in free}
        self.worth = self._scaled(scores) if asked.shelf.mmr else scores
        self.order = sorted(free, key=lambda item: -self.worth[item])
        self._alike = dict.fromkeys(free, 0.0)
        by = asked.shelf.mmr.by if asked.shelf.mmr else ()
        self._by = {item: [asked.known.fact(item, name) for name in by] for item in free}
        self._pool = self._explored() if asked.shelf.explore else ()
        self._is_own = True

    def choices(self) -> tuple[str | int, set[str]]:
        """Return how the next item comes into its place, and which it may be: several only if nearly as good."""
        how, chosen = self._own() if self._is_own else ("own", set[str]())
        if not chosen and (not self._is_own or len(self.placed) < self._asked.shelf.least):
            self._is_own = False
            return self._other()
        return how, chosen

    def place(self, item: str) -> None:
        """Put an item into the next place."""
        fact, mmr, shop = self._asked.known.fact, self._asked.shelf.mmr, self._asked.shop
        self.placed.append(item)
        self._ids.add(item)
        if shop.one_of and (group := fact(item, shop.one_of)) is not None:
            self._groups.add(group)
        for rule, values in zip(self._asked.shelf.spread, self._windows, strict=True):
            values.append(fact(item, rule.of))
        if mmr:
            values = [fact(item, name) for name in mmr.by]
            for other, others in self._by.items():
                same = 0
                for value, given in zip(values, others, strict=True):
                    same += value is not None and value == given
                if same and same / len(mmr.by) > self._alike[other]:
                    self._alike[other] = same / len(mmr.by)

    def is_free(self, item: str) -> bool:
        """Return True unless the item stands already, or one of its group."""
        one_of = self._asked.shop.one_of
        return item not in self._ids and (not one_of or self._asked.known.fact(item, one_of) not in self._groups)

    def full(self, item: str) -> plan.AtMost | None:
        """Return the window that holds as many items of the item's value as it may, None for none."""
        for rule, values in zip(self._asked.shelf.spread, self._windows, strict=True):
            value = self._asked.known.fact(item, rule.of)
            near = values[max(0, len(values) - rule.within + 1) :] if rule.within else values
            if value is not None and near.count(value) >= rule.n:
                return rule
        return None

    def is_candidate(self, item: str) -> bool:
        """Return True for an item that may be picked by its worth."""
        return item in self.worth

    def value(self, item: str) -> float:
        """Return what a candidate is worth at the next place."""
        mmr = self._asked.shelf.mmr
        return self.worth[item] - (1 - mmr.weight) * self._alike[item] if mmr else self.worth[item]

    def waits(self, item: str) -> bool:
        """Return True for a pinned item, and its kind: it waits for its place."""
        return any(self._asked.is_one_kind(item, pin.item) for pin in self.pins)

    def holds(self, pin: plan.Pin) -> bool:
        now_ms = self._asked.known.now_ms
        in_time = (pin.since_ms is None or pin.since_ms <= now_ms) and (pin.until_ms is None or now_ms < pin.until_ms)
        who = is_true(pin.only, self._asked.known, pin.item)
        return pin.item in self._asked.items and in_time and who and self._asked.may_show(pin.item)

    def _own(self) -> tuple[str | int, set[str]]:
        pins = [pin for pin in self.pins if self.is_free(pin.item)]
        if due := {pin.item for pin in pins if pin.at == len(self.placed) + 1}:
            return "pinned", due
        for item in self._tries(len(self.placed)):
            if self._may_stand(item):
                return "explored", {item}
        if best := self._best():
            return "own", best
        return "pinned", {pin.item for pin in pins[:1]}

    def _other(self) -> tuple[str | int, set[str]]:
        """Return the next item of the shelves that stand in."""
        for number, others in enumerate(self._asked.others, 1):
            for item in others:
                if self._may_stand(item) and self._asked.may_show(item):
                    return number, {item}
        return "own", set()

    def _best(self) -> set[str]:
        """Return the best candidate, and those that are nearly as good. None is worth more than without likeness."""
        best, found = -math.inf, dict[str, float]()
        for item in self.order:
            if self.worth[item] < best - self._tolerance:
                break
            if self._may_stand(item):
                found[item] = self.value(item)
                best = max(best, found[item])
        return {item for item, value in found.items() if value >= best - self._tolerance}

    def _may_stand(self, item: str) -> bool:
        return self.is_free(item) and not self.full(item)

    def _scaled(self, scores: Mapping[str, float]) -> dict[str, float]:
        mmr = self._asked.shelf.mmr
        assert mmr is not None, "only a shelf that weighs likeness scales"
        low, high = min(scores.values(), default=0.0), max(scores.values(), default=0.0)
        span = high - low
        return {item: mmr.weight * (score - low) / span if span > 0 else 0.0 for item, score in scores.items()}

    def _explored(self) -> Sequence[str]:
        if self._asked.pool is not None:
            return self._asked.pool
        assert isinstance(self._asked.items, Collection), "without a pool all items are looked at"
        return sorted(filter(pool_rule(self._asked.shop, self._asked.shelf, self._asked.known), self._asked.items))

    def _tries(self, place: int) -> list[str]:
        """Return the items that a place tries before its best one, none for a place that doesn't explore."""
        explore = self._asked.shelf.explore
        if explore is None or not self._pool:
            return []
        seed = plan.hash_seed(self._asked.list_id)
        if _share(seed, 2 * place + 1) >= explore.share:
            return []
        begin = int(_share(seed, 2 * place + 2) * len(self._pool))
        tries = [self._pool[(begin + step) % len(self._pool)] for step in range(plan.TRIES)]
        return [item for item in tries if self._asked.may_show(item) and not self.waits(item)]


def pool_rule(shop: plan.ShelfPlan, shelf: plan.Shelf, known: Known) -> Callable[[str], bool]:
    """Return a function that says of an item if it may be explored."""
    assert shelf.explore is not None, "only a shelf that explores has a pool"
    conditions = [shelf.explore.among.condition, *of_item_only(shop, shelf)]
    return lambda item: all(is_true(condition, known, item) for condition in conditions)


def of_item_only(shop: plan.ShelfPlan, shelf: plan.Shelf) -> list[plan.Condition]:
    """Return the conditions of gate and where that read the item alone, and must all hold."""
    rules = [rule.condition for rule in (shop.gate, shelf.where) if rule]
    return [each for condition in rules for each in parts_of_item(condition)]


def conjuncts(condition: plan.Condition) -> list[plan.Condition]:
    """Return the conditions that all must hold."""
    if isinstance(condition, plan.All):
        return [each for part in condition.parts for each in conjuncts(part)]
    return [condition]


def parts_of_item(condition: plan.Condition) -> list[plan.Condition]:
    return [each for each in conjuncts(condition) if not _bases(each) - {"item"}]


def parts_beyond_item(condition: plan.Condition) -> list[plan.Condition]:
    return [each for each in conjuncts(condition) if _bases(each) - {"item"}]


def _bases(node: object) -> set[str]:
    if isinstance(node, plan.Feature):
        return {node.of}
    if isinstance(node, list):
        return {base for each in node for base in _bases(each)}
    fields = getattr(node, "__struct_fields__", ())
    return {base for field in fields for base in _bases(getattr(node, field))}


def _share(seed: int, number: int) -> float:
    """Return SplitMix64's number-th number (from 1) from a seed, as a share of 1."""
    z = (seed + number * 0x9E3779B97F4A7C15) & BITS
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & BITS
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & BITS
    return ((z ^ (z >> 31)) >> 11) * 2.0**-53
