"""Tables: quotes, headers and rows, of which none may vanish."""

import re
from pathlib import Path

import pytest

from jobs.errors import DataError
from jobs.files import tables

NEEDED = ("when", "visitor", "query")
DAY = "2024-05-01T10:00"


def table(tmp_path: Path, content: str, delimiter: str = ",") -> list[tuple[int, object]]:
    path = tmp_path / "table"
    path.write_bytes(content.encode())
    rows = tables.table(path, delimiter, NEEDED, once=("item",), time="when", about_missing="name it")
    return [(row.number, row.values["query"]) for row in rows]


def test_a_quote_in_a_tsv_is_an_inch_sign(tmp_path: Path) -> None:
    words = ["red lamp", '"19 inch rack', "desk", "chair", '24" monitor']
    rows = "".join(f"{DAY}:0{place}Z\tv{place}\t{word}\n" for place, word in enumerate(words))
    found = table(tmp_path, "when\tvisitor\tquery\n" + rows, "\t")
    assert found == list(zip(range(2, 7), words, strict=True))


def test_a_quote_that_nobody_closes_names_its_row(tmp_path: Path) -> None:
    rows = f'{DAY}:00Z,v1,red lamp\n{DAY}:05Z,v2,"oak shelf\n{DAY}:09Z,v3,desk\n{DAY}:12Z,v4,chair\n'
    with pytest.raises(DataError, match=r"line 3: a quote in this row isn't closed"):
        table(tmp_path, "when,visitor,query\n" + rows)


def test_a_quote_that_a_later_row_closes_is_refused(tmp_path: Path) -> None:
    rows = f'{DAY}:00Z,v1,"oak shelf\n{DAY}:05Z,v2,desk\n{DAY}:09Z,v3,19"\n{DAY}:12Z,v4,chair\n'
    with pytest.raises(DataError, match=r"line 2: a quote runs on to line 4, over rows such as .*v2,desk"):
        table(tmp_path, "when,visitor,query\n" + rows)


def test_a_quoted_value_may_hold_lines_commas_and_quotes(tmp_path: Path) -> None:
    rows = f'{DAY}:00Z,v1,"two\r\nlines, one ""value"", really"\r\n{DAY}:05Z,v2,desk\r\n'
    found = table(tmp_path, "when,visitor,query\r\n" + rows)
    assert found == [(3, 'two\r\nlines, one "value", really'), (4, "desk")]


def test_a_blank_may_stand_before_a_quote(tmp_path: Path) -> None:
    assert table(tmp_path, f'when, visitor, query\n{DAY}:00Z, "v1", "oak, shelf"\n') == [(2, "oak, shelf")]


def test_text_behind_a_closed_quote_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 2: ',' expected after '\"'"):
        table(tmp_path, f'when,visitor,query\n{DAY}:00Z,v1,"oak" shelf\n')


@pytest.mark.parametrize("blanks", ["\n", "  \n", ",,\n", "\r\n"], ids=["empty", "blanks", "no values", "CRLF"])
def test_blank_lines_anywhere_are_left_out(blanks: str, tmp_path: Path) -> None:
    content = f"{blanks}when,visitor,query\n{blanks}{DAY}:00Z,v1,desk\n{blanks}"
    assert table(tmp_path, content) == [(4, "desk")]


def test_blanks_around_a_header_are_no_part_of_it(tmp_path: Path) -> None:
    assert table(tmp_path, f"when, visitor , query\n{DAY}:00Z,v1,desk\n") == [(2, "desk")]


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("when;visitor;query", "has no column 'query'; .*\n  fix: the columns seem to be separated by a semicolon"),
        ("when\tvisitor\tquery", "fix: the columns seem to be separated by a tab: write a comma"),
        ("when,visitor,words", "line 1: the header has no column 'query'; it has .*\n  fix: name it"),
        ("when,visitor,query,query", "2 columns are called 'query'\n  fix: name each column once"),
        ("when,visitor,query,item,item", "2 columns are called 'item'"),
        ('{"when": "2024-05-01"}', "is JSON, no header\n  fix: name it .jsonl"),
        ("", "has no header and holds no event"),
    ],
)
def test_a_wrong_header_says_what_is_wrong(header: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says):
        table(tmp_path, f"{header}\n")


def test_columns_that_nobody_asks_for_may_be_twice(tmp_path: Path) -> None:
    assert table(tmp_path, f"when,visitor,query,x,x\n{DAY}:00Z,v1,desk,1,2\n") == [(2, "desk")]


@pytest.mark.parametrize(
    ("row", "delimiter", "says"),
    [
        ("a,b", ",", "line 2: not 3 values as in the header but 2\n  fix: quote values that hold ','"),
        ("a,b,c,d", ",", "line 2: not 3 values as in the header but 4"),
        ("a\tb", "\t", "but 2\n  fix: no value may hold a tab"),
    ],
)
def test_a_row_of_another_length_is_refused(row: str, delimiter: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says):
        table(tmp_path, f"{delimiter.join(NEEDED)}\n{row}\n", delimiter)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('[{"a":1},{"a":2}]', r"line 1: .* begins a JSON array\n  fix: .*jq -c '\.\[\]'"),
        ("[", "begins a JSON array"),
        ("{", r"line 1: '{' isn't JSON: .*\n  fix: write one object a line"),
        ('{"a":1}{"a":2}', "isn't JSON"),
        ('{"a":NaN}', "isn't JSON"),
        ("a,b", "isn't JSON"),
    ],
)
def test_what_is_no_json_a_line_says_so(line: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f"{line}\n")
    with pytest.raises(DataError, match=says):
        list(tables.json_lines(tmp_path / "a.jsonl"))


def test_a_parquet_file_of_other_bytes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("a,b\n1,2\n")
    for read in (tables.columns, lambda path: list(tables.parquet(path))):
        with pytest.raises(DataError, match=re.escape("a.parquet can't be read as Parquet (")):
            read(tmp_path / "a.parquet")
        with pytest.raises(DataError, match=r"as Parquet \(Is a directory\)"):
            read(tmp_path)
        with pytest.raises(DataError, match=r"as Parquet \(No such file"):
            read(tmp_path / "gone.parquet")
