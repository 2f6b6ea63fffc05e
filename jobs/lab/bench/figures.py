"""The arithmetic of the measurements. Pure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jobs.errors import DataError

JOB = ("task_manager", "python_worker")  # the processes that a job's own work is done in


class Measured(NamedTuple):
    """One bounded run, read to its end: how long it took, and what came out of it."""

    events: int
    seconds: float
    written: int = 0  # rows or lists that reached Redis
    lists: int = 0  # records in the topic `rankings`
    cpu_s: Mapping[str, float] = {}  # processor time by kind of process, and by thread
    steps: Mapping[str, float] = {}  # the share of each step in the Python worker's time


class Look(NamedTuple):
    """A run seen on its way: seconds since it began, what it has written, and processor time by kind of process."""

    seconds: float
    written: int
    cpu_s: Mapping[str, float]


class Rates(NamedTuple):
    """A job's speed once it runs."""

    events_per_s: float
    written_per_s: float
    lists_per_s: float
    startup_s: float  # what the runs have in common
    cpu_us: dict[str, float]  # an event's, by kind of process and by thread; other work hardly changes it
    steps: Mapping[str, float]  # the share of each step in the Python worker's time

    @property
    def cpu_us_by_process(self) -> dict[str, float]:
        """Return an event's processor time by kind of process."""
        return {name: cpu_us for name, cpu_us in self.cpu_us.items() if ": " not in name}

    @property
    def cpu_us_by_thread(self) -> dict[str, float]:
        """Return an event's processor time by thread, "kind: thread"; empty where threads weren't looked at."""
        return {name: cpu_us for name, cpu_us in self.cpu_us.items() if ": " in name}

    @property
    def worker_us_by_step(self) -> dict[str, float]:
        """Return an event's processor time in the Python worker by step; empty where steps weren't sampled."""
        return {name: share * self.cpu_us.get("python_worker", 0.0) for name, share in self.steps.items()}

    @property
    def cpu_us_per_event(self) -> float:
        """Return what the job itself takes: its TaskManager and the Python workers."""
        return sum(self.cpu_us_by_process.get(name, 0.0) for name in JOB)


def slope(first: Measured, second: Measured) -> Rates:
    """Return the rates between a run over a short and one over a long prefix of a topic, in any order.

    The start of a job doesn't count: it is in both runs.

    Raises DataError when the longer run didn't take longer: then it measured the start-up's noise and nothing else.
    """
    short, long = sorted((first, second), key=lambda run: run.events)
    seconds, events = long.seconds - short.seconds, long.events - short.events
    if not events or seconds <= 0:
        raise DataError(
            f"{long.events:,} events took {long.seconds:.1f} s and {short.events:,} took {short.seconds:.1f} s",
            "measure again on a quiet machine, without --quick",
        )
    events_per_s = events / seconds
    return Rates(
        events_per_s,
        (long.written - short.written) / seconds,
        (long.lists - short.lists) / seconds,
        short.seconds - short.events / events_per_s,
        {name: 1e6 * (taken_s - short.cpu_s.get(name, 0.0)) / events for name, taken_s in long.cpu_s.items()},
        long.steps,
    )


def early(looks: Sequence[Look], run: Measured, share: float) -> Measured:
    """Return a run as it stood at the first look that saw `share` of its writes, as if it had ended there.

    What it had read by then is taken to be in proportion to what it had written. Raises DataError if it ended before a
    look saw so much.
    """
    for look in sorted(looks, key=lambda look: look.seconds):
        if share * run.written <= look.written < run.written and look.seconds < run.seconds:
            part = look.written / run.written
            return Measured(round(part * run.events), look.seconds, look.written, round(part * run.lists), look.cpu_s)
    raise DataError(
        f"a run over {run.events:,} events ended before it was seen at work", "measure again, without --quick"
    )


def percentiles(values: Sequence[float] | np.ndarray, digits: int = 2) -> dict[str, float]:
    """Return p50, p90, p99 and max. Each is one of the values: the smallest that so many percent don't exceed."""
    if not len(values):
        raise DataError("nothing was measured", "see the job's log")
    percentiles = np.percentile(values, (50, 90, 99, 100), method="inverted_cdf").tolist()
    return {name: round(value, digits) for name, value in zip(("p50", "p90", "p99", "max"), percentiles, strict=True)}
