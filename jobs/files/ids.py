"""Judge what stands in a file as an id: what names nothing, and what can't be one, however it got there."""

import re
from typing import NamedTuple

from jobs.contract import nothing
from jobs.contract.events import CONTROL

OTHER_NOTHING = ("\\N", "<NA>")  # MySQL's and pandas' words, which no page sends
ONE_VALUE = "write a row for each value; what to do with orders of several items: jobs/files/mapping.py"
_LENGTHS_OF_NOTHING = {len(word) for word in nothing.WORDS}
_SHORTENED = re.compile(r"\d(?:[.,]\d+)?E\+\d{2,}", re.ASCII)
_BRACKETS = ("[]", "{}")
_QUOTES = ('""', "''", "``", "“”")
_MARK = "\ufeff"


class Flaw(NamedTuple):
    """Hold what is wrong with an id, and the way out."""

    what: str
    fix: str


def is_plain(text: str) -> bool:
    """Return True for an id of letters and digits that surely names something: most do, and need no closer look."""
    return text.isalnum() and len(text) not in _LENGTHS_OF_NOTHING


def cleaned(text: str) -> str:
    """Return an id without the blanks and byte order marks around it, "" for one that names nothing."""
    found = text.strip().strip(nothing.BLANKS).strip()
    return "" if nothing.names_nothing(found) or found in OTHER_NOTHING else found


def flaw(text: str) -> Flaw | None:
    """Return why a cleaned id can't be one, None if it can."""
    around = text[0] + text[-1]
    if around in _BRACKETS:
        return Flaw("a list or an object, not text", ONE_VALUE)
    if around in _QUOTES and len(text) > 1:
        return Flaw(
            "in quotes", "take them away: a TSV and a list of sessions have no quoting, a CSV has double quotes"
        )
    if _MARK in text:
        return Flaw("with a byte order mark inside", "take it out: it can't be seen")
    if CONTROL.search(text):
        return Flaw("with a control character inside", "take it out; between values write a comma in CSV, a tab in TSV")
    if "E+" in text and _SHORTENED.fullmatch(text):
        return Flaw("shortened by a spreadsheet", "export the column as text, not as numbers")
    return None
