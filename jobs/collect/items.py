"""Know the items that events may name, if not any item is taken."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from jobs.errors import DataError, LiveshelfError, SettingsError
from jobs.files import text

SETTING = "collector_items"
LOOK_AGAIN_S = 60.0
VOCABULARY = ".json"  # a bundle's list of the items that its model knows; any other file has an item a line

log = logging.getLogger(__name__)


class Items:
    """Know the items of some files: the shop's catalogue, and what the served model has learned.

    `files` names them anew each time: the served model changes. Without a file every item is known. A file is read
    again when it has changed. Raises SettingsError for one that can't be read at the start. Later, what was read
    before stays valid.
    """

    def __init__(self, files: Callable[[], Iterable[Path]], now_s: float) -> None:
        self._files, self._looked_s = files, now_s
        self._read: tuple[tuple[Path, int], ...] = ()
        self._items: frozenset[str] | None = None
        self._look()

    def know(self, item: str, now_s: float) -> bool:
        if now_s - self._looked_s >= LOOK_AGAIN_S:
            self._looked_s = now_s
            try:
                self._look()
            except LiveshelfError as error:
                log.warning("%s; the items that were known stay", error.what)
        return self._items is None or item in self._items

    def _look(self) -> None:
        files = list(self._files())
        try:
            found = tuple((file, file.stat().st_mtime_ns) for file in files)
            if files and found != self._read:
                self._items, self._read = frozenset().union(*map(_items_of, files)), found
        except (OSError, ValueError, msgspec.DecodeError, KeyError, DataError) as error:
            fix = "a text file in UTF-8, one item a line"
            raise SettingsError(f"{SETTING}: {', '.join(map(str, files))}: {error}", fix) from error


def _items_of(file: Path) -> list[str]:
    if file.suffix == VOCABULARY:
        return msgspec.json.decode(file.read_bytes())["items"]
    return [line.strip() for _, line in text.lines(file) if line.strip()]
