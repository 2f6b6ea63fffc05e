"""`liveshelf learn`: train on the topic's sessions when there is a reason; activate a version that isn't worse."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from jobs.contract.consent import Consents
from jobs.errors import DataError
from jobs.learn.triggers import Seen, Triggers, due, item_drift, recall_of
from jobs.learn.visits import Tail, Visits
from models.clicks.dataset import Session
from models.runs.tracking import learn_recorded
from models.serving.registry import Registry
from models.session.choose import JUDGED_BY
from models.session.restore import restore

HOUR_S = 3600.0
LOOK_EVERY_S = 10.0
# A session that went on while a version was trained may have begun so long before.
LONGEST_SESSION_S = 86_400.0


class Outcome(msgspec.Struct, frozen=True):
    """The result of one training; `version` is "" where nothing was published, and `problem` says why."""

    reason: str
    sessions: int
    began_from: str
    version: str
    problem: str
    before: dict[str, float]
    after: dict[str, float]
    seconds: float


def learned_until_s(registry: Registry) -> float:
    """Return the event time of the newest session that the active version was trained on; 0 if it doesn't say."""
    training = registry.bundle(registry.active().version).manifest["training"]
    return float(training.get("learned_until_ms", 0)) / 1000


def learn_once(
    registry: Registry, sessions: list[Session], reason: str, tell: Callable[[str], None], store: Path
) -> Outcome:
    """Train on from the active version; publish and activate the result unless it is worse on the newest sessions.

    Each training is a run in MLflow's folder `store`.
    Raises ModelError if training can't go on from the active version.
    """
    began, active = time.monotonic(), registry.active().version
    source = {"file": "events topic", "learned_until_ms": round(sessions[-1][-1].time_s * 1000)} if sessions else {}
    version, problem, before, after = "", "", {}, {}
    with tempfile.TemporaryDirectory() as out:
        try:
            judged = learn_recorded(store, registry.folder / active, sessions, Path(out), source, tell=tell)
            before, after = ({name: metrics[name] for name in JUDGED_BY} for metrics in judged)
            problem = f"worse on the newest sessions: {', '.join(judged.worse)}" if judged.worse else ""
            if not judged.worse:
                version = registry.publish(Path(out))
                registry.activate(version)
        except DataError as error:
            problem = str(error)
    seconds = round(time.monotonic() - began, 1)
    return Outcome(reason, len(sessions), active, version, problem, before, after, seconds)


class Loop:
    """Read the topic, look for a reason to learn, and learn.

    The active version's manifest says up to when it has learned, so the loop can be ended at any time. `consents`
    returns consent as it stands. It is asked about all that is held whenever that is looked at or learned from.
    """

    def __init__(
        self,
        registry: Registry,
        tail: Tail,
        visits: Visits,
        consents: Callable[[], Consents],
        bounds: Triggers,
        tell: Callable[[str], None],
        store: Path,
    ) -> None:
        self._store, self._consents = store, consents
        self._registry, self._tail, self._visits, self._bounds, self._tell = registry, tail, visits, bounds, tell
        self._tried_s, self._tried_sessions = time.monotonic(), 0
        self._use_active()

    def catch_up(self) -> None:
        """Read to the present end of the topic."""
        while records := self._tail.read():
            self._visits.add(records)

    def step(self) -> Outcome | None:
        """Read for some seconds, and learn if there is a reason."""
        look_at = time.monotonic() + LOOK_EVERY_S
        while time.monotonic() < look_at:
            self._visits.add(self._tail.read())
        reason = due(self._bounds, self.seen(), self._published_recall)
        return self.learn(reason) if reason else None

    def seen(self) -> Seen:
        """Return the numbers that the triggers look at."""
        if self._registry.active().version != self._bundle.version:  # somebody activated another one
            self._use_active()
        self._visits.obey(self._consents())
        hour_ago_s = self._visits.newest_s - HOUR_S
        latest = self._visits.since(hour_ago_s)
        return Seen(
            sessions=max(0, len(self._visits.over()) - self._tried_sessions),  # fewer where people withdrew since
            minutes=(time.monotonic() - self._tried_s) / 60,
            recall=recall_of(self._bundle, latest, hour_ago_s),
            psi=item_drift(self._clicks, latest),
        )

    def learn(self, reason: str) -> Outcome:
        """Train once on all new sessions that may be learned from as the training begins."""
        self._visits.obey(self._consents())
        sessions = self._visits.over()
        outcome = learn_once(self._registry, sessions, reason, self._tell, self._store)
        if outcome.version:
            self._visits.learned(sessions[-1][-1].time_s)
            self._use_active()
        self._tried_s, self._tried_sessions = time.monotonic(), len(self._visits.over())
        return outcome

    def _use_active(self) -> None:
        version = self._registry.active().version
        self._bundle = self._registry.bundle(version)
        self._clicks = restore(self._registry.folder / version).clicks
        self._published_recall = self._bundle.manifest["metrics"].get("model", {}).get("recall@20")
