"""Say which keys the lists of a page need, and what is shown of their values. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from liveshelf.shelf import Shelf, item_key, not_a_list, shelf, shelf_key, standing_in

# From which shelf of items the list is that stands in for a visitor's. Others have their own name.
ITEM_SHELVES: Mapping[str, str] = {"product": "similar"}


@dataclass(frozen=True, slots=True)
class Asked:
    """The lists of one visitor that a page asks for, and the item in view."""

    visitor_id: str
    shelves: Sequence[str]
    stale_after_s: float
    item: str | None = None
    item_shelves: Mapping[str, str] = field(default_factory=dict)

    @property
    def keys(self) -> list[str]:
        """Return the keys of the visitor's lists, then those of the item's."""
        own = [shelf_key(self.visitor_id, name) for name in self.shelves]
        if self.item is None:
            return own
        return own + [item_key(self.item, self.item_shelves.get(name, name)) for name in self.shelves]

    def lists(self, values: Sequence[Any], now_ms: float) -> dict[str, Shelf]:
        """Return each shelf's list with its reserve. `values` are Redis' replies to a GET of each of `keys`.

        Raises ShelfError for a value that isn't a list of liveshelf's.
        """
        read = [self._list(key, value, now_ms) for key, value in zip(self.keys, values, strict=True)]
        if self.item is None:
            return dict(zip(self.shelves, read, strict=True))
        own, of_item = read[: len(self.shelves)], read[len(self.shelves) :]
        return {
            name: standing_in(one, other, self.item)
            for name, one, other in zip(self.shelves, own, of_item, strict=True)
        }

    def shown(self, lists: Mapping[str, Shelf], held: Collection[str]) -> dict[str, Shelf]:
        """Return what is shown of each list: no item that is held, and none that the page shows already."""
        on_page: set[str] = set() if self.item is None else {self.item}
        shown = {}
        for name, one in lists.items():
            shown[name] = one.shown({item for item in one.items if item in held or item in on_page})
            on_page.update(shown[name].items)
        return shown

    def _list(self, key: str, value: Any, now_ms: float) -> Shelf:
        if isinstance(value, Exception):
            raise not_a_list(key, value) from value
        return shelf(self.visitor_id, key, value, self.stale_after_s, now_ms)


def items_of(lists: Mapping[str, Shelf]) -> list[str]:
    """Return the items of all lists, each once."""
    return list(dict.fromkeys(item for one in lists.values() for item in one.items))
