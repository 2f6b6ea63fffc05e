"""The page of strangers: each row names a test that exists, in a few plain words."""

import ast
import re
from functools import cache

import pytest

from jobs.settings import REPOSITORY

TESTS = REPOSITORY / "tests"
PAGE = (TESTS / "STRANGERS.md").read_text()
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| they ")
]
LONGEST = 25  # words of a cell


@cache
def functions_of(file: str) -> set[str]:
    """Return the names of the functions of a file of tests; none if there is no such file."""
    path = TESTS / file
    nodes = ast.walk(ast.parse(path.read_text())) if path.is_file() else ()
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def missing(text: str) -> list[str]:
    """Return the tests that a text names and that don't exist."""
    return [f"{file}::{name}" for file, name in NAMED.findall(text) if name not in functions_of(file)]


def test_every_test_that_the_page_names_exists() -> None:
    assert missing(PAGE) == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_each_row_has_a_test_and_few_words(row: list[str]) -> None:
    assert len(row) == 4
    assert NAMED.sub("", row[2]).strip(" ,") == ""
    assert NAMED.search(row[2])
    assert max(len(cell.split()) for cell in row) <= LONGEST


def test_a_test_that_is_gone_would_be_found() -> None:
    file, here = "unit/test_strangers.py", "test_a_test_that_is_gone_would_be_found"
    assert missing(f"`{file}::{here}` `{file}::test_gone` `unit/test_gone.py::{here}`") == [
        f"{file}::test_gone",
        f"unit/test_gone.py::{here}",
    ]
