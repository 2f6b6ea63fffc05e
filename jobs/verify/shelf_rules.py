"""Evaluate a shelf's rules in plain Python, item by item: the oracle of `jobs/shelves`, with which it shares no code.

It reads the plan as it is written. A value that isn't known is None, and so is a comparison with it. What is None is
neither true nor false, under `not` too.
"""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs.contract import shelf_plan as plan

COMPARE = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
Facts = Mapping[str, Mapping[str, Any]]  # item → fact → value; what isn't there isn't known


@dataclass(frozen=True)
class Known:
    """What a list's rules may know beside the item: facts of all items, and the visitor with the defaults in place."""

    now_ms: int
    facts: Facts
    visitor: Mapping[str, Any] = field(default_factory=dict)
    anchor: str | None = None
    basket: Sequence[str] = ()

    def fact(self, item: str | None, name: str) -> Any:
        if item is None:
            return None
        return item if name == "id" else self.facts.get(item, {}).get(name)

    def of_basket(self, name: str) -> Any:
        if name == "items":
            return list(self.basket)
        if name == "categories":
            return [self.fact(item, "category") for item in self.basket]
        if name == "size":
            return len(set(self.basket))
        prices = [self.fact(item, "price_minor") for item in set(self.basket)]
        return None if None in prices else sum(prices)

    def value(self, term: plan.Term, item: str) -> Any:
        match term:
            case plan.Literals(values):
                return values[0]
            case plan.Moment(offset_ms):
                return self.now_ms + offset_ms
            case plan.Scaled(factor, feature):
                given = self.value(feature, item)
                return None if given is None else factor * given
            case plan.Feature("item", name):
                return self.fact(item, name)
            case plan.Feature("anchor", name):
                return self.fact(self.anchor, name)
            case plan.Feature("basket", name):
                return self.of_basket(name)
            case plan.Feature("visitor", name):
                return self.visitor[name]
        raise AssertionError(f"{term} is no term")


def truth(condition: plan.Condition, known: Known, item: str) -> bool | None:
    """Return whether a condition is true of an item; None if that isn't known."""
    match condition:
        case plan.Compare(op, left, right):
            one, other = known.value(left, item), known.value(right, item)
            return None if one is None or other is None else bool(COMPARE[op](one, other))
        case plan.IsIn(term, values):
            given = known.value(term, item)
            held = values.values if isinstance(values, plan.Literals) else known.value(values, item)
            return None if given is None or held is None else given in held
        case plan.Holds(feature):
            given = known.value(feature, item)
            return None if given is None else bool(given)
        case plan.Not(part):
            inner = truth(part, known, item)
            return None if inner is None else not inner
        case plan.All(parts):
            found = [truth(part, known, item) for part in parts]
            return False if False in found else None if None in found else True
        case plan.Any(parts):
            found = [truth(part, known, item) for part in parts]
            return True if True in found else None if None in found else False
    raise AssertionError(f"{condition} is no condition")


def is_true(rule: plan.Rule | plan.Condition | None, known: Known, item: str) -> bool:
    """Return True for a rule that is true of an item, and for no rule at all."""
    if rule is None:
        return True
    return truth(rule.condition if isinstance(rule, plan.Rule) else rule, known, item) is True
