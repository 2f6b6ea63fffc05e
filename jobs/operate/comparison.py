"""Compare the lists of a canary with those that apps read, event by event."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any, cast

import msgspec
import numpy as np
from redis import Redis

from jobs.connect import addresses
from jobs.contract.shelf import LISTS, SHADOW, ShelfValue

FIRST = 20  # places whose items are compared
LIMIT = 20_000  # lists that are looked at, from each side
PAGE = 500
NOBODYS = (b"{item/", b"{place/")
ERASED = "erased"


class Comparison(msgspec.Struct, kw_only=True):
    """Lists of the canary, and of the live job.

    Two lists can be compared if they answer the same event of the same visitor on the same shelf.
    """

    lists: int = 0  # of the canary, as far as they were looked at
    compared: int = 0
    equal: int = 0  # of those: the same items in the same order
    overlap: float | None = None  # of those: mean share of the first 20 items that both have
    behind: int = 0  # the live list answers a newer event, or the canary has no list though the live one is new
    ahead: int = 0  # the canary's list answers a newer event, or there is no live one
    later_ms: dict[str, float] = {}  # by how much the canary's list came later than the live one: quantiles
    fallbacks: dict[str, list[int]] = {}  # of those compared, by fallback: lists of the live job, and of the canary


def compare(redis_url: str, since_ms: int, limit: int = LIMIT) -> Comparison:
    """Compare up to `limit` lists. `since_ms` (epoch) is when the canary began: it needn't have an older list.

    Lists without a visitor, and what stands for the list of an erased one, aren't looked at. Raises
    `redis.RedisError`.
    """
    seen = Comparison()
    overlaps: list[float] = []
    later_ms: list[int] = []
    fallbacks: dict[str, list[int]] = {}
    with closing(addresses.redis_client(redis_url)) as client:
        for live, shadow in _pairs(client, SHADOW, limit):
            if shadow is None:
                continue
            seen.lists += 1
            if live is None or live.version < shadow.version:
                seen.ahead += 1
            elif live.version > shadow.version:
                seen.behind += 1
            else:
                seen.equal += live.items == shadow.items
                overlaps.append(overlap(live.items, shadow.items))
                later_ms.append(shadow.computed_at_ms - live.computed_at_ms)
                for side, value in enumerate((live, shadow)):
                    fallbacks.setdefault(value.fallback or "none", [0, 0])[side] += 1
        lacking = (live for live, shadow in _pairs(client, LISTS, limit) if live and shadow is None)
        seen.behind += sum(live.computed_at_ms >= since_ms for live in lacking)
    if overlaps:
        seen.compared, seen.overlap, seen.fallbacks = len(overlaps), float(np.mean(overlaps)), fallbacks
        seen.later_ms = {name: float(np.percentile(later_ms, at)) for name, at in (("p50", 50), ("p99", 99))}
    return seen


def overlap(one: Sequence[str], other: Sequence[str]) -> float:
    """Return the share of the longer list's first items that the other has among its own, 1 for two empty lists."""
    first, second = set(one[:FIRST]), set(other[:FIRST])
    return len(first & second) / max(len(first), len(second), 1) if first or second else 1.0


def _pairs(client: Redis, lists: str, limit: int) -> Iterator[tuple[ShelfValue | None, ShelfValue | None]]:
    """Yield the live list and the canary's for each key that begins with `lists`; None for what isn't there."""
    first = len(lists) + 1
    names = (key[first:] for key in client.scan_iter(match=f"{lists}:{{*}}:*", count=PAGE))
    visitors = islice((name for name in names if not name.startswith(NOBODYS)), limit)
    while page := list(islice(visitors, PAGE)):
        keys = [f"{which}:".encode() + name for which in (SHADOW, LISTS) for name in page]
        values = [_value(value) for value in cast(list[Any], client.mget(keys))]
        yield from zip(values[len(page) :], values[: len(page)], strict=True)


def _value(stored: bytes | None) -> ShelfValue | None:
    if stored is None:
        return None
    value = msgspec.json.decode(stored, type=ShelfValue)
    return None if value.fallback == ERASED else value
