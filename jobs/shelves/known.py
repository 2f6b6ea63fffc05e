"""What rules may read: features of items, visitors and the cart, with their types and defaults."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from jobs.contract.items import FactContract
from jobs.contract.shelf_plan import SEGMENT, Base, Kind, Value

LIST_MARK = "Array("
KIND_OF_DTYPE: dict[str, Kind] = {
    "String": "string",
    "Int32": "int",
    "Int64": "int",
    "Float32": "float",
    "Float64": "float",
    "Bool": "bool",
    "UnixTimestamp": "int",
    "Array(String)": "strings",
}
# What an aggregation of no events is. The others, such as last and mean, aren't known before the first event.
ZERO_OF_NOTHING = ("sum", "count", "count_distinct", "is_single")


class KnownFeature(NamedTuple):
    """A feature: `source` is its topic or view; `default` is what it is of a visitor of whom nothing is known."""

    kind: Kind
    source: str
    default: Value | list[str] | None = None
    is_held: bool = True  # by the workers of the rankings job
    counted: "Defined | None" = None  # how it is counted, where it is


class Defined(NamedTuple):
    """A feature as its view defines it; `function` is "" for a fact."""

    view: str
    name: str
    dtype: str
    function: str = ""
    column: str = ""
    window_ms: int = 0


Known = Mapping[Base | Literal["category"], Mapping[str, KnownFeature]]

OF_SESSION = "the session"
SESSION_FEATURES = {
    "session_items": KnownFeature("strings", OF_SESSION, []),  # last one newest
    "session_purchases": KnownFeature("strings", OF_SESSION, []),
    SEGMENT: KnownFeature("int", OF_SESSION, -1),  # by the model, from 0
}
BASKET = {
    "items": KnownFeature("strings", OF_SESSION),
    "categories": KnownFeature("strings", OF_SESSION),
    "value_minor": KnownFeature("int", OF_SESSION),
    "size": KnownFeature("int", OF_SESSION),
}


def known(
    contracts: Sequence[FactContract],
    of_items: Iterable[Defined] = (),
    of_visitors: Iterable[Defined] = (),
    of_categories: Iterable[Defined] = (),
) -> Known:
    """Return what rules may read.

    Facts come from the topics' contracts, other features from the views of the feature repository. Counts of items are
    known by name, so that an error can say why they can't be used: workers hold facts only.
    """
    items = {"id": KnownFeature("string", "the item's own")}
    for contract in contracts:
        for field in contract.fields:
            items[field.name] = KnownFeature(field.kind, contract.topic, None, not field.is_shown_only)
    for each in of_items:
        if each.name not in items and each.dtype in KIND_OF_DTYPE:
            items[each.name] = KnownFeature(KIND_OF_DTYPE[each.dtype], each.view, None, False, each)
    visitors = dict(SESSION_FEATURES)
    for each in of_visitors:
        if each.name not in visitors and each.dtype in KIND_OF_DTYPE:
            visitors[each.name] = KnownFeature(KIND_OF_DTYPE[each.dtype], each.view, _default(each))
    categories = {each.name: KnownFeature("int", each.view, None, False, each) for each in of_categories}
    return {"item": items, "anchor": items, "visitor": visitors, "basket": BASKET, "category": categories}


def _default(feature: Defined) -> Value | list[str] | None:
    if feature.dtype.startswith(LIST_MARK):
        return []
    if feature.function in ZERO_OF_NOTHING:
        return 0 if KIND_OF_DTYPE[feature.dtype] == "int" else 0.0
    return None


def table(features: Known) -> str:
    """Return all of them, a line each."""
    lines = []
    for base in ("item", "visitor", "basket"):
        for name, feature in sorted(features[base].items()):
            if feature.is_held:
                default = "" if feature.default is None or base != "visitor" else f"default {feature.default!r}"
                lines.append(f"{base}.{name:26} {feature.kind:8} {feature.source:20} {default}".rstrip())
    return "\n".join(lines)
