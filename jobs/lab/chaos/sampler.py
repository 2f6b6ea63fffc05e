"""Read keys all the time and note every version that falls: an app would see a list go back."""

import random
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import redis

from jobs.connect import addresses
from jobs.contract.shelf import shelf_key
from jobs.features.online_store import entity_key
from jobs.features.plan import FeaturePlan

KEYS_PER_S = 1000
BATCH = 50
VERSION = (12, 31)  # where a list's version stands in its value


class Fall(NamedTuple):
    """A key whose version was lower than one that was read before."""

    key: str
    before: bytes
    after: bytes


class Sampler:
    """Reads the versions of lists and visitors' features at random, 1,000 keys/s, straight from Redis."""

    def __init__(self, redis_url: str, plan: FeaturePlan, shelf: str) -> None:
        self._client = addresses.redis_client(redis_url, socket_timeout=1, socket_connect_timeout=1)
        self._project, self._shelf = plan.project, shelf
        self._fields = [f"_v:{operator.key}" for operator in plan.operators() if operator.entity == "visitor_id"]
        self._visitors: list[str] = []
        self._left: set[str] = set()
        self._seen: dict[tuple[str, str], bytes] = {}
        self._ending, self._blind = threading.Event(), False
        self.falls: list[Fall] = []
        self.reads = self.failures = 0
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._thread.start()

    def watch(self, visitors: Iterable[str]) -> None:
        """Read these visitors from now on too."""
        self._visitors = sorted({*self._visitors, *visitors} - self._left)

    def visitors(self) -> list[str]:
        """Return the visitors whose lists are read."""
        return self._visitors

    def leave(self, visitors: Iterable[str]) -> None:
        """Stop reading these visitors' lists: what is erased goes."""
        self._left |= set(visitors)
        self.watch(())

    @contextmanager
    def blind(self) -> Iterator[None]:
        """Don't compare while Redis itself loses data: lists after that are compared with each other only."""
        self._blind, self._seen = True, {}
        yield
        self._blind, self._seen = False, {}

    def close(self) -> None:
        self._ending.set()
        self._thread.join(5)
        self._client.close()

    def _run(self) -> None:
        rng, due_s = random.Random(0), time.monotonic()
        while not self._ending.is_set():
            due_s = max(due_s + BATCH / KEYS_PER_S, time.monotonic() - 1)
            if self._visitors and not self._blind:
                self._read(rng.choices(self._visitors, k=BATCH // 2))
            self._ending.wait(max(0.0, due_s - time.monotonic()))

    def _read(self, visitors: list[str]) -> None:
        seen = self._seen  # `blind` puts another in its place: what is read now belongs to this one
        try:
            with self._client.pipeline(transaction=False) as pipeline:
                for visitor in visitors:
                    pipeline.getrange(shelf_key(visitor, self._shelf), *VERSION)
                    pipeline.hmget(entity_key(self._project, {"visitor_id": visitor}), self._fields)
                replies = pipeline.execute()
        except (redis.ConnectionError, redis.TimeoutError, redis.ResponseError):
            self.failures += len(visitors) * 2
            return
        self.reads += len(visitors) * 2
        for visitor, shelf, features in zip(visitors, replies[::2], replies[1::2], strict=True):
            for name, version in (("list", shelf), *zip(self._fields, features, strict=True)):
                self._compare(seen, (visitor, name), version or b"")

    def _compare(self, seen: dict[tuple[str, str], bytes], key: tuple[str, str], version: bytes) -> None:
        before = seen.get(key, b"")
        if version < before and seen is self._seen:
            self.falls.append(Fall(":".join(key), before, version))
        seen[key] = version
