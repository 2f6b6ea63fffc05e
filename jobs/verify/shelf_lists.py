"""Check a published list place by place: given what stands before it, is each item one that the rules would pick?

Greedy steps depend on nothing but what stands already. So a near tie changes one step and not the oracle's opinion of
all that follow. Plain Python, as `shelf_rules.py`.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from jobs.contract import shelf_plan as plan
from jobs.verify.shelf_rules import Known, is_true

BITS = 2**64 - 1


@dataclass(frozen=True)
class Asked:
    """What a list was made from; `scores` hold the candidates' with lifts, `items` all that a worker may show.

    `others` are the lists of the shelves that stand in, in their order.
    """

    shop: plan.ShelfPlan
    shelf: plan.Shelf
    known: Known
    list_id: str
    scores: Mapping[str, float]
    items: Collection[str]
    others: Sequence[Sequence[str]] = ()

    def may_show(self, item: str) -> bool:
        return is_true(self.shop.gate, self.known, item) and is_true(self.shelf.where, self.known, item)

    def is_one_kind(self, one: str, other: str) -> bool:
        """Return True for one item, and for two of one group."""
        return one == other or (bool(self.shop.one_of) and self.are_equal(one, other, self.shop.one_of))

    def are_equal(self, one: str, other: str, fact: str) -> bool:
        value = self.known.fact(one, fact)
        return value is not None and value == self.known.fact(other, fact)


def lift(shelf: plan.Shelf, known: Known, item: str) -> float:
    """Return what the lifts add to an item's score."""
    return sum(math.log(each.factor) for each in shelf.lift if is_true(each.rule, known, item))


def first_wrong(asked: Asked, published: Sequence[str], tolerance: float = 1e-4) -> str:
    """Return what is wrong at the first place that is, "" for a right list."""
    check = _Check(asked, tolerance)
    own = check.own_length(published)
    for place, item in enumerate(published):
        expected = check.own_choices(published[:place]) if place < own else check.other_choices(published[:place])
        if item not in expected:
            return f"place {place + 1} holds {item!r} and not one of {sorted(expected)}"
    if len(published) < asked.shelf.places:
        missing = check.own_choices(published) if len(published) == own else set()
        missing = missing or (check.other_choices(published) if check.is_short(own) else set())
        if missing:
            return f"place {len(published) + 1} is empty, and {sorted(missing)} may stand there"
    return ""


class _Check:
    def __init__(self, asked: Asked, tolerance: float) -> None:
        self._asked, self._tolerance = asked, tolerance
        self._pins = [pin for pin in asked.shelf.pins if self._holds(pin)]
        free = [item for item in asked.scores if asked.may_show(item) and not self._waits(item)]
        self._scores = {item: asked.scores[item] for item in free}
        self._pool = self._explored() if asked.shelf.explore else []

    def is_short(self, own: int) -> bool:
        return own < self._asked.shelf.least

    def own_length(self, published: Sequence[str]) -> int:
        """Return how many places the shelf's own items fill: the others stand behind them."""
        for place in range(len(published)):
            if not self.own_choices(published[:place]) and self.is_short(place):
                return place
        return len(published)

    def own_choices(self, before: Sequence[str]) -> set[str]:
        """Return the items that may be picked next: more than one only if they are nearly as good."""
        pins = [pin.item for pin in self._pins if self._is_free(pin.item, before)]
        due = {pin.item for pin in self._pins if pin.at == len(before) + 1} & set(pins)
        if due:
            return due
        for item in self._tries(len(before)):
            if self._is_free(item, before) and not self._is_full(item, before):
                return {item}
        worth = {
            item: self._worth(item, before)
            for item in self._scores
            if self._is_free(item, before) and not self._is_full(item, before)
        }
        best = max(worth.values(), default=0.0)
        return {item for item, value in worth.items() if value >= best - self._tolerance} or set(pins[:1])

    def other_choices(self, before: Sequence[str]) -> set[str]:
        """Return the next item of the shelves that stand in."""
        for others in self._asked.others:
            for item in others:
                if self._asked.may_show(item) and self._is_free(item, before) and not self._is_full(item, before):
                    return {item}
        return set()

    def _holds(self, pin: plan.Pin) -> bool:
        now_ms = self._asked.known.now_ms
        in_time = (pin.since_ms is None or pin.since_ms <= now_ms) and (pin.until_ms is None or now_ms < pin.until_ms)
        who = is_true(pin.only, self._asked.known, pin.item)
        return pin.item in self._asked.items and in_time and who and self._asked.may_show(pin.item)

    def _waits(self, item: str) -> bool:
        return any(self._asked.is_one_kind(item, pin.item) for pin in self._pins)

    def _is_free(self, item: str, before: Sequence[str]) -> bool:
        return not any(self._asked.is_one_kind(item, other) for other in before)

    def _is_full(self, item: str, before: Sequence[str]) -> bool:
        """Return True if a window holds as many items of the item's value as it may."""
        for rule in self._asked.shelf.spread:
            near = before[-(rule.within - 1) :] if rule.within else before
            if sum(self._asked.are_equal(item, other, rule.of) for other in near) >= rule.n:
                return True
        return False

    def _worth(self, item: str, before: Sequence[str]) -> float:
        mmr = self._asked.shelf.mmr
        if mmr is None:
            return self._scores[item]
        low, high = min(self._scores.values()), max(self._scores.values())
        scaled = (self._scores[item] - low) / (high - low) if high > low else 0.0
        alike = [sum(self._asked.are_equal(item, other, fact) for fact in mmr.by) / len(mmr.by) for other in before]
        return mmr.weight * scaled - (1 - mmr.weight) * max(alike, default=0.0)

    def _explored(self) -> list[str]:
        explore, known = self._asked.shelf.explore, self._asked.known
        assert explore is not None, "only a shelf that explores has a pool"
        parts = _of_item_only(self._asked.shelf.where.condition) if self._asked.shelf.where else []
        return sorted(
            item
            for item in self._asked.items
            if is_true(explore.among, known, item)
            and is_true(self._asked.shop.gate, known, item)
            and all(is_true(part, known, item) for part in parts)
        )

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
        return [item for item in tries if self._asked.may_show(item) and not self._waits(item)]


def _of_item_only(condition: plan.Condition) -> list[plan.Condition]:
    """Return those of the conditions that all must hold which read the item alone: they make the pool."""
    if isinstance(condition, plan.All):
        return [each for part in condition.parts for each in _of_item_only(part)]
    return [] if _bases(condition) - {"item"} else [condition]


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
