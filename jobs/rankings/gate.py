"""Tell Redis which items may not be shown now: those that the shop's gate doesn't let through.

A list was right when it was made. What readers show of it is right when they read it, because they leave out what this
set names. So nothing here waits for an event: a thread looks at the facts, at the active version of shelves, and at the
clock where the gate reads `now`.

All workers write the same set (`gate_set.py`). An item of which this worker knows nothing stays in the set as another
one left it: its facts may be gone, and the gate lets nobody through of whom nothing is known. It stays as long as lists
live that were made before. Else the set of a shop whose items come and go would grow without end.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from jobs.catalogue.columns import Snapshot
from jobs.contract.shelf_plan import ShelfPlan
from jobs.errors import DefinitionError, ServiceError
from jobs.rankings.gate_set import GateSet, Known, hash_of, version_of
from jobs.shelves import rules
from jobs.shelves.items import Items
from jobs.shelves.masks import Mask
from jobs.shelves.versions import ShelfVersions
from jobs.versions.folder import ACTIVE

Hashes = npt.NDArray[np.uint64]

LOOK_S = 0.02  # between two looks at the facts: a look that finds nothing costs microseconds
LOOK_AT_VERSIONS_S = 0.5
CONFIRM_S = 1.0  # so long the set may be gone after Redis was emptied
AGAIN_S = 0.1  # after a refusal; this worker's facts are newer then
PATIENCE_S = 2.0
TRIES = 5
LOOK_AT_GONE_S = 600.0  # between two looks at what is gone
SPARE_MS = 86_400_000  # that what is gone is held back longer than a list lives: clocks differ, and events come late
HELD_AT_LEAST_MS = 30 * 86_400_000  # a shop that lets lists live shorter still has those that it made before
FEW = 1000  # changes; before more are sent, somebody else may have written them
LOG = logging.getLogger(__name__)


class GateWriter:
    """Keep the gate's set right on a thread."""

    def __init__(
        self, redis_url: str, versions: ShelfVersions, facts: Callable[[], Snapshot], list_ttl_s: int = 0
    ) -> None:
        """Begin to look. Nothing is written while no version of shelves is active. A list lives for `list_ttl_s`."""
        self._set = GateSet(redis_url, PATIENCE_S)
        self._hold_ms = max(list_ttl_s * 1000, HELD_AT_LEAST_MS) + SPARE_MS
        self._versions, self._facts = versions, facts
        self._offered: Items | None = None
        self._own = Items([], facts())
        self._stopped = threading.Event()
        self._failure: BaseException | None = None
        self._state = _State()
        self._plan: ShelfPlan | None = None
        self._version, self._activated_at_ms, self._refusal = "", 0, ""
        self._seen_ns, self._looked_s, self._next_s, self._gone_s = 0, 0.0, 0.0, 0.0
        self._thread = threading.Thread(target=self._work, name="gate", daemon=True)
        self._thread.start()

    def offer(self, items: Items | None) -> None:
        """Say which items there are, None for those that have facts. Raise what has ended the thread, if anything has.

        It costs the caller nothing.
        """
        if self._failure is not None:
            raise self._failure
        self._offered = items

    def close(self) -> None:
        """End the thread. The set stays as it is."""
        self._stopped.set()
        self._thread.join(timeout=10)
        self._set.close()

    def _work(self) -> None:
        told = False
        while not self._stopped.wait(LOOK_S):
            try:
                if self._look():
                    told = False
            except ServiceError as error:  # Redis is away: wait and go on
                self._next_s = time.monotonic() + CONFIRM_S
                if not told:
                    LOG.warning("the gate stays as it is: %s", error)
                told = True
            except BaseException as failure:
                self._failure = failure
                raise

    def _look(self) -> bool:
        """Write what has changed, or confirm what stands; return True if Redis answered."""
        now_s, now_ms = time.monotonic(), time.time() * 1000
        if now_s - self._looked_s >= LOOK_AT_VERSIONS_S:
            self._looked_s = now_s
            self._look_at_versions()
        if self._plan is None:
            return False
        snapshot = self._facts()
        has_changed = self._state.take(self._plan, self._offered or self._with_facts(snapshot), snapshot, now_ms)
        if not has_changed and now_s < self._next_s:
            return False
        is_written = self._write()
        self._next_s = now_s + (CONFIRM_S if is_written else AGAIN_S)
        if is_written and now_s >= self._gone_s:
            self._gone_s = now_s + LOOK_AT_GONE_S
            if outlived := self._set.outlived(self._state.strangers, self._hold_ms):
                self._state.let_go(outlived)
                self._next_s = now_s
        return True

    def _with_facts(self, snapshot: Snapshot) -> Items:
        """Return the items that have facts."""
        if len(self._own) != snapshot.size or self._own.snapshot.rows is not snapshot.rows:
            self._own = Items(list(snapshot.rows)[: snapshot.size], snapshot)
        return self._own

    def _look_at_versions(self) -> None:
        """Take the active version of shelves, or the good one before it, if it was activated since the last look."""
        try:
            stamp_ns = (self._versions.folder / ACTIVE).stat().st_mtime_ns
            if stamp_ns == self._seen_ns:
                return
            activated_at_ms = self._versions.active().activated_at_ms
            version, plan = self._versions.serving()
        except OSError:
            return  # no version is active
        except DefinitionError as error:
            if str(error) != self._refusal:  # the next look comes in half a second, and finds the same
                LOG.warning("the gate stays as it is: %s", error)
            self._refusal = str(error)
            return
        self._seen_ns, self._plan = stamp_ns, plan
        self._version, self._activated_at_ms, self._refusal = version, activated_at_ms, ""

    def _write(self) -> bool:
        """Send what has changed since this worker last knew the set; return False if another worker knows more."""
        state = self._state
        known = Known(self._activated_at_ms, self._version, dict(state.items.snapshot.offsets))
        changes = state.changes()
        answer = self._set.write(known, state.version, changes if len(changes) <= FEW else ())
        for _ in range(TRIES):
            if answer != "other":
                break
            seen = self._set.stored()
            state.found(seen.members)
            answer = self._set.write(known, state.version, state.changes(), seen)
        if answer == "as_expected":
            state.is_stored()
        return answer == "as_expected"


class _State:
    """Which items the gate holds back, and which ones Redis is known to hold. Arrays are parallel to the items' ids."""

    def __init__(self) -> None:
        self.items: Items
        self._ids: Sequence[str] = ()
        self._plan: ShelfPlan | None = None
        self._hashes: Hashes = np.empty(0, np.uint64)
        self._held: Mask = np.empty(0, bool)
        self._stored: Mask = np.empty(0, bool)
        self._strangers: list[str] = []  # in Redis, and not in `ids`
        self._outlived: set[str] = set()  # strangers that no list can hold any more
        self._removed: frozenset[str] = frozenset()  # that the facts name as gone
        self._gone: set[str] = set()  # of these, what is held back even if Redis doesn't hold it
        self._until_ms = 0.0

    def take(self, plan: ShelfPlan, offered: Items, snapshot: Snapshot, now_ms: float) -> bool:
        """Look at the newest facts, and return True if something must be written for them."""
        is_new = offered.ids is not self._ids
        if not is_new and plan is self._plan and snapshot is self.items.snapshot and now_ms < self._until_ms:
            return False
        must_write = is_new or plan is not self._plan or snapshot.gone is not self._removed
        if snapshot.gone is not self._removed:
            self._gone = (self._gone | (snapshot.gone - self._removed)) & snapshot.gone
            self._removed = snapshot.gone
        members = self._members() if is_new else []
        self._plan = plan
        self.items = Items(offered.ids, snapshot, offered if is_new else self.items)
        if is_new:
            self._hash(offered.ids)
            self.found(members)
        vector = rules.gate(plan, self.items, now_ms)
        before, self._held, self._until_ms = self._held, ~vector.true, vector.until_ms
        return must_write or not np.array_equal(before, self._held)

    @property
    def version(self) -> str:
        """Return the version of the set as it should be."""
        strangers = self.strangers
        known = int(self._hashes[self._held].sum(dtype=np.uint64))
        return version_of(known + sum(map(hash_of, strangers)), int(self._held.sum()) + len(strangers))

    def changes(self) -> list[tuple[int, str]]:
        """Return what must be added, then what must be removed, as `GateSet.write` takes it."""
        added = np.flatnonzero(self._held & ~self._stored).tolist()
        strangers = set(self._strangers)
        removed = np.flatnonzero(~self._held & self._stored).tolist()
        return [
            *((int(self._hashes[number]), self._ids[number]) for number in added),
            *((hash_of(id_), id_) for id_ in self.strangers if id_ not in strangers),
            *((-int(self._hashes[number]), self._ids[number]) for number in removed),
            *((-hash_of(id_), id_) for id_ in self._strangers if not self._stays(id_)),
        ]

    def found(self, members: Sequence[str]) -> None:
        """Take what Redis holds."""
        numbers = self.items.number_of
        self._stored = np.zeros(len(self._ids), bool)
        self._stored[self.items.numbers(members)] = True
        self._strangers = [id_ for id_ in members if id_ not in numbers]

    def is_stored(self) -> None:
        """Take it that Redis holds what it should."""
        self._stored = self._held
        self._strangers = self.strangers
        self._outlived = set()

    def let_go(self, strangers: Sequence[str]) -> None:
        """Hold these back no longer, unless they are known by then."""
        self._outlived = set(strangers)
        self._gone -= self._outlived

    @property
    def strangers(self) -> list[str]:
        """Return the items that are held back though nothing is known of them."""
        stored, numbers = set(self._strangers), self.items.number_of
        gone = [id_ for id_ in self._gone if id_ not in numbers and id_ not in stored]
        return [id_ for id_ in (*self._strangers, *gone) if self._stays(id_)]

    def _stays(self, stranger: str) -> bool:
        """Return True where a gate is, which lets nobody through of whom nothing is known, until no list holds it."""
        return self._plan is not None and self._plan.gate is not None and stranger not in self._outlived

    def _members(self) -> list[str]:
        return [*(self._ids[number] for number in np.flatnonzero(self._stored).tolist()), *self._strangers]

    def _hash(self, ids: Sequence[str]) -> None:
        kept = len(self._ids) if list(ids[: len(self._ids)]) == list(self._ids) else 0
        more = np.fromiter(map(hash_of, ids[kept:]), np.uint64, len(ids) - kept)
        self._hashes = np.concatenate([self._hashes[:kept], more])
        self._ids = ids
