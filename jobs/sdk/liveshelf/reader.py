"""What apps import: a visitor's list from Redis, and whether to trust it. Needs `redis` and nothing else of liveshelf.

    shelf = ShelfReader("redis://localhost:6379/0").get("visitor-1")
    if shelf.state in ("fresh", "fallback"):
        show(shelf.items)

In any other language it is one GET and one JSON document:

    key    shelf:{VISITOR}:SHELF        the braces are part of it (Redis Cluster's hash tag); SHELF is "home"
    value  {"version": "00000000000000000042",   Kafka partition and offset, 20 digits; greater is newer
            "items": ["a", "b"],                 best first, at most 20
            "scores": [2.5, 1.25],               parallel to items; all 0.0 in a fallback
            "model": "eshop-1030fbc8dbb6",       which model ranked
            "event_time_ms": 1217548800000,      newest event of the session that the list answers
            "computed_at_ms": 1217548800012,     when the list was computed
            "session_events": 3,                 events in that session
            "fallback": null,                    or "popular" (nothing known of the session), "model_error",
                                                 "no_consent" (popular, and nothing personal), "erased" (as absent)
            "list_id": "0-42"}                   send it back with impressions and clicks, with the position from 0

    value = redis.get("shelf:{" + visitor + "}:home")
    if value is null or value.fallback is "erased":   absent: no event lately; show your own default
    else if value.fallback is not null:           fallback: a popularity list, not personal
    else if now_ms - value.computed_at_ms > 1800000:   stale: personal, but old
    else:                                         fresh

Ignore fields that you don't know: more may come. Keys expire by themselves. Never write to them.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import redis
import redis.asyncio

State = Literal["fresh", "stale", "fallback", "absent"]
ERASED = "erased"  # the mark that stands for some seconds where an erased visitor's list stood


class ShelfError(Exception):
    """The key holds something that isn't a list of liveshelf's."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """A visitor's list, best item first; for `absent` all fields but `visitor_id` keep their defaults.

    States: `absent` (no list), `fallback` (a popularity list, whatever its age: `fallback` says why), `stale`
    (personal, computed longer ago than the reader's limit), `fresh`.
    """

    visitor_id: str
    state: State = "absent"
    items: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    age_s: float | None = None  # since the list was computed: a list from a replayed old event is a new list
    event_age_s: float | None = None  # since the newest event that it answers
    model: str | None = None
    event_time_ms: int | None = None
    computed_at_ms: int | None = None
    list_id: str | None = None
    fallback: str | None = None
    session_events: int = 0


class ShelfReader:
    """Reads lists; safe to share between threads, like the Redis client inside.

    Args:
        source: redis://… or a `redis.Redis` of your own (with or without `decode_responses`).
        shelf: which list of a visitor.
        stale_after_s: age of a personal list from which it is `stale`.
    """

    def __init__(self, source: "str | redis.Redis", shelf: str = "home", stale_after_s: float = 1800) -> None:
        self._redis = redis.Redis.from_url(source) if isinstance(source, str) else source
        self._shelf = shelf
        self._stale_after_s = stale_after_s

    def get(self, visitor_id: str) -> Shelf:
        """The visitor's list as it stands: one GET. Raises ShelfError for a value that isn't a list of liveshelf's,
        and whatever the Redis client raises when the server doesn't answer."""
        key = shelf_key(visitor_id, self._shelf)
        try:
            value = self._redis.get(key)
        except redis.ResponseError as error:
            raise _not_a_list(key, error) from error
        return shelf(visitor_id, key, value, self._stale_after_s, time.time() * 1000)

    def close(self) -> None:
        self._redis.close()


class AsyncShelfReader:
    """`ShelfReader` for asyncio; `source` may be a `redis.asyncio.Redis`."""

    def __init__(self, source: "str | redis.asyncio.Redis", shelf: str = "home", stale_after_s: float = 1800) -> None:
        self._redis = redis.asyncio.Redis.from_url(source) if isinstance(source, str) else source
        self._shelf = shelf
        self._stale_after_s = stale_after_s

    async def get(self, visitor_id: str) -> Shelf:
        """As `ShelfReader.get`."""
        key = shelf_key(visitor_id, self._shelf)
        try:
            value = await self._redis.get(key)
        except redis.ResponseError as error:
            raise _not_a_list(key, error) from error
        return shelf(visitor_id, key, value, self._stale_after_s, time.time() * 1000)

    async def close(self) -> None:
        await self._redis.aclose()


def shelf_key(visitor_id: str, shelf: str) -> str:
    """The braces make a Redis Cluster keep all keys of a visitor on one server."""
    return f"shelf:{{{visitor_id}}}:{shelf}"


def shelf(visitor_id: str, key: str, value: bytes | str | None, stale_after_s: float, now_ms: float) -> Shelf:
    """What a value at `now_ms` means (pure)."""
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
    return ShelfError(
        f"{key} holds no list of liveshelf's ({type(error).__name__}: {error}); look with GET or TYPE {key}"
    )
