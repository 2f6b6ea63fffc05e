"""A version of a shop's shelves as plain data: what `shelves publish` writes, and what jobs and the oracle read. Pure.

`jobs/shelves/compile.py` makes it from `feature_repo/shelves.py`. What a rule means stands in `jobs/shelves/README.md`;
two evaluations that share no code (`jobs/shelves`, `jobs/verify/shelf_rules.py`) follow it.
"""

import hashlib
from typing import Literal

import msgspec

Kind = Literal["string", "int", "float", "bool", "strings"]
Base = Literal["item", "anchor", "visitor", "basket"]
Operator = Literal["==", "!=", "<", "<=", ">", ">="]
# N: of the item only, a vector for all items · V: of visitor and item, a mask on the candidates · L: of the list · S:
# as N or V, but so few items pass that its rows need a call of their own
Class = Literal["N", "V", "L", "S"]
Value = str | int | float | bool

CANDIDATES = 64  # that a source offers for a list; more for a list with more than 48 places
WIDE = 512  # that the session model offers a list which came out short
SPARE = 8  # places behind the last, for what the gate takes away at reading
# The facts that a trend becomes: its value, and the different visitors of the item and of its category.
TREND, TREND_VISITORS, TREND_CATEGORY_VISITORS = "trend", "trend_visitors", "trend_category_visitors"
SEGMENT = "segment"  # the visitor's feature that the model gives
TREND_LEAST = 20  # visitors; a place with fewer shows the trend of a wider one
TRIES = 4  # items that an explored place may try
FORMAT = 1


class Feature(msgspec.Struct, frozen=True, tag="feature"):
    """A feature's value."""

    of: Base
    name: str
    kind: Kind


class Scaled(msgspec.Struct, frozen=True, tag="scaled"):
    """A number times a feature."""

    factor: float
    feature: Feature


class Moment(msgspec.Struct, frozen=True, tag="moment"):
    """The arrival of the event that a list answers, plus so many milliseconds."""

    offset_ms: int


class Literals(msgspec.Struct, frozen=True, tag="literals"):
    """Values that stand in the file; a comparison has one."""

    values: list[Value]


Term = Feature | Scaled | Moment | Literals


class Compare(msgspec.Struct, frozen=True, tag="compare"):
    """Two values, compared."""

    op: Operator
    left: Term
    right: Term


class IsIn(msgspec.Struct, frozen=True, tag="in"):
    """A value that literals or a list hold."""

    term: Feature
    values: Literals | Feature


class Holds(msgspec.Struct, frozen=True, tag="holds"):
    """A feature that is a bool, and true."""

    feature: Feature


class All(msgspec.Struct, frozen=True, tag="all"):
    parts: "list[Condition]"


class Any(msgspec.Struct, frozen=True, tag="any"):
    parts: "list[Condition]"


class Not(msgspec.Struct, frozen=True, tag="not"):
    part: "Condition"


Condition = Compare | IsIn | Holds | All | Any | Not


class Rule(msgspec.Struct, frozen=True):
    """A condition and its class."""

    condition: Condition
    cost: Class


class Count(msgspec.Struct, frozen=True):
    """A feature of items that counts events of a type in a sliding window."""

    view: str
    name: str
    event_type: str
    window_ms: int


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One source of a shelf's items. `what` is anchor or basket, `list` a visitor's feature that holds items."""

    kind: Literal["session", "together", "trend", "popular", "list"]
    weight: float = 1.0
    what: str = ""
    as_type: str = ""
    weights: dict[str, float] = {}
    window_ms: int = 0
    half_life_ms: int = 0
    counts: list[Count] = []  # from which a trend is made
    visitors: Count | None = None  # different visitors of an item in the trend's window
    category_visitors: Count | None = None  # of a category
    list: str = ""


class Lift(msgspec.Struct, frozen=True):
    """A factor on the odds of the items for which the rule is true."""

    rule: Rule
    factor: float


class AtMost(msgspec.Struct, frozen=True):
    """Of any `within` neighbouring places at most `n` have one value of an item's feature; 0 is the whole list."""

    n: int
    of: str
    within: int


class Mmr(msgspec.Struct, frozen=True):
    """Weigh the score against likeness to what stands already."""

    weight: float  # of the score
    by: list[str]


class Explore(msgspec.Struct, frozen=True):
    """The share of places that show an item for which the rule is true."""

    share: float
    among: Rule


class Pin(msgspec.Struct, frozen=True):
    """An item at a place (from 1). `only` is about who sees it. It holds from `since_ms` until before `until_ms`."""

    item: str
    at: int
    only: Condition | None = None
    since_ms: int | None = None
    until_ms: int | None = None


class Shelf(msgspec.Struct, frozen=True, kw_only=True):
    """One shelf. `place` names the features of a place, such as visitor.country."""

    name: str
    of: Literal["visitor", "item", "place"] = "visitor"
    place: list[Feature] = []
    events: list[str] = []
    every_ms: int = 0
    about: Literal["", "viewed", "cart"] = ""
    take: list[Source]
    where: Rule | None = None
    where_is_the_shops: bool = False
    lift: list[Lift] = []
    spread: list[AtMost] = []
    mmr: Mmr | None = None
    explore: Explore | None = None
    pins: list[Pin] = []
    size: int
    least: int = 0
    instead: list[str] = []

    @property
    def places(self) -> int:
        """Return how many items a list holds, those in reserve included."""
        return self.size + SPARE

    @property
    def enough(self) -> int:
        """Return how many items a list must have, or else the model is asked again.

        Half of the reserve may stay empty: an answer of 512 items costs a millisecond.
        """
        return self.size + SPARE // 2

    @property
    def trend_visitors(self) -> str:
        """Return the fact that says of an item how many visitors its place had at least."""
        is_wide = all((feature.of, feature.name) == ("item", "category") for feature in self.place)
        return TREND_CATEGORY_VISITORS if is_wide else TREND_VISITORS

    @property
    def candidates(self) -> int:
        """Return how many items each source offers."""
        return max(CANDIDATES, self.places + 16)

    def takes(self, kind: str) -> bool:
        return any(source.kind == kind for source in self.take)


class VisitorFeature(msgspec.Struct, frozen=True):
    """A visitor's feature that rules read, and its value where it isn't known. `view` is "" for one of the session."""

    name: str
    view: str
    kind: Kind
    default: Value | list[str]


class ShelfPlan(msgspec.Struct, frozen=True, kw_only=True):
    """All shelves of a shop. Its version is the digest of its bytes."""

    format: int = FORMAT
    gate: Rule | None = None
    one_of: str = ""
    shelves: list[Shelf]
    visitor: list[VisitorFeature] = []
    columns: list[str] = []  # features of items that rules read

    def shelf(self, name: str) -> Shelf:
        """Return a shelf by its name. Raises KeyError."""
        return {shelf.name: shelf for shelf in self.shelves}[name]

    @property
    def reads_segments(self) -> bool:
        """Return True if a rule reads the visitor's segment, which the model gives."""
        return any(feature.name == SEGMENT and not feature.view for feature in self.visitor)

    @property
    def of_visitors(self) -> list[Shelf]:
        return [shelf for shelf in self.shelves if shelf.of == "visitor"]

    @property
    def lead(self) -> Shelf | None:
        """Return the shelf whose rules of the item alone go into the one call of the session model for an event."""
        return next((shelf for shelf in self.of_visitors if shelf.takes("session")), None)


def encode(plan: ShelfPlan) -> bytes:
    return msgspec.json.format(msgspec.json.encode(plan), indent=1)


def decode(data: bytes) -> ShelfPlan:
    """Return the plan in a version's file. Raises msgspec.DecodeError (or ValidationError, which is one)."""
    return msgspec.json.decode(data, type=ShelfPlan)


def version_of(data: bytes) -> str:
    return f"shelves-{hashlib.sha256(data).hexdigest()[:12]}"


def hash_seed(list_id: str) -> int:
    """Return the 64 bits from which a list's explored places come: BLAKE2b-64 of its id, little endian."""
    return int.from_bytes(hashlib.blake2b(list_id.encode(), digest_size=8).digest(), "little")
