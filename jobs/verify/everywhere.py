"""What is said of the item alone, for all items: kept up as facts and the moment change, so that a list costs little.

An item is looked at again if one of its records lies between two moments, or if `now` has passed a moment at which a
comparison with it may turn. The rest stays as it was.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from jobs.contract import shelf_plan as plan
from jobs.verify.fact_history import FactHistory, Offsets
from jobs.verify.shelf_rules import Known

T = TypeVar("T")
MARGIN_MS = 2.0  # on both sides of a moment at which something may turn


class Everywhere(Generic[T]):
    """The value of a function of an item, for all items that it was told of.

    `changes` counts how often a value has become another one: what is made of the values holds while it stays.
    """

    def __init__(
        self,
        history: FactHistory,
        items: Iterable[str],
        function: Callable[[Known, str], T],
        conditions: Iterable[plan.Condition | None],
        changed: Callable[[str, T], None],
    ) -> None:
        """Take `function`, which reads `conditions` and nothing else; `changed` is told each new value."""
        self._history, self._items, self._function, self._changed = history, list(items), function, changed
        self._known_items = set(self._items)
        self._terms = [term for condition in conditions if condition for term in _beside_now(condition)]
        self._values: dict[str, T] = {}
        self._turns: list[tuple[float, str]] = []
        self._offsets: Offsets | None = None
        self._now_ms = 0
        self.changes = 0

    def move_to(self, offsets: Offsets, now_ms: int) -> int:
        """Make the values those of a moment, and return `changes`."""
        known = Known(now_ms, self._history.facts(offsets))
        if self._offsets is None:
            self._look(known, self._items)
        elif offsets == self._offsets and now_ms == self._now_ms:
            return self.changes
        else:
            again = self._history.changed(self._offsets, offsets) & self._known_items
            low, high = sorted((self._now_ms, now_ms))
            begin = bisect_left(self._turns, (low - MARGIN_MS, ""))
            end = bisect_right(self._turns, (high + MARGIN_MS, "\U0010ffff"))
            self._look(known, again.union(item for _, item in self._turns[begin:end]))
        self._offsets, self._now_ms = offsets, now_ms
        return self.changes

    def _look(self, known: Known, items: Iterable[str]) -> None:
        turns: list[tuple[float, str]] = []
        for item in items:
            value = self._function(known, item)
            if item not in self._values or self._values[item] != value:
                self._values[item] = value
                self._changed(item, value)
                self.changes += 1
            for term, offset_ms in self._terms:
                moment = known.value(term, item)
                if moment is not None:
                    turns.append((moment - offset_ms, item))
        if turns:
            self._turns = sorted({*self._turns, *turns}) if len(turns) > len(self._turns) // 8 else self._with(turns)

    def _with(self, turns: list[tuple[float, str]]) -> list[tuple[float, str]]:
        for turn in turns:
            place = bisect_left(self._turns, turn)
            if place == len(self._turns) or self._turns[place] != turn:
                self._turns.insert(place, turn)
        return self._turns


def _beside_now(condition: plan.Condition) -> list[tuple[plan.Term, int]]:
    """Return what is compared with the moment, each with the moment's offset."""
    match condition:
        case plan.All(parts) | plan.Any(parts):
            return [each for part in parts for each in _beside_now(part)]
        case plan.Not(part):
            return _beside_now(part)
        case plan.Compare(_, plan.Moment(offset_ms), other) | plan.Compare(_, other, plan.Moment(offset_ms)):
            return [(other, offset_ms)]
    return []
