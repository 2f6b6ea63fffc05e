"""Lists behind the gate, on a real Redis: what may not be shown now is shown by nobody, in any language."""

import asyncio
import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from jobs.rankings.gate_set import GateSet, Known, hash_of, version_of
from jobs.settings import REPOSITORY
from liveshelf import gate as of_readers
from liveshelf.reader import AsyncShelfReader, Shelf, ShelfError, ShelfReader
from tests.support.waiting import eventually

KNOWN = Known(1, "shelves-1", {"offers": 1})
PAGE = (REPOSITORY / "jobs" / "sdk" / "README.md").read_text()


class Gate:
    """The set, as the job writes it."""

    def __init__(self, redis_url: str) -> None:
        self._set = GateSet(redis_url, patience_s=5)

    def hold(self, *items: str) -> None:
        stored = set(self._set.stored().members)
        changes = [(hash_of(item), item) for item in set(items) - stored]
        changes += [(-hash_of(item), item) for item in stored - set(items)]
        assert self._set.write(KNOWN, version_of(sum(map(hash_of, items)), len(items)), changes) == "as_expected"

    def close(self) -> None:
        self._set.close()


class Reads:
    """Reads like an app: with the one reader or the other."""

    def __init__(self, redis_url: str, is_async: bool) -> None:
        self._loop = asyncio.new_event_loop() if is_async else None
        self._reader: Any = AsyncShelfReader(redis_url) if is_async else ShelfReader(redis_url)

    def get(self, visitor: str, shelf: str | None = None) -> Shelf:
        return self._done(self._reader.get(visitor, shelf))

    def page(self, *arguments: Any, **options: Any) -> dict[str, Shelf]:
        return self._done(self._reader.page(*arguments, **options))

    def items(self) -> str:
        return "".join(self.get("v").items)

    def close(self) -> None:
        self._done(self._reader.close())
        if self._loop:
            self._loop.close()

    def _done(self, given: Any) -> Any:
        return self._loop.run_until_complete(given) if self._loop else given


@pytest.fixture
def gate(redis_url: str, client: redis.Redis) -> Iterator[Gate]:
    gate = Gate(redis_url)
    yield gate
    gate.close()


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def reads(request: pytest.FixtureRequest, redis_url: str) -> Iterator[Reads]:
    reads = Reads(redis_url, request.param)
    yield reads
    reads.close()


def put(client: redis.Redis, key: str, items: str, spare: int = 0, **more: Any) -> None:
    now_ms = time.time_ns() // 1_000_000
    value = {
        "version": "0" * 20, "items": list(items), "scores": [1.0] * len(items), "model": "m", "event_time_ms": now_ms,
        "computed_at_ms": now_ms, "session_events": 1, "fallback": None, "list_id": "0-1", "spare": spare,
    }  # fmt: skip
    client.set(key, json.dumps(value | more))


def test_a_reader_follows_the_gate(reads: Reads, gate: Gate, client: redis.Redis) -> None:
    put(client, "shelf:{v}:home", "abcd", spare=1)
    assert reads.items() == "abc"

    gate.hold("b", "x")
    eventually(lambda: reads.items() == "acd")
    gate.hold("a", "b", "c", "d")
    eventually(lambda: reads.items() == "")
    gate.hold()
    eventually(lambda: reads.items() == "abc")


def test_nobody_shows_what_left_a_fifth_of_a_second_ago(reads: Reads, gate: Gate, client: redis.Redis) -> None:
    put(client, "shelf:{v}:home", "ab")
    gate.hold("x")
    assert reads.items() == "ab"
    gate.hold("a")
    time.sleep(of_readers.COPY_S)
    assert reads.items() == "b"


def test_a_page_is_read_in_one_round_trip(reads: Reads, gate: Gate, client: redis.Redis) -> None:
    """The set is fetched with the first list; then a page needs nothing but values and the set's version."""
    put(client, "shelf:{v}:home", "abx")
    put(client, "shelf:{v}:product", "pq", about=["8"])
    put(client, "shelf:{item/7}:similar", "xpy", spare=1)
    gate.hold("p")
    assert reads.get("v", "product").items == ("q",)
    client.config_resetstat()

    page = reads.page("v", ["product", "home"], item="7")

    assert {name: "".join(one.items) for name, one in page.items()} == {"product": "xy", "home": "ab"}
    assert client.info("commandstats")["cmdstat_get"]["calls"] == 5
    assert "cmdstat_smembers" not in client.info("commandstats")


def test_of_a_large_set_only_the_lists_items_are_asked(
    reads: Reads, gate: Gate, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_readers, "MOST_ITEMS", 2)
    put(client, "shelf:{v}:home", "abcd", spare=1)
    gate.hold("b", "x", "y")
    client.config_resetstat()

    assert reads.items() == "acd"
    assert "cmdstat_smembers" not in client.info("commandstats")


def test_threads_share_one_copy(redis_url: str, gate: Gate, client: redis.Redis) -> None:
    put(client, "shelf:{v}:home", "ab")
    gate.hold("a")
    client.config_resetstat()
    reader, found = ShelfReader(redis_url), []
    threads = [threading.Thread(target=lambda: found.append(reader.get("v").items)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reader.close()

    assert set(found) == {("b",)}
    assert client.info("commandstats")["cmdstat_smembers"]["calls"] == 1


def test_a_client_that_decodes_reads_the_gate_too(redis_url: str, gate: Gate, client: redis.Redis) -> None:
    put(client, "shelf:{v}:home", "ab")
    gate.hold("a")
    with redis.Redis.from_url(redis_url, decode_responses=True) as own:
        assert ShelfReader(own).get("v").items == ("b",)


def test_a_gate_of_another_type_is_an_error(reads: Reads, client: redis.Redis) -> None:
    put(client, "shelf:{v}:home", "ab")
    client.set(of_readers.GATE_VERSION, "7-1")
    client.set(of_readers.GATE, "x")
    with pytest.raises(ShelfError, match="WRONGTYPE"):
        reads.get("v")


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node here")
def test_the_example_in_javascript_shows_what_the_reader_shows(redis_url: str, gate: Gate, client: redis.Redis) -> None:
    put(client, "shelf:{v}:home", "abcde", spare=2, why=[0, 6, 17, 4, 5], seen=["s"], because=[0, -1, 0, -1, -1])
    put(client, "shelf:{gone}:home", "", fallback="erased")
    gate.hold("b", "x")
    (example,) = re.findall(r"```js\n(.*?)```", PAGE, re.DOTALL)

    for visitor in ("v", "gone", "nobody"):
        value = client.get(f"shelf:{{{visitor}}}:home")
        items = json.loads(value)["items"] if value else []
        held = client.smismember("shelf:gate", items) if items else []
        replies = json.dumps([value.decode() if value else None, held])
        script = f"{example}\nconsole.log(JSON.stringify(shown(...{replies})))"
        answer = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True).stdout

        one = ShelfReader(client).get(visitor)
        expected = [
            {"item": item, "why": why, "instead": step > 0, "because": because}
            for item, why, step, because in zip(one.items, one.why, one.instead, one.because, strict=True)
        ]
        assert json.loads(answer) == expected
        assert len(expected) == (3 if visitor == "v" else 0)
