"""Measure what a list and a row of features take of a Redis, and a record of the logs of Kafka.

    python -m jobs.lab.bench.redis_bytes

The jobs' own writers write to a Redis that ends with the measurement. Bytes are the slope of `used_memory` between two
numbers of keys, so what a server takes by itself doesn't count. Visitors' ids have 36 characters, items' those of the
bench's model, sessions 10 events. It ends in half a minute.
"""

import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import redis

from jobs.cluster import processes
from jobs.cluster import redis as redis_server
from jobs.features import lint
from jobs.features.definitions import from_files
from jobs.features.online_store import Row
from jobs.features.plan import FeaturePlan, Operator
from jobs.features.redis_writer import RedisWriter
from jobs.lab.bench import clicks
from jobs.lab.bench.memory import machine
from jobs.lab.bench.workplace import MODEL
from jobs.rankings.publish import Encoder, Publication, Publisher
from jobs.rankings.ranked_list import RankedList, ShelfPart
from jobs.rankings.session import Session
from jobs.settings import Settings

FEW, MANY = 10_000, 30_000  # keys
BATCH = 1_000
SESSION = 10  # events
LIST, RESERVE = 20, 8
WORDS = {"title": "Maternity blouse with long sleeves", "url": "https://shop.example/item/", "category": "category-17"}
EXAMPLES: dict[str, Any] = {"Int64": 417, "Float64": 1234.5, "Bool": True}


class Rows:
    """Keys as the jobs write them, by what they are of: visitor, item, category, list, shelf_list."""

    def __init__(self, redis_url: str, plan: FeaturePlan, items: Sequence[str]) -> None:
        self._plan, self._items, self._url = plan, items, redis_url
        self._now_ms = time.time_ns() // 1_000_000
        self._encoder = Encoder("serenade-1", [f"context_{number}" for number in range(4)], "20261129-1")

    def write(self, kind: str, first: int, stop: int) -> None:
        """Write the keys of so many visitors, items or categories."""
        names = range(first, stop)
        if kind.endswith("list"):
            publisher = Publisher(self._url, 30 * 86_400)
            lists = [self.publication(number, kind == "shelf_list") for number in names]
            publisher.publish(lists, [self._encoder.value(one) for one in lists])
            publisher.close()
            return
        writer = RedisWriter(self._url, self._plan)
        of = [each for each in self._plan.writers() if each.entity == ENTITY[kind]]
        writer.write([(each.key, self.row(each, kind, number)) for number in names for each in of])
        writer.close()

    def publication(self, number: int, of_a_shelf: bool) -> Publication:
        size = LIST + RESERVE * of_a_shelf
        items = [self._items[(number * 7 + place * 31) % len(self._items)] for place in range(size)]
        seen = items[:SESSION]
        scores = [
            round(12.9 - place / 3 - number % 97 / 97, 6) for place in range(size)
        ]  # as many digits as the model's
        part = ShelfPart([], [0] * size, seen, [place % SESSION for place in range(size)], RESERVE, False)
        ranked = RankedList(items, scores, None, seen, part if of_a_shelf else None)
        session = Session([self._now_ms] * SESSION, ["view"] * SESSION, seen, frozenset())
        return Publication(visitor(number), "home", 1, 10**8 + number, ranked, session, [1.5] * 4, self._now_ms)

    def log_bytes(self) -> dict[str, int]:
        """Return the bytes of a record's key and value in the logs, before Kafka compresses anything."""
        stream = clicks.make(1_000, 1_000, len(self._items), seed=1)
        events = [
            msgspec.json.encode(
                event | {"event_id": visitor(0), "visitor_id": visitor(0), "event_time_ms": self._now_ms}
            )
            for event in clicks.documents(stream, list(self._items), "bench")
        ]
        of_list = {
            kind: len(self._encoder.log_record(one, self._encoder.value(one)))
            for kind, one in (("list", self.publication(1, False)), ("shelf_list", self.publication(1, True)))
        }
        key = len(visitor(0))
        return {"event": key + sum(map(len, events)) // len(events)} | {kind: key + of_list[kind] for kind in of_list}

    def row(self, operator: Operator, kind: str, number: int) -> Row:
        name = {"visitor": visitor, "item": lambda n: f"item-{n:07}", "category": lambda n: f"category-{n:04}"}[kind]
        values = [self._value(output.name, output.dtype) for view in operator.views for output in view.outputs]
        return Row(name(number), self._now_ms, number, msgspec.json.encode(values).decode())

    def _value(self, name: str, dtype: str) -> Any:
        if dtype.startswith("Array"):
            return [self._items[place] for place in range(SESSION)]
        return EXAMPLES.get(dtype, WORDS.get(name, "item-123"))


ENTITY = {"visitor": "visitor_id", "item": "item_id", "category": "category"}
KINDS = (*ENTITY, "list", "shelf_list")


def visitor(number: int) -> str:
    return str(uuid.UUID(int=number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128))


def used(redis_url: str, write: Callable[[int, int], None], counts: Sequence[int]) -> Iterator[int]:
    """Yield the bytes that an emptied Redis takes more with each of the rising `counts` of keys."""
    client = redis.Redis.from_url(redis_url)
    client.config_set("auto-aof-rewrite-percentage", 0)  # a list took 1,429 bytes instead of 920 while it was rewritten
    client.flushall()
    write(0, 1)  # the scripts are loaded now
    client.flushall()
    empty, done = held(client), 0
    for count in counts:
        for first in range(done, count, BATCH):
            write(first, min(count, first + BATCH))
        done = count
        yield held(client) - empty
    client.flushall()
    client.close()


def held(client: redis.Redis) -> int:
    """Return the bytes that a server holds, without what it buffers for its file and its clients."""
    memory: dict[str, Any] = client.info("memory")  # type: ignore[assignment]  # redis-py types it as async too
    return memory["used_memory"] - memory["mem_aof_buffer"] - memory["mem_clients_normal"]


def shipped_items() -> list[str]:
    return msgspec.json.decode((MODEL / "vocabulary.json").read_bytes())["items"]


def main() -> None:
    settings = Settings()
    plan = lint.checked(settings, from_files(settings))
    (port,) = processes.free_ports(1)
    result: dict[str, Any] = {"machine": machine()}
    with tempfile.TemporaryDirectory() as folder:
        redis_server.start(Path(folder), port)
        try:
            while not redis_server.answers(redis_server.url(port)):
                time.sleep(0.1)
            rows = Rows(redis_server.url(port), plan, shipped_items())
            for kind in KINDS:
                few, many = used(redis_server.url(port), partial(rows.write, kind), (FEW, MANY))
                result[kind] = round((many - few) / (MANY - FEW))
        finally:
            processes.stop(processes.owned(Path(folder)))
    result["log"] = rows.log_bytes()
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(result), indent=1).decode() + "\n")


if __name__ == "__main__":
    main()
