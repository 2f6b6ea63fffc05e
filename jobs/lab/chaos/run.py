"""Play a profile: one system and one endless stream, on which each scenario is judged before the next begins."""

import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import redis
import requests

from jobs.errors import LiveshelfError, SettingsError
from jobs.features import plan
from jobs.lab.chaos import data, persons, processes, random_actions, services, shelves, traffic
from jobs.lab.chaos.own import scenarios
from jobs.lab.chaos.running_system import RunningSystem
from jobs.lab.chaos.sampler import Sampler
from jobs.lab.chaos.stage import Scenario, Stage, failed
from jobs.lab.chaos.system import System
from jobs.lab.chaos.traffic import DAY_MS
from jobs.verify.report import Mismatch, Report
from jobs.verify.run import open_store, verify

CATALOGUE = {
    scenario.name: scenario
    for scenario in (
        *processes.SCENARIOS,
        *services.SCENARIOS,
        *data.SCENARIOS,
        *persons.SCENARIOS,
        *shelves.SCENARIOS,  # the last: from then on the system has shelves
    )
}
OWN_CLUSTER = {scenario.name: scenario for scenario in scenarios.SCENARIOS}
EVENTS = {"pr": 2_000, "nightly": 4_000, "cluster": 4_000}  # clicks a scenario; damaged and repeated ones come on top
POISON = 200  # D5's byte strings in each scenario but its own
BEGINS_DAYS_AGO = 25  # event time starts here and moves on by a day a scenario at most: lists live 30 days
VERIFY_LIMIT_S = 180.0

Tell = Callable[[str], None]


@dataclass
class Outcome:
    """The result of one scenario; `lost`, `phantom` and `differing` are values and letters, as `verify` counts them."""

    scenario: str
    what: str
    dose: str
    seed: int
    events: int = 0
    poison: int = 0
    lost: int = 0
    phantom: int = 0
    differing: int = 0
    compared: int = 0
    falls: int = 0
    restarts: int = 0
    recovery_s: list[float] = field(default_factory=list)
    checks: dict[str, bool] = field(default_factory=dict)
    load: float = 0  # the machine's average of a minute, at the end
    caught_up_s: float = 0
    seconds: float = 0
    error: str = ""
    examples: list[Mismatch] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        nothing = not (self.lost or self.phantom or self.differing or self.falls)
        return nothing and self.compared > 0 and all(self.checks.values()) and not self.error

    def line(self) -> str:
        """Return what matters to a person, on one line."""
        wrong = f"{self.lost} lost, {self.phantom} phantom, {self.differing} differ, {self.falls} fell"
        recovery = f", recovery {max(self.recovery_s)} s" if self.recovery_s else ""
        failing = failed(self.checks)
        state = "ok  " if self.ok else "FAIL"
        return (
            f"{state} {self.scenario:4} {self.dose:9} seed {self.seed}: {self.events:,} events, {wrong}{recovery}, "
            f"caught up {self.caught_up_s:.0f} s, {self.seconds:.0f} s in all{failing}"
            + (f"; {self.error}" if self.error else "")
        )


class Act(NamedTuple):
    """A scenario as it is played: its dose, its seed, and how many clicks go through meanwhile."""

    scenario: Scenario
    dose: float
    seed: int
    events: int


def acts(profile: str, names: Sequence[str], seeds: Sequence[int]) -> list[Act]:
    """Return a profile's scenarios, or those that are named, for each seed; raise SettingsError for an unknown one."""
    catalogue = OWN_CLUSTER if profile == "cluster" else CATALOGUE
    unknown = set(names) - catalogue.keys()
    if unknown:
        raise SettingsError(f"no scenario {', '.join(sorted(unknown))}", ", ".join(catalogue))
    if profile == "random":
        return [Act(round_, 1, seed, round_.events) for seed in seeds for round_ in random_actions.rounds(seed, names)]
    chosen = [catalogue[name] for name in names] or [
        scenario for scenario in catalogue.values() if scenario.dose(profile)
    ]
    doses = {scenario.name: scenario.dose(profile) or scenario.nightly for scenario in chosen}
    counts = {
        scenario.name: int(doses[scenario.name]) if scenario.unit == "events" else EVENTS[profile]
        for scenario in chosen
    }
    return [Act(scenario, doses[scenario.name], seed, counts[scenario.name]) for seed in seeds for scenario in chosen]


def run(
    folder: Path,
    chosen: Sequence[Act],
    tell: Tell,
    keep: Callable[[dict], None] = lambda _: None,
    kind: Callable[[Path], RunningSystem] = System,
) -> dict:
    """Start a system in `folder`, play the scenarios one after the other, stop it; the result as a JSON document.

    `keep` gets the document after each scenario: an interrupted night has its results too.
    """
    started_s, outcomes = time.monotonic(), []
    system = kind(folder)
    try:
        system.start()
        ready_s = time.monotonic() - started_s
        tell(f"the system runs after {ready_s:.0f} s")
        show = Show(system)
        for act in chosen:
            outcomes.append(show.play(act))
            tell(outcomes[-1].line())
            document = _document(outcomes, show.sampler, ready_s, time.monotonic() - started_s)
            keep(document)
        show.sampler.close()
    finally:
        system.stop()
    return document


def _document(outcomes: list[Outcome], sampler: Sampler, ready_s: float, seconds: float) -> dict:
    return {
        "ok": all(outcome.ok for outcome in outcomes),
        "seconds_to_start": round(ready_s, 1),
        "seconds": round(seconds, 1),
        "sampler": {"reads": sampler.reads, "failures": sampler.failures, "falls": len(sampler.falls)},
        "outcomes": [asdict(outcome) | {"ok": outcome.ok} for outcome in outcomes],
    }


class Show:
    """The running system with what was sent to it so far: the oracle always looks at all of it."""

    def __init__(self, system: RunningSystem) -> None:
        self.system = system
        submitted = plan.submitted(system.state_dir)
        self.sampler = Sampler(system.direct.redis_url, submitted, system.settings.ranker.shelf)
        self._next_ms = time.time_ns() // 1_000_000 - BEGINS_DAYS_AGO * DAY_MS
        self._block = 0
        self._sent = 0  # records that Kafka has confirmed, without heartbeats
        self._events = 0  # of the scenario that is played
        self._going: traffic.Traffic | None = None
        self._store = open_store(system.settings)

    def play(self, act: Act) -> Outcome:
        """Play one scenario with its traffic, and judge it."""
        scenario, dose, seed, _ = act
        outcome = Outcome(scenario.name, scenario.what, f"{dose:g} {scenario.unit}", seed)
        started_s, restarts, falls = time.monotonic(), self.system.restarts(), len(self.sampler.falls)
        stage = Stage(
            self.system, self.sampler, self._traffic(act), lambda: self._traffic(act), random.Random(f"{seed}")
        )
        try:
            self._send_raw(outcome, int(dose) if scenario.unit == "strings" else POISON)
            scenario.act(stage, dose)
            self._end_traffic()
        except (LiveshelfError, requests.RequestException) as error:
            outcome.error = str(error)
            self._next_ms += DAY_MS  # past whatever was sent
        outcome.events, self._events = self._events, 0
        outcome.recovery_s, outcome.checks = stage.recovery_s, stage.checks
        try:
            with traffic.beating(
                self.system.direct.kafka_bootstrap, self.system.settings.events_topic, self._next_ms - 1000
            ):
                self._judge(outcome)
        except (LiveshelfError, redis.RedisError) as error:
            outcome.error = outcome.error or f"it couldn't be judged: {error}"
        outcome.restarts = max(0, self.system.restarts() - restarts)  # a repaired job begins to count anew
        outcome.falls = len(self.sampler.falls) - falls
        outcome.load = round(os.getloadavg()[0], 1)
        outcome.seconds = round(time.monotonic() - started_s, 1)
        return outcome

    def _traffic(self, act: Act) -> traffic.Traffic:
        """Start the next block of clicks, once the one before has arrived."""
        self._end_traffic()
        self._block += 1
        clicks = act.scenario.clicks(act.seed, self._block, act.events, self._next_ms)
        self.sampler.watch(event["visitor_id"] for event in clicks)
        bootstrap, topic = self.system.direct.kafka_bootstrap, self.system.settings.events_topic
        name, span_ms = f"{act.seed}.{self._block}", clicks[-1]["event_time_ms"] - clicks[0]["event_time_ms"]
        self._going = traffic.Traffic(
            bootstrap, topic, clicks, name, fast=True, speed=span_ms / 1000 / act.scenario.traffic_s
        )
        return self._going

    def _end_traffic(self) -> None:
        if self._going is None:
            return
        going, self._going = self._going, None
        sent = going.join()
        self._sent += sent.produced
        self._events += sent.produced
        self._next_ms = sent.final_heartbeat_ms + 1000

    def _send_raw(self, outcome: Outcome, strings: int) -> None:
        start_ms, now_ms = self._next_ms, time.time_ns() // 1_000_000
        values = traffic.poison(outcome.seed * 1000 + self._block, strings)
        clocks = traffic.wrong_clocks(outcome.seed, self._block, start_ms, now_ms)
        topic = self.system.settings.events_topic
        outcome.poison = traffic.send_raw(self.system.direct.kafka_bootstrap, topic, values + clocks, start_ms)
        self._sent += outcome.poison

    def _judge(self, outcome: Outcome) -> None:
        """Call `verify` until all is equal. What Kafka confirmed but doesn't hold counts as lost, too."""
        started_s = time.monotonic()
        settings, direct = self.system.settings, self.system.direct
        report = verify(settings, direct, wait_s=VERIFY_LIMIT_S, store=self._store)
        outcome.caught_up_s = round(time.monotonic() - started_s, 1)
        _count(outcome, report)
        outcome.lost += max(0, self._sent - (report.counts["read"] - report.counts["heartbeats"]))


def _count(outcome: Outcome, report: Report) -> None:
    counts = report.by_name.values()
    outcome.compared = report.compared
    outcome.lost = sum(count.missing for count in counts)
    outcome.phantom = sum(count.extra for count in counts)
    outcome.differing = report.mismatched - outcome.lost - outcome.phantom
    outcome.examples = report.mismatches[:5]
