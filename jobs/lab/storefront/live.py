"""Send what changes to a page, as server-sent events: lists, items, and why lists can't be read."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import msgspec
import redis

from jobs.lab.storefront.catalogue import Catalogue
from jobs.lab.storefront.lists import Asked, Lists, Shown, Wanted
from liveshelf import ShelfError

# Between two looks at Redis while somebody looks at the page: a list is up to so much older there. A look is one MGET.
LOOK_S = 0.015
# A reader's copy of the gate may be so old when the gate has changed, so lists are read again for a little longer.
HOT_S = 0.3
SLOW_S = 1.0  # between two looks at the active version, and two readings where nothing changed: lists grow stale
RETRY_S = 1.0  # after Redis didn't answer


class Live:
    """Hold what all open pages share. `watching` counts them; they end when `is_ending` says so."""

    def __init__(self, lists: Lists, catalogue: Catalogue, is_ending: Callable[[], bool]) -> None:
        self.watching = 0
        self._lists, self._catalogue, self._is_ending = lists, catalogue, is_ending
        self._refresh: asyncio.Task[None] | None = None

    async def stream(self, asked: Asked) -> AsyncIterator[bytes]:
        """Yield all lists, then each that is another than before; items that change; and a sign of life each second."""
        self.watching += 1
        try:
            version = self._catalogue.version
            async for found in self._changes(asked):
                if found:
                    yield found
                self._hear()
                if self._catalogue.version > version:
                    yield event("items", self._catalogue.since(version))
                    version = self._catalogue.version
        finally:
            self.watching -= 1

    async def _changes(self, asked: Asked) -> AsyncIterator[bytes]:
        """Yield changed lists, or b"" at a look that finds nothing."""
        sent: dict[str, Shown] = {}
        wanted, stamp, slow_s, hot_s = self._wanted(asked), list[Any](), 0.0, 0.0
        while not self._is_ending():
            now_s = time.monotonic()
            try:
                if is_slow := now_s - slow_s >= SLOW_S:
                    wanted, slow_s = self._wanted(asked), now_s
                before, stamp = stamp, await self._lists.stamp(wanted)
                hot_s = now_s + HOT_S if before != stamp else hot_s
                changed = list(_changed(sent, await self._lists.read(wanted))) if is_slow or now_s < hot_s else []
            except (redis.RedisError, ShelfError) as error:
                yield event("trouble", str(error))
                await asyncio.sleep(RETRY_S)
                continue
            if changed or is_slow:
                yield event("lists", {"read_at_ms": time.time_ns() / 1e6, "lists": changed})
            else:
                yield b""
            await asyncio.sleep(LOOK_S)

    def _wanted(self, asked: Asked) -> Wanted:
        return self._lists.wanted(asked, self._catalogue.items.get(asked.item, {}))

    def _hear(self) -> None:
        """Read the topics of items again where they have said more: once for all pages, and beside the lists."""
        if self._catalogue.is_old and (self._refresh is None or self._refresh.done()):
            self._refresh = asyncio.create_task(asyncio.to_thread(self._catalogue.refresh))


def _changed(sent: dict[str, Shown], found: Sequence[Shown]) -> Iterator[Shown]:
    for each in found:
        if sent.get(each["name"]) != each:
            sent[each["name"]] = each
            yield each


def event(kind: str, data: Any) -> bytes:
    """Return a server-sent event. JSON has no line breaks, which would end it."""
    return b"event: " + kind.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"
