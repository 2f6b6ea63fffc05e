"""Compile one condition: look up its features, check types, and refuse what can't be meant where it stands."""

import math
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from jobs.contract import shelf_plan as plan
from jobs.contract.shelf_plan import Base, Condition, Kind
from jobs.shelves.known import Known, KnownFeature
from jobs.shelves.problems import Problems, nearest
from liveshelf.shelves import expressions as words

ITEM: tuple[Base, ...] = ("item",)
OTHERS: tuple[Base, ...] = ("anchor", "visitor", "basket")
TRUE = plan.All([])  # stands where a mistake was, so that the next ones are found too
NUMBERS = ("int", "float")
LITERAL_KINDS: dict[type, Kind] = {str: "string", bool: "bool", int: "int", float: "float"}
LIST_OF = "`liveshelf shelves lint --features` lists all"


class Scope(NamedTuple):
    """The bases that may be used where a condition stands, and for each other one why not and what to do."""

    bases: Collection[Base]
    refusals: Mapping[Base, tuple[str, str]]


class Compiler:
    """Compile conditions, and remember which features they read."""

    def __init__(self, known: Known, defaults: Mapping[str, object], problems: Problems) -> None:
        self.known, self._defaults, self._problems = known, defaults, problems
        self.trend: object = None  # how the shop's trends are counted
        self.read: dict[tuple[Base, str], KnownFeature] = {}

    def rule(self, given: object, scope: Scope) -> plan.Rule:
        """Return a condition with its class by what it reads: N for the item alone, V for more."""
        condition = self.condition(given, scope)
        return plan.Rule(condition, "V" if bases(condition) - {"item"} else "N")

    def condition(self, given: object, scope: Scope) -> Condition:
        match given:
            case words.All(parts):
                return plan.All([self.condition(part, scope) for part in parts])
            case words.Any(parts):
                return plan.Any([self.condition(part, scope) for part in parts])
            case words.Not(part):
                return plan.Not(self.condition(part, scope))
            case words.Compare():
                return self._compare(given, scope)
            case words.IsIn():
                return self._is_in(given, scope)
            case words.Feature():
                return self._holds(given, scope)
        self._problems.add(f"{given!r} is no condition", "write a comparison, such as item.stock > 0")
        return TRUE

    def feature(self, given: words.Feature, scope: Scope) -> plan.Feature | None:
        """Return a feature with its type, None where it can't be used."""
        written = f"{given.of}.{given.name}"
        if given.of not in scope.bases:
            self._problems.add(*scope.refusals.get(given.of, (f"{written} can't be used here", "leave it out")))
            return None
        features = self.known[given.of]
        feature = features.get(given.name)
        if feature is None:
            self._unknown(written, given)
            return None
        if not feature.is_held:
            facts = ", ".join(sorted(name for name, each in features.items() if each.is_held))
            self._problems.add(
                f"{written} ({feature.source}) isn't among what the ranking workers hold", f"use a fact: {facts}"
            )
            return None
        if given.of == "visitor" and feature.default is None and given.name not in self._defaults:
            self._problems.add(
                f"{written} has no default for a visitor of whom nothing is known",
                f"give the shop one: Shop(defaults={{{given.name!r}: {_example(feature.kind)}}})",
            )
            return None
        self.read[given.of, given.name] = feature
        return plan.Feature(given.of, given.name, feature.kind)

    def _unknown(self, written: str, given: words.Feature) -> None:
        features = self.known[given.of]
        near = nearest(given.name, features)
        entity = {"anchor": "item", "basket": "the cart"}.get(given.of, given.of)
        of = f"entity {entity}" if given.of != "basket" else entity
        hint = f"did you mean {given.of}.{near}? ({features[near].source}); " if near else ""
        self._problems.add(f"{written} isn't a feature of {of}", hint + LIST_OF)

    def _holds(self, given: words.Feature, scope: Scope) -> Condition:
        feature = self.feature(given, scope)
        if feature is None:
            return TRUE
        if feature.kind != "bool":
            self._problems.add(
                f"{given.of}.{given.name} is {_named(feature.kind)}, and no condition by itself",
                f"compare it, such as {given.of}.{given.name} {'> 0' if feature.kind in NUMBERS else '== …'}",
            )
            return TRUE
        return plan.Holds(feature)

    def _compare(self, given: words.Compare, scope: Scope) -> Condition:
        if isinstance(given.left, words.Moment) and isinstance(given.right, str):
            right: object = date_ms(given.right)
            if right is None:
                self._problems.add(f"{given.right!r} is no date", 'write "2026-11-30" or "2026-11-30T18:00" (UTC)')
                return TRUE
        else:
            right = given.right
        left_term, right_term = self._term(given.left, scope), self._term(right, scope)
        if left_term is None or right_term is None:
            return TRUE
        kinds = _kind(left_term), _kind(right_term)
        if mismatch := _mismatch(given.op, *kinds):
            self._problems.add(f"{_told(left_term)} {given.op} {_told(right_term)}: {mismatch[0]}", mismatch[1])
            return TRUE
        if isinstance(left_term, plan.Moment) and isinstance(right_term, plan.Moment):
            self._problems.add("now is compared with now", "compare it with a date or with item.created")
            return TRUE
        return plan.Compare(given.op, left_term, right_term)

    def _is_in(self, given: words.IsIn, scope: Scope) -> Condition:
        if not isinstance(given.term, words.Feature):
            self._problems.add("isin asks something that is no feature", "write item.category.isin((…))")
            return TRUE
        term = self.feature(given.term, scope)
        if isinstance(given.values, words.Feature):
            holder = self.feature(given.values, scope)
            if term and holder and (holder.kind != "strings" or term.kind != "string"):
                self._problems.add(
                    f"{_told(term)}.isin({_told(holder)}): {_told(holder)} is {_named(holder.kind)}",
                    "isin asks whether a list of texts holds a text, such as item.id.isin(visitor.session_items)",
                )
                return TRUE
            return plan.IsIn(term, holder) if term and holder else TRUE
        values = self._literals(term, given.values)
        return plan.IsIn(term, values) if term and values else TRUE

    def _literals(self, term: plan.Feature | None, given: object) -> plan.Literals | None:
        if not isinstance(given, list | tuple | set | frozenset) or not given:
            self._problems.add(f"isin got {given!r}", 'give it values in brackets, such as isin(("shoes", "hats"))')
            return None
        values = sorted(given, key=repr)
        kinds = {LITERAL_KINDS.get(type(value)) for value in values}
        if term and not all(kind and _mismatch("==", term.kind, kind) is None for kind in kinds):
            self._problems.add(
                f"{_told(term)} is {_named(term.kind)}, and isin holds {values[0]!r}", f"give it {_plural(term.kind)}"
            )
            return None
        return plan.Literals(values)

    def _term(self, given: object, scope: Scope) -> plan.Term | None:
        match given:
            case words.Feature():
                return self.feature(given, scope)
            case words.Scaled(factor, feature):
                return self._scaled(factor, feature, scope)
            case words.Moment(offset_ms):
                return plan.Moment(offset_ms)
            case words.Duration():
                self._problems.add("a length of time is compared with a value", "write now - days(14)")
                return None
            case bool() | str() | int():
                return plan.Literals([given])
            case float() if math.isfinite(given):
                return plan.Literals([given])
            case None:
                self._problems.add("a value is compared with None", "leave it out: what isn't known is never true")
                return None
        self._problems.add(f"a value is compared with {given!r}", "compare it with a text, a number, or a feature")
        return None

    def _scaled(self, factor: object, given: words.Feature, scope: Scope) -> plan.Scaled | None:
        feature = self.feature(given, scope)
        if type(factor) not in (int, float) or not math.isfinite(factor):  # type: ignore[arg-type]
            self._problems.add(f"{given.of}.{given.name} is multiplied by {factor!r}", "multiply it by a number")
            return None
        if feature and feature.kind not in NUMBERS:
            self._problems.add(
                f"{_told(feature)} is {_named(feature.kind)} and can't be multiplied", "compare it as it is"
            )
            return None
        return plan.Scaled(float(factor), feature) if feature else None  # type: ignore[arg-type]


def bases(condition: Condition | plan.Term) -> set[Base]:
    """Return whose features a condition reads."""
    match condition:
        case plan.All(parts) | plan.Any(parts):
            return set().union(*map(bases, parts))
        case plan.Not(part):
            return bases(part)
        case plan.Compare(_, left, right):
            return bases(left) | bases(right)
        case plan.IsIn(term, values):
            return bases(term) | bases(values)
        case plan.Holds(feature) | plan.Scaled(_, feature):
            return {feature.of}
        case plan.Feature(of):
            return {of}
    return set()


def date_ms(text: str, end_of_day: bool = False) -> int | None:
    """Return a date or time (UTC) in ms, None if it is none. A date alone is its beginning, or its end."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if end_of_day and len(text) <= len("2026-11-30"):
        moment += timedelta(days=1)
    return round(moment.timestamp() * 1000)


def _kind(term: plan.Term) -> Kind:
    match term:
        case plan.Feature():
            return term.kind
        case plan.Literals(values):
            return LITERAL_KINDS[type(values[0])]
    return "float" if isinstance(term, plan.Scaled) else "int"


def _mismatch(op: str, left: Kind, right: Kind) -> tuple[str, str] | None:
    """Return what is wrong with a comparison of two types and the way out, None if nothing is."""
    if "strings" in (left, right):
        return "one of them is a list", "ask a list with isin, such as item.id.isin(visitor.session_items)"
    same = left == right or (left in NUMBERS and right in NUMBERS)
    if not same:
        return f"{_named(left)} is compared with {_named(right)}", f"compare it with {_named(left)}"
    if left in ("string", "bool") and op not in ("==", "!="):
        return f"{_plural(left)} have no order", "use == or !="
    return None


def _named(kind: Kind) -> str:
    return {"string": "a text", "int": "a number", "float": "a number", "bool": "true or false", "strings": "a list"}[
        kind
    ]


def _plural(kind: Kind) -> str:
    return {"string": "texts", "bool": "yes and no", "strings": "lists"}.get(kind, "numbers")


def _example(kind: Kind) -> str:
    return {"string": '""', "bool": "False", "strings": "[]"}.get(kind, "0")


def _told(term: plan.Term) -> str:
    match term:
        case plan.Feature(of, name):
            return f"{of}.{name}"
        case plan.Scaled(factor, feature):
            return f"{factor:g} * {feature.of}.{feature.name}"
        case plan.Literals(values):
            return repr(values[0])
    return "now"
