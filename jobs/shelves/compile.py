"""Compile the words of shelves.py to a `ShelfPlan`, and find every mistake in them."""

import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from jobs.contract import events
from jobs.contract import shelf_plan as plan
from jobs.shelves import between, scopes
from jobs.shelves.conditions import LITERAL_KINDS, NUMBERS, Compiler, bases
from jobs.shelves.known import OF_SESSION, Known
from jobs.shelves.parts import MAX_SIZE, Parts
from jobs.shelves.problems import Problem, Problems, nearest
from liveshelf.shelves import words
from liveshelf.shelves.expressions import Duration, Feature

Of = Literal["visitor", "item", "place"]
About = Literal["", "viewed", "cart"]
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
SHOP = "SHOP"
FASTEST_MS = 60_000


class Definitions(NamedTuple):
    """What a file defines; its order is the order of the file."""

    shops: Sequence[words.Shop]
    shelves: Sequence[words.Shelf]


class Compiled(NamedTuple):
    """The plan and every problem; with an error among them the plan means nothing."""

    plan: plan.ShelfPlan
    problems: list[Problem]


def compiled(definitions: Definitions, known: Known) -> Compiled:
    """Return the plan of a file, and its problems."""
    problems = Problems()
    if len(definitions.shops) > 1:
        problems.at("").add(f"{len(definitions.shops)} Shop(…) are defined", "keep one")
    if not definitions.shelves:
        problems.at("").add(
            "no shelf is defined", 'define one: home = Shelf("home", when=Event("view"), take=Session())'
        )
    shop = next(iter(definitions.shops), words.Shop())
    compiler = Compiler(known, _defaults(shop, known, problems), problems)
    parts = Parts(SHOP, scopes.GATE, compiler, problems)
    problems.at(SHOP, "gate")
    gate = compiler.rule(shop.gate, scopes.GATE) if shop.gate is not None else None
    one_of = parts.item_feature(shop.one_of, "one_of") if shop.one_of is not None else ""
    where = _where_of_shop(shop, compiler, problems)
    shelves = [_Shelf(each, where, compiler, problems).compile() for each in definitions.shelves]
    between.check(shelves, problems)
    return Compiled(
        plan.ShelfPlan(
            gate=gate,
            one_of=one_of,
            shelves=shelves,
            visitor=_visitor_features(compiler, shop.defaults),
            columns=sorted({name for base, name in compiler.read if base in ("item", "anchor")} | _of_basket(compiler)),
        ),
        problems.found,
    )


def _where_of_shop(shop: words.Shop, compiler: Compiler, problems: Problems) -> plan.Rule | None:
    problems.at(SHOP, "where")
    everybody = words.Shelf("", of=None)
    return compiler.rule(shop.where, scopes.scope_of(everybody)) if shop.where is not None else None


def _of_basket(compiler: Compiler) -> set[str]:
    """Return the facts from which features of the cart are made."""
    facts = {"categories": "category", "value_minor": "price_minor"}
    return {facts[name] for base, name in compiler.read if base == "basket" and name in facts}


def _visitor_features(compiler: Compiler, given: object) -> list[plan.VisitorFeature]:
    defaults = given if isinstance(given, dict) else {}
    found = []
    for (base, name), feature in sorted(compiler.read.items()):
        if base == "visitor":
            default = defaults.get(name, feature.default)
            view = "" if feature.source == OF_SESSION else feature.source
            value = list(default) if isinstance(default, list | tuple) else default
            found.append(plan.VisitorFeature(name, view, feature.kind, "" if value is None else value))
    return found


def _defaults(shop: words.Shop, known: Known, problems: Problems) -> Mapping[str, object]:
    """Return the shop's defaults of visitors' features that have the right type."""
    problems.at(SHOP, "defaults")
    if not isinstance(shop.defaults, dict | None):
        problems.add(f"holds {shop.defaults!r}", 'write defaults={"country": ""}')
        return {}
    right = {}
    for name, value in (shop.defaults or {}).items():
        feature = known["visitor"].get(name)
        if feature is None:
            near = nearest(str(name), known["visitor"])
            problems.add(
                f"visitor.{name} isn't a feature of entity visitor",
                f"did you mean {near!r}?" if near else "leave it out",
            )
            continue
        kind = LITERAL_KINDS.get(type(value), "strings" if isinstance(value, list | tuple) else None)
        if kind == feature.kind or (kind in NUMBERS and feature.kind in NUMBERS):
            right[name] = value
        else:
            problems.add(f"visitor.{name} is of type {feature.kind}, and its default is {value!r}", "give it that type")
            right[name] = value  # the mistake is told once, not at each use
    return right


class _Shelf:
    """Compiles one shelf."""

    def __init__(self, given: words.Shelf, where: plan.Rule | None, compiler: Compiler, problems: Problems) -> None:
        self._given, self._shops_where, self._compiler, self._problems = given, where, compiler, problems
        self._name = given.name if isinstance(given.name, str) else repr(given.name)
        self._scope = scopes.scope_of(given)
        self._parts = Parts(self._name, self._scope, compiler, problems)

    def _at(self, field: str) -> Problems:
        return self._problems.at(self._name, field)

    def compile(self) -> plan.Shelf:
        given = self._given
        if not NAME.fullmatch(self._name):
            self._at("name").add(f"{self._name!r} can't be a part of a key", "use a to z, 0 to 9 and _, such as home")
        size, least = self._sizes()
        of, place = self._of()
        events_, every_ms = self._when()
        where, is_the_shops = self._where()
        spread, mmr = self._parts.spread(given.spread, size)
        instead = self._instead(least)
        return plan.Shelf(
            name=self._name,
            of=of,
            place=place,
            events=events_,
            every_ms=every_ms,
            about=self._about(events_),
            take=self._parts.take(given.take, given),
            where=where,
            where_is_the_shops=is_the_shops,
            lift=self._parts.lifts(given.lift),
            spread=spread,
            mmr=mmr,
            explore=self._explore(),
            pins=self._parts.pins(given.pins, size),
            size=size,
            least=max(least, 1) if instead else least,  # without it nothing would ever stand in
            instead=instead,
        )

    def _sizes(self) -> tuple[int, int]:
        size, least = self._given.size, self._given.least
        if type(size) is not int or not 1 <= size <= MAX_SIZE:
            self._at("size").add(f"is {size!r}", f"a list has 1 to {MAX_SIZE} places")
            size = MAX_SIZE
        if type(least) is not int or least < 0:
            self._at("least").add(f"is {least!r}", "give it a whole number from 0")
            least = 0
        if least > size:
            self._at("least").add(f"is {least}, and the list has {size} places", f"make it at most {size}")
        return size, least

    def _of(self) -> tuple[Of, list[plan.Feature]]:
        of = self._given.of
        if of is None:
            return "visitor", []
        if of is words.item:
            return "item", []
        if not isinstance(of, words.Place):
            self._at("of").add(f"is {of!r}", "leave it out for a visitor's shelf, or write item or place(…)")
            return "visitor", []
        scope = scopes.scope_of(words.Shelf("", about=None))
        features = []
        for each in of.features:
            problems = self._at("of")
            if not isinstance(each, Feature):
                problems.add(f"{each!r} makes no place", "write place(visitor.country, item.category)")
            elif each.of != "item":
                problems.add(
                    f"{each.of}.{each.name} makes no place: nothing is counted by it",
                    "make places of facts, such as place(item.category)",
                )
            elif feature := self._compiler.feature(each, scope):
                if feature.kind != "string":
                    problems.add(
                        f"{each.of}.{each.name} makes no place", "places are made of texts, such as item.category"
                    )
                features.append(feature)
        return "place", features

    def _when(self) -> tuple[list[str], int]:
        """Return the types of events, or the time between two ticks."""
        when, of, problems = self._given.when, self._given.of, self._at("when")
        if isinstance(when, words.Event):
            for kind in when.types:
                if kind not in events.EVENT_TYPES:
                    near = nearest(str(kind), events.EVENT_TYPES)
                    hint = f"did you mean {near!r}? " if near else ""
                    problems.add(f"{kind!r} is no type of event", f"{hint}there are {', '.join(events.EVENT_TYPES)}")
            if not when.types:
                problems.add("Event() names no type", 'write Event("view")')
            if of is not None:
                problems.add(
                    "an event is a visitor's, and this list is nobody's", "write Tick(), or minutes(1) for a place"
                )
            return [str(kind) for kind in when.types], 0
        if isinstance(when, Duration):
            if not isinstance(of, words.Place):
                problems.add("only places are computed by the minute", 'write Event("view") or Tick()')
            if when.ms < FASTEST_MS:
                problems.add(f"every {when.ms / 1000:g} s is too often", "write minutes(1) or more")
            return [], when.ms
        if not isinstance(when, words.Tick):
            problems.add(
                "says nothing" if when is None else f"is {when!r}", 'write Event("view"), Tick() or minutes(1)'
            )
        return [], 0

    def _about(self, types: Sequence[str]) -> About:
        about, problems = self._given.about, self._at("about")
        if about is None:
            return ""
        if about not in ("viewed", "cart"):
            near = nearest(str(about), ("viewed", "cart"))
            problems.add(f"is {about!r}", f"write {near!r}" if near else 'write "viewed" or "cart"')
            return ""
        if self._given.of is not None:
            problems.add(f"{about!r} is what a visitor does, and this list is nobody's", "leave it out")
        needed = ("view",) if about == "viewed" else ("add_to_cart", "remove_from_cart")
        if types and not set(needed) & set(types):
            problems.add(
                f"is {about!r}, but `when` names no {' and no '.join(needed)}", f"add {needed[0]!r} to Event(…)"
            )
        return "viewed" if about == "viewed" else "cart"

    def _where(self) -> tuple[plan.Rule | None, bool]:
        """Return the shelf's rule, else the shop's where it can be read here."""
        self._at("where")
        if self._given.where is not None:
            return self._compiler.rule(self._given.where, self._scope), False
        shops = self._shops_where
        if shops is None or scopes.reads_beyond(bases(shops.condition), self._scope):
            return None, False
        return shops, True

    def _explore(self) -> plan.Explore | None:
        self._at("explore")
        if self._given.explore is not None and self._given.of is not None:
            self._problems.add("explores a list that is nobody's", "explore on visitors' shelves")
        return self._parts.explore(self._given.explore)

    def _instead(self, least: int) -> list[str]:
        instead = self._given.instead
        problems = self._at("instead")
        if isinstance(instead, str):
            problems.add(f"is the text {instead!r}", f"write ({instead!r},)")
            return [instead]
        if not isinstance(instead, list | tuple) or not all(isinstance(each, str) for each in instead):
            problems.add(f"is {instead!r}", 'name shelves: ("trending", "popular")')
            return []
        if len(set(instead)) < len(instead):
            problems.add(f"names {', '.join(instead)}", "name each once")
        if least and not instead:
            self._at("least").add(f"is {least}, and nothing stands in for what is missing", 'add instead=("popular",)')
        return list(instead)
