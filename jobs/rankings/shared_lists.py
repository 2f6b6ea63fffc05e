"""Write the lists that are no visitor's: one for each item, one for each place.

A thread of the ranking worker does it, so that no event waits, and none is needed. Of several workers one holds the
lease. Lists are made anew when a model or a version of shelves is activated. When facts change, that is a minute later
at most. A list is written where it differs from what was written last. Reading drops what the gate names meanwhile.

An item's list stands under `shelf:{item/ITEM}:NAME`, a place's under `shelf:{place/VALUES}:NAME`.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

import msgspec
import numpy as np
import redis

from jobs.catalogue.columns import Snapshot
from jobs.connect.redis_pipeline import Command, Connection
from jobs.contract.shelf import ShelfValue, shared_key
from jobs.contract.shelf_plan import Shelf, ShelfPlan
from jobs.errors import ServiceError
from jobs.rankings.session import Session
from jobs.rankings.shelf_ranker import Made, Question, ShelfRanker
from jobs.rankings.shelf_source import ShelfSource
from jobs.rankings.trends import Trends
from models.serving.bundle import Bundle

LEASE = "shelf:lease"
LEASE_MS = 10_000
LOOK_EVERY_S = 1.0
TRENDS_S = 60.0
AFTER_ERROR_S = 10.0
AGAIN_S = 60.0  # after facts have changed
CHUNK = 32
SHARE = 0.2  # of a core that this thread takes at most
LOG = logging.getLogger(__name__)


class Served(NamedTuple):
    """What lists are made with."""

    bundle: Bundle
    plan: ShelfPlan
    shelves: str  # the version
    snapshot: Snapshot


class SharedLists:
    """Keeps the shared lists of the active shelves written, with the bundle and the facts that two functions give."""

    def __init__(
        self,
        redis_url: str,
        ttl_s: int,
        shelves: ShelfSource,
        bundle: Callable[[], Bundle],
        snapshot: Callable[[], Snapshot],
        trends: Trends,
    ) -> None:
        self._connection = Connection(redis_url, patience_s=5)
        self._ttl_ms = ttl_s * 1000
        self._shelves, self._bundle, self._snapshot, self._trends = shelves, bundle, snapshot, trends
        self._trends_s = -TRENDS_S
        self._name = uuid.uuid4().hex
        self._written: dict[str, tuple[int, float]] = {}  # by key: hash of what was written, and when it was
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shared-lists", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stopped.set()
        self._thread.join(timeout=10)
        self._connection.close()
        self._trends.close()

    def _run(self) -> None:
        done: Served | None = None
        done_s = 0.0
        while not self._stopped.wait(LOOK_EVERY_S):
            try:
                served = self._now()
                if served is None or not self._holds_lease():
                    done = None
                    continue
                self._write_trends(served)
                if done is None or _differ(done, served, is_due=time.monotonic() - done_s > AGAIN_S):
                    done_s = time.monotonic()
                    done = served if self._write(served) else None
            except ServiceError as error:
                LOG.warning("shared lists wait: %s", error)
                done = None
            except Exception:  # whatever it is: visitors' lists go on, and this thread tries again
                LOG.exception("shared lists couldn't be made")
                done = None
                self._stopped.wait(AFTER_ERROR_S)

    def _holds_lease(self) -> bool:
        """Return True if this worker is the one that writes; ask for the lease if nobody holds it."""
        (holder,) = self._connection.exchange([("GET", LEASE)])
        if holder == self._name.encode():
            self._connection.exchange([("PEXPIRE", LEASE, LEASE_MS)])
            return True
        (answer,) = self._connection.exchange([("SET", LEASE, self._name, "NX", "PX", LEASE_MS)])
        return bool(answer) and not isinstance(answer, redis.ResponseError)

    def _now(self) -> Served | None:
        """Return what lists are to be made with, None while no version of shelves is active."""
        self._shelves.poll()
        if self._shelves.plan is None:
            return None
        return Served(self._bundle(), self._shelves.plan, self._shelves.version, self._snapshot())

    def _write_trends(self, served: Served) -> None:
        """Say once a minute how the items trend."""
        if time.monotonic() - self._trends_s < TRENDS_S:
            return
        self._trends_s = time.monotonic()
        snapshot = served.snapshot
        ids = dict.fromkeys([*served.bundle.items[1:], *list(snapshot.rows)[: snapshot.size]])
        self._trends.write(served.plan, list(ids), snapshot)

    def _write(self, served: Served) -> bool:
        """Write all lists; return False if it was broken off: something else serves, or another worker writes."""
        ranker = ShelfRanker(served.bundle, served.plan, served.snapshot)
        try:
            shared = [shelf for shelf in served.plan.shelves if shelf.of != "visitor"]
            return all(self._write_shelf(shelf, served, ranker) for shelf in shared)
        finally:
            ranker.close()

    def _write_shelf(self, shelf: Shelf, served: Served, ranker: ShelfRanker) -> bool:
        asked = iter(_asked(shelf, ranker))
        while not self._stopped.is_set() and (chunk := list(islice(asked, CHUNK))):
            began_s = time.monotonic()
            questions = [question for _, question in chunk]
            made = ranker.make(questions, {shelf.name: range(len(questions))})[shelf.name]
            commands: list[Command] = []
            for (key, question), each in zip(chunk, made, strict=True):
                commands += self._command(key, question, each, served)
            if commands:
                self._connection.exchange(commands)
            now = self._now()
            if now is None or _differ(now, served, is_due=False) or not self._holds_lease():
                return False
            self._stopped.wait((time.monotonic() - began_s) * (1 / SHARE - 1))
        return True

    def _command(self, key: str, question: Question, made: Made, served: Served) -> list[Command]:
        """Return the command that writes a list, none if it stands there already."""
        ranked, now_s = made.ranked, time.monotonic()
        assert ranked.shelf is not None, "it is a shelf's"
        digest = hash((served.shelves, served.bundle.version, tuple(ranked.items)))
        before = self._written.get(key)
        if before and before[0] == digest and now_s - before[1] < self._ttl_ms / 2000:
            return []
        self._written[key] = digest, now_s
        part = ranked.shelf
        value = ShelfValue(
            version=f"{question.now_ms:020d}",
            items=ranked.items,
            scores=ranked.scores,
            model=served.bundle.version,
            event_time_ms=question.now_ms,
            computed_at_ms=question.now_ms,
            session_events=0,
            fallback=ranked.fallback,
            list_id=question.list_id,
            shelves=served.shelves,
            facts=dict(served.snapshot.offsets),
            about=part.about,
            why=part.why,
            seen=part.seen,
            because=part.because,
            spare=part.spare,
        )
        return [("SET", key, msgspec.json.encode(value), "PX", self._ttl_ms)]


def _differ(one: Served, other: Served, is_due: bool) -> bool:
    """Return True if lists must be made anew; `is_due` says whether that is so for other facts alone."""
    if one.bundle is not other.bundle or one.shelves != other.shelves:
        return True
    return is_due and one.snapshot is not other.snapshot


def _asked(shelf: Shelf, ranker: ShelfRanker) -> Iterator[tuple[str, Question]]:
    """Yield the key and the question of each list of a shelf."""
    now_ms = time.time_ns() // 1_000_000
    nobody = Session.nothing(now_ms)
    context = np.zeros(ranker.context_width, np.float32)
    if shelf.of == "item":
        for item in list(ranker.items.ids):
            key = shared_key("item", item, shelf.name)
            yield key, Question(nobody, context, {}, now_ms, f"item/{item}:{shelf.name}:{now_ms}", item=item)
        return
    for place in ranker.places(shelf):
        name = "/".join(place)
        key = shared_key("place", name, shelf.name)
        yield key, Question(nobody, context, {}, now_ms, f"place/{name}:{shelf.name}:{now_ms}", place=tuple(place))
