"""Compile the parts of a shelf: its sources, lifts, spread, exploration and pins."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeGuard

from jobs.contract import events
from jobs.contract import shelf_plan as plan
from jobs.contract.items import id_reason
from jobs.contract.shelf_plan import Base
from jobs.shelves.conditions import ITEM, OTHERS, Compiler, Scope, date_ms
from jobs.shelves.problems import Problems
from liveshelf.shelves import words
from liveshelf.shelves.expressions import Duration, Feature, Namespace

MAX_SIZE = 100
LIFTS = (0.05, 20.0)  # bounds of a factor, and of the product of all that may meet on one item
SPANS = re.compile(r"(\d+)\s*(m|h|d)")
UNIT_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}
TREND_TYPES = tuple(events.EVENT_TYPES)
ITEM_ONLY = Scope(ITEM, {})


class Parts:
    """Compile parts in the scope of one shelf; mistakes go to `problems`."""

    def __init__(self, name: str, scope: Scope, compiler: Compiler, problems: Problems) -> None:
        self._name, self._scope, self._compiler, self._problems = name, scope, compiler, problems

    def _at(self, field: str) -> Problems:
        return self._problems.at(self._name, field)

    def take(self, given: object, shelf: words.Shelf) -> list[plan.Source]:
        """Return the sources with their weights."""
        problems = self._at("take")
        if isinstance(given, Feature):
            return self._list(given, shelf)
        parts = given.parts if isinstance(given, words.Mix) else ((1.0, given),)
        sources = []
        for weight, part in parts:
            if not _is_number(weight) or weight <= 0:
                problems.add(f"a source weighs {weight!r}", "give it a weight above 0, such as 0.5 * Session()")
            elif (source := self._source(part, float(weight), shelf)) is not None:
                sources.append(source)
        return sources

    def _list(self, given: Feature, shelf: words.Shelf) -> list[plan.Source]:
        feature = self._compiler.feature(given, self._scope)
        if feature and (feature.kind != "strings" or feature.of != "visitor"):
            self._at("take").add(
                f"{given.of}.{given.name} is no list of items", "take a visitor's list, such as visitor.session_items"
            )
        return [plan.Source(kind="list", list=given.name)] if feature else []

    def _source(self, given: object, weight: float, shelf: words.Shelf) -> plan.Source | None:
        problems, is_visitors = self._at("take"), shelf.of is None
        match given:
            case words.Session():
                if not is_visitors:
                    problems.add(
                        "Session() is a visitor's, and this list is nobody's", "take Together(anchor), or Popular()"
                    )
                return plan.Source(kind="session", weight=weight)
            case words.Together(what, as_type):
                return self._together(what, as_type, weight, shelf)
            case words.Trend():
                if not isinstance(shelf.of, words.Place):
                    problems.add(
                        "Trend(…) belongs to a place", "make a shelf of=place(…) of it, and name that in `instead`"
                    )
                    return None
                return self._trend(given, weight)
            case words.Popular():
                return plan.Source(kind="popular", weight=weight)
        fix = "take Session(), Together(…), Trend(…), Popular() or a visitor's list"
        problems.add("takes nothing" if given is None else f"{given!r} is no source", fix)
        return None

    def _together(self, what: object, as_type: object, weight: float, shelf: words.Shelf) -> plan.Source | None:
        problems = self._at("take")
        of = what._of if isinstance(what, Namespace) else ""
        if of not in ("anchor", "basket"):
            problems.add(f"Together({what!r}) goes with no item", "write Together(anchor) or Together(basket)")
            return None
        if of not in self._scope.bases:
            problems.add(*self._scope.refusals[of])
        if as_type not in events.EVENT_TYPES:
            problems.add(f"as_={as_type!r} is no type of event", f"use one of {', '.join(events.EVENT_TYPES)}")
            return None
        return plan.Source(kind="together", weight=weight, what=of, as_type=str(as_type))

    def _trend(self, given: words.Trend, weight: float) -> plan.Source:
        problems = self._at("take")
        weights = {name: getattr(given, name) for name in TREND_TYPES}
        for name, value in weights.items():
            if not _is_number(value) or value < 0:
                problems.add(f"Trend({name}={value!r}) is no weight", "give it a number, such as view=1")
        if not any(_is_number(value) and value > 0 for value in weights.values()):
            problems.add("Trend() counts no event", "give it weights: Trend(view=1, purchase=8)")
        spans = {name: span_ms(getattr(given, name)) for name in ("window", "half_life")}
        for name, span in spans.items():
            if not span:
                problems.add(f"{name}={getattr(given, name)!r} is no length of time", 'write "30m", "24h" or "7d"')
        counted = {name: float(value) for name, value in weights.items() if _is_number(value) and value > 0}
        window_ms = spans["window"] or 0
        way = (counted, spans)
        if self._compiler.trend is not None and self._compiler.trend != way:
            problems.add(
                "Trend(…) differs from another shelf's", "count trends in one way; a shop has one fact item.trend"
            )
        self._compiler.trend = way
        return plan.Source(
            kind="trend",
            weight=weight,
            weights=counted,
            window_ms=window_ms,
            half_life_ms=spans["half_life"] or 0,
            counts=self._counts(counted, window_ms),
            visitors=self._trend_visitors("item", window_ms),
            category_visitors=self._trend_visitors("category", window_ms),
        )

    def _counts(self, types: Mapping[str, float], window_ms: int) -> list[plan.Count]:
        """Return the features of items that count these types of events in windows up to the trend's."""
        problems, items = self._at("take"), self._compiler.known["item"]
        found: list[plan.Count] = []
        for kind in types:
            column = f"is_{kind}"
            of_kind = [
                plan.Count(each.view, each.name, kind, each.window_ms)
                for each in (feature.counted for feature in items.values())
                if each and (each.function, each.column) == ("sum", column) and 0 < each.window_ms <= window_ms
            ]
            if not any(count.window_ms == window_ms for count in of_kind):
                problems.add(
                    f"no view of entity item sums {column} over {window_ms / UNIT_MS['h']:g} h",
                    f'add *per_window("sum", "{column}", …) to item_activity, or take another window',
                )
            found += sorted(of_kind, key=lambda count: count.window_ms)
        for fact in (plan.TREND, plan.TREND_VISITORS, plan.TREND_CATEGORY_VISITORS):
            if fact not in items or not items[fact].is_held:
                problems.add(f"no topic of facts has the field {fact}", "keep the view item_trends in definitions.py")
        return found

    def _trend_visitors(self, of: Literal["item", "category"], window_ms: int) -> plan.Count | None:
        """Return the feature that counts the different visitors of each item, or of each category."""
        counted = [feature.counted for feature in self._compiler.known[of].values() if feature.counted]
        wanted = ("count_distinct", "visitor_id", window_ms)
        found = [each for each in counted if (each.function, each.column, each.window_ms) == wanted]
        if not found:
            self._at("take").add(
                f"no view of entity {of} counts its different visitors over {window_ms / UNIT_MS['h']:g} h",
                f'add *per_window("count_distinct", "visitor_id", …) to {of}_activity, or take another window',
            )
            return None
        return plan.Count(found[0].view, found[0].name, "", window_ms)

    def lifts(self, given: object) -> list[plan.Lift]:
        """Return the lifts; the product of those above 1, and of those below, stays within bounds."""
        problems, lifts = self._at("lift"), []
        for lift in self._several(given, words.Lift, "Lift(item.on_offer, 1.3)"):
            rule = self._compiler.rule(lift.when, self._scope)
            if not _is_number(lift.factor) or not LIFTS[0] <= lift.factor <= LIFTS[1]:
                low, high = LIFTS
                problems.add(
                    f"a factor is {lift.factor!r}", f"give it a number from {low:g} to {high:g}; 1.0 is nothing"
                )
            else:
                lifts.append(plan.Lift(rule, float(lift.factor)))
        for bound, factors in (
            (LIFTS[1], [each.factor for each in lifts if each.factor > 1]),
            (LIFTS[0], [each.factor for each in lifts if each.factor < 1]),
        ):
            product = math.prod(factors)
            if len(factors) > 1 and (product > bound if bound > 1 else product < bound):
                told = " × ".join(f"{factor:g}" for factor in factors)
                problems.add(
                    f"{told} = {product:.3g} may meet on one item; odds are lifted by {LIFTS[0]:g} to {LIFTS[1]:g}",
                    "make the factors smaller",
                )
        return lifts

    def spread(self, given: object, size: int) -> tuple[list[plan.AtMost], plan.Mmr | None]:
        self._at("spread")
        windows, mmrs = [], []
        for part in self._several(given, (words.AtMost, words.Mmr), "AtMost(4, of=item.category, within=10)"):
            if isinstance(part, words.AtMost):
                windows.append(self._at_most(part, size))
            else:
                mmrs.append(self._mmr(part))
        if len(mmrs) > 1:
            self._at("spread").add(f"holds {len(mmrs)} Mmr", "keep one, with all fields in its `by`")
        return [window for window in windows if window], next((mmr for mmr in mmrs if mmr), None)

    def _at_most(self, given: words.AtMost, size: int) -> plan.AtMost | None:
        problems, of = self._at("spread"), self.item_feature(given.of, "spread")
        within = given.within
        if type(given.n) is not int or given.n < 1:
            problems.add(f"AtMost({given.n!r}) is no number of places", "give it a whole number from 1")
            return None
        if within is not None and (type(within) is not int or within < 2):
            problems.add(f"within={within!r} is no window", "give it a whole number of neighbouring places from 2")
            return None
        if given.n >= (within or size):
            problems.add(
                f"AtMost({given.n}, within={within or size}) excludes nothing", "make n smaller than the window"
            )
        if within is not None and within > size:
            problems.add(f"within={within} is longer than the list of {size}", "leave `within` out: the whole list")
        return plan.AtMost(given.n, of, within or 0) if of else None

    def _mmr(self, given: words.Mmr) -> plan.Mmr | None:
        problems = self._at("spread")
        by = [
            self.item_feature(each, "spread")
            for each in (given.by if isinstance(given.by, list | tuple) else (given.by,))
        ]
        if not _is_number(given.lambda_) or not 0 < given.lambda_ < 1:
            problems.add(
                f"Mmr({given.lambda_!r}) weighs nothing against anything",
                "give it a share between 0 and 1, such as 0.8",
            )
            return None
        if not by:
            problems.add("Mmr has no `by`", "name what makes items alike: by=(item.category, item.brand)")
        names = [name for name in by if name]
        return plan.Mmr(float(given.lambda_), names) if names else None

    def item_feature(self, given: object, field: str) -> str:
        """Return the name of an item's feature by which items are the same; "" for a mistake."""
        problems = self._at(field)
        if not isinstance(given, Feature) or given.of != "item":
            written = f"{given.of}.{given.name}" if isinstance(given, Feature) else repr(given)
            problems.add(f"{written} is no feature of an item", "name one, such as item.category")
            return ""
        feature = self._compiler.feature(given, ITEM_ONLY)
        if feature and feature.name == "id":
            problems.add("item.id is another for each item", "name what items share, such as item.category")
            return ""
        return feature.name if feature else ""

    def explore(self, given: object) -> plan.Explore | None:
        if given is None:
            return None
        problems = self._at("explore")
        if not isinstance(given, words.Explore):
            problems.add(
                f"{given!r} explores nothing", "write Explore(percent(5), among=item.created > now - days(30))"
            )
            return None
        if not _is_number(given.share) or not 0 < given.share <= 0.5:
            problems.add(f"explores a share of {given.share!r}", "write at most half: percent(5) or 0.05")
            return None
        refusals: dict[Base, tuple[str, str]] = dict.fromkeys(
            OTHERS,
            ("`among` is about items only: it makes one pool for all", "put the rest into `where`"),
        )
        return plan.Explore(float(given.share), self._compiler.rule(given.among, Scope(ITEM, refusals)))

    def pins(self, given: object, size: int) -> list[plan.Pin]:
        self._at("pins")
        pins = [self._pin(pin, size) for pin in self._several(given, words.Pin, 'Pin("4711", at=1)')]
        problems = self._at("pins")
        by_place: dict[int, list[plan.Pin]] = {}
        items: dict[str, int] = {}
        for pin in filter(None, pins):
            by_place.setdefault(pin.at, []).append(pin)
            items[pin.item] = items.get(pin.item, 0) + 1
        for place, rivals in by_place.items():
            if len(rivals) > 1:
                names = " and ".join(repr(pin.item) for pin in rivals)
                problems.add(f"{names} are pinned to place {place}", "give each a place of its own")
        for item in (item for item, count in items.items() if count > 1):
            problems.add(f"{item!r} is pinned twice", "keep one of its pins")
        return sorted(filter(None, pins), key=lambda pin: pin.at)

    def _pin(self, given: words.Pin, size: int) -> plan.Pin | None:
        problems = self._at("pins")
        if not isinstance(given.item, str) or id_reason(given.item):
            problems.add(f"{given.item!r} is no item's id", 'write the id as a text: Pin("4711", at=1)')
            return None
        if type(given.at) is not int or not 1 <= given.at <= size:
            problems.add(f"{given.item!r} is pinned to place {given.at!r}", f"the list has the places 1 to {size}")
            return None
        since_ms, until_ms = self._date(given.since, "since"), self._date(given.until, "until")
        if since_ms is not None and until_ms is not None and until_ms <= since_ms:
            problems.add(
                f"{given.item!r} is pinned until {given.until}, which is before {given.since}", "turn them round"
            )
        only = None
        if given.only is not None:
            refusal = ("`only` is about who sees the pin", "conditions of the item stand in `where`")
            bases = [base for base in self._scope.bases if base != "item"]
            only = self._compiler.condition(given.only, Scope(bases, {**self._scope.refusals, "item": refusal}))
        return plan.Pin(given.item, given.at, only, since_ms, until_ms)

    def _date(self, given: object, name: str) -> int | None:
        if given is None:
            return None
        moment = date_ms(given, end_of_day=name == "until") if isinstance(given, str) else None
        if moment is None:
            self._at("pins").add(f"{name}={given!r} is no date", 'write "2026-11-30" or "2026-11-30T18:00" (UTC)')
        return moment

    def _several(self, given: object, kinds: Any, example: str) -> Sequence[Any]:
        """Return a tuple's parts that are of a kind; one alone counts as a tuple of one."""
        field = self._problems
        parts = given if isinstance(given, list | tuple) else (given,) if given is not None else ()
        for part in parts:
            if not isinstance(part, kinds):
                field.add(f"holds {part!r}", f"write ({example},)")
        return [part for part in parts if isinstance(part, kinds)]


def span_ms(given: object) -> int | None:
    """Return "30m", "24h", "7d" or minutes(30) in ms; None for anything else and for nothing."""
    if isinstance(given, Duration):
        return given.ms if given.ms > 0 else None
    match = SPANS.fullmatch(given.strip()) if isinstance(given, str) else None
    return int(match[1]) * UNIT_MS[match[2]] or None if match else None


def _is_number(given: object) -> TypeGuard[float]:
    return isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given)
