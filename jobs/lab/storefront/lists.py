"""Read the lists that the page shows, as an app does: with the reader of the SDK."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import redis.asyncio

from jobs.contract.items import Value
from jobs.contract.shelf import GATE_VERSION, shared_key, shelf_key
from jobs.contract.shelf_plan import Shelf as Definition
from jobs.errors import DefinitionError
from jobs.shelves.versions import ShelfVersions
from liveshelf import AsyncShelfReader, Pseudonyms, Shelf
from liveshelf.page import ITEM_SHELVES

Shown = dict[str, Any]  # a list as the page gets it
KEPT = ("state", "fallback", "items", "why", "instead", "because", "about", "event_time_ms", "computed_at_ms")
KEPT_TOO = ("list_id", "shelves", "model")


@dataclass(frozen=True)
class Asked:
    """What a page wants to see: whose lists, about which item, and which of them as one page: no item stands twice."""

    visitor: str
    item: str
    together: Sequence[str]


@dataclass(frozen=True)
class Wanted:
    """The shelves that there are for what is asked: of the visitor, and of places by their values."""

    visitor_id: str  # the pseudonym
    item: str
    together: Sequence[str]
    alone: Sequence[str]
    places: Sequence[tuple[str, str]]

    @property
    def keys(self) -> list[str]:
        """Return all keys in Redis that say what the page shows."""
        names = [*self.together, *self.alone]
        of_item = [shared_key("item", self.item, ITEM_SHELVES.get(name, name)) for name in names if self.item]
        of_places = [shared_key("place", place, name) for name, place in self.places]
        return [*(shelf_key(self.visitor_id, name) for name in names), *of_item, *of_places, GATE_VERSION]


class Lists:
    """Reads a visitor's lists by the visitor's pseudonym, and those of the place where an item stands.

    `default` is the shelf that a job makes while no version of shelves is active.
    """

    def __init__(self, redis_url: str, pseudonyms: Pseudonyms, versions: ShelfVersions, default: str) -> None:
        self._redis = redis.asyncio.Redis.from_url(redis_url)
        self._reader = AsyncShelfReader(redis_url)
        self._pseudonyms, self._versions, self._default = pseudonyms, versions, default

    def pseudonym(self, visitor: str) -> str:
        return self._pseudonyms.of(visitor)

    def wanted(self, asked: Asked, facts: Mapping[str, Value]) -> Wanted:
        """Return what is to be read, by the active version of shelves; `facts` are those of the item in view."""
        definitions = self._definitions()
        own = [shelf.name for shelf in definitions if shelf.of == "visitor"] or [self._default]
        together = [name for name in asked.together if name in own]
        alone = [name for name in own if name not in together]
        places = [(shelf.name, place) for shelf in definitions if (place := _place(shelf, facts)) is not None]
        return Wanted(self.pseudonym(asked.visitor), asked.item, together, alone, places)

    def _definitions(self) -> list[Definition]:
        try:
            return self._versions.plan(self._versions.active().version).shelves
        except DefinitionError:
            return []

    async def stamp(self, wanted: Wanted) -> list[Any]:
        """Return what changes whenever one of the lists does; costs one MGET."""
        return await self._redis.mget(wanted.keys)

    async def read(self, wanted: Wanted) -> list[Shown]:
        """Return all lists as they may be shown now. Raises what the reader raises."""
        item = wanted.item or None
        is_about = any(name in ITEM_SHELVES for name in wanted.together)
        page = await self._reader.page(wanted.visitor_id, wanted.together, item=item if is_about else None)
        found = [shown(name, shelf) for name, shelf in page.items()]
        for name in wanted.alone:
            about = item if name in ITEM_SHELVES else None
            found.append(shown(name, (await self._reader.page(wanted.visitor_id, [name], item=about))[name]))
        for name, place in wanted.places:
            found.append(shown(name, await self._reader.get(f"place/{place}", name), "place", place))
        return found


def _place(shelf: Definition, facts: Mapping[str, Value]) -> str | None:
    """Return the place of a shelf where an item with such facts stands, None for a shelf that has none."""
    if shelf.of != "place":
        return None
    values = [str(facts.get(feature.name, "")) for feature in shelf.place if feature.of == "item"]
    return "/".join(values) if len(values) == len(shelf.place) and all(values) else None


def shown(name: str, shelf: Shelf, of: str = "visitor", place: str = "") -> Shown:
    """Return what the page gets of a list."""
    fields = asdict(shelf)
    return {"name": name, "of": of, "place": place} | {field: fields[field] for field in (*KEPT, *KEPT_TOO)}
