"""What an app sees: lists read from a real Redis, in each of their states."""

import asyncio
import json
import re
import subprocess
import sys
import time
import tomllib
import traceback
from collections.abc import Callable

import pytest
import redis
import redis.asyncio

import liveshelf
from jobs.cluster import processes
from jobs.cluster import redis as redis_server
from jobs.rankings.publish import Encoder, Publication, Publisher
from jobs.rankings.ranked_list import RankedList
from jobs.rankings.session import Session
from jobs.settings import REPOSITORY
from liveshelf.reader import AsyncShelfReader, Shelf, ShelfError, ShelfReader

KEY = "shelf:{v1}:home"


def get_sync(url: str, visitor: str) -> Shelf:
    reader = ShelfReader(url)
    try:
        return reader.get(visitor)
    finally:
        reader.close()


def get_async(url: str, visitor: str) -> Shelf:
    async def read() -> Shelf:
        reader = AsyncShelfReader(url)
        try:
            return await reader.get(visitor)
        finally:
            await reader.close()

    return asyncio.run(read())


Get = Callable[[str, str], Shelf]
both = pytest.mark.parametrize("get", [get_sync, get_async])


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def put(client: redis.Redis, computed_s_ago: float, event_s_ago: float, fallback: str | None = None) -> None:
    value = {
        "version": "00000000000000000005", "items": ["a", "b"], "scores": [2.5, 1.0], "model": "m-1",
        "event_time_ms": now_ms() - round(event_s_ago * 1000),
        "computed_at_ms": now_ms() - round(computed_s_ago * 1000),
        "session_events": 3, "fallback": fallback, "list_id": "0-5", "added_later": True,
    }  # fmt: skip
    client.set(KEY, json.dumps(value))


@both
def test_no_list_is_absent(get: Get, redis_url: str, client: redis.Redis) -> None:
    assert get(redis_url, "v1") == Shelf("v1", "absent")


@both
def test_a_list_just_computed_is_fresh_and_complete(get: Get, redis_url: str, client: redis.Redis) -> None:
    put(client, computed_s_ago=5, event_s_ago=60)

    shelf = get(redis_url, "v1")

    assert (shelf.state, shelf.items, shelf.scores, shelf.model) == ("fresh", ("a", "b"), (2.5, 1.0), "m-1")
    assert (shelf.list_id, shelf.fallback, shelf.session_events) == ("0-5", None, 3)
    assert shelf.age_s == pytest.approx(5, abs=1)
    assert shelf.event_age_s == pytest.approx(60, abs=1)


@both
def test_list_computed_just_now_for_an_old_event_is_fresh(get: Get, redis_url: str, client: redis.Redis) -> None:
    put(client, computed_s_ago=1, event_s_ago=86_400)

    assert get(redis_url, "v1").state == "fresh"


@both
def test_a_list_older_than_half_an_hour_is_stale(get: Get, redis_url: str, client: redis.Redis) -> None:
    put(client, computed_s_ago=1801, event_s_ago=1801)

    assert get(redis_url, "v1").state == "stale"


@both
@pytest.mark.parametrize(("fallback", "age_s"), [("popular", 5), ("model_error", 5), ("popular", 90_000)])
def test_a_popularity_list_is_a_fallback_at_any_age(
    get: Get, fallback: str, age_s: float, redis_url: str, client: redis.Redis
) -> None:
    put(client, computed_s_ago=age_s, event_s_ago=age_s, fallback=fallback)

    assert (get(redis_url, "v1").state, get(redis_url, "v1").fallback) == ("fallback", fallback)


@both
@pytest.mark.parametrize("value", [b"", b"hello", b"[1]", b"7", b"null", b"{}", b'{"items":["a"]}', b"\xff\xfe\x00"])
def test_garbage_is_an_error_that_keeps_the_visitor_quiet(
    get: Get, value: bytes, redis_url: str, client: redis.Redis
) -> None:
    """The message ends in an app's log. It names the shelf, and the error has the key."""
    client.set("shelf:{anna@shop}:home", value)

    with pytest.raises(ShelfError, match=re.escape("shelf:{…}:home holds no list")) as refused:
        get(redis_url, "anna@shop")
    assert refused.value.key == "shelf:{anna@shop}:home"
    assert "anna" not in "".join(traceback.format_exception(refused.value, limit=0))


@both
def test_a_field_of_the_wrong_type_is_an_error(get: Get, redis_url: str, client: redis.Redis) -> None:
    put(client, computed_s_ago=5, event_s_ago=5)
    client.set(KEY, json.dumps(json.loads(client.get(KEY)) | {"computed_at_ms": "yesterday"}))

    with pytest.raises(ShelfError, match="TypeError"):
        get(redis_url, "v1")


@both
def test_a_key_of_another_redis_type_is_an_error(get: Get, redis_url: str, client: redis.Redis) -> None:
    client.rpush(KEY, "x")

    with pytest.raises(ShelfError, match="WRONGTYPE"):
        get(redis_url, "v1")


@both
def test_a_server_that_is_away_is_an_error(get: Get) -> None:
    """A server that is away is the client's error and not an absent list."""
    (port,) = processes.free_ports(1)

    with pytest.raises(redis.ConnectionError):
        get(redis_server.url(port), "v1")


@pytest.mark.parametrize("decode_responses", [True, False])
def test_a_client_of_the_apps_own_serves_too(decode_responses: bool, redis_url: str, client: redis.Redis) -> None:
    put(client, computed_s_ago=5, event_s_ago=5)

    with redis.Redis.from_url(redis_url, decode_responses=decode_responses) as own:
        assert ShelfReader(own).get("v1").items == ("a", "b")


def test_shelves_are_apart_and_limit_of_freshness_is_the_readers(redis_url: str, client: redis.Redis) -> None:
    put(client, computed_s_ago=5, event_s_ago=5)

    assert ShelfReader(client, shelf="mail").get("v1").state == "absent"
    assert ShelfReader(client, stale_after_s=2).get("v1").state == "stale"


def test_what_the_job_publishes_is_what_an_app_reads(redis_url: str, client: redis.Redis) -> None:
    time_ms = now_ms()
    ranked = RankedList(["ä", "b"], [0.5, 0.25], None, ["x"])
    session = Session([time_ms - 1000, time_ms], ["view", "view"], ["x", "y"], frozenset())
    one = Publication("v1", "home", 1, 42, ranked, session, [], time_ms)
    Publisher(redis_url, 60).publish([one], [Encoder("m-2", []).value(one)])

    shelf = get_sync(redis_url, "v1")

    assert (shelf.state, shelf.items, shelf.scores, shelf.list_id) == ("fresh", ("ä", "b"), (0.5, 0.25), "1-42")
    assert (shelf.model, shelf.session_events, shelf.event_time_ms) == ("m-2", 2, time_ms)


def loaded_by(statement: str) -> list[str]:
    """Return the modules that a statement loads in a new Python, without redis' and the standard library's."""
    script = (
        f"import sys, redis, redis.asyncio; before = set(sys.modules); {statement}; "
        "print(*sorted(set(sys.modules) - before - sys.stdlib_module_names))"
    )
    process = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return process.stdout.split()


def test_the_reader_loads_nothing_but_redis_and_the_standard_library() -> None:
    assert loaded_by("from liveshelf import ShelfReader, AsyncShelfReader, Shelf, ShelfError, __version__") == [
        "liveshelf",
        "liveshelf.errors",
        "liveshelf.gate",
        "liveshelf.page",
        "liveshelf.reader",
        "liveshelf.shelf",
    ]


def test_pseudonyms_load_nothing_but_the_standard_library() -> None:
    loaded = loaded_by("from liveshelf import Pseudonyms, SettingsError")
    assert loaded == ["liveshelf", "liveshelf.errors", "liveshelf.key_file", "liveshelf.pseudonyms"]


def test_every_public_name_is_there_and_another_is_attribute_error() -> None:
    assert [name for name in liveshelf.__all__ if getattr(liveshelf, name, None) is None] == []
    assert liveshelf.ShelfReader is ShelfReader
    assert liveshelf.__version__ == tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    with pytest.raises(AttributeError, match="Reader"):
        _ = liveshelf.Reader
