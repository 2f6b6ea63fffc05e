"""Measure from outside how long a list takes: read some visitors' lists until they answer a click."""

import math
import threading
import time
from collections import deque
from dataclasses import dataclass

import msgspec

from jobs.connect import addresses
from liveshelf.reader import shelf_key

# Reading every 4 ms makes a measured time up to 4 ms too long and takes 5 % of a core.
PAUSE_S = 0.004
GIVE_UP_S = 10.0
SAMPLED_EVERY = 8  # clicks: 40 samples a second say enough, and leave the machine to those who are measured
RECENT = 400  # samples: what the board shows is about the last ten seconds


class Standing(msgspec.Struct):
    """The part of a list that the demo reads."""

    items: list[str]
    event_time_ms: int
    fallback: str | None = None
    spare: int = 0  # how many of the last items stand in reserve

    @property
    def shown(self) -> list[str]:
        return self.items[: len(self.items) - self.spare]


@dataclass(frozen=True)
class Pending:
    """A click whose list is waited for."""

    key: str
    event_time_ms: int
    sent_s: float


class Watcher:
    """Measures, in a thread of its own, the time from just before a click is sent until its list is in Redis.

    `watch` is called for every click and keeps one of `SAMPLED_EVERY`. Times are in ms; a list that stays away for
    `GIVE_UP_S` counts in `missed`.
    """

    def __init__(self, redis_url: str, shelf: str) -> None:
        self.samples_ms: list[float] = []
        self.missed = 0
        self._redis = addresses.redis_client(redis_url)
        self._shelf = shelf
        self._seen = 0
        self._incoming: deque[Pending] = deque()
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo-watcher", daemon=True)

    def __enter__(self) -> "Watcher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leave.set()
        self._thread.join()
        self._redis.close()

    def watch(self, visitor_id: str, event_time_ms: int) -> None:
        self._seen += 1
        if self._seen % SAMPLED_EVERY == 0:
            self._incoming.append(Pending(shelf_key(visitor_id, self._shelf), event_time_ms, time.monotonic()))

    def percentiles_ms(self, recent: int | None = None) -> tuple[float, float] | None:
        """Return p50 and p99 of all samples, or of the newest `recent`; None before the first one."""
        samples = sorted(self.samples_ms[-recent:] if recent else self.samples_ms[:])
        return (percentile(samples, 50), percentile(samples, 99)) if samples else None

    def _run(self) -> None:
        pending: list[Pending] = []
        while not self._leave.is_set():
            while self._incoming:
                pending.append(self._incoming.popleft())
            if pending:
                pending = self._look(pending)
            self._leave.wait(PAUSE_S)

    def _look(self, pending: list[Pending]) -> list[Pending]:
        values = self._redis.mget([click.key for click in pending])
        now_s = time.monotonic()
        left = []
        for click, value in zip(pending, values, strict=True):
            if value and msgspec.json.decode(value, type=Standing).event_time_ms >= click.event_time_ms:
                self.samples_ms.append((now_s - click.sent_s) * 1000)
            elif now_s - click.sent_s > GIVE_UP_S:
                self.missed += 1
            else:
                left.append(click)
        return left


def percentile(ordered: list[float], percent: float) -> float:
    """Return the nearest-rank percentile of ascending numbers, of which there is at least one."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
