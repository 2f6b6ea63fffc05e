"""Read a visitor's ranked list from an app. Needs `redis` and the standard library, and nothing else of this project.

    from liveshelf import ShelfReader

    shelf = ShelfReader("redis://localhost:16379").get("visitor-1")

Names are imported when they are first used: the command line takes its errors from here, and `redis` costs it 0.2 s.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from liveshelf.errors import LiveshelfError, SettingsError
    from liveshelf.pseudonyms import Pseudonyms
    from liveshelf.reader import AsyncShelfReader, Shelf, ShelfError, ShelfReader

    __version__: str

__all__ = [
    "AsyncShelfReader",
    "LiveshelfError",
    "Pseudonyms",
    "SettingsError",
    "Shelf",
    "ShelfError",
    "ShelfReader",
    "__version__",
]

_HOME = {
    "AsyncShelfReader": "liveshelf.reader",
    "LiveshelfError": "liveshelf.errors",
    "Pseudonyms": "liveshelf.pseudonyms",
    "SettingsError": "liveshelf.errors",
    "Shelf": "liveshelf.reader",
    "ShelfError": "liveshelf.reader",
    "ShelfReader": "liveshelf.reader",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("liveshelf")
    if name not in _HOME:
        raise AttributeError(f"module 'liveshelf' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
