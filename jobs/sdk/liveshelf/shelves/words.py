"""Shop, Shelf and their parts: frozen dataclasses that hold what a person wrote. Nothing is checked here.

`liveshelf shelves lint` checks it, so that every mistake is found at once.
"""

from dataclasses import dataclass, replace
from typing import Any

from liveshelf.shelves.expressions import Duration, Feature, Moment, Namespace, WordError

item = Namespace("item")  # each item that may stand in the list
anchor = Namespace("anchor")  # the item that the shelf is about
basket = Namespace("basket")  # the visitor's cart: items, categories, value_minor, size
visitor = Namespace("visitor")
now = Moment()  # the arrival of the event that the list answers


def days(number: float) -> Duration:
    return Duration(round(number * 86_400_000))


def minutes(number: float) -> Duration:
    return Duration(round(number * 60_000))


def percent(number: float) -> float:
    """Return a share: `percent(5)` is 0.05."""
    return number / 100


@dataclass(frozen=True, eq=False)
class Source:
    """Where items come from. Sources can be weighted and added: `Together(anchor) + 0.5 * Session()`."""

    def __mul__(self, weight: object) -> "Mix":
        return Mix(((weight, self),))

    __rmul__ = __mul__

    def __add__(self, other: object) -> "Mix":
        return Mix((*_parts(self), *_parts(other)))


@dataclass(frozen=True, eq=False)
class Mix:
    """Sources with their weights; an item's score is the weighted sum."""

    parts: tuple[tuple[object, Source], ...]

    def __mul__(self, weight: object) -> "Mix":
        raise WordError("a sum of sources has no weight", "weigh each: 0.5 * Session() + 0.3 * Together(anchor)")

    __rmul__ = __mul__

    def __add__(self, other: object) -> "Mix":
        return Mix((*self.parts, *_parts(other)))


def _parts(given: object) -> tuple[tuple[object, Source], ...]:
    if isinstance(given, Mix):
        return given.parts
    if isinstance(given, Source):
        return ((1.0, given),)
    raise WordError(f"{given!r} can't be added to a source", "add sources: Session() + 0.5 * Together(anchor)")


@dataclass(frozen=True, eq=False)
class Session(Source):
    """What the session model expects next."""


@dataclass(frozen=True, eq=False)
class Together(Source):
    """What goes with the item in view (`anchor`) or with the cart (`basket`), as if it were a session of its own."""

    what: object
    as_: str = "view"


@dataclass(frozen=True, eq=False)
class Trend(Source):
    """What happens now at a place: sliding counts of events by their weights, halved every `half_life`."""

    view: float = 0
    search: float = 0
    add_to_cart: float = 0
    remove_from_cart: float = 0
    purchase: float = 0
    rating: float = 0
    impression: float = 0
    click: float = 0
    window: object = "24h"
    half_life: object = "6h"


@dataclass(frozen=True, eq=False)
class Popular(Source):
    """What sold and was viewed most when the model was trained."""


@dataclass(frozen=True, eq=False, init=False)
class Event:
    """The types of events that a shelf answers."""

    types: tuple[object, ...]

    def __init__(self, *types: object) -> None:
        object.__setattr__(self, "types", types)


@dataclass(frozen=True, eq=False)
class Tick:
    """Computed when a record asks for it: by a schedule, for a mail, or after a model has changed."""


@dataclass(frozen=True, eq=False)
class Place:
    """A list for each combination of these features; of none: one list for everywhere."""

    features: tuple[object, ...]


def place(*features: Feature) -> Place:
    return Place(features)


@dataclass(frozen=True, eq=False)
class Lift:
    """Multiply the odds of items for which `when` is true by `factor`; 1.0 is exactly nothing."""

    when: object
    factor: object


@dataclass(frozen=True, eq=False)
class AtMost:
    """Of any `within` neighbouring places at most `n` have one value of `of`; without `within`: of the whole list."""

    n: object
    of: object
    within: object = None


@dataclass(frozen=True, eq=False)
class Mmr:
    """Take next what scores well and is unlike what stands already; `lambda_` is the weight of the score.

    Likeness is the share of `by` in which two items are equal.
    """

    lambda_: object
    by: object


@dataclass(frozen=True, eq=False)
class Explore:
    """Give `share` of the places to items for which `among` is true, chosen by a hash of list and place."""

    share: object
    among: object


@dataclass(frozen=True, eq=False, init=False)
class Pin:
    """Show an item at a place (the first is 1), for whom `only` is true, from `since` until the end of `until`."""

    item: object
    at: object
    only: object
    since: object
    until: object

    def __init__(
        self, item: object, *, at: object, only: object = None, since: object = None, until: object = None
    ) -> None:
        for name, value in (("item", item), ("at", at), ("only", only), ("since", since), ("until", until)):
            object.__setattr__(self, name, value)


@dataclass(frozen=True, eq=False, kw_only=True)
class Shop:
    """What holds on every shelf.

    `gate` speaks of the item only. It holds for pins and fallbacks too, and once more when a list is read. `where` is
    the rule of each visitor's shelf that has none of its own. Of the items with one value of `one_of` a list shows the
    best. `defaults` hold the value of a visitor's feature that isn't known: `defaults={"country": ""}`.
    """

    gate: object = None
    where: Any = None
    one_of: object = None
    defaults: object = None


@dataclass(frozen=True, eq=False, init=False)
class Shelf:
    """One place's list. Without `of` it is each visitor's own."""

    name: object
    when: object
    of: object
    about: object
    take: object
    where: Any
    lift: object
    spread: object
    explore: object
    pins: object
    size: object
    least: object
    instead: object

    def __init__(
        self,
        name: object,
        *,
        when: object = None,
        take: object = None,
        of: object = None,
        about: object = None,
        where: object = None,
        lift: object = (),
        spread: object = (),
        explore: object = None,
        pins: object = (),
        size: object = 20,
        least: object = 0,
        instead: object = (),
    ) -> None:
        given = locals()
        for field in self.__dataclass_fields__:
            object.__setattr__(self, field, given[field])

    def but(self, **changes: Any) -> "Shelf":
        """Return a shelf that differs in these fields. It needs a name of its own."""
        return replace(self, **changes)
