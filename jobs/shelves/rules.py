"""Apply the rules of one shelf to a batch of lists: which candidates may stand in it, what lifts them, what explores.

Rules of the item alone are vectors for all items, made once for many batches. One that reads `now` is right in a span
of time only: from the last moment at which it changes for some item until the next.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from jobs.contract import shelf_plan as plan
from jobs.contract.shelf_plan import Condition, Shelf, ShelfPlan
from jobs.shelves.items import Items
from jobs.shelves.masks import Batch, Ints, Mask, Masks

Floats = npt.NDArray[np.float32]
DROPPED = np.float32(-1e9)  # in a bias: not -inf, which is no number when it is subtracted


class Vector(NamedTuple):
    """Where a condition of the item alone is true, bool [M], for a `now` from `from_ms` until before `until_ms`."""

    true: Mask
    from_ms: float
    until_ms: float

    def holds(self, now_ms: float) -> bool:
        return self.from_ms <= now_ms < self.until_ms

    def holds_for_all(self, now_ms: npt.NDArray[np.float64]) -> bool:
        return bool((now_ms >= self.from_ms).all() and (now_ms < self.until_ms).all())


class Bias(NamedTuple):
    """What is added to the output of all items, float32 [M], and the lifts in it; for a `now` within a span of time."""

    added: Floats
    lifts: Floats
    from_ms: float
    until_ms: float

    def holds(self, now_ms: float | npt.NDArray[np.float64]) -> Any:
        return (now_ms >= self.from_ms) & (now_ms < self.until_ms)


class Pool(NamedTuple):
    """The numbers of the items that may be explored, in the order of their ids; for a `now` within a span of time."""

    numbers: Ints
    from_ms: float
    until_ms: float

    def holds(self, now_ms: float | npt.NDArray[np.float64]) -> Any:
        return (now_ms >= self.from_ms) & (now_ms < self.until_ms)


class ShelfRules:
    """The rules of one shelf with one plan and one snapshot of facts."""

    def __init__(self, plan_: ShelfPlan, shelf: Shelf, items: Items) -> None:
        self.shelf, self.items = shelf, items
        of_items: list[Condition] = [plan_.gate.condition] if plan_.gate else []
        self._others: list[Condition] = []
        for part in _parts(shelf.where.condition) if shelf.where else ():
            (self._others if _reads_more(part) else of_items).append(part)
        self._of_items: Condition = plan.All(of_items)
        self._vectors: dict[int, Vector] = {}
        self._in_pool: Mask = np.zeros(len(items), bool)
        self._pool = Pool(np.empty(0, np.int64), math.inf, math.inf)
        self._bias: Bias | None = None

    def allowed(self, candidates: Ints, batch: Batch) -> Mask:
        """Return bool [B, K]: which candidates (numbers, [B, K]) gate and where let through."""
        masks = Masks(self.items, batch, candidates)
        allowed = np.array(self._vector_at(self._of_items, candidates, batch, masks))
        for condition in self._others:
            allowed &= masks.true(condition)
        return allowed

    def lifts(self, candidates: Ints, batch: Batch) -> Floats:
        """Return float32 [B, K]: what the lifts add to the candidates' logits."""
        masks = Masks(self.items, batch, candidates)
        added = np.zeros(candidates.shape, np.float32)
        for lift in self.shelf.lift:
            condition = lift.rule.condition
            is_of_items = lift.rule.cost == "N"
            true = self._vector_at(condition, candidates, batch, masks) if is_of_items else masks.true(condition)
            added += np.float32(math.log(lift.factor)) * true
        return added

    def bias(self, now_ms: float) -> "Bias":
        """Return all that concerns the item alone, for the bias of the model's output."""
        if self._bias is None or not self._bias.holds(now_ms):
            lifts, from_ms, until_ms = np.zeros(len(self.items), np.float32), -math.inf, math.inf
            for lift in self.shelf.lift:
                if lift.rule.cost == "N":
                    vector = self._vector(lift.rule.condition, now_ms)
                    lifts += np.float32(math.log(lift.factor)) * vector.true
                    from_ms, until_ms = max(from_ms, vector.from_ms), min(until_ms, vector.until_ms)
            allowed = self._vector(self._of_items, now_ms)
            added = np.where(allowed.true, lifts, DROPPED)
            self._bias = Bias(added, lifts, max(from_ms, allowed.from_ms), min(until_ms, allowed.until_ms))
        return self._bias

    def pool(self, explore: plan.Explore, now_ms: float) -> Pool:
        """Return what may be explored at a moment, and how long that is so."""
        if not self._pool.holds(now_ms):
            among, allowed = self._vector(explore.among.condition, now_ms), self._vector(self._of_items, now_ms)
            may, numbers = among.true & allowed.true, self._pool.numbers
            if not np.array_equal(self._in_pool, may):
                numbers = np.array(sorted(np.flatnonzero(may).tolist(), key=self.items.ids.__getitem__), np.int64)
            from_ms, until_ms = max(among.from_ms, allowed.from_ms), min(among.until_ms, allowed.until_ms)
            self._in_pool, self._pool = may, Pool(numbers, from_ms, until_ms)
        return self._pool

    def only(self, condition: Condition | None, batch: Batch) -> Mask:
        """Return bool [B]: for whom a pin's condition holds."""
        if condition is None:
            return np.ones(len(batch.now_ms), bool)
        nothing = np.zeros((len(batch.now_ms), 1), np.int64)
        return Masks(self.items, batch, nothing).shaped(condition)[:, 0]

    def _vector_at(self, condition: Condition, candidates: Ints, batch: Batch, masks: Masks) -> Mask:
        vector = self._vector(condition, float(batch.now_ms[0]) if len(batch.now_ms) else 0.0)
        return vector.true[candidates] if vector.holds_for_all(batch.now_ms) else masks.shaped(condition)

    def _vector(self, condition: Condition, now_ms: float) -> Vector:
        vector = self._vectors.get(id(condition))
        if vector is None or not vector.holds(now_ms):
            vector = self._vectors[id(condition)] = _vector_of(condition, self.items, now_ms)
        return vector


def gate(plan_: ShelfPlan, items: Items, now_ms: float) -> Vector:
    """Return which items the gate lets through; all of them where there is none."""
    return _vector_of(plan_.gate.condition if plan_.gate else plan.All([]), items, now_ms)


def _vector_of(condition: Condition, items: Items, now_ms: float) -> Vector:
    everybody = Batch(np.array([now_ms]), {}, np.array([-1]), [])
    true = np.array(Masks(items, everybody).shaped(condition))
    return Vector(true, *_span(_turns(condition, items), now_ms))


def _parts(condition: Condition) -> list[Condition]:
    """Return the conditions that all must be true."""
    if isinstance(condition, plan.All):
        return [each for part in condition.parts for each in _parts(part)]
    return [condition]


def _reads_more(condition: Condition) -> bool:
    """Return True for a condition that reads more than the item."""
    match condition:
        case plan.All(parts) | plan.Any(parts):
            return any(map(_reads_more, parts))
        case plan.Not(part):
            return _reads_more(part)
        case plan.Compare(_, left, right):
            return any(map(_is_of_others, (left, right)))
        case plan.IsIn(term, values):
            return any(map(_is_of_others, (term, values)))
        case plan.Holds(feature):
            return _is_of_others(feature)
    raise AssertionError(f"{condition} is no condition")


def _is_of_others(term: plan.Term) -> bool:
    feature = term.feature if isinstance(term, plan.Scaled) else term
    return isinstance(feature, plan.Feature) and feature.of != "item"


def _turns(condition: Condition, items: Items) -> list[npt.NDArray[Any]]:
    """Return the moments at which a comparison with `now` may change for some item."""
    match condition:
        case plan.All(parts) | plan.Any(parts):
            return [each for part in parts for each in _turns(part, items)]
        case plan.Not(part):
            return _turns(part, items)
        case plan.Compare(_, plan.Moment(offset_ms), other) | plan.Compare(_, other, plan.Moment(offset_ms)):
            moments = _values(other, items) - offset_ms
            return [np.ceil(moments), np.floor(moments) + 1]
    return []


def _values(term: plan.Term, items: Items) -> npt.NDArray[Any]:
    match term:
        case plan.Literals(values):
            return np.array([values[0]], np.float64)
        case plan.Scaled(factor, feature):
            return factor * items.facts(feature.name).values
        case plan.Feature(_, name):
            return items.facts(name).values
    return np.empty(0)


def _span(turns: list[npt.NDArray[Any]], now_ms: float) -> tuple[float, float]:
    moments = np.concatenate([*turns, np.array([-np.inf, np.inf])])
    return float(moments[moments <= now_ms].max()), float(moments[moments > now_ms].min())
