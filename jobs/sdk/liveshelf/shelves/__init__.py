"""The words of `feature_repo/shelves.py`, which says what a shop shows where. They need nothing but Python.

    from liveshelf.shelves import AtMost, Event, Session, Shelf, Shop, item, visitor

    SHOP = Shop(gate=item.stock > 0, where=~item.id.isin(visitor.session_purchases))
    home = Shelf("home", when=Event("view"), take=Session(), spread=(AtMost(4, of=item.category, within=10),))

`liveshelf shelves lint` finds every mistake; `jobs/shelves/README.md` says what each word means.
"""

from liveshelf.shelves.expressions import WordError
from liveshelf.shelves.words import (
    AtMost,
    Event,
    Explore,
    Lift,
    Mmr,
    Pin,
    Popular,
    Session,
    Shelf,
    Shop,
    Tick,
    Together,
    Trend,
    anchor,
    basket,
    days,
    item,
    minutes,
    now,
    percent,
    place,
    visitor,
)

__all__ = [
    "AtMost",
    "Event",
    "Explore",
    "Lift",
    "Mmr",
    "Pin",
    "Popular",
    "Session",
    "Shelf",
    "Shop",
    "Tick",
    "Together",
    "Trend",
    "WordError",
    "anchor",
    "basket",
    "days",
    "item",
    "minutes",
    "now",
    "percent",
    "place",
    "visitor",
]
