"""A canary's lists beside those that apps read, in a real Redis. Shares and overlaps are counted by hand."""

from collections.abc import Sequence

import msgspec
import pytest
import redis

from jobs.contract.shelf import LISTS, SHADOW, ShelfValue, shelf_key
from jobs.operate.comparison import compare, overlap

STARTED_MS = 1_000_000


def put(client: redis.Redis, lists: str, visitor: str, items: Sequence[str], offset: int = 5, **more: object) -> None:
    value = ShelfValue(
        version=f"{offset:020d}",
        items=list(items),
        scores=[1.0] * len(items),
        model="m",
        event_time_ms=STARTED_MS,
        computed_at_ms=STARTED_MS,
        session_events=1,
        fallback=None,
        list_id=f"0-{offset}",
    )
    client.set(shelf_key(visitor, "home", lists), msgspec.json.encode(msgspec.structs.replace(value, **more)))


def both(client: redis.Redis, visitor: str, live: Sequence[str], shadow: Sequence[str], later_ms: int = 0) -> None:
    put(client, LISTS, visitor, live)
    put(client, SHADOW, visitor, shadow, computed_at_ms=STARTED_MS + later_ms)


def test_lists_for_the_same_event_are_compared_item_by_item(redis_url: str, client: redis.Redis) -> None:
    both(client, "same", "abcd", "abcd", later_ms=-10)
    both(client, "turned", "abcd", "dcba", later_ms=10)  # the same items, and not the same list
    both(client, "half", "abcd", "abxy", later_ms=30)
    seen = compare(redis_url, STARTED_MS)
    assert (seen.lists, seen.compared, seen.equal) == (3, 3, 1)
    assert seen.overlap == pytest.approx((1 + 1 + 0.5) / 3)
    assert seen.later_ms["p50"] == 10
    assert seen.fallbacks == {"none": [3, 3]}


def test_only_lists_for_the_same_event_are_compared(redis_url: str, client: redis.Redis) -> None:
    put(client, LISTS, "slow", "a", offset=6)
    put(client, SHADOW, "slow", "b", offset=5)
    put(client, LISTS, "fast", "a", offset=5)
    put(client, SHADOW, "fast", "b", offset=6)
    put(client, SHADOW, "only-canary", "b")
    put(client, LISTS, "lacking", "a")
    put(client, LISTS, "old", "a", computed_at_ms=STARTED_MS - 1)  # the canary needn't have it
    seen = compare(redis_url, STARTED_MS)
    assert (seen.lists, seen.compared, seen.behind, seen.ahead) == (3, 0, 2, 2)
    assert seen.overlap is None


def test_marks_of_the_erased_and_shared_lists_arent_compared(redis_url: str, client: redis.Redis) -> None:
    put(client, LISTS, "item/4711", "a")
    put(client, LISTS, "gone", "", fallback="erased")
    put(client, SHADOW, "gone", "", fallback="erased")
    both(client, "stays", "ab", "ab")
    seen = compare(redis_url, STARTED_MS)
    assert (seen.lists, seen.compared, seen.equal, seen.behind) == (1, 1, 1, 0)


def test_fallbacks_are_counted_for_each_side(redis_url: str, client: redis.Redis) -> None:
    both(client, "personal", "ab", "ab")
    put(client, LISTS, "broken", "ab")
    put(client, SHADOW, "broken", "cd", fallback="model_error")
    assert compare(redis_url, STARTED_MS).fallbacks == {"none": [2, 1], "model_error": [0, 1]}


def test_no_more_lists_are_read_than_the_limit(redis_url: str, client: redis.Redis) -> None:
    for number in range(1200):
        both(client, f"v{number}", "ab", "ab")
    assert compare(redis_url, STARTED_MS, limit=700).compared == 700


def test_overlap_looks_at_the_first_twenty_places() -> None:
    numbers = list(map(str, range(30)))
    assert overlap(numbers, numbers[:20]) == 1
    assert overlap(numbers, numbers[:5]) == 0.25
    assert overlap(numbers, numbers[20:]) == 0
    assert overlap([], []) == 1
