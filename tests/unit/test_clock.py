"""No file of tests asks for the time when it is collected: its tests may run an hour later."""

import ast
from collections.abc import Iterator

from jobs.settings import REPOSITORY

CLOCKS = {"time.time", "time.time_ns", "datetime.now", "datetime.datetime.now"}


def questions(source: str) -> list[int]:
    """Return the lines at which importing a file asks for the time: outside of functions, or in their defaults."""
    return [node.lineno for node in _imported(ast.parse(source)) if ast.unparse(node.func) in CLOCKS]


def _imported(node: ast.AST) -> Iterator[ast.Call]:
    if isinstance(node, ast.Call):
        yield node
    inner: list[ast.AST] = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        inner = [*node.decorator_list, *node.args.defaults, *(each for each in node.args.kw_defaults if each)]
    elif isinstance(node, ast.Lambda):
        inner = []
    for each in inner:
        yield from _imported(each)


def test_a_constant_and_a_default_ask_and_a_body_doesnt():
    source = "NOW = time.time_ns() // 10\ndef f(at=time.time()):\n    return time.time()\nlater = lambda: time.time()\n"
    assert questions(source) == [1, 2]


def test_no_file_asks_for_the_time_when_it_is_collected():
    files = {str(file.relative_to(REPOSITORY)): file.read_text() for file in (REPOSITORY / "tests").rglob("*.py")}
    assert len(files) > 100
    assert {name: lines for name, source in files.items() if (lines := questions(source))} == {}
