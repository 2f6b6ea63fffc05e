"""Read tables (CSV, TSV) and lines of JSON as records; rows never vanish, and a header says what it says once."""

import csv
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from jobs.errors import DataError
from jobs.files import text

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

DELIMITERS = {".csv": ",", ".tsv": "\t"}
LEAST_DIGITS = 8  # of a time: a date has as many
JSON_LINES = (".jsonl", ".ndjson", ".json")
_OTHER_DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}


class Record(NamedTuple):
    """One row of a file: the line that it ends on (from 1; in Parquet the row), and its values by column."""

    number: int
    values: dict[str, object]


def table(
    path: Path,
    delimiter: str,
    needed: Collection[str],
    *,
    once: Collection[str] = (),
    time: str = "",
    about_missing: str = "name the columns so",
) -> Iterator[Record]:
    """Yield the rows of a table under a header that has the `needed` columns. Rows without any value are left out.

    A CSV quotes as RFC 4180 says. A TSV has no quotes: there a quote is a character like others, such as an inch sign.

    Args:
        path: the file.
        delimiter: between two values.
        needed: columns that must be there.
        once: columns that may be there, but not twice.
        time: the column of the times; rows that a quote has swallowed are known by it.
        about_missing: the way out where a column is missing.

    Raises DataError with the line: for a header that lacks a needed column or has one twice, a row of another length,
    and a quote that isn't closed or swallows rows.
    """
    lines = (line for _, line in text.lines(path))
    if delimiter == "\t":
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=True)
    else:
        reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
    header: list[str] = []
    begins = 1  # the line on which the row begins
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                pass
            elif not header:
                header = [cell.strip() for cell in cells]
                _check_header(path, reader.line_num, header, delimiter, needed, about_missing)
                _refuse_twice(path, header, {*needed, *once})
            else:
                _check_length(path, reader.line_num, cells, header, delimiter)
                if reader.line_num > begins and time in header:
                    _refuse_rows_in_cells(path, begins, reader.line_num, cells, header, time)
                yield Record(reader.line_num, dict(zip(header, cells, strict=True)))
            begins = reader.line_num + 1
    except csv.Error as error:
        if "unexpected end of data" in str(error):
            what = f"{path}, line {begins:,}: a quote in this row isn't closed, up to the end of the file"
            raise DataError(what, 'close it; a quote inside a quoted value is written twice: ""') from error
        raise DataError(f"{path}, line {begins:,}: {error}", 'write it as plain CSV: "a ""quoted"" value"') from error
    if not header:
        raise DataError(f"{path} has no header and holds no event", "begin with a line that names the columns")


def _check_header(
    path: Path, number: int, header: list[str], delimiter: str, needed: Collection[str], about_missing: str
) -> None:
    if header[0][:1] in ("{", "["):
        raise DataError(f"{path}, line {number}: {text.short(header[0])} is JSON, no header", "name it .jsonl")
    for name in sorted(needed):
        if name not in header:
            what = f"{path}, line {number}: the header has no column {name!r}; it has {header}"
            raise DataError(what, _other_delimiter(header, delimiter) or about_missing)


def _refuse_twice(path: Path, header: list[str], names: Collection[str]) -> None:
    for name, count in Counter(header).items():
        if count > 1 and name in names:
            raise DataError(f"{path}: {count} columns are called {name!r}", "name each column once")


def _other_delimiter(header: list[str], delimiter: str) -> str:
    """Return the way out where the columns seem to be separated by another character, "" if they don't."""
    if len(header) > 1:
        return ""
    found = max(_OTHER_DELIMITERS, key=header[0].count)
    if found == delimiter or found not in header[0]:
        return ""
    return f"the columns seem to be separated by {_OTHER_DELIMITERS[found]}: write {_OTHER_DELIMITERS[delimiter]}"


def _check_length(path: Path, number: int, cells: list[str], header: list[str], delimiter: str) -> None:
    if len(cells) != len(header):
        fix = f"quote values that hold {delimiter!r}" if delimiter != "\t" else "no value may hold a tab"
        raise DataError(f"{path}, line {number:,}: not {len(header)} values as in the header but {len(cells)}", fix)


def _refuse_rows_in_cells(path: Path, begins: int, ends: int, cells: list[str], header: list[str], time: str) -> None:
    """Raise DataError where a quoted value runs over lines that are rows: as many values, and a time in its place."""
    place = header.index(time)
    for line in (line for cell in cells for line in cell.splitlines()[1:]):
        swallowed = line.split(",")
        if len(swallowed) == len(header) and sum(map(str.isdecimal, swallowed[place])) >= LEAST_DIGITS:
            raise DataError(
                f"{path}, line {begins:,}: a quote runs on to line {ends:,}, over rows such as {text.short(line)}",
                'close the quote; one that belongs to a value is written twice, in quotes: "19"" rack"',
            )


def json_lines(path: Path) -> Iterator[Record]:
    """Yield the objects of a file with one JSON object a line; blank lines are left out. Raises DataError."""
    decode = msgspec.json.Decoder().decode
    for number, line in text.lines(path):
        if not line.strip():
            continue
        where, fix = f"{path}, line {number:,}: {text.short(line)}", "write one object a line"
        if number == 1 and line.lstrip().startswith("["):
            raise DataError(f"{where} begins a JSON array", f"{fix}, without brackets around them (jq -c '.[]')")
        try:
            values = decode(line)
        except (msgspec.DecodeError, RecursionError) as error:
            raise DataError(f"{where} isn't JSON: {error}", fix) from error
        if not isinstance(values, dict):
            raise DataError(f"{where} isn't an object", fix)
        yield Record(number, values)


def columns(path: Path) -> list[str]:
    """Return the names of a Parquet file's columns; raise DataError for another file."""
    with _parquet_file(path) as file:
        return list(file.schema_arrow.names)


def values(path: Path, names: Sequence[str]) -> "pa.Table":
    """Return some columns of a Parquet file; raise DataError for another file."""
    with _parquet_file(path) as file:
        return file.read(columns=list(names))


def parquet(path: Path) -> Iterator[Record]:
    """Yield the rows of a Parquet file, None for null. Raises DataError for another file, and a column twice."""
    with _parquet_file(path) as file:
        names = file.schema_arrow.names
        _refuse_twice(path, names, names)
        batches = (row for batch in file.iter_batches() for row in batch.to_pylist())
        yield from (Record(number, row) for number, row in enumerate(batches, start=1))


@contextmanager
def _parquet_file(path: Path) -> "Iterator[pq.ParquetFile]":
    """Open a Parquet file; what is wrong with it, also further on, becomes a DataError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as file:  # a folder is no file, though pyarrow would read all that lies in it
            yield pq.ParquetFile(file)
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} can't be read as Parquet ({reason})", "give a whole Parquet file") from error
