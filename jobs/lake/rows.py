"""Turn records into the lake's rows, and say whose a row is. Pure.

A row tells of a person only what the field `visitor_id` of its record says, because consent and erasure go by that
field. So the key of an event or of a list isn't kept. A record that the contract refuses is kept without its content:
nobody can say whom such bytes are about. The topic `events.dead` has them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import pyarrow as pa

from jobs.connect.kafka_read import Record
from jobs.contract.consent import Consents
from jobs.contract.events import FIELD, Refusal, parse
from jobs.contract.shelf import read_logged
from jobs.settings import Settings

Kind = Literal["events", "rankings", "items"]
Row = dict[str, Any]

PLACE = [("partition", pa.int32()), ("offset", pa.int64()), ("timestamp_ms", pa.int64())]
CONTENT = [("value", pa.string()), ("refused", pa.string())]
PERSON, TIME = "visitor_id", "event_time_ms"
SCHEMAS: dict[Kind, pa.Schema] = {
    "events": pa.schema(
        [
            *PLACE,
            (PERSON, pa.string()),
            ("event_type", pa.string()),
            ("item_id", pa.string()),
            (TIME, pa.int64()),
            *CONTENT,
        ]
    ),
    "rankings": pa.schema(
        [
            *PLACE,
            (PERSON, pa.string()),
            ("shelf", pa.string()),
            ("list_id", pa.string()),
            ("event_partition", pa.int32()),
            ("event_offset", pa.int64()),
            (TIME, pa.int64()),
            *CONTENT,
        ]
    ),
    "items": pa.schema([*PLACE, ("item_id", pa.string()), *CONTENT]),
}
# Where the event lies that a row is about: consent is judged by an event's time and place.
ABOUT: dict[Kind, tuple[str, str]] = {
    "events": ("partition", "offset"),
    "rankings": ("event_partition", "event_offset"),
}
ROWS_OF_NOBODY = FIELD[PERSON].reserved  # lists of items and places


@dataclass(frozen=True)
class Topic:
    """A topic of the lake: its name in Kafka, and what its records are."""

    name: str
    kind: Kind

    @property
    def schema(self) -> pa.Schema:
        return SCHEMAS[self.kind]

    @property
    def holds_persons(self) -> bool:
        return self.kind in ABOUT


def topics(settings: Settings) -> list[Topic]:
    """Return the topics that the lake keeps."""
    return [
        Topic(settings.events_topic, "events"),
        Topic(settings.rankings_topic, "rankings"),
        Topic(settings.items_topic, "items"),
    ]


class _List(msgspec.Struct):
    """What a row says of a list."""

    visitor_id: str
    shelf: str
    list_id: str
    partition: int
    offset: int
    event_time_ms: int


def row(kind: Kind, record: Record, max_skew_ms: int) -> Row:
    """Return a record as a row."""
    place = {"partition": record.partition, "offset": record.offset, "timestamp_ms": record.timestamp_ms}
    parsed = _parsed(kind, record, max_skew_ms)
    if isinstance(parsed, Refusal):
        return place | {"refused": str(parsed.reason)}
    return place | parsed | {"value": record.value.decode() if record.value is not None else None}


def _parsed(kind: Kind, record: Record, max_skew_ms: int) -> Row | Refusal:
    if kind == "events":
        return _event(record, max_skew_ms)
    return _list(record) if kind == "rankings" else _item(record)


def _event(record: Record, max_skew_ms: int) -> Row | Refusal:
    event = parse(record.value, record.timestamp_ms, max_skew_ms)
    if isinstance(event, Refusal):
        return event
    return {name: event.get(name) for name in (PERSON, "event_type", "item_id", "event_time_ms")}


def _list(record: Record) -> Row | Refusal:
    try:
        found = read_logged(record.value, _List)
    except msgspec.DecodeError:
        return Refusal("not_json")
    return {
        PERSON: found.visitor_id,
        "shelf": found.shelf,
        "list_id": found.list_id,
        "event_partition": found.partition,
        "event_offset": found.offset,
        "event_time_ms": found.event_time_ms,
    }


def _item(record: Record) -> Row | Refusal:
    try:
        (record.value or b"").decode()
        return {"item_id": (record.key or b"").decode()}
    except UnicodeDecodeError:
        return Refusal("not_utf8")


def counts(kind: Kind, row: Mapping[str, Any], consents: Consents) -> bool:
    """Return True if a row may lie in the lake: its visitor allowed it, and wasn't forgotten since."""
    visitor = row.get(PERSON)
    if kind not in ABOUT or visitor is None or visitor.startswith(ROWS_OF_NOBODY):
        return True
    partition, offset = ABOUT[kind]
    return consents.verdict(visitor, row[partition], row[offset], row[TIME]) == "counts"


def table(topic: Topic, rows: Sequence[Row] | Iterable[Row]) -> pa.Table:
    """Return rows as a table of the topic's columns."""
    return pa.Table.from_pylist(list(rows), schema=topic.schema)
