"""Mistakes in shelves.py: each names the shelf, the field and the way out, and all are found at once."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import NamedTuple


class Problem(NamedTuple):
    """One mistake; a warning doesn't keep anything from being published."""

    shelf: str
    field: str
    what: str
    fix: str
    is_warning: bool = False

    def __str__(self) -> str:
        where = ".".join(part for part in (self.shelf, self.field) if part)
        return f"{'warning: ' * self.is_warning}{where or 'shelves.py'}: {self.what}\n  fix: {self.fix}"


class Problems:
    """Collect them; `at` names the place for those that follow."""

    def __init__(self) -> None:
        self.found: list[Problem] = []
        self._shelf = self._field = ""

    def at(self, shelf: str, field: str = "") -> "Problems":
        self._shelf, self._field = shelf, field
        return self

    def add(self, what: str, fix: str, is_warning: bool = False) -> None:
        problem = Problem(self._shelf, self._field, what, fix, is_warning)
        if problem not in self.found:
            self.found.append(problem)


def nearest(word: str, words: Iterable[str]) -> str:
    """Return the word that is most like `word`, "" if none is like it."""
    return next(iter(get_close_matches(word, list(words), n=1, cutoff=0.5)), "")
