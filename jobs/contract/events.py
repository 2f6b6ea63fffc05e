"""The event contract: what an event holds, what is refused and why. Everything else derives from `FIELDS`.

Derived from here: the source DDL, the JVM's checks (`ParseEvent.java` reads `as_json()` from its jar), the Python check
`parse` (collector, dead letters, oracle), the JSON Schema for producers, and the table in the docs. Both checks follow
the same rules; `tests/contract/test_event_contract.py` compares them.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, Protocol, get_args

import msgspec

from jobs.contract import nothing

SCHEMA_VERSION = 1
MAX_EVENT_BYTES = 65_536
MAX_DEPTH = 100  # of brackets in each other; the decoder's own limit is what the caller's stack leaves it
HEARTBEAT = "heartbeat"

EVENT_TYPES = ("view", "search", "add_to_cart", "remove_from_cart", "purchase", "rating", "impression", "click")
# What an event of a type can't do without, beside the fields that every event has.
REQUIRED_BY_TYPE: dict[str, tuple[str, ...]] = {
    "view": ("item_id",),
    "search": ("query",),
    "add_to_cart": ("item_id",),
    "remove_from_cart": ("item_id",),
    "purchase": ("item_id",),
    "rating": ("item_id", "rating"),
    "impression": ("item_id", "list_id", "position"),
    "click": ("item_id", "list_id", "position"),
    HEARTBEAT: (),
}

Kind = Literal["string", "int", "float"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an event: its JSON type and its limits (inclusive; lengths in UTF-16 code units)."""

    name: str
    kind: Kind
    doc: str
    required: bool = False
    minimum: float | None = None
    maximum: float | None = None
    max_length: int | None = None
    choices: tuple[str, ...] | None = None
    free_text: bool = False  # may hold line breaks and tabs; an id may not: control characters separate packed fields
    may_be_empty: bool = False  # "" is a value
    reserved: tuple[str, ...] = ()  # how no value begins

    @property
    def names(self) -> bool:
        """Return True for a text that names something. If it names nothing (see `nothing.py`) it counts as absent."""
        return self.kind == "string" and not self.free_text and self.choices is None


MAX_TIME_MS = 4_102_444_800_000  # 2100-01-01
MAX_MONEY = 1_000_000_000_000

FIELDS: tuple[Field, ...] = (
    Field("schema_version", "int", "version of this contract", required=True, minimum=1, maximum=SCHEMA_VERSION),
    Field(
        "event_id",
        "string",
        "unique per event; a visitor's same id within 24 h counts once",
        required=True,
        max_length=128,
    ),
    Field("event_type", "string", "what happened", required=True, max_length=32, choices=(*EVENT_TYPES, HEARTBEAT)),
    Field(
        "event_time_ms",
        "int",
        "when it happened, ms since 1970 UTC; also the Kafka record's timestamp",
        required=True,
        minimum=1,
        maximum=MAX_TIME_MS,
    ),
    Field(
        "visitor_id",
        "string",
        "pseudonymous visitor; also the Kafka record's key",
        required=True,
        max_length=128,
        reserved=("item/", "place/"),  # lists that are nobody's have such names in Redis
    ),
    Field("user_id", "string", "pseudonymous account, when signed in", max_length=128),
    Field("session_id", "string", "the shop's own session, informative only", max_length=128),
    Field("item_id", "string", "the item", max_length=128),
    Field("category", "string", "the item's category", max_length=128),
    Field("price_minor", "int", "price of one piece in minor units (cents)", minimum=0, maximum=MAX_MONEY),
    Field("currency", "string", "ISO 4217", max_length=3),
    Field(
        "quantity",
        "int",
        "pieces; null when absent, which every column of pieces or value counts as 1",
        minimum=1,
        maximum=100_000,
    ),
    Field("query", "string", "what was searched for", max_length=512, free_text=True),
    Field("rating", "float", "stars", minimum=0, maximum=5),
    Field("dwell_ms", "int", "time on the page", minimum=0, maximum=86_400_000),
    Field("scroll_ratio", "float", "share of the page that was seen", minimum=0, maximum=1),
    Field("channel", "string", "where it happened: web, app, mail, …", max_length=32),
    Field("device", "string", "kind of device", max_length=32),
    Field("country", "string", "ISO 3166", max_length=8),
    Field(
        "list_id",
        "string",
        'the ranked list that an impression or a click answers; "" for a list that answers no event',
        max_length=128,
        may_be_empty=True,
    ),
    Field("position", "int", "place in that list, from 0", minimum=0, maximum=10_000),
)
FIELD = {field.name: field for field in FIELDS}
REQUIRED = tuple(field.name for field in FIELDS if field.required)
# What a schema of values can't say. librdkafka (Python, Go, .NET, Node, PHP) places keys by CRC32 unless it is told.
PRODUCING = (
    "A record's key is visitor_id in UTF-8, its timestamp event_time_ms. Its partition is murmur2 of the key, the "
    "default of Java and kafka-python; with librdkafka set partitioner=murmur2_random. Else a visitor lies in two "
    "partitions."
)
REQUIRED_OF_HEARTBEAT = ("schema_version", "event_type", "event_time_ms")

SQL_TYPE: dict[Kind, str] = {"string": "STRING", "int": "BIGINT", "float": "DOUBLE"}


@dataclass(frozen=True, slots=True)
class DerivedColumn:
    """A column that definitions may aggregate beside the event's own fields."""

    name: str
    sql_type: str
    sql: str
    doc: str


def _of_type(event_type: str, then: str) -> str:
    return f"CASE WHEN event_type = '{event_type}' THEN {then} END"


def _flag(event_type: str) -> str:
    return f"CASE WHEN event_type = '{event_type}' THEN CAST(1 AS BIGINT) ELSE CAST(0 AS BIGINT) END"


_PIECES = "COALESCE(quantity, CAST(1 AS BIGINT))"
_VALUE = f"price_minor * {_PIECES}"
DERIVED: tuple[DerivedColumn, ...] = (
    *(DerivedColumn(f"is_{kind}", "BIGINT", _flag(kind), f"1 for {kind} events, else 0") for kind in EVENT_TYPES),
    DerivedColumn("viewed_price_minor", "BIGINT", _of_type("view", "price_minor"), "price of a viewed item, else null"),
    DerivedColumn(
        "purchased_pieces",
        "BIGINT",
        _of_type("purchase", _PIECES),
        "pieces of a purchase, 1 where quantity is absent; else null",
    ),
    DerivedColumn("purchase_value_minor", "BIGINT", _of_type("purchase", _VALUE), "price × quantity, else null"),
    DerivedColumn(
        "cart_delta_minor",
        "BIGINT",
        f"CASE event_type WHEN 'add_to_cart' THEN {_VALUE} WHEN 'remove_from_cart' THEN -({_VALUE}) END",
        "what the event adds to the cart's value, else null",
    ),
    DerivedColumn("event_time_s", "DOUBLE", "CAST(event_time_ms AS DOUBLE) / 1000", "event time in seconds"),
)

Reason = Literal[
    "empty",
    "too_large",
    "not_utf8",
    "not_json",
    "not_an_object",
    "missing_field",
    "wrong_type",
    "unknown_value",
    "out_of_range",
    "too_long",
    "control_character",
    "future_event_time",
]


class Refusal(NamedTuple):
    """The reason why an event is refused, and its field ("" if the reason is about the whole event)."""

    reason: Reason
    field: str = ""


Event = dict[str, Any]  # field: a str, int or float, as `FIELD[name].kind` says
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")  # a terminal obeys them: C0, DEL and C1
BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}]')


def parse(value: bytes | None, now_ms: int | None = None, max_skew_ms: int = 300_000) -> Event | Refusal:
    """Return an event's present fields, or the reason why it is refused.

    Args:
        value: the Kafka record's bytes.
        now_ms: the clock for the limit on future event times; the machine's if absent.
        max_skew_ms: how far in the future an event may be.

    A field that is null counts as absent, and so does one that names nothing ("", "undefined") if an event can do
    without it. A field that the contract doesn't know is ignored.
    """
    document = decode(value)
    return document if isinstance(document, Refusal) else check(document, now_ms, max_skew_ms)


def decode(value: bytes | None) -> dict[str, object] | Refusal:
    """Return the JSON object in a record's bytes, or why there is none. Its fields aren't checked."""
    if not value:
        return Refusal("empty")
    if len(value) > MAX_EVENT_BYTES:
        return Refusal("too_large")
    try:
        text = value.decode()
        document = msgspec.json.decode(text)
    except UnicodeDecodeError:
        return Refusal("not_utf8")
    except (msgspec.DecodeError, RecursionError):
        return Refusal("not_json")
    if _depth(text) > MAX_DEPTH:
        return Refusal("not_json")
    return document if isinstance(document, dict) else Refusal("not_an_object")


class _Named(msgspec.Struct):
    """The one field that says whom a record is about."""

    visitor_id: str | int | None = None


_NAMED = msgspec.json.Decoder(_Named)


def visitor_of(value: bytes | None) -> str | None:
    """Return the visitor whom the JSON in a record's bytes names, None if it names nobody or can't be read.

    The JSON may escape the id as it likes. It need not be an event that the contract takes: a letter's isn't. There, a
    number is an id that somebody wrote as a number.
    """
    try:
        named = _NAMED.decode(value or b"").visitor_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return None if named is None else str(named)


def check(document: Mapping[str, object], now_ms: int | None = None, max_skew_ms: int = 300_000) -> Event | Refusal:
    """Return the present fields of a JSON object, or why it is no event; arguments as in `parse`."""
    event: Event = {field.name: document[field.name] for field in FIELDS if document.get(field.name) is not None}
    if refusal := _field_refusal(event):
        return refusal
    event = {name: value for name, value in event.items() if not _names_nothing(FIELD[name], value)}
    if refusal := _missing(event):
        return refusal
    now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    return Refusal("future_event_time", "event_time_ms") if event["event_time_ms"] > now_ms + max_skew_ms else event


def id_reason(visitor_id: str) -> Reason | None:
    """Return why a text is no visitor's id; None if it is one."""
    return _check_string(FIELD["visitor_id"], visitor_id)


class Text(Protocol):
    """The limits of a text, as this contract and the one of item facts have them."""

    @property
    def max_length(self) -> int | None: ...
    @property
    def free_text(self) -> bool: ...


def text_reason(field: Text, value: object) -> Reason | None:
    """Return why a value is no text within a field's limits; None if it is one."""
    if type(value) is not str:
        return "wrong_type"
    if value.isascii() and value.isprintable():  # most are; what follows takes four times as long
        return "too_long" if field.max_length is not None and len(value) > field.max_length else None
    if "\0" in value or (not field.free_text and CONTROL.search(value)):
        return "control_character"
    too_long = field.max_length is not None and len(value.encode("utf-16-le")) // 2 > field.max_length
    return "too_long" if too_long else None


def _depth(text: str) -> int:
    """Return how deep brackets are nested, or an upper bound if that is low enough. `text` is JSON."""
    bound = text.count("[") + text.count("{")
    if bound <= MAX_DEPTH:
        return bound
    depth = deepest = 0
    for part in BRACKETS.findall(text):
        depth += (part in "[{") - (part in "]}")
        deepest = max(deepest, depth)
    return deepest


def _field_refusal(event: Event) -> Refusal | None:
    for name, value in event.items():
        reason = _check(FIELD[name], value)
        if reason:
            return Refusal(reason, name)
    return None


def _check(field: Field, value: object) -> Reason | None:
    if field.kind == "string":
        return _check_string(field, value)
    if not (type(value) is int or (field.kind == "float" and type(value) is float)):
        return "wrong_type"
    within = (field.minimum is None or field.minimum <= value) and (field.maximum is None or value <= field.maximum)
    return None if within else "out_of_range"


def _check_string(field: Field, value: object) -> Reason | None:
    if reason := text_reason(field, value):
        return reason
    if field.choices and value not in field.choices:
        return "unknown_value"
    if field.reserved and str(value).startswith(field.reserved):
        return "out_of_range"
    return "out_of_range" if field.required and _names_nothing(field, value) else None


def _names_nothing(field: Field, value: Any) -> bool:
    return field.names and nothing.names_nothing(value) and not (field.may_be_empty and not value)


def _missing(event: Event) -> Refusal | None:
    required = REQUIRED_OF_HEARTBEAT if event.get("event_type") == HEARTBEAT else REQUIRED
    for name in (*required, *REQUIRED_BY_TYPE.get(event.get("event_type", ""), ())):
        if name not in event:
            return Refusal("missing_field", name)
    return None


def as_json() -> bytes:
    """Return the contract as the JVM's check reads it from its jar."""
    return msgspec.json.encode(
        {
            "max_event_bytes": MAX_EVENT_BYTES,
            "max_depth": MAX_DEPTH,
            "heartbeat": HEARTBEAT,
            "required_of_heartbeat": REQUIRED_OF_HEARTBEAT,
            "required_by_type": REQUIRED_BY_TYPE,
            "reasons": get_args(Reason),
            "blanks": nothing.BLANKS,
            "words_for_nothing": nothing.WORDS,
            "object_for_nothing": nothing.OBJECT,
            "fields": [asdict(field) | {"names": field.names} for field in FIELDS],
        }
    )


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) for producers. It can't express the skew of clocks or the record's size."""
    properties = {field.name: _property(field) for field in FIELDS}
    rules = [
        {
            "if": {"properties": {"event_type": {"const": kind}}, "required": ["event_type"]},
            "then": {"required": list(names), "properties": {name: {"not": _absent(FIELD[name])} for name in names}},
        }
        for kind, names in REQUIRED_BY_TYPE.items()
        if names
    ]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "liveshelf event",
        "description": PRODUCING,
        "type": "object",
        "properties": properties,
        "required": list(REQUIRED),
        "allOf": rules,
    }


def _property(field: Field) -> dict[str, Any]:
    kind = {"string": "string", "int": "integer", "float": "number"}[field.kind]
    schema: dict[str, Any] = {"type": [kind, "null"] if not field.required else kind, "description": field.doc}
    if field.choices:
        schema["enum"] = list(EVENT_TYPES)
    limits = {"minimum": field.minimum, "maximum": field.maximum, "maxLength": field.max_length}
    schema |= {name: limit for name, limit in limits.items() if limit is not None}
    if field.required and field.names:
        schema["not"] = _absent(field)
    if field.kind == "string":
        schema["pattern"] = text_pattern(field.free_text, field.reserved)
    return schema


def text_pattern(free_text: bool, reserved: tuple[str, ...] = ()) -> str:
    """Return the regular expression, for JSON Schema, of texts without refused characters or beginnings."""
    begins = f"(?!{'|'.join(reserved)})" if reserved else ""
    return rf"^{begins}[^\u0000]*$" if free_text else rf"^{begins}[^\u0000-\u001f\u007f-\u009f]*$"


def _absent(field: Field) -> dict[str, Any]:
    """Return the schema of values that count as absent, or aren't taken where the field is required."""
    null: dict[str, Any] = {"type": "null"}
    if not field.names:
        return null
    empty = {"minLength": 1} if field.may_be_empty else {}
    return {"anyOf": [null, {"type": "string", "pattern": nothing.pattern(), **empty}]}


def docs_table() -> str:
    """Return the contract as a Markdown table."""
    rows = ["| field | type | required | limits | meaning |", "|---|---|---|---|---|"]
    for field in FIELDS:
        limits = f"at most {field.max_length} characters" if field.max_length else f"{field.minimum} to {field.maximum}"
        limits += f", doesn't begin with {' or '.join(field.reserved)}" if field.reserved else ""
        types = [kind for kind, names in REQUIRED_BY_TYPE.items() if field.name in names]
        required = "yes" if field.required else ", ".join(types)
        rows.append(f"| `{field.name}` | {field.kind} | {required} | {limits} | {field.doc} |")
    return "\n".join(rows)
