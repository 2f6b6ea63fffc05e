"""Tell of one mistake in a definition, and of the word that was probably meant."""

import difflib
from collections.abc import Iterable
from typing import NamedTuple


class Problem(NamedTuple):
    """One mistake in a definition."""

    view: str
    field: str
    what: str
    fix: str

    def __str__(self) -> str:
        where = ".".join(part for part in (self.view, self.field) if part)
        return f"{where}: {self.what}\n  fix: {self.fix}"


def closest(word: str, words: Iterable[str]) -> str:
    """Return "did you mean …? " with the word that is most alike; "" if none is."""
    near = difflib.get_close_matches(word, list(words), n=1)
    return f"did you mean {near[0]!r}? " if near else ""
