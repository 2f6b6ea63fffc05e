"""A user's own files: what a mapping makes of them, and what the errors say."""

import gzip
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.errors import DataError
from jobs.lab.replay.sources import read

MAPPING = """
[fields]
visitor_id = "customer"
event_type = "action"
item_id = "sku"
price_minor = { column = "price", factor = 100 }

[time]
column = "when"
unit = "iso"

[event_types]
viewed = "view"
bought = "purchase"
ping = "skip"

[constants]
currency = "EUR"
"""
HEADER = "when,customer,action,sku,price\n"


@pytest.fixture
def mapping(tmp_path: Path) -> Path:
    file = tmp_path / "mapping.toml"
    file.write_text(MAPPING)
    return file


def csv(tmp_path: Path, *rows: str) -> Path:
    file = tmp_path / "shop.csv"
    file.write_text(HEADER + "".join(f"{row}\n" for row in rows))
    return file


@pytest.fixture
def far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("far_from_utc")
def test_a_csv_becomes_events_in_time_order_through_a_mapping(tmp_path: Path, mapping: Path):
    file = csv(
        tmp_path,
        "2024-05-01T10:00:02+02:00,anna,bought,shoe,19.99",
        "2024-05-01T08:00:01,anna,viewed,shoe,",
        "2024-05-01T08:00:03Z,anna,ping,,",
    )
    skipped: Counter[str] = Counter()
    events = list(read(file, mapping, skipped=skipped))
    event_ids = [event["event_id"] for event in events]
    assert [event_id[-2:] for event_id in event_ids] == ["-3", "-2"]
    assert events == [
        {
            "schema_version": 1,
            "event_id": event_ids[0],
            "event_type": "view",
            "event_time_ms": 1_714_550_401_000,
            "visitor_id": "anna",
            "item_id": "shoe",
            "currency": "EUR",
        },
        {
            "schema_version": 1,
            "event_id": event_ids[1],
            "event_type": "purchase",
            "event_time_ms": 1_714_550_402_000,
            "visitor_id": "anna",
            "item_id": "shoe",
            "price_minor": 1999,
            "currency": "EUR",
        },
    ]
    assert skipped == {"event_type ping": 1}


def test_a_gzipped_jsonl_with_the_contracts_names_needs_no_mapping(tmp_path: Path):
    file = tmp_path / "shop.jsonl.gz"
    line = b'{"event_id":"a","event_type":"view","event_time_ms":1714550401000,"visitor_id":7,'
    line += b'"item_id":"x","rating":null,"own":[]}'
    file.write_bytes(gzip.compress(line + b"\n\n"))
    assert list(read(file)) == [
        {
            "schema_version": 1,
            "event_id": "a",
            "event_type": "view",
            "event_time_ms": 1_714_550_401_000,
            "visitor_id": "7",
            "item_id": "x",
        }
    ]


@pytest.mark.parametrize(
    ("unit", "given"),
    [("s", "1714550401.5"), ("ms", "1714550401500"), ("us", "1714550401500123"), ("ns", "1714550401500123456")],
)
def test_times_come_in_four_units(tmp_path: Path, unit: str, given: str):
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(MAPPING.replace('unit = "iso"', f'unit = "{unit}"'))
    (event,) = read(csv(tmp_path, f"{given},anna,viewed,shoe,"), mapping)
    assert event["event_time_ms"] == 1_714_550_401_500


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("yesterday,anna,viewed,shoe,1", r"shop.csv, line 2: time \(column 'when'\) is 'yesterday', not in unit 'iso'"),
        ("2024-05-01,anna,viewed,shoe,cheap", r"line 2: price_minor \(column 'price'\) is 'cheap', not a whole number"),
        ("2024-05-01,anna,wished,shoe,1", r"line 2: event type 'wished'\n  fix: \[event_types\] with"),
        ("2024-05-01,,viewed,shoe,1", r"line 2: visitor_id is refused \(missing_field\)"),
        ("2024-05-01,anna,viewed,shoe,-1", r"line 2: price_minor -100 is refused \(out_of_range\)"),
        ("2024-05-01,anna,viewed", r"line 2: not 5 values as in the header"),
        ("2024-05-01,anna,viewed,a,b,c", r"line 2: not 5 values as in the header"),
        ("2999-05-01,anna,viewed,shoe,1", r"line 2: time .* that is 2999-05-01 00:00:00 \(out_of_range"),
    ],
)
def test_a_bad_row_is_named_with_file_line_and_value(tmp_path: Path, mapping: Path, row: str, says: str):
    with pytest.raises(DataError, match=says):
        list(read(csv(tmp_path, row), mapping))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('item_id = "sku"', 'item = "sku"'), r"\[fields\] names 'item'\n  fix: one of event_id"),
        (('"sku"', '"stock"'), r"has no column 'stock'; it has \['when', 'customer'"),
        (('visitor_id = "customer"', ""), r"doesn't say where visitor_id comes from"),
        (('"iso"', '"hours"'), r"time = \{'column': 'when', 'unit': 'hours'\}"),
        (('"view"', '"look"'), r"\[event_types\] viewed = 'look'\n  fix: one of view, search"),
        (("[constants]", "[constant]"), r"the file names 'constant'"),
        (("factor = 100", 'factor = "100"'), r"price_minor = \{'column': 'price', 'factor': '100'\}"),
        (("[time]", "[time"), r"mapping.toml isn't TOML: .*line 8"),
    ],
)
def test_a_bad_mapping_is_named_with_its_fix(tmp_path: Path, mapping: Path, change: tuple[str, str], says: str):
    mapping.write_text(MAPPING.replace(*change))
    with pytest.raises(DataError, match=says):
        list(read(csv(tmp_path, "2024-05-01,anna,viewed,shoe,1"), mapping))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", b'{"visitor_id":\n', r"a.jsonl, line 1: .* isn't JSON"),
        ("a.jsonl", b"[1]\n", r"line 1: '\[1\]' begins a JSON array\n  fix: write one object a line, without brackets"),
        ("a.jsonl", b"\n1\n", r"line 2: '1' isn't an object"),
        ("a.csv", b"event_time_ms,visitor_id\n1,\xff\n", r"a.csv, line 2: .* isn't UTF-8"),
        ("a.csv.gz", b"no gzip", r"a.csv.gz can't be read"),
        ("a.csv.gz", gzip.compress(b"event_time_ms,visitor_id\n")[:-9], r"a.csv.gz can't be read"),
        ("a.parquet", b"PAR1", r"a.parquet can't be read as Parquet \("),
        ("a.txt", b"", r"unknown kind"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, name: str, content: bytes, says: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=says):
        list(read(tmp_path / name))


def test_a_mapping_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"none.toml can't be read after line 0 \(No such file"):
        read(csv(tmp_path), tmp_path / "none.toml")
