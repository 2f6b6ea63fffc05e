"""Whatever a file holds: a reader gives its rows, or one clear error."""

import gzip
import io
import json
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.errors import DataError
from jobs.files import events
from jobs.files.mapping import load
from models.clicks.sessions import read_lists, read_prefixes, read_sessions

CLICK = {"visitor_id": "v", "event_type": "view", "event_time_ms": 1_714_550_401_000, "item_id": "é"}
LINES = [json.dumps(CLICK | {"price_minor": price}, ensure_ascii=False) for price in (1, "2", None)] * 20
TABLE = "visitor_id,event_type,event_time_ms,item_id,query\n" + 'v,view,1714550401000,é,"a ""b"", c"\n' * 50
CLICKS = "SessionId\tItemId\tTime\n" + "1\t7\t1714550401\n1\t8\t1714550402.5\n" * 30
MAPPING = (
    '[fields]\nvisitor_id = "v"\nevent_type = "t"\n[time]\ncolumn = "when"\nunit = "iso"\n[constants]\nquantity = 2\n'
)
READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a.jsonl": ("\n".join(LINES), lambda path: list(events.read(path))),
    "a.csv": (TABLE, lambda path: list(events.read(path))),
    "a.tsv": (TABLE.replace(", ", " ").replace(",", "\t"), lambda path: list(events.read(path))),
    "s.jsonl": ("\n".join(LINES), read_sessions),
    "s.tsv": (CLICKS, read_sessions),
    "s.txt": ("7 8 9\n9 7\n" * 50, read_sessions),
    "q.tsv": ("7 8\t9\n" * 50, read_prefixes),
    "l.txt": ("7 8 9\n" * 50, read_lists),
    "m.toml": (MAPPING, load),
}


def parquet() -> bytes:
    """Return the bytes of a file with events and a feature's values."""
    rows = [CLICK | {"visitor_session__view_count": float(place)} for place in range(100)]
    written = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), written)
    return written.getvalue()


def mutated(content: bytes, choose: random.Random) -> bytes:
    """Return the content with some bytes changed, taken out or doubled."""
    changed = bytearray(content)
    for _ in range(choose.randint(1, 4)):
        place = choose.randrange(max(1, len(changed)))
        what = choose.randrange(4)
        if what == 0:
            changed[place : place + 1] = bytes([choose.randrange(256)])
        elif what == 1:
            changed[place : place + choose.randint(1, 20)] = b""
        elif what == 2:
            changed[place:place] = choose.choice(
                [b'"', b"\r", b"\0", b"\n", b"\xef\xbb\xbf", b"\xff", b"[", b"\t", b","]
            )
        else:
            changed[place:place] = changed[place : place + choose.randint(1, 200)]
    return bytes(changed) or b"\n"


def assert_clear(read: Callable[[Path], object], path: Path, whole: bytes, times: int) -> None:
    """Damage a file some times: each time it must give rows, or one error that names it and the way out."""
    path.write_bytes(whole)
    assert read(path)
    choose, errors = random.Random(path.name), []
    for _ in range(times):
        path.write_bytes(mutated(whole, choose))
        try:
            read(path)
        except DataError as error:
            errors.append(error)
    assert errors
    assert [str(error) for error in errors if not (error.what.startswith(str(path)) and error.fix)] == []


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzipped"])
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_gives_rows_or_one_error(name: str, packed: bool, tmp_path: Path) -> None:
    content, read = READERS[name]
    whole = gzip.compress(content.encode()) if packed else content.encode()
    assert_clear(read, tmp_path / (f"{name}.gz" if packed else name), whole, times=25)


@pytest.mark.parametrize(
    "read", [lambda path: list(events.read(path)), lambda path: read_sessions(path, ["visitor_session:view_count"])]
)
def test_damaged_parquet_gives_rows_or_one_error(read: Callable[[Path], object], tmp_path: Path) -> None:
    assert_clear(read, tmp_path / "a.parquet", parquet(), times=40)
