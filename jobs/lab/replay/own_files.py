"""Read a user's own CSV, TSV or JSONL (also gzipped) as contract events, through a small TOML mapping file.

    [fields]                        # contract field = column
    visitor_id = "customer"
    event_type = "action"
    item_id = "sku"
    price_minor = { column = "price", factor = 100 }

    [time]
    column = "when"
    unit = "iso"                    # s, ms or iso (UTC unless it says otherwise)

    [event_types]                   # theirs = "ours", or "skip"
    viewed = "view"
    bought = "purchase"
    ping = "skip"

    [constants]
    currency = "EUR"

Without a mapping file the columns must have the contract's names. A file without event ids gets `<file>-<line>`.
"""

import csv
import gzip
import tomllib
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from pathlib import Path
from typing import IO

import msgspec

from jobs.contract.events import EVENT_TYPES, FIELD, SCHEMA_VERSION, Event
from jobs.errors import DataError
from jobs.lab.replay.shops import Row

SKIP = "skip"
TIME_UNITS = ("s", "ms", "iso")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_TABLES = {"fields", "time", "event_types", "constants"}


@dataclass(frozen=True)
class Column:
    """A column and what its numbers are multiplied with."""

    name: str
    factor: int | float = 1


@dataclass(frozen=True)
class Mapping:
    """The meaning of a file's columns; if `required`, each column must be there."""

    fields: dict[str, Column]
    time: Column
    time_unit: str
    event_types: dict[str, str] = field(default_factory=dict)
    constants: dict[str, object] = field(default_factory=dict)
    required: bool = True


_OWN_NAMES = Mapping(
    fields={name: Column(name) for name in FIELD if name not in ("schema_version", "event_time_ms")},
    time=Column("event_time_ms"),
    time_unit="ms",
    required=False,
)


def load(path: Path | None) -> Mapping:
    """Return the mapping in a TOML file, or the one that takes the contract's names; raise DataError for a bad one."""
    if path is None:
        return _OWN_NAMES
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"the mapping {path} can't be read: {error.strerror}", "--mapping FILE.toml") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} isn't TOML: {error}", "see the example in jobs/lab/replay/own_files.py") from error
    _refuse_unknown(path, "the file", document, sorted(_TABLES))
    fields, constants = document.get("fields", {}), document.get("constants", {})
    takes = [name for name in FIELD if name not in ("schema_version", "event_time_ms")]
    _refuse_unknown(path, "[fields]", fields, takes)
    _refuse_unknown(path, "[constants]", constants, takes)
    for name in ("visitor_id", "event_type"):
        if name not in fields and name not in constants:
            raise DataError(f"{path} doesn't say where {name} comes from", f'{name} = "COLUMN" in [fields]')
    return Mapping(
        fields={name: _column(path, name, given) for name, given in fields.items()},
        time=Column(_time(path, document)["column"]),
        time_unit=_time(path, document)["unit"],
        event_types=_event_types(path, document.get("event_types", {})),
        constants=constants,
    )


def _refuse_unknown(path: Path, where: str, given: dict[str, object], names: list[str]) -> None:
    for name in given:
        if name not in names:
            raise DataError(f"{path}: {where} names {name!r}", f"one of {', '.join(names)}")


def _column(path: Path, name: str, given: object) -> Column:
    if isinstance(given, str):
        return Column(given)
    if isinstance(given, dict) and isinstance(given.get("column"), str) and set(given) <= {"column", "factor"}:
        factor = given.get("factor", 1)
        if type(factor) in (int, float) and FIELD[name].kind != "string":
            return Column(given["column"], factor)
    raise DataError(
        f"{path}: {name} = {given!r}", f'{name} = "COLUMN", or for a number {{ column = "COLUMN", factor = 100 }}'
    )


def _time(path: Path, document: dict[str, object]) -> dict[str, str]:
    time = document.get("time")
    if isinstance(time, dict) and isinstance(time.get("column"), str) and time.get("unit") in TIME_UNITS:
        return time
    raise DataError(f"{path}: time = {time!r}", '[time] with column = "COLUMN" and unit = "s", "ms" or "iso"')


def _event_types(path: Path, given: dict[str, object]) -> dict[str, str]:
    for theirs, ours in given.items():
        if ours not in (*EVENT_TYPES, SKIP):
            raise DataError(f"{path}: [event_types] {theirs} = {ours!r}", f"one of {', '.join(EVENT_TYPES)}, {SKIP}")
    return given


def rows(path: Path, mapping: Mapping, skipped: Counter[str]) -> Iterator[Row]:
    """Yield the file's rows as events, in file order; raise DataError with file, line and value for a bad row."""
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
    kind = suffixes[-1] if suffixes else ""
    if kind not in (*_DELIMITERS, ".jsonl"):
        raise DataError(f"{path} has an unknown kind", "name it .csv, .tsv or .jsonl, with .gz when it is gzipped")
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            records = _json_lines(path, file) if kind == ".jsonl" else _table(path, file, _DELIMITERS[kind], mapping)
            for line, record in records:
                event = _event(path, line, record, mapping, skipped)
                if event is not None:
                    yield Row(path, line, event)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} can't be read: {error}", "check the file and its rights") from error


def _table(path: Path, file: IO[bytes], delimiter: str, mapping: Mapping) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(_text(path, file), delimiter=delimiter)
    try:
        header = list(reader.fieldnames or ())
        columns = {column.name for column in mapping.fields.values()} if mapping.required else {"visitor_id"}
        for name in sorted(columns | {mapping.time.name}):
            if name not in header:
                raise DataError(f"{path} has no column {name!r}; it has {header}", "--mapping FILE.toml names columns")
        for row in reader:
            if None in row or None in row.values():
                what = f"{path}, line {reader.line_num}: not {len(header)} values as in the header"
                raise DataError(what, f"quote values that hold {delimiter!r}")
            yield reader.line_num, row
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}", "write it as plain CSV") from error


def _json_lines(path: Path, file: IO[bytes]) -> Iterator[tuple[int, dict[str, object]]]:
    for line, text in enumerate(file, start=1):
        if not text.strip():
            continue
        try:
            record = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DataError(f"{path}, line {line}: {text[:80]!r} isn't JSON: {error}", "one object per line") from error
        if not isinstance(record, dict):
            raise DataError(f"{path}, line {line}: {text[:80]!r} isn't an object", "one object per line")
        yield line, record


def _text(path: Path, file: IO[bytes]) -> Iterator[str]:
    for line, text in enumerate(file, start=1):
        try:
            yield text.decode("utf-8-sig" if line == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{path}, line {line}: {text[:80]!r} isn't UTF-8", "save the file as UTF-8") from error


def _event(path: Path, line: int, record: dict, mapping: Mapping, skipped: Counter[str]) -> Event | None:
    own_id = f"{path.name.split('.')[0]}-{line}"
    event: dict = {"schema_version": SCHEMA_VERSION, "event_id": own_id} | mapping.constants
    for name, column in mapping.fields.items():
        raw = record.get(column.name)
        if raw is not None and raw != "":
            event[name] = _value(f"{path}, line {line}", name, raw, column)
    kind = event.get("event_type")
    if mapping.event_types:
        kind = mapping.event_types.get(kind, kind)
    if kind == SKIP:
        skipped[f"event_type {event['event_type']}"] += 1
        return None
    if kind not in EVENT_TYPES:
        raise DataError(
            f"{path}, line {line}: event type {kind!r}", f'[event_types] with "{kind}" = one of {EVENT_TYPES} or "skip"'
        )
    return event | {"event_type": kind, "event_time_ms": _time_ms(path, line, record.get(mapping.time.name), mapping)}


def _value(where: str, name: str, raw: object, column: Column) -> str | int | float:
    kind = FIELD[name].kind
    if kind == "string" and type(raw) in (str, int):
        return str(raw)
    number = _number(raw) if kind != "string" else None
    if number is not None:
        exact = number * Decimal(str(column.factor))
        if kind == "float":
            return float(exact)
        if exact == exact.to_integral_value() or column.factor != 1:
            return int(exact.to_integral_value(ROUND_HALF_UP))
    expected = {"string": "text", "int": "a whole number", "float": "a number"}[kind]
    what = f"{where}: {name} (column {column.name!r}) is {raw!r}, not {expected}"
    raise DataError(what, "correct it, or leave it empty")


def _number(raw: object) -> Decimal | None:
    """Return a finite number, or None for anything else."""
    if type(raw) not in (str, int, float):
        return None
    try:
        number = Decimal(str(raw).strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number) < 10**18 else None


def _time_ms(path: Path, line: int, raw: object, mapping: Mapping) -> int:
    if mapping.time_unit == "iso" and type(raw) is str:
        try:
            moment = datetime.fromisoformat(raw.strip())
        except ValueError:
            moment = None
        if moment is not None:
            return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    number = _number(raw) if mapping.time_unit != "iso" else None
    if number is not None:
        return round(number * (1000 if mapping.time_unit == "s" else 1))
    raise DataError(
        f"{path}, line {line}: time (column {mapping.time.name!r}) is {raw!r}, not in unit {mapping.time_unit!r}",
        'set unit in [time] to "s", "ms" or "iso", or correct the row',
    )
