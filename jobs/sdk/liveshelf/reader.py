"""Read a visitor's list from Redis, and learn whether to trust it. Needs `redis` and nothing else of liveshelf.

    from liveshelf import ShelfReader

    shelf = ShelfReader("redis://localhost:6379/0").get("visitor-1")
    if shelf.state in ("fresh", "fallback"):
        show(shelf.items)

`AsyncShelfReader` does the same for asyncio.

In any other language, send one GET and read one JSON document:

    key    shelf:{VISITOR}:SHELF        the braces are part of the key (a hash tag of Redis Cluster); SHELF is "home"
    value  {"version": "00000000000000000042",   20 digits of a Kafka partition and offset; greater is newer
            "items": ["a", "b"],                 best first; at most LIVESHELF_LIST_SIZE, which is 20
            "scores": [2.5, 1.25],               parallel to items; all 0.0 in a fallback
            "model": "eshop-1030fbc8dbb6",       the model that ranked
            "event_time_ms": 1217548800000,      time of the newest event of the session that the list answers
            "computed_at_ms": 1217548800012,     time at which the list was computed
            "session_events": 3,                 number of events in that session
            "fallback": null,                    or why the list isn't personal, see below
            "list_id": "0-42"}                   send it back with impressions and clicks, and the position from 0

    value = redis.get("shelf:{" + visitor + "}:home")
    if value is null or value.fallback is "erased":      absent: no event lately; show a default of your own
    else if value.fallback is not null:                  fallback: a popularity list, not personal
    else if now_ms - value.computed_at_ms > 1800000:     stale: personal, but old
    else:                                                fresh

A fallback is "popular" (the model knows no item of the session), "model_error" (a score wasn't a number), "no_consent"
(the visitor may not be personalized) or "erased" (a mark that stands for 20 s where an erased visitor's list stood).

Ignore fields that you don't know, because more may come. Keys expire by themselves. Never write to them.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import redis
import redis.asyncio

State = Literal["fresh", "stale", "fallback", "absent"]
ERASED = "erased"
STALE_AFTER_S = 1800
TIMEOUT_S = 1.0  # a list takes a millisecond, and a page that waits longer than this is better shown without one


class ShelfError(Exception):
    """Say that a key holds something that isn't a list of liveshelf's.

    The message doesn't name the visitor, because it ends in an app's log. `key` does.
    """

    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(message)
        self.key = key


@dataclass(frozen=True, slots=True)
class Shelf:
    """Hold a visitor's list, best item first. An `absent` list has its `visitor_id` and defaults.

    The state is one of

    - `absent`: there is no list;
    - `fallback`: a popularity list of any age, and the field `fallback` says why;
    - `stale`: a personal list that was computed more than the reader's `stale_after_s` ago;
    - `fresh`: any other personal list.

    `age_s` and `event_age_s` are counted to the moment of the `get`, by the clock of the reading machine. They differ
    when old events are replayed: a list that answers an event of last week is computed now, so it is fresh.
    """

    visitor_id: str
    state: State = "absent"
    items: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    age_s: float | None = (
        None  # seconds since the list was computed (`computed_at_ms`); decides between fresh and stale
    )
    event_age_s: float | None = None  # seconds since the newest event that the list answers (`event_time_ms`)
    model: str | None = None
    event_time_ms: int | None = None
    computed_at_ms: int | None = None
    list_id: str | None = None
    fallback: str | None = None
    session_events: int = 0


class ShelfReader:
    """Read lists. A reader is safe to share between threads, like the Redis client inside.

    Args:
        source: redis://… or a `redis.Redis` of your own (with or without `decode_responses`). A client that is made
            from an address waits for the server no longer than 1 s, and over TLS (rediss://…) checks the server's name.
            The address may say otherwise: ?socket_timeout=0.1&ssl_check_hostname=false.
        shelf: which of a visitor's lists to read: the last part of its key.
        stale_after_s: a personal list that was computed more seconds ago than this is `stale`. It can be read until it
            expires, 30 days after its event unless LIVESHELF_LIST_TTL_S says otherwise.
    """

    def __init__(self, source: "str | redis.Redis", shelf: str = "home", stale_after_s: float = STALE_AFTER_S) -> None:
        self._redis = redis.Redis.from_url(source, **_careful(source)) if isinstance(source, str) else source
        self._shelf = shelf
        self._stale_after_s = stale_after_s

    def get(self, visitor_id: str) -> Shelf:
        """Return the visitor's list as it stands now; costs one GET.

        Raises ShelfError for a value that isn't a list of liveshelf's, and what the Redis client raises if the server
        doesn't answer: an outage isn't an absent list.
        """
        key = shelf_key(visitor_id, self._shelf)
        try:
            value = cast("bytes | str | None", self._redis.get(key))  # redis-py types it as awaitable too
        except redis.ResponseError as error:
            raise _not_a_list(key, error) from error
        return shelf(visitor_id, key, value, self._stale_after_s, time.time() * 1000)

    def close(self) -> None:
        """Close the Redis client, also one of your own."""
        self._redis.close()


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

    async def get(self, visitor_id: str) -> Shelf:
        """Return the visitor's list as it stands now, and raise the same errors as `ShelfReader.get`."""
        key = shelf_key(visitor_id, self._shelf)
        try:
            value = await self._redis.get(key)
        except redis.ResponseError as error:
            raise _not_a_list(key, error) from error
        return shelf(visitor_id, key, value, self._stale_after_s, time.time() * 1000)

    async def close(self) -> None:
        """Close the Redis client, also one of your own."""
        await self._redis.aclose()


def _careful(address: str) -> dict[str, Any]:
    """Return what redis-py doesn't do by itself: limits of time, and a look at the name in a certificate."""
    told: dict[str, Any] = {"socket_timeout": TIMEOUT_S}
    if not address.startswith("unix:"):
        told["socket_connect_timeout"] = TIMEOUT_S
    return told | ({"ssl_check_hostname": True} if address.startswith("rediss:") else {})


def shelf_key(visitor_id: str, shelf: str) -> str:
    """Return the key of a visitor's list. For its braces a Redis Cluster keeps all keys of a visitor on one server."""
    return f"shelf:{{{visitor_id}}}:{shelf}"


def shelf(visitor_id: str, key: str, value: bytes | str | None, stale_after_s: float, now_ms: float) -> Shelf:
    """Return what a stored `value` means at `now_ms` (epoch). Pure.

    Raises ShelfError for a value that isn't a list of liveshelf's.
    """
    if value is None:
        return Shelf(visitor_id)
    try:
        return _shelf(visitor_id, json.loads(value), stale_after_s, now_ms)
    except (ValueError, KeyError, TypeError) as error:  # not JSON; a field missing; a field of another type
        raise _not_a_list(key, error) from error


def _shelf(visitor_id: str, fields: Mapping[str, Any], stale_after_s: float, now_ms: float) -> Shelf:
    age_s = (now_ms - fields["computed_at_ms"]) / 1000
    fallback = fields["fallback"]
    if fallback == ERASED:
        return Shelf(visitor_id)
    return Shelf(
        visitor_id=visitor_id,
        state="fallback" if fallback else "stale" if age_s > stale_after_s else "fresh",
        items=tuple(fields["items"]),
        scores=tuple(fields["scores"]),
        age_s=age_s,
        event_age_s=(now_ms - fields["event_time_ms"]) / 1000,
        model=fields["model"],
        event_time_ms=fields["event_time_ms"],
        computed_at_ms=fields["computed_at_ms"],
        list_id=fields["list_id"],
        fallback=fallback,
        session_events=fields["session_events"],
    )


def _not_a_list(key: str, error: Exception) -> ShelfError:
    nameless = shelf_key("…", key.rpartition(":")[2])
    return ShelfError(
        f"{nameless} holds no list of liveshelf's ({type(error).__name__}: {error}); "
        "look with GET or TYPE at this error's `key`",
        key,
    )
