"""Say what a stored value means: a list, whether to trust it, why each item is in it, and which of it to show. Pure."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from liveshelf.errors import LiveshelfError

State = Literal["fresh", "stale", "fallback", "absent"]
ERASED = "erased"
OF_ITEM = "item"  # why a list that stands in for the visitor's own isn't personal
# The words for the numbers in a value's `why`, which is WHY_INSTEAD more for each step in the shelf's `instead`.
WHYS = ("session", "together", "trend", "popular", "list", "explored", "pinned", "lifted_in")
WHY_INSTEAD = 16
OTHER = "other"  # a reason that came with a later release
# Not JSON; a field missing; a field of another type; an infinite number; a hundred thousand brackets.
UNREADABLE = (ValueError, LookupError, TypeError, OverflowError, RecursionError)


class ShelfError(LiveshelfError):
    """Say that a key holds something that isn't a list of liveshelf's.

    The message doesn't name the visitor, because it ends in an app's log. `key` does.
    """

    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(message)
        self.key = key


@dataclass(frozen=True, slots=True)
class Shelf:
    """Hold a visitor's list, best item first. An `absent` list has its `visitor_id` and defaults.

    The state is one of

    - `absent`: there is no list;
    - `fallback`: a list of any age that isn't personal, and the field `fallback` says why;
    - `stale`: a personal list that was computed more than the reader's `stale_after_s` ago;
    - `fresh`: any other personal list.

    `age_s` and `event_age_s` are counted to the moment of the `get`, by the clock of the reading machine. They differ
    when old events are replayed: a list that answers an event of last week is computed now, so it is fresh.

    `why`, `instead` and `because` are parallel to `items`. They are empty for a list that no version of shelves made.
    """

    visitor_id: str
    state: State = "absent"
    items: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    age_s: float | None = (
        None  # seconds since the list was computed (`computed_at_ms`); decides between fresh and stale
    )
    event_age_s: float | None = None  # seconds since the newest event that the list answers (`event_time_ms`)
    model: str | None = None
    event_time_ms: int | None = None
    computed_at_ms: int | None = None
    list_id: str | None = None
    fallback: str | None = None
    session_events: int = 0
    shelves: str | None = None  # the version of shelves that made the list
    about: tuple[str, ...] = ()  # the item in view, or the cart
    why: tuple[str, ...] = ()  # a word of `WHYS` for each item
    instead: tuple[int, ...] = ()  # 0 for the shelf's own item, n for one of the n-th step of its `instead`
    because: tuple[str | None, ...] = ()  # the item that each is shown for, None for none
    name: str = field(default="", compare=False)  # which shelf: the last part of the list's key
    spare: int = 0  # how many of the last items stand in reserve; none where a reader has chosen what to show

    def shown(self, held: Collection[str]) -> "Shelf":
        """Return the list without the items in `held`, and without what then stands in reserve."""
        size = len(self.items) - self.spare
        places = [place for place, item in enumerate(self.items) if item not in held][:size]
        if len(places) == len(self.items):
            return self
        shown: dict[str, Any] = {name: _at(places, getattr(self, name)) for name in PARALLEL}
        return replace(self, spare=0, **shown)


PARALLEL = ("items", "scores", "why", "instead", "because")


def shelf_key(visitor_id: str, shelf: str) -> str:
    """Return the key of a visitor's list. For its braces a Redis Cluster keeps all keys of a visitor on one server."""
    return f"shelf:{{{visitor_id}}}:{shelf}"


def item_key(item_id: str, shelf: str) -> str:
    """Return the key of an item's list."""
    return shelf_key(f"item/{item_id}", shelf)


def shelf(visitor_id: str, key: str, value: bytes | str | None, stale_after_s: float, now_ms: float) -> Shelf:
    """Return what a stored `value` means at `now_ms` (epoch), its reserve included. Pure.

    Raises ShelfError for a value that isn't a list of liveshelf's.
    """
    name = key.rpartition(":")[2]
    if value is None:
        return Shelf(visitor_id, name=name)
    try:
        return _consistent(_shelf(visitor_id, name, json.loads(value), stale_after_s, now_ms))
    except UNREADABLE as error:
        raise not_a_list(key, error) from error


def standing_in(own: Shelf, of_item: Shelf, item_id: str) -> Shelf:
    """Return the visitor's own list if it is about the item, else the item's list if there is one."""
    if own.about == (item_id,) or of_item.state == "absent":
        return own
    return replace(of_item, state="fallback", fallback=of_item.fallback or OF_ITEM, about=(item_id,))


def not_a_list(key: str, error: Exception) -> ShelfError:
    nameless = shelf_key("…", key.rpartition(":")[2])
    return ShelfError(
        f"{nameless} holds no list of liveshelf's ({type(error).__name__}: {error}); "
        "look with GET or TYPE at this error's `key`",
        key,
    )


def _shelf(visitor_id: str, name: str, fields: Mapping[str, Any], stale_after_s: float, now_ms: float) -> Shelf:
    age_s = (now_ms - fields["computed_at_ms"]) / 1000
    fallback = fields["fallback"]
    if fallback == ERASED:
        return Shelf(visitor_id, name=name)
    whys, seen = fields.get("why", ()), fields.get("seen", ())
    return Shelf(
        visitor_id=visitor_id,
        state="fallback" if fallback else "stale" if age_s > stale_after_s else "fresh",
        items=tuple(fields["items"]),
        scores=tuple(fields["scores"]),
        age_s=age_s,
        event_age_s=(now_ms - fields["event_time_ms"]) / 1000,
        model=fields["model"],
        event_time_ms=fields["event_time_ms"],
        computed_at_ms=fields["computed_at_ms"],
        list_id=fields["list_id"],
        fallback=fallback,
        session_events=fields["session_events"],
        shelves=fields.get("shelves"),
        about=tuple(fields.get("about", ())),
        why=tuple(map(_word, whys)),
        instead=tuple(why // WHY_INSTEAD for why in whys),
        because=tuple(seen[place] if place >= 0 else None for place in fields.get("because", ())),
        name=name,
        spare=int(fields.get("spare", 0)),
    )


def _consistent(one: Shelf) -> Shelf:
    """Return a list whose fields belong together. Raises ValueError: what is shown of another one isn't known."""
    if not all(isinstance(item, str) for item in one.items):
        raise ValueError("an item isn't a text")
    if not 0 <= one.spare <= len(one.items):
        raise ValueError(f"spare is {one.spare}, of {len(one.items)} items")
    for name in PARALLEL:
        values = getattr(one, name)
        if len(values) != len(one.items) and (values or name == "scores"):
            raise ValueError(f"{name} has {len(values)} values for {len(one.items)} items")
    return one


def _word(why: int) -> str:
    place = why % WHY_INSTEAD
    return WHYS[place] if place < len(WHYS) else OTHER


def _at(places: list[int], values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(values[place] for place in places) if values else ()
