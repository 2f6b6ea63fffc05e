"""The contract of consent records: what a record of the topic `consent` holds, and what is refused and why. Pure.

The record's key is the visitor's id, its value {"state": "granted" | "withdrawn" | "erased", "at_ms": …}. A grant may
say how far it reaches back if it is the first (`since_ms`): to the event that came with it. A record that erases also
says where the events topic ended (`before`: partition → offset), and whether consent was withdrawn (`withdrawn`). "Now"
is the record's own Kafka timestamp, so that a replay judges a record as it was judged at first.

The jobs read `as_json()` from their jar and judge alike (`ConsentRecord.java`); `tests/contract` compares the two.
"""

import re
from typing import Any, Literal, NamedTuple

import msgspec

from jobs.contract import events

State = Literal["granted", "withdrawn", "erased"]
STATES: tuple[State, ...] = ("granted", "withdrawn", "erased")
# How far a record's `at_ms` may lie ahead of its Kafka timestamp: what an event's clock may be ahead by default.
MAX_AHEAD_MS = 300_000
# How far it may lie behind. A time in seconds lies 56 years behind.
MAX_BEHIND_MS = 10 * 365 * 86_400_000
MAX_OFFSET = 2**53 - 1  # of an event in `before`: what every JSON reader keeps exactly
PARTITION = re.compile("0|[1-9][0-9]{0,8}")
# How many of a visitor's newest records of each state are kept beside the earliest one.
KEPT = 8

Reason = events.Reason | Literal["no_key", "quoted", "ahead", "behind", "contradiction"]


class Refusal(NamedTuple):
    """The reason why a record can't be read, and its field ("" if the reason is about the whole record)."""

    reason: Reason
    field: str = ""


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one record says."""

    state: State
    at_ms: int
    before: dict[str, int] = {}
    withdrawn: bool = False
    since_ms: int | None = None

    @property
    def after(self) -> State:
        """The state that holds after this record."""
        return "withdrawn" if self.withdrawn else self.state


def visitor_of(key: bytes | None) -> str | Refusal:
    """Return the visitor whom a record is about, or why its key names nobody.

    A key in quotes is what a JSON serializer makes of an id. It names another visitor than the one who is meant.
    """
    if not key:
        return Refusal("no_key")
    try:
        visitor = key.decode()
    except UnicodeDecodeError:
        return Refusal("not_utf8", "key")
    reason = events.id_reason(visitor)
    if reason:
        return Refusal(reason, "key")
    return Refusal("quoted", "key") if len(visitor) > 1 and visitor[0] == visitor[-1] == '"' else visitor


def parse(value: bytes, recorded_ms: int) -> Record | Refusal:
    """Return what a record says, or why it can't be read.

    A field that is null counts as absent. A field that the contract doesn't know is ignored.
    `recorded_ms` is the record's Kafka timestamp.
    """
    document = events.decode(value)
    if isinstance(document, events.Refusal):
        return Refusal(*document)
    fields = {name: document[name] for name in Record.__struct_fields__ if document.get(name) is not None}
    refusal = _state(fields) or _time(fields, recorded_ms) or _before(fields) or _withdrawn(fields)
    refusal = refusal or _since(fields)
    return refusal or msgspec.convert(fields, Record)


def _state(fields: dict[str, Any]) -> Refusal | None:
    if "state" not in fields:
        return Refusal("missing_field", "state")
    if type(fields["state"]) is not str:
        return Refusal("wrong_type", "state")
    return None if fields["state"] in STATES else Refusal("unknown_value", "state")


def _time(fields: dict[str, Any], recorded_ms: int) -> Refusal | None:
    if "at_ms" not in fields:
        return Refusal("missing_field", "at_ms")
    at_ms = fields["at_ms"]
    if type(at_ms) is not int:
        return Refusal("wrong_type", "at_ms")
    if not 1 <= at_ms <= events.MAX_TIME_MS:
        return Refusal("out_of_range", "at_ms")
    if at_ms > recorded_ms + MAX_AHEAD_MS:
        return Refusal("ahead", "at_ms")
    return Refusal("behind", "at_ms") if at_ms < recorded_ms - MAX_BEHIND_MS else None


def _before(fields: dict[str, Any]) -> Refusal | None:
    before = fields.get("before", {})
    if not isinstance(before, dict) or not all(type(offset) is int for offset in before.values()):
        return Refusal("wrong_type", "before")
    inside = all(PARTITION.fullmatch(name) and 0 <= offset <= MAX_OFFSET for name, offset in before.items())
    return None if inside else Refusal("out_of_range", "before")


def _withdrawn(fields: dict[str, Any]) -> Refusal | None:
    withdrawn = fields.get("withdrawn", False)
    if type(withdrawn) is not bool:
        return Refusal("wrong_type", "withdrawn")
    return Refusal("contradiction", "withdrawn") if withdrawn and fields["state"] == "granted" else None


def _since(fields: dict[str, Any]) -> Refusal | None:
    since_ms = fields.get("since_ms", 1)
    if type(since_ms) is not int:
        return Refusal("wrong_type", "since_ms")
    if not 1 <= since_ms <= fields["at_ms"]:
        return Refusal("out_of_range", "since_ms")
    return Refusal("contradiction", "since_ms") if "since_ms" in fields and fields["state"] != "granted" else None


def as_json() -> bytes:
    """Return the contract as the jobs read it from their jar."""
    return msgspec.json.encode(
        {
            "states": STATES,
            "max_time_ms": events.MAX_TIME_MS,
            "max_ahead_ms": MAX_AHEAD_MS,
            "max_behind_ms": MAX_BEHIND_MS,
            "max_offset": MAX_OFFSET,
            "partition": PARTITION.pattern,
            "kept": KEPT,
        }
    )
