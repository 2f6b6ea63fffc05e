"""Play the attacks of `strangers`: one system with a collector, honest visitors beside each attack, then `verify`."""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import requests

from jobs.connect import kafka_admin
from jobs.errors import LiveshelfError, SettingsError
from jobs.lab.bench.collector_system import KEY, RunningCollector
from jobs.lab.chaos import traffic
from jobs.lab.chaos.run import Tell
from jobs.lab.chaos.strangers import ATTACKS, HONEST, Attack, Ground, honest_batches
from jobs.lab.chaos.system import System
from jobs.operate import entities
from jobs.settings import Settings
from jobs.verify.report import Report
from jobs.verify.run import open_store, verify

HONEST_PAUSE_S = 0.2  # between two clicks of one visitor
CALM_S = 5.0
VERIFY_LIMIT_S = 180.0
# The bounds that hold for every attack.
HONEST_P99_LIMIT_S = 1.0  # on two cores that the whole system shares
HEAP_LIMIT_MB = 1000.0  # of 1,664; the lowest of some looks, because the rest is garbage
START_LIMIT_S = 60.0
HEAP = "flink_taskmanager_Status_JVM_Memory_Heap_Used"


@dataclass
class Outcome:
    """What an attack left, and what the honest visitors saw. `broken` names each bound that doesn't hold."""

    scenario: str
    what: str
    seconds: float = 0
    counts: dict[str, int] = field(default_factory=dict)
    honest: dict[int, int] = field(default_factory=dict)  # answers by status
    honest_p50_ms: float = 0
    honest_p99_ms: float = 0
    calm_p99_ms: float = 0
    heap_mb: float = 0
    collector_mb: float = 0
    start_s: float = 0
    caught_up_s: float = 0
    compared: int = 0
    differing: int = 0
    broken: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)  # bounds on time, which a busy machine breaks too
    error: str = ""

    @property
    def ok(self) -> bool:
        return not (self.broken or self.slow or self.error) and self.compared > 0

    def line(self) -> str:
        wrong = "; ".join([*self.broken, *self.slow, *([self.error] if self.error else [])])
        return (
            f"{'ok  ' if self.ok else 'FAIL'} {self.scenario:4} {self.seconds:.0f} s: honest {self.honest}, "
            f"p99 {self.honest_p99_ms:.0f} ms (calm {self.calm_p99_ms:.0f}), heap {self.heap_mb:.0f} MB, "
            f"collector {self.collector_mb:.0f} MB, starts in {self.start_s:.0f} s, "
            f"{self.differing} of {self.compared:,} differ, {self.counts}" + (f"; {wrong}" if wrong else "")
        )


def chosen(names: Sequence[str]) -> list[Attack]:
    """Return the named attacks, all without a name; raise SettingsError for an unknown one."""
    known = {attack.name: attack for attack in ATTACKS}
    if unknown := set(names) - known.keys():
        raise SettingsError(f"no attack {', '.join(sorted(unknown))}", ", ".join(known))
    return [known[name] for name in names] or list(ATTACKS)


def run(
    folder: Path,
    attacks: Sequence[Attack],
    minutes: float,
    tell: Tell,
    keep: Callable[[dict], None] = lambda _: None,
    at_once: bool = False,
) -> dict[str, Any]:
    """Start a system in `folder`, play each attack for so many minutes, or all `at_once`; the result as a document."""
    started_s, outcomes = time.monotonic(), []
    system = System(folder)
    document: dict[str, Any] = {"ok": False, "outcomes": []}
    try:
        system.start()
        (folder / "collector").mkdir()
        tell(f"the system runs after {time.monotonic() - started_s:.0f} s")
        with RunningCollector(f"127.0.0.1:{system.kafka_port}", folder / "collector", proxies="127.0.0.1") as collector:
            siege = Siege(system, collector)
            for group in [attacks] if at_once else [[attack] for attack in attacks]:
                outcomes.append(siege.play(group, 60 * minutes))
                tell(outcomes[-1].line())
                document = {
                    "ok": all(outcome.ok for outcome in outcomes),
                    "seconds": round(time.monotonic() - started_s, 1),
                    "outcomes": [asdict(outcome) | {"ok": outcome.ok} for outcome in outcomes],
                }
                keep(document)
    finally:
        system.stop()
    return document


class Siege:
    """The running system, and what was counted before an attack."""

    def __init__(self, system: System, collector: RunningCollector) -> None:
        self._system, self._collector = system, collector
        self._store = open_store(system.settings)
        self._duplicates = 0

    def play(self, attacks: Sequence[Attack], seconds: float) -> Outcome:
        outcome = Outcome("+".join(each.name for each in attacks), ", ".join(each.what for each in attacks))
        began_s = time.monotonic()
        before = self._counts()
        try:
            calm = Honest(self._collector)
            with calm.clicking():
                time.sleep(min(CALM_S, seconds))
            honest = Honest(self._collector)
            with honest.clicking():
                grounds = self._attack(attacks, seconds, outcome)
            outcome.seconds = round(time.monotonic() - began_s, 1)
            after = self._counts()
            for name, count in after.items():
                outcome.counts[name] = count - before[name]
            for ground in grounds:
                outcome.counts |= ground.counts
            self._measure(outcome, calm, honest)
            self._judge(outcome)
            _check(outcome, attacks, self._system.settings)
        except (LiveshelfError, requests.RequestException) as error:
            outcome.error = str(error)
        return outcome

    def _attack(self, attacks: Sequence[Attack], seconds: float, outcome: Outcome) -> list[Ground]:
        until_s = time.monotonic() + seconds
        grounds = [Ground(self._collector, until_s, each.address) for each in attacks]
        with ThreadPoolExecutor(len(attacks)) as strangers:
            acting = [strangers.submit(attack.act, ground) for attack, ground in zip(attacks, grounds, strict=True)]
            while any(act.running() for act in acting):
                outcome.counts["connections held"] = max(
                    outcome.counts.get("connections held", 0), self._connections("127.0.0.2")
                )
                time.sleep(0.5)
            for act in acting:
                act.result()
        return grounds

    def _connections(self, address: str) -> int:
        process = psutil.Process(self._collector.process.pid)
        return sum(
            each.status == psutil.CONN_ESTABLISHED and bool(each.raddr) and each.raddr.ip == address
            for each in process.net_connections("tcp")
        )

    def _counts(self) -> dict[str, int]:
        settings, bootstrap = self._system.settings, self._system.direct.kafka_bootstrap
        topics = {"events": settings.events_topic, "consent records": settings.consent_topic}
        return {name: sum(kafka_admin.end_offsets(bootstrap, topic).values()) for name, topic in topics.items()}

    def _measure(self, outcome: Outcome, calm: "Honest", honest: "Honest") -> None:
        """Measure heap, memory and how long both jobs need to start again."""
        outcome.honest = dict(honest.statuses)
        outcome.honest_p50_ms, outcome.honest_p99_ms = honest.percentiles_ms(50, 99)
        (outcome.calm_p99_ms,) = calm.percentiles_ms(99)
        self._system.wait_checkpoint(2)
        outcome.heap_mb = round(min(self._heap_mb() for _ in range(10)), 1)
        outcome.collector_mb = round(psutil.Process(self._collector.process.pid).memory_info().rss / 2**20, 1)
        held = entities.held(self._system.running.metrics_urls, visitors=0)
        outcome.counts["entities held"] = held.entities
        restarts = self._system.restarts()
        started_s = time.monotonic()
        self._system.kill("taskmanager")
        self._system.wait_working(after_restarts=restarts + 1)
        outcome.start_s = round(time.monotonic() - started_s, 1)

    def _heap_mb(self) -> float:
        time.sleep(0.5)
        pages = [requests.get(url, timeout=10).text for url in self._system.running.metrics_urls]
        lines = [line for page in pages for line in page.splitlines() if line.startswith(HEAP)]
        return sum(float(line.rpartition(" ")[2]) for line in lines) / 1e6

    def _judge(self, outcome: Outcome) -> None:
        began_s, now_ms = time.monotonic(), time.time_ns() // 1_000_000
        settings = self._system.settings
        direct: Any = self._system.direct  # frozen, and `verify` sets nothing
        with traffic.beating(direct.kafka_bootstrap, settings.events_topic, now_ms):
            report: Report = verify(settings, direct, wait_s=VERIFY_LIMIT_S, store=self._store)
        outcome.caught_up_s = round(time.monotonic() - began_s, 1)
        outcome.compared, outcome.differing = report.compared, report.mismatched
        outcome.counts["duplicates"] = report.counts["duplicates"] - self._duplicates
        self._duplicates = report.counts["duplicates"]


def _check(outcome: Outcome, attacks: Sequence[Attack], settings: Settings) -> None:
    """Compare what the attacks left with their bounds. Those played at once share the topics, so bounds add up."""
    bounds: dict[str, float] = {}
    for attack in attacks:
        for name, bound in attack.bounds.items():
            bounds[name] = bounds.get(name, 0) + bound(settings, outcome.seconds)
    if len(attacks) > 1:
        bounds.pop("events", None)  # an attack has its own
    if "consent records" in bounds:
        bounds["consent records"] += HONEST  # a grant of each who clicks meanwhile
    for name, most in bounds.items():
        if outcome.counts[name] > most:
            outcome.broken.append(f"{outcome.counts[name]:,} {name}, at most {most:,.0f}")
    if set(outcome.honest) != {200}:
        outcome.broken.append(f"honest visitors were answered {outcome.honest}")
    if outcome.differing:
        outcome.broken.append(f"verify: {outcome.differing} of {outcome.compared} differ")
    if outcome.heap_mb > HEAP_LIMIT_MB:
        outcome.broken.append(f"heap {outcome.heap_mb:.0f} MB, at most {HEAP_LIMIT_MB:.0f}")
    if outcome.honest_p99_ms > 1000 * HONEST_P99_LIMIT_S:
        outcome.slow.append(f"honest visitors wait {outcome.honest_p99_ms:.0f} ms, at most {HONEST_P99_LIMIT_S:g} s")
    if outcome.start_s > START_LIMIT_S:
        outcome.slow.append(f"starts in {outcome.start_s:.0f} s, at most {START_LIMIT_S:.0f}")


_names = itertools.count()


class Honest:
    """Visitors who click from addresses of their own, and note what they are answered and when."""

    def __init__(self, collector: RunningCollector) -> None:
        self._collector, self._name = collector, next(_names)
        self.statuses: Counter[int] = Counter()
        self._seconds: list[float] = []
        self._ended = threading.Event()

    @contextmanager
    def clicking(self) -> Any:
        with ThreadPoolExecutor(HONEST) as visitors:
            clicking = [visitors.submit(self._click, number) for number in range(HONEST)]
            try:
                yield
            finally:
                self._ended.set()
            for each in clicking:
                each.result()

    def _click(self, number: int) -> None:
        for batch in honest_batches(self._name, number):
            if self._ended.wait(HONEST_PAUSE_S):
                return
            began_s = time.monotonic()
            try:
                answer = self._collector.post(batch, "granted", KEY, x_forwarded_for=f"203.0.113.{240 + number}")
                self.statuses[answer.status_code] += 1
            except requests.RequestException:
                self.statuses[0] += 1  # no answer
            self._seconds.append(time.monotonic() - began_s)

    def percentiles_ms(self, *percents: float) -> list[float]:
        return [round(float(each) * 1000, 1) for each in np.percentile(self._seconds, percents)]
