"""Run a file of shelves, and say of an error in it which shelf and field it stands in."""

import ast
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from importlib.abc import ExecutionLoader
from pathlib import Path
from types import ModuleType

import liveshelf.shelves
from jobs.errors import DefinitionError
from jobs.shelves.compile import SHOP, Definitions
from jobs.shelves.problems import Problem, nearest
from liveshelf.shelves import Shelf, Shop, WordError

FILE = "shelves.py"
UNKNOWN_KEYWORD = re.compile(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'")
UNKNOWN_NAME = re.compile(r"(?:cannot import name|name) '(\w+)'")


class _Text(ExecutionLoader):
    """Import a text as a module, without the bytecode that an import would keep beside the file.

    It may be stale: two edits within a second, of one length, look alike.
    """

    def __init__(self, text: str, name: str) -> None:
        self._text, self._name = text, name

    def get_source(self, fullname: str) -> str:
        return self._text

    def get_filename(self, fullname: str) -> str:
        return self._name


def load(file: Path) -> Definitions:
    """Return the shops and shelves that a file defines; raise DefinitionError for one that can't be run."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DefinitionError(f"{file} can't be read: {error}", "liveshelf init makes a folder with one") from error
    return from_text(text, str(file), file.parent)


def from_text(text: str, name: str = FILE, folder: Path | None = None) -> Definitions:
    """Return what a file's text defines. It may import its neighbours in `folder`."""
    loader = _Text(text, name)
    module = ModuleType("shelves")
    before = set(sys.modules)
    if folder:
        sys.path.insert(0, str(folder.resolve()))
    try:
        loader.exec_module(module)
    except Exception as error:  # whatever a person's file raises is theirs to read
        raise DefinitionError(str(_problem(error, text, name))) from error
    finally:
        if folder:
            sys.path.remove(str(folder.resolve()))
            _forget(before, folder)
    values = list(_flat(module.__dict__.values()))
    shops = {id(value): value for value in values if isinstance(value, Shop)}
    shelves = {id(value): value for value in values if isinstance(value, Shelf)}
    return Definitions(list(shops.values()), list(shelves.values()))


def _flat(values: Iterable[object]) -> Iterator[object]:
    for value in values:
        yield from value if isinstance(value, list | tuple) else (value,)


def _forget(before: set[str], folder: Path) -> None:
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file and Path(file).is_relative_to(folder.resolve()):
            del sys.modules[name]


def _problem(error: Exception, text: str, name: str) -> Problem:
    if isinstance(error, SyntaxError):
        return Problem("", "", f"line {error.lineno}: {error.msg}", "correct the line")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name]
    line, column = (frames[-1].lineno or 0, frames[-1].colno or 0) if frames else (0, 0)
    shelf, field = _place(text, line, column)
    if isinstance(error, WordError):
        return Problem(shelf, field, f"line {line}: {error.what}", error.fix)
    if match := UNKNOWN_KEYWORD.search(str(error)):
        of, keyword = match.groups()
        fields = getattr(liveshelf.shelves, of).__dataclass_fields__ if hasattr(liveshelf.shelves, of) else {}
        near = nearest(keyword, fields)
        fix = f"did you mean {near!r}?" if near else f"{of} has {', '.join(fields)}"
        inside = f"{field}." if field and of not in ("Shelf", "Shop") else ""
        return Problem(shelf, f"{inside}{keyword}", f"line {line}: isn't a field of {of}", fix)
    if (match := UNKNOWN_NAME.search(str(error))) and isinstance(error, NameError | ImportError):
        near = nearest(match[1], liveshelf.shelves.__all__)
        fix = f"did you mean {near!r}?" if near else f"the words are {', '.join(liveshelf.shelves.__all__)}"
        return Problem(shelf, field, f"line {line}: there is no word {match[1]!r}", fix)
    return Problem(shelf, field, f"line {line}: {type(error).__name__}: {error}", "correct the line")


def _place(text: str, line: int, column: int) -> tuple[str, str]:
    """Return the shelf and the field in which a place of the text lies, "" for none."""
    for statement in ast.walk(ast.parse(text)):
        if isinstance(statement, ast.Call) and _covers(statement, line, column) and (shelf := _shelf_of(statement)):
            fields = [each.arg or "" for each in statement.keywords if _covers(each.value, line, column)]
            return shelf, next(iter(fields), "")
    return "", ""


def _shelf_of(call: ast.Call) -> str:
    """Return the name of the shelf that a call makes, "" for a call that makes none."""
    word = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if word == "Shop":
        return SHOP
    named = [*call.args[:1], *(each.value for each in call.keywords if each.arg == "name")]
    if word not in ("Shelf", "but") or not named or not isinstance(named[0], ast.Constant):
        return ""
    return str(named[0].value)


def _covers(node: ast.expr, line: int, column: int) -> bool:
    begin, end = (node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0)
    return begin <= (line, column) < end
