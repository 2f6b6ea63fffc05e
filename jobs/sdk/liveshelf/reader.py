"""Read a visitor's lists from Redis, and learn whether to trust them. Needs `redis` and nothing else of liveshelf.

    from liveshelf import ShelfReader

    reader = ShelfReader("redis://localhost:6379/0")
    shelf = reader.get("visitor-1", "home")
    if shelf.state in ("fresh", "fallback"):
        show(shelf.items)

    page = reader.page("visitor-1", ["product", "home"], item="4711")
    show(page["product"].items, page["home"].items)

`AsyncShelfReader` does the same for asyncio.

In any other language, send one GET and read one JSON document, then ask which of its items may be shown now:

    key    shelf:{VISITOR}:SHELF        the braces are part of the key (a hash tag of Redis Cluster)
    value  {"version": "00000000000000000042",   20 digits of a Kafka partition and offset; greater is newer
            "items": ["a", "b", "c"],            best first
            "scores": [2.5, 1.25, 1.0],          parallel to items; all 0.0 in a fallback
            "model": "eshop-1030fbc8dbb6",       the model that ranked
            "event_time_ms": 1217548800000,      time of the newest event of the session that the list answers
            "computed_at_ms": 1217548800012,     time at which the list was computed
            "session_events": 3,                 number of events in that session
            "fallback": null,                    or why the list isn't personal, see below
            "list_id": "0-42",                   send it back with impressions and clicks, and the position from 0
            "shelves": "shelves-0c92a1b3d4e5",   the version of shelves that made it; what follows comes with it
            "about": ["88"],                     the item in view, or the cart
            "why": [0, 1, 19],                   see `WHYS`, and 16 more for each step of `instead`
            "seen": ["88"], "because": [0, -1, 0],   for which item of `seen` each is shown; -1 for none
            "spare": 1}                          how many of the last items stand in reserve; absent for none

    value = redis.get("shelf:{" + visitor + "}:home")
    if value is null or value.fallback is "erased":      absent: no event lately; show a default of your own
    else if value.fallback is not null:                  fallback: not personal
    else if now_ms - value.computed_at_ms > 1800000:     stale: personal, but old
    else:                                                fresh
    held = redis.smismember("shelf:gate", value.items)   1 for an item that may not be shown now
    shown = the first (items.length - spare) of the items that aren't held

A fallback is "popular" (no item of the list is the shelf's own), "model_error" (a score wasn't a number), "no_consent"
(the visitor may not be personalized) or "erased" (a mark that stands for 20 s where an erased visitor's list stood).
Lists that are nobody's stand under shelf:{item/ITEM}:SHELF and shelf:{place/PLACE}:SHELF.

Ignore fields that you don't know, because more may come. Keys expire by themselves. Never write to them.
"""

import asyncio
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias

import redis
import redis.asyncio

from liveshelf.gate import FETCH, GATE, GATE_VERSION, NO_COPY, Copy, checked, is_large, marked, text
from liveshelf.page import ITEM_SHELVES, Asked, items_of
from liveshelf.shelf import ERASED, WHYS, Shelf, ShelfError, State, item_key, shelf_key

__all__ = [
    "ERASED",
    "WHYS",
    "AsyncShelfReader",
    "Shelf",
    "ShelfError",
    "ShelfReader",
    "State",
    "item_key",
    "shelf_key",
]

STALE_AFTER_S = 1800
TIMEOUT_S = 1.0  # a list takes a millisecond, and a page that waits longer than this is better shown without one

Command: TypeAlias = tuple[str, ...]


class ShelfReader:
    """Read lists. A reader is safe to share between threads, like the Redis client inside.

    It keeps a copy of the gate, the set of items that may not be shown now, and leaves them out of every list.

    Args:
        source: redis://… or a `redis.Redis` of your own (with or without `decode_responses`). A client that is made
            from an address waits for the server no longer than 1 s, and over TLS (rediss://…) checks the server's name.
            The address may say otherwise: ?socket_timeout=0.1&ssl_check_hostname=false.
        shelf: which of a visitor's lists to read where `get` doesn't say: the last part of its key.
        stale_after_s: a personal list that was computed more seconds ago than this is `stale`. It can be read until it
            expires, 30 days after its event unless LIVESHELF_LIST_TTL_S says otherwise.
    """

    def __init__(self, source: "str | redis.Redis", shelf: str = "home", stale_after_s: float = STALE_AFTER_S) -> None:
        self._redis = redis.Redis.from_url(source, **_careful(source)) if isinstance(source, str) else source
        self._shelf = shelf
        self._stale_after_s = stale_after_s
        self._copy = NO_COPY
        self._lock = threading.Lock()

    def get(self, visitor_id: str, shelf: str | None = None) -> Shelf:
        """Return one of the visitor's lists as it may be shown now; costs one round trip.

        Raises ShelfError for a value that isn't a list of liveshelf's, and what the Redis client raises if the server
        doesn't answer: an outage isn't an absent list.
        """
        (found,) = self._read(Asked(visitor_id, [shelf or self._shelf], self._stale_after_s)).values()
        return found

    def page(
        self,
        visitor_id: str,
        shelves: Sequence[str],
        item: str | None = None,
        item_shelves: Mapping[str, str] = ITEM_SHELVES,
    ) -> dict[str, Shelf]:
        """Return the lists of a page by shelf; costs one round trip for all of them.

        No item comes twice: the first shelf that is named keeps it. `item` is the item in view, and comes in no list.
        As long as the visitor's own list isn't about it, the item's list stands in, if there is one: its state is
        `fallback`, and its `fallback` is "item". `item_shelves` says which shelf that list is of, where it isn't the
        same one. Raises what `get` raises.
        """
        return self._read(Asked(visitor_id, shelves, self._stale_after_s, item, item_shelves))

    def close(self) -> None:
        """Close the Redis client, also one of your own."""
        self._redis.close()

    def _read(self, asked: Asked) -> dict[str, Shelf]:
        *values, version = self._replies([*(("GET", key) for key in asked.keys), ("GET", GATE_VERSION)])
        lists = asked.lists(values, time.time() * 1000)
        return asked.shown(lists, self._held(text(checked(version)), items_of(lists)))

    def _held(self, version: str, items: Sequence[str]) -> Collection[str]:
        """Return the items that may not be shown now; of a large set, only those among `items`."""
        if not version or not items:
            return ()
        if is_large(version):
            return marked(items, checked(self._replies([("SMISMEMBER", GATE, *items)])[0]))
        if not self._copy.serves(version, time.monotonic()):
            with self._lock:  # of several threads one fetches, and the others wait for it
                now_s = time.monotonic()
                if not self._copy.serves(version, now_s):
                    self._copy = Copy.of(self._replies(FETCH), now_s)
        return self._copy.held

    def _replies(self, commands: Sequence[Command]) -> list[Any]:
        """Return the replies in order; an error reply is returned in its place."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
            return pipeline.execute(raise_on_error=False)


class AsyncShelfReader:
    """Read lists with asyncio. One reader serves all tasks of an event loop.

        reader = AsyncShelfReader("redis://localhost:6379/0")
        shelf = await reader.get("visitor-1")
        await reader.close()

    Arguments and states are those of `ShelfReader`; a client of your own is a `redis.asyncio.Redis`.
    """

    def __init__(
        self, source: "str | redis.asyncio.Redis", shelf: str = "home", stale_after_s: float = STALE_AFTER_S
    ) -> None:
        self._redis = redis.asyncio.Redis.from_url(source, **_careful(source)) if isinstance(source, str) else source
        self._shelf = shelf
        self._stale_after_s = stale_after_s
        self._copy = NO_COPY
        self._lock = asyncio.Lock()

    async def get(self, visitor_id: str, shelf: str | None = None) -> Shelf:
        """Return what `ShelfReader.get` does, and raise the same errors."""
        (found,) = (await self._read(Asked(visitor_id, [shelf or self._shelf], self._stale_after_s))).values()
        return found

    async def page(
        self,
        visitor_id: str,
        shelves: Sequence[str],
        item: str | None = None,
        item_shelves: Mapping[str, str] = ITEM_SHELVES,
    ) -> dict[str, Shelf]:
        """Return what `ShelfReader.page` does, and raise the same errors."""
        return await self._read(Asked(visitor_id, shelves, self._stale_after_s, item, item_shelves))

    async def close(self) -> None:
        """Close the Redis client, also one of your own."""
        await self._redis.aclose()

    async def _read(self, asked: Asked) -> dict[str, Shelf]:
        *values, version = await self._replies([*(("GET", key) for key in asked.keys), ("GET", GATE_VERSION)])
        lists = asked.lists(values, time.time() * 1000)
        return asked.shown(lists, await self._held(text(checked(version)), items_of(lists)))

    async def _held(self, version: str, items: Sequence[str]) -> Collection[str]:
        if not version or not items:
            return ()
        if is_large(version):
            return marked(items, checked((await self._replies([("SMISMEMBER", GATE, *items)]))[0]))
        if not self._copy.serves(version, time.monotonic()):
            async with self._lock:
                now_s = time.monotonic()
                if not self._copy.serves(version, now_s):
                    self._copy = Copy.of(await self._replies(FETCH), now_s)
        return self._copy.held

    async def _replies(self, commands: Sequence[Command]) -> list[Any]:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            return await pipeline.execute(raise_on_error=False)


def _careful(address: str) -> dict[str, Any]:
    """Return what redis-py doesn't do by itself: limits of time, and a look at the name in a certificate."""
    told: dict[str, Any] = {"socket_timeout": TIMEOUT_S}
    if not address.startswith("unix:"):
        told["socket_connect_timeout"] = TIMEOUT_S
    return told | ({"ssl_check_hostname": True} if address.startswith("rediss:") else {})
