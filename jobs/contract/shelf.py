"""A list as Redis holds it, and the records of the topic `rankings`, the log of all lists that were published. Pure."""

from typing import Any, TypeVar

import msgspec

Kind = TypeVar("Kind")

OLD_NAME = "channel"  # what release 0.1.0 called the field `shelf`, in the log and in saved configurations


class ShelfValue(msgspec.Struct):
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


def shelf_key(visitor_id: str, shelf: str) -> str:
    """Return the Redis key of a visitor's list. The braces keep all keys of a visitor on one server of a cluster."""
    return f"shelf:{{{visitor_id}}}:{shelf}"


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
