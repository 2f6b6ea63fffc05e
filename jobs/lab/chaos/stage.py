"""The stage of a scenario: the system, the traffic that goes on meanwhile, and the scenario's notes."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from jobs.contract.events import Event
from jobs.lab.chaos.running_system import RunningSystem
from jobs.lab.chaos.sampler import Sampler
from jobs.lab.chaos.traffic import Traffic, clicks

S = TypeVar("S", bound=RunningSystem)


@dataclass
class Stage(Generic[S]):
    """One scenario's view. `checks` must hold beside `verify`; `recovery_s` are the times until the jobs ran again."""

    system: S
    sampler: Sampler
    traffic: Traffic
    go_on: Callable[[], Traffic]  # more traffic, once what goes through now is through
    rng: random.Random
    checks: dict[str, bool] = field(default_factory=dict)
    recovery_s: list[float] = field(default_factory=list)

    def check(self, what: str, holds: bool) -> None:
        self.checks[what] = self.checks.get(what, True) and holds

    def recovered(self, fault: Callable[[], object], restarts: int, limit_s: float) -> None:
        """Do `fault`, which restarts `restarts` jobs, and measure until both run again.

        That must take at most `limit_s`.
        """
        before = self.system.restarts()
        started_s = time.monotonic()
        fault()
        self.system.wait_working(after_restarts=before + restarts - 1)
        self.recovery_s.append(round(time.monotonic() - started_s, 1))
        self.check(f"runs again within {limit_s:g} s", self.recovery_s[-1] <= limit_s)


def failed(checks: Mapping[str, bool]) -> str:
    """Return the checks that don't hold, as the end of a line."""
    return "".join(f"; NOT {what}" for what, holds in checks.items() if not holds)


@dataclass(frozen=True)
class Scenario:
    """A named fault: what it is, how long the traffic takes and how large the dose is, by profile."""

    name: str
    what: str
    act: Callable[[Stage, float], None]
    unit: str
    pr: float = 0  # the dose; 0: not in this profile
    nightly: float = 0
    traffic_s: float = 20  # the fault may take longer: then it goes on in silence
    clicks: Callable[[int, int, int, int], list[Event]] = clicks  # seed, block, count, first ms
    cluster: float = 0  # the dose on a cluster of an operator's own

    def dose(self, profile: str) -> float:
        return getattr(self, profile)
