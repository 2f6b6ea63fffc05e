"""Hold each click until its turn, and judge it by the list that is in Redis before it is sent."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from jobs.connect import addresses
from jobs.contract.events import Event
from jobs.errors import ServiceError
from jobs.lab.demo.visitors import Score, Visitor, Visitors
from jobs.lab.demo.watcher import Standing, Watcher
from liveshelf.reader import shelf_key

FIRST_LIST_LIMIT_S = 90.0
EVENTS_PER_S = 320  # plays August, 14,148 clicks, in 45 s where lists come in time
# A visitor's clicks are 20 minutes apart in the shop, and would be 50 ms apart here: less than a list takes on a busy
# machine. So a visitor's next click waits for the list that answers the last one, at most this long.
PATIENCE_S = 1.0
LOOK_AGAIN_S = 0.002
RATE_OVER_S = 3.0


class Snapshot(NamedTuple):
    """The present state: clicks sent, the rate over the last seconds, the score, open sessions by visitor."""

    clicks: int
    events_per_s: float
    score: Score
    open: dict[str, Visitor]


class Stage:
    """`meet` is called just before each click is sent, by whoever sends; `snapshot` may be asked from any thread."""

    def __init__(
        self, redis_url: str, shelf: str, visitors: Visitors, watcher: Watcher, when_first: Callable[[], None]
    ) -> None:
        """`when_first` is called once, when the first click has its list; the second click waits for it."""
        self.first_list_at_s: float | None = None  # seconds since 1970
        self._redis = addresses.redis_client(redis_url)
        self._shelf, self._visitors, self._watcher = shelf, visitors, watcher
        self._when_first = when_first
        self._clicks, self._next_s, self._sent_s = 0, 0.0, deque[float]()
        self._lock = threading.Lock()

    def meet(self, event: Event) -> None:
        """Wait for a click's turn, and judge it by the list that stands.

        The second click waits until the first has its list, so that a worker's first batch delays nobody's.
        """
        visitor, item, time_ms = event["visitor_id"], event["item_id"], event["event_time_ms"]
        if self._clicks == 1:
            self._wait_for_first_list()
            self._when_first()
        self._wait_turn()
        standing = self._standing_in_time(visitor)
        with self._lock:
            self._visitors.click(visitor, item, time_ms, standing.shown, standing.event_time_ms)
            self._clicks += 1
            self._sent_s.append(time.monotonic())
            while self._sent_s[0] < self._sent_s[-1] - RATE_OVER_S:
                self._sent_s.popleft()
        self._watcher.watch(visitor, time_ms)

    def standing(self, visitor_id: str) -> Standing | None:
        """Return the visitor's list as it is in Redis."""
        value = self._redis.get(shelf_key(visitor_id, self._shelf))
        return msgspec.json.decode(value, type=Standing) if value else None

    def snapshot(self) -> Snapshot:
        with self._lock:
            score, open_now = self._visitors.snapshot()
            return Snapshot(self._clicks, len(self._sent_s) / RATE_OVER_S, score, open_now)

    def visitor(self, visitor_id: str) -> Visitor:
        with self._lock:
            return self._visitors.get(visitor_id)

    def _standing_in_time(self, visitor_id: str) -> Standing:
        """Return the list, once it answers the visitor's last click or when patience ends; an empty one if there is
        none.
        """
        wanted_ms = self._visitors.last_ms(visitor_id)
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            standing = self.standing(visitor_id) or Standing([], 0)
            if standing.event_time_ms >= wanted_ms or time.monotonic() > deadline_s:
                return standing
            time.sleep(LOOK_AGAIN_S)

    def _wait_turn(self) -> None:
        """Keep a steady pace. A delay isn't made up for: that would be a burst."""
        now_s = time.monotonic()
        time.sleep(max(0.0, self._next_s - now_s))
        self._next_s = max(self._next_s, now_s) + 1 / EVENTS_PER_S

    def _wait_for_first_list(self) -> None:
        with self._lock:
            _, open_now = self._visitors.snapshot()
        (visitor,) = open_now
        deadline_s = time.monotonic() + FIRST_LIST_LIMIT_S
        while self.standing(visitor) is None:
            if time.monotonic() > deadline_s:
                what = f"no list for {visitor} within {FIRST_LIST_LIMIT_S:.0f} s of the first click"
                raise ServiceError(what, "look at flink/log in the demo's state folder, or run: liveshelf doctor")
            time.sleep(0.005)
        self.first_list_at_s = time.time()
