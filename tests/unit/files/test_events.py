"""Events out of a person's file: one set of rules for replay, training and history."""

import gzip
import json
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.contract.events import FIELD
from jobs.errors import DataError
from jobs.files import events
from jobs.files.mapping import load
from models.clicks.sessions import read_sessions

AT_MS = 1_714_550_401_000  # 2024-05-01T08:00:01Z
VIEW = {"visitor_id": "v", "event_type": "view", "event_time_ms": AT_MS, "item_id": "shoe"}
SHOP = """
[fields]
visitor_id = "customer"
event_type = "action"
item_id = "sku"
price_minor = { column = "price", factor = 100 }
quantity = "qty"
currency = "cur"

[time]
column = "when"
unit = "iso"

[event_types]
viewed = "view"
bought = "purchase"
ping = "skip"
refund = "skip"
"""
HEADER = "when,customer,action,sku,price,qty,cur\n"


def shop(tmp_path: Path, *rows: str, mapping: str = SHOP) -> list[dict[str, Any]]:
    (tmp_path / "shop.csv").write_text(HEADER + "".join(f"{row}\n" for row in rows))
    (tmp_path / "shop.toml").write_text(mapping)
    return [row.event for row in events.read(tmp_path / "shop.csv", load(tmp_path / "shop.toml"))]


def lines(tmp_path: Path, *rows: dict[str, Any], name: str = "a.jsonl") -> Path:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [row.event for row in events.read(path)]


def ids(path: Path) -> list[str]:
    return [event["event_id"] for event in read(path)]


def parquet(tmp_path: Path, columns: dict[str, Any]) -> Path:
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    return tmp_path / "a.parquet"


def test_the_most_used_clickstream_is_read_as_it_is(tmp_path: Path) -> None:
    """Times end in UTC, an item has no category and a row no session."""
    (tmp_path / "oct.csv").write_text(
        "event_time,event_type,product_id,category_code,brand,price,user_id,user_session\n"
        '2019-10-01 00:00:07 UTC,view,8800037,electronics.clocks,"tick, tock",33.20,777000001,0c5b\n'
        '2019-10-01 00:01:30 UTC,cart,8800037,electronics.clocks,"tick, tock",33.20,777000001,0c5b\n'
        "2019-10-01 00:02:10 UTC,view,8800044,,,0.00,777000002,\n"
    )
    (tmp_path / "m.toml").write_text(
        '[fields]\nvisitor_id = "user_id"\nsession_id = "user_session"\nevent_type = "event_type"\n'
        'item_id = "product_id"\ncategory = "category_code"\nprice_minor = { column = "price", factor = 100 }\n'
        '[time]\ncolumn = "event_time"\nunit = "iso"\n[event_types]\ncart = "add_to_cart"\n'
    )
    found = [row.event for row in events.read(tmp_path / "oct.csv", load(tmp_path / "m.toml"))]
    names = ("event_type", "event_time_ms", "price_minor", "item_id", "category", "session_id")
    assert [tuple(event.get(name) for name in names) for event in found] == [
        ("view", 1_569_888_007_000, 3320, "8800037", "electronics.clocks", "0c5b"),
        ("add_to_cart", 1_569_888_090_000, 3320, "8800037", "electronics.clocks", "0c5b"),
        ("view", 1_569_888_130_000, 0, "8800044", None, None),
    ]


@pytest.mark.parametrize(
    "items",
    [[{"item_id": "mug"}, {"item_id": "tea"}], '[{"item_id":"mug"},{"item_id":"tea"}]', "['mug', 'tea']", "{mug,tea}",
     {"item_id": "mug"}, "[]"],
    ids=["array", "array as text", "Python's list", "Postgres' array", "object", "empty"],
)  # fmt: skip
def test_an_order_of_several_items_is_refused(items: object, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.jsonl, line 2: item_id .* not text\n  fix: write a row for each"):
        read(lines(tmp_path, VIEW, VIEW | {"item_id": items}))


def test_a_search_for_brackets_is_a_search(tmp_path: Path) -> None:
    (event,) = read(lines(tmp_path, VIEW | {"event_type": "search", "query": "[1]"}))
    assert event["query"] == "[1]"


def test_rows_to_skip_are_skipped_whatever_they_hold(tmp_path: Path) -> None:
    (tmp_path / "mixed.csv").write_text(
        HEADER + "2024-05-01T08:00:01Z,anna,viewed,shoe,19.99,,\nsoon,system,ping,,n/a,n/a,\n"
        "2024-05-01T08:00:03Z,anna,bought,shoe,19.99,2,\n2024-05-01T08:00:04Z,anna,refund,shoe,-19.99,-1.5,\n"
    )
    (tmp_path / "m.toml").write_text(SHOP)
    skipped: Counter[str] = Counter()
    found = list(events.read(tmp_path / "mixed.csv", load(tmp_path / "m.toml"), skipped))
    assert [(row.line, row.event["event_type"], row.event.get("quantity")) for row in found] == [
        (2, "view", None),
        (4, "purchase", 2),
    ]
    assert skipped == {"event_type ping": 1, "event_type refund": 1}


def test_a_return_is_refused_with_its_line(tmp_path: Path) -> None:
    row = "2024-05-01T08:00:01Z,anna,bought,shoe,19.99"
    with pytest.raises(DataError, match=r"shop\.csv, line 3: quantity -1 is refused \(out_of_range\)"):
        shop(tmp_path, f"{row},1,", f"{row},-1,")


def test_an_error_counts_the_other_rows_that_are_refused(tmp_path: Path) -> None:
    row = "2024-05-01T08:00:01Z,anna,bought,shoe"
    with pytest.raises(
        DataError, match=r"line 2: quantity -1 is refused \(out_of_range\); so are 2 of the rows after it"
    ):
        shop(tmp_path, f"{row},19.99,-1,", f"{row},n/a,1,", f"{row},19.99,1,", f"{row},19.99,-3,")


@pytest.mark.parametrize(
    ("price", "currency", "minor"),
    [
        ("19.99", "EUR", 1999),
        ("1500", "JPY", 1500),
        ("1500.00", " jpy", 1500),
        ("4.250", "KWD", 4250),
        ("4.2505", "KWD", 4251),
        ("2.5", "CLF", 25_000),
        ("19.99", "", 1999),
        ("19.99", "XTS", 1999),
        (" 19.99 ", "EUR", 1999),
    ],
)
def test_a_price_has_its_currencys_own_digits(price: str, currency: str, minor: int, tmp_path: Path) -> None:
    (event,) = shop(tmp_path, f"2024-05-01T08:00:01Z,anna,bought,shoe,{price},,{currency}")
    assert event["price_minor"] == minor
    assert event.get("currency", "") == currency.strip().upper()


def test_a_constant_currency_decides_and_factors_stay(tmp_path: Path) -> None:
    row = "2024-05-01T08:00:01Z,anna,bought,shoe,1500,,"
    constant = SHOP.replace('currency = "cur"\n', "") + '[constants]\ncurrency = "JPY"\n'
    assert shop(tmp_path, row, mapping=constant)[0]["price_minor"] == 1500
    assert shop(tmp_path, row, mapping=constant.replace("100", "10"))[0]["price_minor"] == 15_000


@pytest.mark.parametrize(
    ("price", "says"),
    [
        (
            '"19,99"',
            r"line 2: price_minor \(column 'price'\) is '19,99', not a whole number\n  fix: write a decimal point",
        ),
        ('"1,234.50"', "fix: write a decimal point and no separators: 1234.50"),
        ("1 234", "fix: write a decimal point and no separators"),
        ("€19.99", "fix: write digits with a decimal point, without a currency"),
        ("1_000", "is '1_000', not a whole number"),
        ("-5", r"price_minor -500 is refused \(out_of_range\)"),
        ("inf", "is 'inf', not a whole number"),
    ],
)
def test_a_price_that_may_mean_two_things_is_refused(price: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says):
        shop(tmp_path, f"2024-05-01T08:00:01Z,anna,bought,shoe,{price},,EUR")


def test_files_of_two_days_have_ids_of_their_own(tmp_path: Path) -> None:
    """The files differ in their names, or only in their folders."""
    later = VIEW | {"event_time_ms": AT_MS + 43_200_000}
    names = ("clicks.2024-06-01.jsonl", "clicks.2024-06-02.jsonl", "2024-06-01/part-0.jsonl", "2024-06-02/part-0.jsonl")
    made = [ids(lines(tmp_path, row, name=name)) for name, row in zip(names, [VIEW, later] * 2, strict=True)]
    assert len({each for (each,) in made}) == 4
    assert all(len(each) <= 128 for (each,) in made)


def test_a_file_sent_again_keeps_its_ids(tmp_path: Path) -> None:
    """It may lie in another folder, be gzipped, spaced otherwise, or have grown."""
    path = lines(tmp_path, VIEW, VIEW)
    first = ids(path)
    assert len(set(first)) == 2  # the same click twice is two clicks
    packed = tmp_path / "copy" / "a.jsonl.GZ"
    packed.parent.mkdir()
    packed.write_bytes(gzip.compress(path.read_bytes().replace(b": ", b":")))
    assert ids(packed) == first
    lines(tmp_path, VIEW, VIEW, VIEW | {"item_id": "bag"})
    assert ids(path)[:2] == first


def test_a_long_name_leaves_an_id_within_its_limit(tmp_path: Path) -> None:
    (one,) = ids(lines(tmp_path, VIEW, name="é" * 100 + "1.jsonl"))
    (other,) = ids(lines(tmp_path, VIEW, name="é" * 100 + "2.jsonl"))
    assert one != other
    assert len(one) <= 128


@pytest.mark.parametrize("name", ["event_id", "visitor_id", "item_id", "category"])
def test_blanks_and_marks_around_an_id_are_dropped(name: str, tmp_path: Path) -> None:
    (event,) = read(lines(tmp_path, VIEW | {name: " \ufeffx1\u00a0"}))
    assert event[name] == "x1"


@pytest.mark.parametrize("nothing", ["", " ", "\\N", "NULL", "null", "undefined", "None", "nan", None])
def test_an_id_that_names_nothing_is_absent(nothing: str | None, tmp_path: Path) -> None:
    (event,) = read(lines(tmp_path, VIEW | {"category": nothing}))
    assert "category" not in event
    with pytest.raises(DataError, match=r"line 1: visitor_id is refused \(missing_field\)"):
        read(lines(tmp_path, VIEW | {"visitor_id": nothing}))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("8.80004E+06", r"is '8\.80004E\+06', shortened by a spreadsheet\n  fix: export the column as text"),
        (8800044.0, r"is 8800044\.0, not text\n  fix: write an id as text or a whole number"),
        (True, r"is True, not text"),
        ("a\ufeffb", r"is 'a\\ufeffb', with a byte order mark inside"),
        ("x" * 129, r"is refused \(too_long\)"),
        ("a\x01b", r"is 'a\\x01b', with a control character inside"),
        ("a\x9bb", r"with a control character inside"),
        ('"a"', r"in quotes\n  fix: take them away"),
        ("'a'", r"in quotes"),
    ],
)
def test_a_damaged_id_is_refused(value: object, says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says):
        read(lines(tmp_path, VIEW | {"item_id": value}))


def test_whole_numbers_and_numbers_as_text_are_read(tmp_path: Path) -> None:
    row = VIEW | {"visitor_id": 7, "event_time_ms": str(AT_MS), "price_minor": "1999", "quantity": 2.0}
    (event,) = read(lines(tmp_path, row))
    assert (event["visitor_id"], event["event_time_ms"], event["price_minor"], event["quantity"]) == (
        "7",
        AT_MS,
        1999,
        2,
    )


def test_heartbeats_are_left_out_everywhere(tmp_path: Path) -> None:
    path = lines(tmp_path, {"schema_version": 1, "event_type": "heartbeat", "event_time_ms": 5}, VIEW)
    assert [event["item_id"] for event in read(path)] == ["shoe"]
    assert [[event.item for event in session] for session in read_sessions(path)] == [["shoe"]]


def test_another_version_of_the_contract_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"schema_version 2 is refused"):
        read(lines(tmp_path, VIEW | {"schema_version": 2}))


def test_a_mapped_column_that_no_row_has_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(
        '[fields]\nvisitor_id = "v"\nevent_type = "t"\nitem_id = "i"\ncategory = "categry"\n'
        '[time]\ncolumn = "when"\nunit = "iso"\n'
    )
    row = {"v": "anna", "t": "view", "i": "shoe", "category": "shoes", "when": "2024-05-01"}
    with pytest.raises(DataError, match=r"a\.jsonl: no row has 'categry'\n  fix: correct the column's name"):
        list(events.read(lines(tmp_path, row, row), load(tmp_path / "m.toml")))


def test_parquet_gives_the_same_events(tmp_path: Path) -> None:
    """Ids may be numbers, bytes or decimals there, and times moments."""
    columns = {
        "visitor_id": pa.array([7, 7]),
        "event_type": ["view", "purchase"],
        "event_time_ms": pa.array([datetime(2024, 5, 1, 8, 0, 1, tzinfo=UTC)] * 2, pa.timestamp("ns", "UTC")),
        "item_id": pa.array([b"shoe", b"bag"]),
        "price_minor": pa.array([None, Decimal("19.00")]),
        "quantity": pa.array([float("nan"), 2.0]),
        "own": [[1], []],
    }
    one, other = read(parquet(tmp_path, columns))
    assert (one["visitor_id"], one["item_id"], one["event_time_ms"]) == ("7", "shoe", AT_MS)
    assert (other["item_id"], other["price_minor"], other["quantity"]) == ("bag", 19, 2)
    assert "quantity" not in one


def test_a_row_of_parquet_is_named_by_its_number(tmp_path: Path) -> None:
    columns = {
        "visitor_id": ["v"] * 2,
        "event_type": ["view"] * 2,
        "event_time_ms": [AT_MS] * 2,
        "item_id": ["a", None],
    }
    with pytest.raises(DataError, match=r"a\.parquet, row 2: item_id is refused \(missing_field\)"):
        read(parquet(tmp_path, columns))


def test_parquet_under_another_name_is_known(tmp_path: Path) -> None:
    columns = {"visitor_id": ["v"], "event_type": ["view"], "event_time_ms": [AT_MS], "item_id": ["a"]}
    path = parquet(tmp_path, columns).rename(tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"a\.csv is a Parquet table, not text\n  fix: name it \.parquet"):
        read(path)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.CSV", "a.ndjson", "a.json", "a.JSONL"])
def test_a_kind_is_known_whatever_its_letters(name: str, tmp_path: Path) -> None:
    separator = "\t" if name.endswith("tsv") else ","
    if name.lower().endswith("sv"):
        (tmp_path / name).write_text("\r\n".join(map(separator.join, [VIEW.keys(), map(str, VIEW.values()), []])))
    else:
        lines(tmp_path, VIEW, name=name)
    (event,) = read(tmp_path / name)
    assert {field: event[field] for field in VIEW} == VIEW


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
def test_a_file_without_a_row_holds_no_event(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"holds no event"):
        read(tmp_path / name)


def test_a_seconds_file_is_told_where_it_has_no_mapping(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 1: time .* 1970-01-20 .*\n  fix: it looks like unit \"s\": write ms"):
        read(lines(tmp_path, VIEW | {"event_time_ms": 1_714_550_401}))


def test_every_field_of_the_contract_is_taken(tmp_path: Path) -> None:
    row = VIEW | {
        "schema_version": 1, "event_id": "e", "event_type": "impression", "user_id": "u", "session_id": "s",
        "category": "c", "price_minor": 5, "currency": "EUR", "quantity": 1, "query": "q", "rating": 4.5, "dwell_ms": 9,
        "scroll_ratio": 0.5, "channel": "web", "device": "phone", "country": "DE", "list_id": "0-1", "position": 0,
    }  # fmt: skip
    assert row.keys() == FIELD.keys()
    assert read(lines(tmp_path, row)) == [row]
