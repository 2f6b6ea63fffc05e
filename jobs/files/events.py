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
| no event id             | made of the file's name, the row's content and its line: see `made_id`                 |
| a column of the mapping | refused if no row has it                                                               |

All of it is checked against the contract, so whoever reads events through here may trust them.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import msgspec

from jobs.contract.events import EVENT_TYPES, FIELD, HEARTBEAT, SCHEMA_VERSION, Event, Refusal, check
from jobs.errors import DataError
from jobs.files import numbers, tables, text
from jobs.files.mapping import OWN_NAMES, SKIP, Mapping
from jobs.files.tables import Record
from jobs.files.times import time_ms

KINDS = (*tables.DELIMITERS, *tables.JSON_LINES, ".parquet")
NAME_CHARACTERS = 64  # of a file, in an id: 128 are allowed in all
FEWEST_FIELDS = {"visitor_id"}
TAKEN = [name for name in FIELD if name not in ("event_type", "event_time_ms")]
# What programs write for "no value": MySQL, SQL, JavaScript, Python, pandas. As an id it would be one shared person.
NOTHING = ("", "\\N", "NULL", "null", "undefined", "None", "nan", "NaN", "<NA>")
ONE_VALUE = "write a row for each value; what to do with orders of several items: jobs/files/mapping.py"
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
    row = None
    for record in _records(path, mapping):
        missing -= record.values.keys()
        event = _event(path, record, mapping, skipped)
        if event is not None:
            row = Row(path, record.number, event)
            yield row
    if row is None and not skipped:
        raise DataError(f"{path} holds no event", "give a file with at least one row")
    if missing:
        raise DataError(f"{path}: no row has {sorted(missing)[0]!r}", "correct the column's name in [fields]")


def made_id(path: Path, record: Record) -> str:
    """Return the id of an event that has none: `<file>-<digest of the row>-<line>`.

    The same file sent again gives the same ids, from another folder too, gzipped or longer than before. Files of two
    days differ by their rows, also where both are called part-0.csv.
    """
    digest = hashlib.blake2b(_ENCODE((text.stem(path), record.values)), digest_size=8).hexdigest()
    return f"{_UNSAFE.sub('_', text.stem(path))[:NAME_CHARACTERS]}-{digest}-{record.number}"


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


def _event(path: Path, record: Record, mapping: Mapping, skipped: Counter[str]) -> Event | None:
    where = f"{path}, {'row' if text.kind(path) == '.parquet' else 'line'} {record.number:,}"
    theirs = _value(where, record, mapping, "event_type", mapping.constants.get("event_type"))
    kind = mapping.event_types.get(str(theirs), theirs)
    if kind in (SKIP, HEARTBEAT):
        skipped[HEARTBEAT if kind == HEARTBEAT else f"event_type {theirs}"] += 1
        return None
    if kind not in EVENT_TYPES:
        fix = f'[event_types] with "{kind}" = one of {EVENT_TYPES} or "skip"'
        raise DataError(f"{where}: event type {kind!r}", fix)
    given: Event = {"schema_version": SCHEMA_VERSION, "event_type": kind}
    given["event_time_ms"] = _time_ms(where, record, mapping)
    currency = _value(where, record, mapping, "currency", mapping.constants.get("currency"))
    for name in TAKEN:
        value = _value(where, record, mapping, name, mapping.constants.get(name), currency)
        if value is not None:
            given[name] = value
    if "event_id" not in given:
        given["event_id"] = made_id(path, record)
    event = check(given)
    if isinstance(event, Refusal):
        raise refused(where, given, event)
    return event


def refused(where: str, given: Event, refusal: Refusal) -> DataError:
    """Return the error about an event that the contract refuses."""
    value = given.get(refusal.field) if refusal.field else ""
    about = f"{refusal.field} {value!r:.80}" if refusal.field in given else refusal.field
    fix = 'correct the row, or map its event type to "skip"'
    return DataError(f"{where}: {about} is refused ({refusal.reason})", fix)


def _time_ms(where: str, record: Record, mapping: Mapping) -> int:
    name = mapping.time.name
    about = f"{where}: time (column {name!r})"
    fix = "set unit in [time]" if mapping.required else f"write {name} in ms, or name its unit in replay's --mapping"
    return time_ms(about, record.values.get(name), mapping.time_unit, fix)


def _value(
    where: str, record: Record, mapping: Mapping, name: str, constant: object, currency: object = None
) -> object:
    """Return what a row has for a field, or else the constant; None for nothing."""
    column = mapping.fields.get(name)
    raw = record.values.get(column.name) if column else None
    if column is None or raw is None or raw == "":
        return constant
    about = f"{where}: {name} (column {column.name!r})"
    if FIELD[name].kind != "string":
        return _number(about, name, raw, column.factor, currency)
    found = _text(about, raw)
    if FIELD[name].free_text:
        return found
    found = found.strip().strip(text.MARK).strip()
    return _id(about, found) if found not in NOTHING else constant


def _number(where: str, name: str, raw: object, factor: int | float, currency: object) -> int | float:
    exact = numbers.number(raw)
    is_whole = FIELD[name].kind == "int"
    if exact is not None:
        by = numbers.minor_factor(factor, currency) if name == "price_minor" else factor
        exact *= Decimal(str(by))
        if not is_whole:
            return float(exact)
        if factor != 1 or exact == exact.to_integral_value():
            return numbers.rounded(exact)
    raise DataError(f"{where} is {raw!r}, not {'a whole number' if is_whole else 'a number'}", numbers.fix(raw))


def _text(where: str, raw: object) -> str:
    if type(raw) is str:
        return raw
    if type(raw) is int or (isinstance(raw, Decimal) and raw == raw.to_integral_value()):
        return str(int(raw))
    if isinstance(raw, bytes):  # Parquet of programs that don't say which of their bytes are text
        with suppress(UnicodeDecodeError):
            return raw.decode()
    fix = "write an id as text or a whole number: as a fraction it has lost digits, or won a .0"
    raise DataError(f"{where} is {raw!r:.80}, not text", fix if isinstance(raw, float) else ONE_VALUE)


def _id(where: str, found: str) -> str:
    """Return the id as it is; raise DataError for what can't be one, however it got there."""
    if found[0] + found[-1] in ("[]", "{}"):
        raise DataError(f"{where} is {found!r:.80}, a list or an object, not text", ONE_VALUE)
    if text.MARK in found:
        raise DataError(f"{where} is {found!a:.80}, with a byte order mark inside", "take it out: it can't be seen")
    if numbers.was_shortened(found):
        raise DataError(
            f"{where} is {found!r}, shortened by a spreadsheet", "export the column as text, not as numbers"
        )
    return found
