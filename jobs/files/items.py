"""Read a person's file of items: what its columns say of each item, as the contracts of item facts have it.

The rules for text, ids, numbers and prices are those of events (`values.py`). A row says only what it has a column or a
key for. Where that is empty, the row says that the value isn't known any more.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from jobs.contract import events, items
from jobs.contract.items import FactContract, FactField, Refusal
from jobs.errors import DataError
from jobs.files import mapping, tables, text, values
from jobs.files.mapping import CREATED, Column, Mapping
from jobs.files.tables import Record
from jobs.files.times import DAY_MS, time_ms

KINDS = (*tables.DELIMITERS, *tables.JSON_LINES, ".parquet")
AHEAD_MS = 3650 * DAY_MS  # an item may be announced


class ItemRow(NamedTuple):
    """What a row says of an item, by field. None: the file has the field, and no value in it."""

    line: int
    item_id: str
    fields: dict[str, items.Value | None]


def read(path: Path, contracts: Sequence[FactContract], mapping_path: Path | None = None) -> Iterator[ItemRow]:
    """Yield the file's rows. Raises DataError with file, line, value and way out for one that can't be right.

    An item that comes twice is refused: nobody could say which row counts.
    """
    rows = _Rows(path, contracts, mapping_path)
    lines: dict[str, int] = {}
    for record in rows.records():
        row = rows.row(record)
        first = lines.setdefault(row.item_id, row.line)
        if first != row.line:
            what = f"{rows.file} {row.line:,}: item_id {row.item_id!r} stands in line {first:,} already"
            raise DataError(what, "write one row an item")
        yield row
    if not lines:
        raise DataError(f"{path} holds no item", "give a file with at least one row")


class _Rows:
    """Make rows of a file's records. What is common to all of them is worked out once."""

    def __init__(self, path: Path, contracts: Sequence[FactContract], mapping_path: Path | None) -> None:
        self._path, self._contracts = path, contracts
        self._fields: dict[str, FactField] = {}
        for contract in contracts:
            for field in contract.fields:
                self._fields.setdefault(field.name, field)
        kinds = {items.ID: "string"} | {name: field.kind for name, field in self._fields.items()}
        self._mapping: Mapping = mapping.load_for_items(mapping_path, kinds)
        self.file = f"{path}, {'row' if text.kind(path) == '.parquet' else 'line'}"
        # The currency first: it says how many digits a price has.
        named = [(name, column) for name, column in self._mapping.fields.items() if name != items.ID]
        self._columns = sorted(named, key=lambda pair: pair[0] != "currency")
        self._id = self._mapping.fields[items.ID]
        self._latest_ms = time.time_ns() // 1_000_000 + AHEAD_MS

    def records(self) -> Iterator[Record]:
        kind = text.kind(self._path)
        if kind in tables.JSON_LINES:
            return self._checked(tables.json_lines(self._path))
        if kind == ".parquet":
            return self._checked(tables.parquet(self._path))
        if kind not in tables.DELIMITERS:
            raise DataError(f"{self._path} has an unknown kind", f"name it {', '.join(KINDS)}, with .gz when gzipped")
        needed = {column.name for _, column in self._columns} if self._mapping.required else set()
        known = {*self._fields, items.ID}
        fix = "--mapping FILE.toml names columns"
        return self._checked(
            tables.table(self._path, tables.DELIMITERS[kind], needed | {self._id.name}, once=known, about_missing=fix)
        )

    def _checked(self, records: Iterator[Record]) -> Iterator[Record]:
        """Yield the records; raise DataError if none has anything that the contracts know."""
        says = {column.name for _, column in self._columns} | {self._mapping.time.name}
        found, record = bool(self._mapping.constants), None
        for record in records:
            found = found or not says.isdisjoint(record.values)
            yield record
        if record is not None and not found:
            fix = f"name columns {', '.join(sorted(self._fields))}, or give a --mapping"
            raise DataError(f"{self._path} says nothing of its items but their ids", fix)

    def row(self, record: Record) -> ItemRow:
        item_id = self._value(record, events.FIELD[items.ID], self._id, None)
        if item_id is None:
            raise DataError(f"{self.file} {record.number:,}: item_id is missing", "give each row the id of its item")
        fields: dict[str, items.Value | None] = dict(self._mapping.constants)  # type: ignore[arg-type]
        for name, column in self._columns:
            if column.name in record.values:
                fields[name] = self._value(record, self._fields[name], column, fields.get("currency"))  # type: ignore[assignment]
        if self._mapping.time.name in record.values:
            fields[CREATED] = self._created(record)
        self._refuse(record, str(item_id), fields)
        return ItemRow(record.number, str(item_id), fields)

    def _value(self, record: Record, field: values.Field, column: Column, currency: object) -> object:
        raw = record.values.get(column.name)
        if values.is_absent(raw):
            return None
        return values.value((self.file, record.number, field.name, column.name), field, raw, column.factor, currency)

    def _created(self, record: Record) -> int | None:
        raw, column = record.values[self._mapping.time.name], self._mapping.time.name
        if values.is_absent(raw):
            return None
        fix = "set unit in [time]" if self._mapping.required else "write ms, or name the unit in --mapping"
        about = (self.file, record.number, CREATED, column)
        return time_ms(about, raw, self._mapping.time_unit, fix, self._latest_ms)

    def _refuse(self, record: Record, item_id: str, fields: dict[str, items.Value | None]) -> None:
        """Raise DataError for what a record of a topic couldn't say."""
        reason = items.id_reason(item_id)
        refusal = Refusal(reason, items.ID) if reason else None
        for contract in self._contracts:
            checked = refusal or items.check(contract, fields)
            refusal = checked if isinstance(checked, Refusal) else None
        if refusal:
            given = item_id if refusal.field == items.ID else fields[refusal.field]
            what = f"{self.file} {record.number:,}: {refusal.field} {given!r:.80} is refused ({refusal.reason})"
            raise DataError(what, "correct the row; `liveshelf schema items` and `schema offers` tell the limits")
