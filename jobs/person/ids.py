"""The ids of visitors as commands take them, and under which ids the system knows these visitors."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.contract.events import FIELD
from jobs.errors import SettingsError
from jobs.settings import Settings
from liveshelf.pseudonyms import USER, VISITOR, Pseudonyms
from liveshelf.pseudonyms import is_pseudonym as has_form

STDIN = "-"
MOST_CHARACTERS = FIELD["visitor_id"].max_length or 0


@dataclass(frozen=True)
class Visitor:
    """One visitor.

    `given` is the id as it was given. Records are written under `ids`: the pseudonyms of all valid keys, the current
    one's first, or the id as it is. `older` are ids that events may have had before there were keys. They are looked
    for, and nothing is written under them unless something is found. An id that has the form of a pseudonym isn't among
    them: it may be another person's pseudonym.
    """

    given: str
    ids: tuple[str, ...]
    older: tuple[str, ...] = ()

    @property
    def sought(self) -> tuple[str, ...]:
        return self.ids + self.older

    @property
    def name(self) -> str:
        """Return the id by which receipts name the visitor: the given one, unless another may be stored under it."""
        return self.given if self.given in self.sought else self.ids[0]


def ids_of(settings: Settings, given: Sequence[str], are_pseudonyms: bool | None = None) -> list[Visitor]:
    """Return the visitors whom a command was given, each once: every command that takes ids calls this.

    Where `pseudonym_keys` is set, an id stands for its pseudonyms under all valid keys, or is one if `are_pseudonyms`.
    The form can't tell: a shop's own id for one visitor may be another one's pseudonym. So whoever gives such an id
    says which it is. `-` stands for the lines of standard input, as arguments show in lists of processes.
    Raises SettingsError for an id that no event can have, for one that may mean two visitors, for one that isn't the
    pseudonym that it is said to be, and for keys that can't be read.
    """
    texts = [text for each in given for text in (_lines_of_stdin() if each == STDIN else [each])]
    if not texts:
        raise SettingsError("standard input holds no visitor's id", "one id a line")
    keys = Pseudonyms.read(settings.pseudonym_keys) if settings.pseudonym_keys else None
    return [_visitor(_checked(text), keys, are_pseudonyms) for text in dict.fromkeys(texts)]


def one_of(settings: Settings, given: str, is_pseudonym: bool | None = None) -> Visitor:
    """Return the one visitor whom a command was given; raise SettingsError if standard input names several."""
    visitors = ids_of(settings, [given], is_pseudonym)
    if len(visitors) > 1:
        raise SettingsError(f"standard input names {len(visitors)} visitors", "this command takes one: a line")
    return visitors[0]


def stored_as(settings: Settings, fields: Mapping[str, Any], are_pseudonyms: bool | None = None) -> dict[str, str]:
    """Return the ids among an event's `fields` as they are stored: under the current key, if there are keys.

    Raises SettingsError as `ids_of` does.
    """
    if not settings.pseudonym_keys:
        return {}
    keys = Pseudonyms.read(settings.pseudonym_keys)
    ids = {name: fields[name] for name in (VISITOR, USER) if isinstance(fields.get(name), str)}
    return {name: text if _is_pseudonym(text, are_pseudonyms) else keys.of(text, name) for name, text in ids.items()}


def _visitor(text: str, keys: Pseudonyms | None, are_pseudonyms: bool | None) -> Visitor:
    if keys is None or _is_pseudonym(text, are_pseudonyms):
        return Visitor(text, (text,))
    return Visitor(text, tuple(keys.all_of(text)), older=() if has_form(text) else (text,))


def _is_pseudonym(text: str, said: bool | None) -> bool:
    """Return what a person says of an id, or False where nobody would take it for a pseudonym."""
    if said is None and has_form(text):
        raise SettingsError(
            "an id has the form of a pseudonym",
            "say what it is: --pseudonym for how the system stores a visitor, --no-pseudonym for the shop's own id",
        )
    if said and not has_form(text):
        raise SettingsError("an id hasn't the form of a pseudonym", "take --pseudonym away, or give the pseudonym")
    return bool(said)


def _checked(text: str) -> str:
    """Return an id that an event can have. No message holds an id: messages end in logs."""
    try:
        length = len(text.encode("utf-16-le")) // 2
    except UnicodeEncodeError as error:
        raise SettingsError("a visitor's id isn't UTF-8", "give it as it stands in events, in UTF-8") from error
    if not 0 < length <= MOST_CHARACTERS:
        what = f"a visitor's id has {length} characters, and no event's has more than {MOST_CHARACTERS} or none"
        raise SettingsError(what, "give it as it stands in events")
    if text.startswith(FIELD["visitor_id"].reserved):
        what = f"a visitor's id begins with {' or '.join(FIELD['visitor_id'].reserved)}, and no event's does"
        raise SettingsError(what, "lists of items and places are nobody's: read them from Redis")
    return text


def _lines_of_stdin() -> list[str]:
    """Return the lines of standard input but for empty ones. Blanks belong to an id."""
    try:
        text = sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsError("standard input isn't UTF-8", "one id a line, in UTF-8") from error
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    return [line for line in lines if line]
