"""Write the lists that are no visitor's: one for each item, one for each place.

A thread of the ranking worker does it, so that no event waits, and none is needed. Of several workers one holds the
lease. Lists are made anew when a model or a version of shelves is activated. When facts change, that is a minute later
at most; a shelf that says `minutes(…)` is made anew so often instead. A list is written where it differs from what was
written last. Whoever takes the lease writes all lists: another worker may have written others, or Redis was emptied,
and the lease with it. Reading drops what the gate names meanwhile.

An item's list stands under `shelf:{item/ITEM}:NAME`, a place's under `shelf:{place/VALUES}:NAME`.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

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
AT_LEAST_EVERY_S = 3600.0  # lists expire, and rules may read the time
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
        self._serving: Served | None = None  # the model and the version of shelves that lists are made with
        self._done: dict[str, tuple[Snapshot, float]] = {}  # by shelf: with what all its lists were made, and when
        self._ranker: ShelfRanker | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shared-lists", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stopped.set()
        self._thread.join(timeout=10)
        self._connection.close()
        self._trends.close()

    def _run(self) -> None:
        while not self._stopped.wait(LOOK_EVERY_S):
            try:
                self._look()
            except ServiceError as error:
                LOG.warning("shared lists wait: %s", error)
                self._stopped.wait(AFTER_ERROR_S)
            except Exception:  # whatever it is: visitors' lists go on, and this thread tries again
                LOG.exception("shared lists couldn't be made")
                self._stopped.wait(AFTER_ERROR_S)
        self._drop_ranker()

    def _look(self) -> None:
        """Write what is due, if this worker is the one that writes."""
        served = self._now()
        if served is None or not self._takes_lease():
            self._done.clear()
            self._drop_ranker()
            return
        self._write_trends(served)
        if self._serving is None or _differ(self._serving, served):
            self._done.clear()
            self._drop_ranker()
        self._serving = served
        due = [shelf for shelf in served.plan.shelves if shelf.of != "visitor" and self._is_due(shelf, served)]
        if due:
            self._write(due, served)

    def _is_due(self, shelf: Shelf, served: Served) -> bool:
        if shelf.name not in self._done:
            return True
        snapshot, done_s = self._done[shelf.name]
        if shelf.every_ms:
            wait_s = shelf.every_ms / 1000
        else:
            wait_s = AGAIN_S if snapshot is not served.snapshot else AT_LEAST_EVERY_S
        return time.monotonic() - done_s > min(wait_s, self._ttl_ms / 4000)

    def _takes_lease(self) -> bool:
        """Return True if this worker is the one that writes; ask for the lease if nobody holds it."""
        if self._keeps_lease():
            return True
        self._written.clear()
        self._done.clear()
        (answer,) = self._answers([("SET", LEASE, self._name, "NX", "PX", LEASE_MS)])
        return bool(answer)

    def _keeps_lease(self) -> bool:
        """Return True if this worker holds the lease, which it then holds for longer."""
        (holder,) = self._answers([("GET", LEASE)])
        if holder != self._name.encode():
            return False
        self._answers([("PEXPIRE", LEASE, LEASE_MS)])
        return True

    def _answers(self, commands: Sequence[Command]) -> list[Any]:
        """Return what Redis answers. Raises ServiceError if it is away or refuses a command."""
        replies = self._connection.exchange(commands)
        for (_, key, *_), reply in zip(commands, replies, strict=True):
            if isinstance(reply, redis.ResponseError):
                raise ServiceError(
                    f"Redis refused {key!r} to the thread of shared lists: {reply}",
                    "let the jobs' user read and write shelf:*",
                ) from reply
        return replies

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

    def _write(self, due: Sequence[Shelf], served: Served) -> None:
        """Write the lists of these shelves, until something else serves or another worker writes."""
        if self._ranker is None:  # it is kept, as it holds what follows each item: the model is asked once
            self._ranker = ShelfRanker(served.bundle, served.plan, served.snapshot)
        else:
            self._ranker.take(served.snapshot)
        for shelf in due:
            began_s = time.monotonic()
            if not self._write_shelf(shelf, served, self._ranker):
                break
            self._done[shelf.name] = served.snapshot, began_s

    def _drop_ranker(self) -> None:
        if self._ranker is not None:
            self._ranker.close()
        self._ranker = None

    def _write_shelf(self, shelf: Shelf, served: Served, ranker: ShelfRanker) -> bool:
        asked = iter(_asked(shelf, ranker))
        while not self._stopped.is_set() and (chunk := list(islice(asked, CHUNK))):
            began_s = time.monotonic()
            questions = [question for _, question in chunk]
            made = ranker.make(questions, {shelf.name: range(len(questions))})[shelf.name]
            self._send([(key, question, each) for (key, question), each in zip(chunk, made, strict=True)], served)
            now = self._now()
            if now is None or _differ(now, served) or not self._keeps_lease():
                return False
            self._stopped.wait((time.monotonic() - began_s) * (1 / SHARE - 1))
        return not self._stopped.is_set()

    def _send(self, lists: Sequence[tuple[str, Question, Made]], served: Served) -> None:
        """Write the lists that don't stand there already."""
        now_s = time.monotonic()
        commands: list[Command] = []
        sent: dict[str, tuple[int, float]] = {}
        for key, question, made in lists:
            digest = hash((served.shelves, served.bundle.version, tuple(made.ranked.items)))
            before = self._written.get(key)
            if before is None or before[0] != digest or now_s - before[1] >= self._ttl_ms / 2000:
                commands.append(("SET", key, _encoded(question, made, served), "PX", self._ttl_ms))
                sent[key] = digest, now_s
        if commands:
            self._answers(commands)
        self._written |= sent


def _encoded(question: Question, made: Made, served: Served) -> bytes:
    ranked = made.ranked
    part = ranked.shelf
    assert part is not None, "it is a shelf's"
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
    return msgspec.json.encode(value)


def _differ(one: Served, other: Served) -> bool:
    """Return True if another model or another version of shelves serves."""
    return one.bundle is not other.bundle or one.shelves != other.shelves


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
