"""Read a person's file as events of the contract: the one reader for replay, training and history.

| what                    | rule                                                                                   |
|-------------------------|----------------------------------------------------------------------------------------|
| files                   | CSV, TSV, JSON lines, Parquet; `text` says how the first three may be packed           |
| blank lines             | left out, and so are rows of a table without any value                                 |
| heartbeats, "skip"      | left out and counted, whatever stands in their other columns                           |
| an empty value, null    | the field is absent; so it is for an id such as NULL or undefined                      |
| ids                     | text or whole numbers; blanks and byte order marks around them are no part of them     |
| a list or an object     | refused: an event has one value in each field                                          |
| times                   | from 2000 to tomorrow; another unit is named                                           |
| no event id             | made of the file's name, the row's content and its line: see `_made_id`                |
| a column of the mapping | refused if no row has it                                                               |

All of it is checked against the contract, so whoever reads events through here may trust them.
"""

import hashlib
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from jobs.contract.events import (
    EVENT_TYPES,
    FIELD,
    HEARTBEAT,
    REQUIRED_BY_TYPE,
    SCHEMA_VERSION,
    Event,
    Field,
    Refusal,
    check,
)
from jobs.errors import DataError
from jobs.files import tables, text, values
from jobs.files.mapping import OWN_NAMES, SKIP, Column, Mapping
from jobs.files.tables import Record
from jobs.files.times import time_ms

KINDS = (*tables.DELIMITERS, *tables.JSON_LINES, ".parquet")
NAME_CHARACTERS = 64  # of a file, in an id: 128 are allowed in all
FEWEST_FIELDS = {"visitor_id"}
_ENCODE = msgspec.json.Encoder(enc_hook=str).encode  # Parquet has dates and decimals
_UNSAFE = re.compile(r"[^\w.-]", re.ASCII)


class Row(NamedTuple):
    """An event and the line that it came from, counted from 1; in Parquet the row."""

    file: Path
    line: int
    event: Event


def read(path: Path, mapping: Mapping = OWN_NAMES, skipped: Counter[str] | None = None) -> Iterator[Row]:
    """Yield the file's events, in file order, each as the contract has it.

    Args:
        path: a file of one of `KINDS`.
        mapping: what its columns mean; without one they have the contract's names.
        skipped: counts the rows that are no events, by reason; complete when the last row was read.

    Raises DataError with file, line, value and way out for a row that can't be an event, for a column of the mapping
    that no row has, and for a file that can't be read or holds no event.
    """
    skipped = Counter() if skipped is None else skipped
    missing = {column.name for column in mapping.fields.values()} if mapping.required else set()
    rows, records, row = _Rows(path, mapping, skipped), _records(path, mapping), None
    for record in records:
        missing -= record.values.keys()
        try:
            event = rows.event(record)
        except DataError as error:
            raise _with_others(error, rows, records) from error
        if event is not None:
            row = Row(path, record.number, event)
            yield row
    if row is None and not skipped:
        raise DataError(f"{path} holds no event", "give a file with at least one row")
    if missing:
        what = f"{path}: no row has {sorted(missing)[0]!r}"
        raise DataError(what, "correct the column's name in [fields], or take it out")


def _with_others(first: DataError, rows: "_Rows", records: Iterator[Record]) -> DataError:
    """Return the first row's error with the number of rows after it that are refused, too.

    Who corrects a file row by row would otherwise learn of one in each run.
    """
    others = 0
    with suppress(DataError):  # the file may be damaged further on
        for record in records:
            try:
                rows.event(record)
            except DataError:
                others += 1
    what = f"{first.what}; so are {others:,} of the rows after it" if others else first.what
    return DataError(what, first.fix)


def _records(path: Path, mapping: Mapping) -> Iterator[Record]:
    kind = text.kind(path)
    if kind in tables.JSON_LINES:
        return tables.json_lines(path)
    if kind == ".parquet":
        return tables.parquet(path)
    if kind not in tables.DELIMITERS:
        raise DataError(f"{path} has an unknown kind", f"name it {', '.join(KINDS)}, with .gz when it is gzipped")
    columns = {column.name for column in mapping.fields.values()} if mapping.required else FEWEST_FIELDS
    needed, fix = columns | {mapping.time.name}, "--mapping FILE.toml names columns"
    own = set() if mapping.required else set(FIELD)
    return tables.table(path, tables.DELIMITERS[kind], needed, once=own, time=mapping.time.name, about_missing=fix)


def refused(where: str, given: Event, refusal: Refusal) -> DataError:
    """Return the error about an event that the contract refuses."""
    value = given.get(refusal.field) if refusal.field else ""
    about = f"{refusal.field} {value!r:.80}" if refusal.field in given else refusal.field
    fix = 'correct the row, or map its event type to "skip"'
    return DataError(f"{where}: {about} is refused ({refusal.reason})", fix)


class _Rows:
    """Make events of a file's rows. What is common to all rows is worked out once."""

    def __init__(self, path: Path, mapping: Mapping, skipped: Counter[str]) -> None:
        self._file = f"{path}, {'row' if text.kind(path) == '.parquet' else 'line'}"
        self._stem = text.stem(path)
        self._name = _UNSAFE.sub("_", self._stem)[:NAME_CHARACTERS]
        self._mapping, self._skipped = mapping, skipped
        # The currency first: it says how many digits a price has.
        self._columns = sorted(
            ((FIELD[name], column) for name, column in mapping.fields.items() if name != "event_type"),
            key=lambda pair: pair[0].name != "currency",
        )
        unit = "set unit in [time]" if mapping.required else "write ms, or name the unit in replay's --mapping"
        self._unit_fix = unit
        self._now_ms = time.time_ns() // 1_000_000

    def event(self, record: Record) -> Event | None:
        """Return the event of a row, None for one that is left out; raise DataError for one that is neither."""
        kind = self._kind(record)
        if not kind:
            return None
        mapping, row = self._mapping, record.values
        given: Event = {"schema_version": SCHEMA_VERSION} | mapping.constants
        given["event_type"] = kind
        raw_time = row.get(mapping.time.name)
        about = (self._file, record.number, "time", mapping.time.name)
        given["event_time_ms"] = time_ms(about, raw_time, mapping.time_unit, self._unit_fix, self._now_ms)
        for field, column in self._columns:
            raw = row.get(column.name)  # a number that isn't one, NaN, is how pandas says None
            if (
                raw is None
                or raw != raw
                or (raw == "" and not (field.may_be_empty and field.name in REQUIRED_BY_TYPE[kind]))
            ):
                continue
            value = self._value(record, field, column, raw, given.get("currency"))
            if value is not None:
                given[field.name] = value
        if "event_id" not in given:
            given["event_id"] = self._made_id(record)
        event = check(given, self._now_ms)
        if isinstance(event, Refusal):
            raise refused(f"{self._file} {record.number:,}", given, event)
        return event

    def _kind(self, record: Record) -> str:
        """Return the contract's event type, "" for a row that is left out."""
        mapping = self._mapping
        column = mapping.fields.get("event_type")
        raw = record.values.get(column.name) if column else None
        theirs = mapping.constants.get("event_type")
        if column and raw is not None and raw != "":
            theirs = self._value(record, FIELD["event_type"], column, raw, None)
        kind = mapping.event_types.get(str(theirs), str(theirs))
        if kind in EVENT_TYPES:
            return kind
        if kind not in (SKIP, HEARTBEAT):
            fix = f'[event_types] with "{kind}" = one of {EVENT_TYPES} or "skip"'
            raise DataError(f"{self._file} {record.number:,}: event type {theirs!r}", fix)
        self._skipped[HEARTBEAT if kind == HEARTBEAT else f"event_type {theirs}"] += 1
        return ""

    def _value(self, record: Record, field: Field, column: Column, raw: object, currency: object) -> object:
        """Return the value of a field, None where it names nothing."""
        return values.value((self._file, record.number, field.name, column.name), field, raw, column.factor, currency)

    def _made_id(self, record: Record) -> str:
        """Return the id of an event that has none: `<file>-<digest of the row>-<line>`.

        The same file sent again gives the same ids, from another folder too, gzipped or longer than before. Files of
        two days differ by their rows, also where both are called part-0.csv.
        """
        digest = hashlib.blake2b(_ENCODE((self._stem, record.values)), digest_size=8).hexdigest()
        return f"{self._name}-{digest}-{record.number}"
