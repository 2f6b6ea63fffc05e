"""The meaning of a file's columns: a small TOML mapping file, from a person's names to the contract's.

    [fields]                        # contract field = column
    visitor_id = "customer"
    event_type = "action"
    item_id = "sku"
    price_minor = { column = "price", factor = 100 }

    [time]
    column = "when"
    unit = "iso"                    # iso (UTC unless it says otherwise), or a number since 1970: s, ms, us, ns

    [event_types]                   # theirs = "ours", or "skip"; a skipped row's other columns aren't looked at
    viewed = "view"
    bought = "purchase"
    ping = "skip"

    [constants]
    currency = "EUR"

`factor = 100` of a price says that it is in whole units with a fraction. Where the row or [constants] names a currency,
its own digits count (ISO 4217): 1500 yen are 1500, and 4.250 dinars 4250. Another factor is taken as it is.

An event has one item. An order of several needs one row an item, before it comes here: in jq
`.items[] as $item | {at, client, item: $item.item_id}`, in BigQuery `UNNEST(items)`.

Without a mapping file the columns must have the contract's names.

A file of items has a mapping of the same form (`load_for_items`). Its [fields] are those of item facts, `item_id` among
them; [time] says where `created` comes from, and there are no [event_types].
"""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.contract.events import EVENT_TYPES, FIELD
from jobs.errors import DataError
from jobs.files import text
from jobs.files.times import UNITS

SKIP = "skip"
CREATED = "created"  # the time among the fields of item facts
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


OWN_NAMES = Mapping(
    fields={name: Column(name) for name in FIELD if name != "event_time_ms"},
    time=Column("event_time_ms"),
    time_unit="ms",
    required=False,
)


def load(path: Path | None) -> Mapping:
    """Return the mapping in a TOML file, or the one that takes the contract's names; raise DataError for a bad one."""
    if path is None:
        return OWN_NAMES
    document = _document(path)
    _refuse_unknown(path, "the file", document, sorted(_TABLES))
    fields, constants = document.get("fields", {}), document.get("constants", {})
    takes = [name for name in FIELD if name not in ("schema_version", "event_time_ms")]
    _refuse_unknown(path, "[fields]", fields, takes)
    _refuse_unknown(path, "[constants]", constants, takes)
    for name in ("visitor_id", "event_type"):
        if name not in fields and name not in constants:
            raise DataError(f"{path} doesn't say where {name} comes from", f'{name} = "COLUMN" in [fields]')
    return Mapping(
        fields={name: _column(path, name, given, FIELD[name].kind) for name, given in fields.items()},
        time=Column(_time(path, document)["column"]),
        time_unit=_time(path, document)["unit"],
        event_types=_event_types(path, document.get("event_types", {})),
        constants=constants,
    )


def load_for_items(path: Path | None, kinds: dict[str, str]) -> Mapping:
    """Return the mapping of a file of items, by the fields' kinds; raise DataError for a bad one.

    Without a file the columns have the contracts' names, and `created` is in ms.
    """
    if path is None:
        own = {name: Column(name) for name in kinds if name != CREATED}
        return Mapping(fields=own, time=Column(CREATED), time_unit="ms", required=False)
    document = _document(path)
    _refuse_unknown(path, "the file", document, ["constants", "fields", "time"])
    fields, constants = document.get("fields", {}), document.get("constants", {})
    takes = [name for name in kinds if name != CREATED]
    _refuse_unknown(path, "[fields]", fields, takes)
    _refuse_unknown(path, "[constants]", constants, takes)
    if "item_id" not in fields:
        raise DataError(f"{path} doesn't say where item_id comes from", 'item_id = "COLUMN" in [fields]')
    has_time = "time" in document
    return Mapping(
        fields={name: _column(path, name, given, kinds[name]) for name, given in fields.items()},
        time=Column(_time(path, document)["column"] if has_time else CREATED),
        time_unit=_time(path, document)["unit"] if has_time else "ms",
        constants=constants,
    )


def _document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text.whole(path))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{path} isn't TOML: {error}", "see the example in jobs/files/mapping.py") from error


def _refuse_unknown(path: Path, where: str, given: dict[str, object], names: list[str]) -> None:
    for name in given:
        if name not in names:
            raise DataError(f"{path}: {where} names {name!r}", f"one of {', '.join(names)}")


def _column(path: Path, name: str, given: object, kind: str) -> Column:
    if isinstance(given, str):
        return Column(given)
    if isinstance(given, dict) and isinstance(given.get("column"), str) and set(given) <= {"column", "factor"}:
        factor = given.get("factor", 1)
        if type(factor) in (int, float) and kind in ("int", "float"):
            return Column(given["column"], factor)
    raise DataError(
        f"{path}: {name} = {given!r}", f'{name} = "COLUMN", or for a number {{ column = "COLUMN", factor = 100 }}'
    )


def _time(path: Path, document: dict[str, object]) -> dict[str, str]:
    time = document.get("time")
    if isinstance(time, dict) and isinstance(time.get("column"), str) and time.get("unit") in UNITS:
        return time
    units = ", ".join(f'"{unit}"' for unit in UNITS)
    raise DataError(f"{path}: time = {time!r}", f'[time] with column = "COLUMN" and unit = one of {units}')


def _event_types(path: Path, given: dict[str, str]) -> dict[str, str]:
    for theirs, ours in given.items():
        if ours not in (*EVENT_TYPES, SKIP):
            raise DataError(f"{path}: [event_types] {theirs} = {ours!r}", f"one of {', '.join(EVENT_TYPES)}, {SKIP}")
    return given
