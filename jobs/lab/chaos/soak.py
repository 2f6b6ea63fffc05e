"""The soak: an hour of steady traffic with random faults, to find what is lost and what grows.

Event time runs 480 times as fast as the clock, so that what features and lists keep (a day, a session) comes and goes
many times within the hour; a visitor comes again some 35 times.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil

from jobs.cluster import processes
from jobs.contract.events import Event
from jobs.lab.bench import clicks, memory
from jobs.lab.chaos import processes as faults
from jobs.lab.chaos import random_actions, services
from jobs.lab.chaos.run import BEGINS_DAYS_AGO, Show, Tell
from jobs.lab.chaos.running_system import ESHOP
from jobs.lab.chaos.stage import Stage, failed
from jobs.lab.chaos.system import System
from jobs.lab.chaos.traffic import DAY_MS, Traffic, beat
from jobs.lab.replay import produce
from jobs.verify.run import verify
from models.serving.bundle import load_bundle

EVENTS_PER_S = 2_000
SPEED = 480  # event time by time on the wall: 360,000 events a day; at 240 their state fills the TaskManager's heap
VISITORS = 20_000
CHUNK = 200_000  # events made at once
PAUSE_S = (60.0, 180.0)  # between two faults
QUIET_S = 60.0  # at the end, without a fault
LOOK_EVERY_S = 10.0
WARM_UP_S = 600.0  # of a process: caches fill
JVM_WARM_UP_S = 1200.0  # its compiler works through what is hot, on cores that have no time for it
SAMPLE = 50  # one entity in so many is compared; every event is classified, every letter compared
CAUGHT_UP_LIMIT_S = 600.0
GROWTH_LIMIT = 0.01  # an hour
FILES_LIMIT = 2  # more at the peak; of an hour's faults each may leave none
DOWN_S = 20.0

FAULTS: dict[str, tuple[int, Callable[[Stage], None]]] = {
    "kill-python": (3, lambda stage: faults.kill_python_worker(stage, 1)),
    "kill-taskmanager": (2, lambda stage: faults.kill_task_manager(stage, 1)),
    "redis-down": (2, lambda stage: services.redis_down(stage, DOWN_S)),
    "slow-redis": (3, lambda stage: services.slow_redis(stage, DOWN_S)),
    "slow-kafka": (3, lambda stage: services.slow_kafka(stage, DOWN_S)),
    "forget-scripts": (3, random_actions.WEIGHTS["forget-scripts"][1]),
    "cut-network": (3, random_actions.WEIGHTS["cut-network"][1]),
    "swap-model": (3, random_actions.WEIGHTS["swap-model"][1]),
}


class Look(NamedTuple):
    """One process at one time: seconds since the start, resident MiB, the part not mapped from files, open files."""

    pid: int
    at_s: float
    rss_mb: float
    anonymous_mb: float
    files: int


@dataclass
class Growth:
    """The memory and open files of a kind of process, over those of its lives that were long enough."""

    rss_mb: tuple[float, float]  # of the last one: after the warm-up, and at the end
    files: tuple[int, int]  # the most in the first and in the last third: connections come and go with each fault
    rss_per_hour: float  # share of the mean
    anonymous_per_hour: float  # without mapped files, such as the indexes of a topic that gets longer
    lives: int
    measured_s: float


@dataclass
class Watch:
    """Looks at all processes of the system all the time."""

    state_dir: Path
    looks: dict[str, list[Look]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ending, self._started_s = threading.Event(), time.monotonic()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ending.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._ending.wait(LOOK_EVERY_S):
            for process in processes.owned(self.state_dir):
                with suppress(psutil.Error):
                    at_s, kind = time.monotonic() - self._started_s, memory.kind(process.cmdline())
                    now = process.memory_info()
                    rss_mb, anonymous_mb = now.rss / 2**20, (now.rss - getattr(now, "shared", 0)) / 2**20
                    look = Look(process.pid, at_s, rss_mb, anonymous_mb, process.num_fds())
                    self.looks.setdefault(kind, []).append(look)


def growth(looks: list[Look], warm_up_s: float) -> Growth | None:
    """Return the common slope of all lives after their warm-ups, None if they are too short.

    The slope is fitted by least squares, with a level for each life.

    A life is warm `warm_up_s` after it was first seen.
    """
    first_s: dict[int, float] = {}
    for look in looks:
        first_s.setdefault(look.pid, look.at_s)
    warm = [look for look in looks if look.at_s >= first_s[look.pid] + warm_up_s]
    lives = Counter(look.pid for look in warm)
    if not lives or max(lives.values()) < 3:
        return None
    last = [look for look in warm if look.pid == warm[-1].pid]
    third = max(1, len(warm) // 3)
    measured_s = sum(max(times) - min(times) for times in ([w.at_s for w in warm if w.pid == pid] for pid in lives))
    return Growth(
        (round(last[0].rss_mb, 1), round(last[-1].rss_mb, 1)),
        (max(look.files for look in warm[:third]), max(look.files for look in warm[-third:])),
        round(_slope_per_hour(warm, [look.rss_mb for look in warm]), 4),
        round(_slope_per_hour(warm, [look.anonymous_mb for look in warm]), 4),
        len(lives),
        round(measured_s),
    )


def _slope_per_hour(looks: list[Look], values: list[float]) -> float:
    """Return the slope as a share of the mean."""
    pids = np.array([look.pid for look in looks])
    x, y = np.array([look.at_s for look in looks]) / 3600, np.array(values, float)
    for pid in np.unique(pids):
        x[pids == pid] -= x[pids == pid].mean()
        y[pids == pid] -= y[pids == pid].mean()
    spread = (x * x).sum()
    return float((x * y).sum() / spread / np.mean(values)) if spread else 0.0


def events(seed: int, start_ms: int) -> Iterator[Event]:
    """Yield contract events without end, in event-time order from `start_ms` on; all chunks have the same visitors."""
    item_ids, per_s, number = load_bundle(ESHOP).items, EVENTS_PER_S / SPEED, 0
    for chunk in range(1_000_000):
        stream = clicks.make(CHUNK, VISITORS, len(item_ids), seed * 1000 + chunk, per_s)
        for event in clicks.documents(stream, item_ids, f"soak-{seed}.{chunk}"):
            yield event | {"event_time_ms": start_ms + int(number * 1000 / per_s)}
            number += 1


def run(folder: Path, minutes: float, seed: int, tell: Tell, keep: Callable[[dict], None] = lambda _: None) -> dict:
    """Start a system in `folder`, let it work for so long, verify a sample, stop it; return the result for JSON."""
    rng, started_s = random.Random(f"{seed}/faults"), time.monotonic()
    system, actions, result = System(folder), [], {}
    try:
        system.start(settled_heaps=True)
        tell(f"the system runs after {time.monotonic() - started_s:.0f} s")
        show, watch = Show(system), Watch(system.state_dir)
        show.sampler.watch(clicks.visitor_id(number) for number in range(VISITORS))
        started_s = time.monotonic()
        start_ms = time.time_ns() // 1_000_000 - BEGINS_DAYS_AGO * DAY_MS
        place, limit = (system.direct.kafka_bootstrap, system.settings.events_topic), int(minutes * 60 * EVENTS_PER_S)
        traffic = Traffic(*place, events(seed, start_ms), str(seed), speed=SPEED, limit=limit, fast=True)
        stage = Stage(system, show.sampler, traffic, lambda: traffic, rng)
        while (left_s := minutes * 60 - QUIET_S - (time.monotonic() - started_s)) > 0 and traffic.going:
            time.sleep(min(rng.uniform(*PAUSE_S), left_s))
            if left_s > PAUSE_S[1]:
                name, wrong = _act(stage, rng)
                actions.append(name)
                tell(f"{time.monotonic() - started_s:5.0f} s: {name}{wrong}")
        sent = traffic.join()
        keep(_document(show, stage, sent, actions, watch))  # what follows may fail
        beats = beat(*place, sent.final_heartbeat_ms)
        drained_s = system.wait_read(CAUGHT_UP_LIMIT_S)
        system.wait_checkpoint(2)
        watch.close()
        restarts = system.restarts()
        tell(f"{sent.produced:,} events are sent; read to their end after {drained_s:.0f} s more")
        result = _document(show, stage, sent, actions, watch) | {
            "restarts_at_the_end": restarts,
            "drained_s": round(drained_s, 1),
        }
        keep(result)
        report = verify(system.settings, system.direct, sample=SAMPLE)
        wrong = {"compared": report.compared, "mismatched": report.mismatched, "examples": report.mismatches[:10]}
        lost = sent.produced + sent.heartbeats + beats - report.counts["read"]
        result |= {"counts": report.counts, "lost": lost, "verify_s": round(report.seconds)} | wrong
        result["ok"] = report.ok and not lost and not result["falls"] and all(result["checks"].values())
        keep(result)
        show.sampler.close()
    finally:
        system.stop()
    return result


def _act(stage: Stage, rng: random.Random) -> tuple[str, str]:
    """Make one fault; return its name, and which of its checks failed."""
    (name,) = rng.choices(list(FAULTS), [weight for weight, _ in FAULTS.values()])
    alone = replace(stage, checks={})
    try:
        FAULTS[name][1](alone)
    except Exception as error:  # an hour isn't thrown away for one fault that couldn't be made
        alone.check(f"{type(error).__name__}: {error}", False)
    for what, holds in alone.checks.items():
        stage.check(f"{name}: {what}", holds)
    return name, failed(alone.checks)


def _document(show: Show, stage: Stage, sent: produce.ReplayReport, actions: list[str], watch: Watch) -> dict:
    warm_up_s = {kind: JVM_WARM_UP_S if kind in memory.JVMS else WARM_UP_S for kind in watch.looks}
    grown = {kind: growth(looks, warm_up_s[kind]) for kind, looks in watch.looks.items()}
    checks = dict(stage.checks)
    for kind, growth_of_kind in grown.items():
        if growth_of_kind:
            checks[f"{kind} grows by less than {GROWTH_LIMIT:.0%} an hour"] = growth_of_kind.rss_per_hour < GROWTH_LIMIT
            checks[f"{kind} opens no more and more files"] = (
                growth_of_kind.files[1] <= growth_of_kind.files[0] + FILES_LIMIT
            )
    return {
        "events": sent.produced,
        "seconds": round(sent.seconds),
        "events_per_s": round(sent.produced / sent.seconds),
        "actions": Counter(actions),
        "recovery_s": stage.recovery_s,
        "reads": show.sampler.reads,
        "falls": len(show.sampler.falls),
        "growth": {kind: asdict(growth_of_kind) for kind, growth_of_kind in grown.items() if growth_of_kind},
        "looks": {kind: [_rounded(look) for look in looks] for kind, looks in watch.looks.items()},
        "checks": checks,
    }


def _rounded(look: Look) -> dict[str, float]:
    return {name: round(value, 1) for name, value in look._asdict().items()}
