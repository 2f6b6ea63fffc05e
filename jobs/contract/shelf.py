"""A list as Redis holds it, and the records of the topic `rankings`, the log of all lists that were published. Pure."""

from typing import Any, TypeVar

import msgspec

Kind = TypeVar("Kind")

# How an item came into a list: its place here is the number in `why`. "lifted_in": the session's, and it would stand in
# no list without the shelf's lifts. Through the n-th shelf of `instead` (from 1) it is n * WHY_INSTEAD more.
WHYS = ("session", "together", "trend", "popular", "list", "explored", "pinned", "lifted_in")
WHY_INSTEAD = 16

# The items that may not be shown now, and a text that changes whenever the set does. In both names a Redis Cluster
# looks at `shelf:gate` only, so one script can write them together. Readers need nothing of the third key, nor of the
# fourth: since when items of the set are neither in the catalogue nor in the model.
GATE = "shelf:gate"
GATE_VERSION = "shelf:gate:version:{shelf:gate}"
GATE_STATE = "shelf:gate:state:{shelf:gate}"
GATE_GONE = "shelf:gate:gone:{shelf:gate}"

# The first word of a list's key: of the lists that apps read, and of those that a canary makes beside them.
LISTS, SHADOW = "shelf", "shelf-shadow"

OLD_NAME = "channel"  # what release 0.1.0 called the field `shelf`, in the log and in saved configurations


class ShelfValue(msgspec.Struct, omit_defaults=True):
    """The value in Redis. `version` comes first: the scripts that write it read it by its place."""

    version: str
    items: list[str]
    scores: list[float]
    model: str
    event_time_ms: int
    computed_at_ms: int
    session_events: int
    fallback: str | None
    list_id: str
    # What a list has that a version of shelves has made. `seen` holds the items that `because` points at, -1 for none.
    shelves: str = ""
    facts: dict[str, int] = {}  # of each topic of item facts, the offset before which it was known
    about: list[str] = []  # the item in view, or the cart
    why: list[int] = []  # of each item, see `WHYS`
    seen: list[str] = []
    because: list[int] = []  # of each item
    spare: int = 0  # how many of the last items stand in reserve


class Provenance(msgspec.Struct, omit_defaults=True):
    """What a record of the log holds beside the value in Redis: all that a list was made from."""

    partition: int
    offset: int
    context: list[float]
    context_features: list[str]
    session_items: list[str]
    now_ms: int = 0  # the arrival of the event in Kafka
    visitor: dict[str, Any] = {}  # the visitor's features that rules read, defaults in place
    wide: bool = False  # the list came out short, and the model was asked for more


class Logged(ShelfValue, kw_only=True):
    """A whole record of the log, for those who read all of it."""

    visitor_id: str
    shelf: str
    partition: int
    offset: int
    context: list[float]
    context_features: list[str]
    session_items: list[str]
    now_ms: int = 0
    visitor: dict[str, Any] = {}
    wide: bool = False


def shared_key(kind: str, name: str, shelf: str) -> str:
    """Return the key of a list that is no visitor's: `kind` is item or place, `name` an item's id or a place's."""
    return shelf_key(f"{kind}/{name}", shelf)


def shelf_key(visitor_id: str, shelf: str, lists: str = LISTS) -> str:
    """Return the Redis key of a visitor's list. The braces keep all keys of a visitor on one server of a cluster."""
    return f"{lists}:{{{visitor_id}}}:{shelf}"


def with_shelf(fields: dict[str, Any]) -> dict[str, Any]:
    """Return `fields` with the shelf under the name of today, also where release 0.1.0 wrote them."""
    if OLD_NAME not in fields:
        return fields
    others = {name: value for name, value in fields.items() if name != OLD_NAME}
    return {"shelf": fields[OLD_NAME]} | others


def read_logged(value: bytes | None, kind: type[Kind]) -> Kind:
    """Return a record of the log as `kind`, which names the fields that its reader needs.

    Every reader of the log calls this, because the topic keeps records of release 0.1.0 until its retention ends.
    Raises `msgspec.DecodeError` for a value that isn't such a record.
    """
    return msgspec.convert(with_shelf(msgspec.json.decode(value or b"", type=dict[str, Any])), kind)
