"""The contract of item facts: what a record of the topics `items` and `offers` holds, what is refused and why.

A record's key is the item's id, its value a JSON object, or nothing: a tombstone, which removes what the topic says of
the item. A record says everything that its topic knows of its item: a field that it doesn't name isn't known. A field
that is null, or text that names nothing (see `nothing.py`), counts as absent. A field that the contract doesn't know is
ignored. A record that is refused changes nothing: what was said before it stands.

`items` says what an item is, `offers` on what terms it is sold. A shop may have more such topics. Their fields are
those of the Feast views that read them, under limits by type (`own_field`). Pure.

The JVM judges alike (`ParseFact.java`, which gets `as_json()` as an argument); `tests/contract` compares the two.
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import msgspec

from jobs.contract import events, nothing

Kind = Literal["string", "int", "float", "bool"]
KINDS: tuple[Kind, ...] = ("string", "int", "float", "bool")
Value = str | int | float | bool
Fields = dict[str, Value]  # present ones only

ID = "item_id"
ID_FIELD = events.FIELD[ID]
MAX_INT = 2**53 - 1  # what every JSON reader keeps exactly
MAX_FLOAT = 1.7976931348623157e308
OWN_MAX_LENGTH = 512  # of a text in a shop's own topic

Reason = events.Reason | Literal["no_key", "quoted", "contradiction"]


class Refusal(NamedTuple):
    """The reason why a record is refused, and its field ("" if the reason is about the whole record)."""

    reason: Reason
    field: str = ""


class FactField(msgspec.Struct, frozen=True, kw_only=True):
    """One field of a record: its JSON type and its limits (inclusive; lengths in UTF-16 code units)."""

    name: str
    kind: Kind
    doc: str = ""
    minimum: float | None = None
    maximum: float | None = None
    max_length: int | None = None
    free_text: bool = False  # may hold line breaks and tabs, and words for nothing
    is_shown_only: bool = False  # no rule reads it, so no worker of the rankings job keeps it

    may_be_empty: ClassVar[bool] = False  # as an event's field: "" is never a value


class FactContract(msgspec.Struct, frozen=True):
    """What the records of one topic hold."""

    topic: str
    fields: tuple[FactField, ...]

    def field(self, name: str) -> FactField | None:
        return next((field for field in self.fields if field.name == name), None)


class Fact(NamedTuple):
    """What one record says of an item; `fields` is None for a tombstone."""

    item_id: str
    fields: Fields | None


def _text(name: str, doc: str, max_length: int = 128, **more: bool) -> FactField:
    return FactField(name=name, kind="string", doc=doc, max_length=max_length, **more)


ITEM_FIELDS = (
    _text("title", "its name, as a page shows it", 512, free_text=True, is_shown_only=True),
    _text("category", "its category, as events name it"),
    _text("brand", "its brand"),
    _text("colour", "its colour"),
    _text("group_id", "the product of which it is a size or a colour"),
    FactField(
        name="created",
        kind="int",
        doc="since when it is sold, ms since 1970 UTC",
        minimum=1,
        maximum=events.MAX_TIME_MS,
    ),
    _text("url", "its page", 2048, is_shown_only=True),
    _text("image_url", "its picture", 2048, is_shown_only=True),
)
OFFER_FIELDS = (
    FactField(
        name="price_minor",
        kind="int",
        doc="price of one piece in minor units (cents)",
        minimum=0,
        maximum=events.MAX_MONEY,
    ),
    _text("currency", "ISO 4217", 3),
    FactField(
        name="stock",
        kind="int",
        doc="pieces that can be sold; below 0 where more were ordered",
        minimum=-1_000_000_000,
        maximum=1_000_000_000,
    ),
    _text("status", "whether it is sold: active, or a word of the shop's own", 32),
    FactField(name="on_offer", kind="bool", doc="sold for less than usual"),
)
# What a schema of values can't say.
PRODUCING = (
    "A record's key is the item's id in UTF-8; a record without a value removes the item from the topic. A record "
    "replaces the one before it as a whole: what it doesn't name isn't known."
)


def own_field(name: str, kind: Kind) -> FactField:
    """Return a field of a shop's own, with the limits of its type."""
    if kind == "string":
        return FactField(name=name, kind=kind, max_length=OWN_MAX_LENGTH)
    limits = {"int": float(MAX_INT), "float": MAX_FLOAT}
    if kind not in limits:
        return FactField(name=name, kind=kind)
    return FactField(name=name, kind=kind, minimum=-limits[kind], maximum=limits[kind])


def contracts(
    items_topic: str, offers_topic: str, own: Mapping[str, Mapping[str, Kind]] | None = None
) -> list[FactContract]:
    """Return the contracts of all topics of facts: `items`, `offers`, then a shop's own by name.

    `own` holds the fields that a shop's views read beside the contract's, by topic. A field that the contract has stays
    as it is there.
    """
    fields = {items_topic: ITEM_FIELDS, offers_topic: OFFER_FIELDS}
    named = dict(own or {})
    topics = [*fields, *sorted(named.keys() - fields.keys())]
    return [FactContract(topic, _with_own(fields.get(topic, ()), named.get(topic, {}))) for topic in topics]


def _with_own(fields: tuple[FactField, ...], own: Mapping[str, Kind]) -> tuple[FactField, ...]:
    names = {field.name for field in fields}
    return (*fields, *(own_field(name, kind) for name, kind in sorted(own.items()) if name not in names))


def parse(contract: FactContract, key: bytes | None, value: bytes | None) -> Fact | Refusal:
    """Return what a record says, or why it is refused."""
    item_id = item_of(key)
    if isinstance(item_id, Refusal):
        return item_id
    if value is None:
        return Fact(item_id, None)
    document = events.decode(value)
    if isinstance(document, events.Refusal):
        return Refusal(*document)
    if document.get(ID) not in (None, item_id):
        return Refusal("contradiction", ID)
    fields = check(contract, document)
    return fields if isinstance(fields, Refusal) else Fact(item_id, fields)


def item_of(key: bytes | None) -> str | Refusal:
    """Return the item that a record is about, or why its key names none.

    A key in quotes is what a JSON serializer makes of an id. It names another item than the one that is meant.
    """
    if not key:
        return Refusal("no_key")
    try:
        item_id = key.decode()
    except UnicodeDecodeError:
        return Refusal("not_utf8", "key")
    reason = id_reason(item_id)
    return Refusal(reason, "key") if reason else item_id


def id_reason(item_id: str) -> Reason | None:
    """Return why a text is no item's id; None if it is one."""
    reason = events.text_reason(ID_FIELD, item_id)
    if reason or nothing.names_nothing(item_id):
        return reason or "out_of_range"
    return "quoted" if len(item_id) > 1 and item_id[0] == item_id[-1] == '"' else None


def check(contract: FactContract, document: Mapping[str, object]) -> Fields | Refusal:
    """Return the fields of a JSON object that say something, or why it is refused: the contract's order decides."""
    fields: Fields = {}
    for field in contract.fields:
        given = document.get(field.name)
        if given is None:
            continue
        reason = _reason(field, given)
        if reason:
            return Refusal(reason, field.name)
        if not (isinstance(given, str) and _is_absent(field, given)):
            fields[field.name] = float(given) if field.kind == "float" else given  # type: ignore[arg-type, assignment]
    return fields


def _reason(field: FactField, given: object) -> Reason | None:
    if field.kind == "string":
        return events.text_reason(field, given)
    if field.kind == "bool":
        return None if type(given) is bool else "wrong_type"
    if type(given) is not int and not (field.kind == "float" and type(given) is float):
        return "wrong_type"
    within = (field.minimum is None or field.minimum <= given) and (field.maximum is None or given <= field.maximum)
    return None if within else "out_of_range"


def _is_absent(field: FactField, text: str) -> bool:
    return not text if field.free_text else nothing.names_nothing(text)


def encode(fields: Mapping[str, Value]) -> bytes:
    """Return a record's value."""
    return msgspec.json.encode(fields)


def as_json(contracts: Iterable[FactContract], payloads: Mapping[str, list[str]]) -> str:
    """Return contracts as `ParseFact.java` reads them.

    `payloads` names for each topic the fields that the JVM hands on, in their order.
    """
    documents = [
        {"topic": contract.topic, "payload": payloads[contract.topic], "fields": contract.fields}
        for contract in contracts
    ]
    return msgspec.json.encode(documents).decode()


def json_schema(contract: FactContract) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a topic's values, for producers. It can't express a record's size."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"liveshelf {contract.topic}",
        "description": PRODUCING,
        "type": "object",
        "properties": {field.name: _property(field) for field in contract.fields},
    }


def _property(field: FactField) -> dict[str, Any]:
    kind = {"string": "string", "int": "integer", "float": "number", "bool": "boolean"}[field.kind]
    schema: dict[str, Any] = {"type": [kind, "null"]} | ({"description": field.doc} if field.doc else {})
    limits = {"minimum": field.minimum, "maximum": field.maximum, "maxLength": field.max_length}
    schema |= {name: limit for name, limit in limits.items() if limit is not None}
    if field.kind == "string":
        schema["pattern"] = events.text_pattern(field.free_text)
    return schema


def docs_table(contract: FactContract) -> str:
    """Return a contract as a Markdown table."""
    rows = ["| field | type | limits | meaning |", "|---|---|---|---|"]
    for field in contract.fields:
        limits = f"{field.minimum:.0f} to {field.maximum:.0f}" if field.maximum is not None else ""
        limits = f"at most {field.max_length} characters" if field.max_length else limits
        rows.append(f"| `{field.name}` | {field.kind} | {limits} | {field.doc} |")
    return "\n".join(rows)
