"""`liveshelf bench`: the two jobs beside the tutorials' kind of jobs, latency, reads, memory, submit and cancel."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jobs.lab.bench import flink_jobs, latency, throughput
from jobs.lab.bench.figures import Rates
from jobs.lab.bench.memory import machine
from jobs.lab.bench.swaps import Swaps
from jobs.lab.bench.workplace import Workplace, workplace
from jobs.operate.running_jobs import JOBS
from jobs.settings import Settings

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    `events` go into the topic. A job reads each of the `prefixes` to its end, and the last two give its rate, or the
    only one. For the latency `history` events are read before a load of `warm_s` and then `seconds`, after which
    `swaps` follow. `cycles` says how often each job is submitted and cancelled beside that.
    """

    events: int
    prefixes: tuple[int, ...]
    tutorial_prefixes: tuple[int, ...]
    history: int
    warm_s: float
    seconds: float
    swaps: Swaps
    cycles: int


FULL = Sizes(1_000_000, (100_000, 100_000, 1_000_000), (10_000, 60_000), 200_000, 40, 60, Swaps(10, 2), cycles=10)
# One run of each job, as a submission takes 7 s of processor time whatever the sizes. Two runs that share a cold JVM's
# start unevenly made a rate of 1,341 events/s where one run made 3,394.
QUICK = Sizes(24_000, (24_000,), (3_000,), 5_000, 4, 8, Swaps(2, 1), cycles=0)
ROUGH = "rough: seconds of load on cold JVMs; don't quote these figures, and compare them only with another quick run"


def bench(settings: Settings, quick: bool, progress: Progress) -> dict[str, Any]:
    """Return everything that the lab's table shows; rates come from runs that are read to their end.

    Args:
        settings: the definitions, and the state folder in whose `bench` a cluster of one slot is started.
        quick: smaller sizes. The figures are rough, and the result says so.
        progress: told a line at each step.

    Raises ServiceError if a service or a job fails, DataError if what was
    measured makes no rate.
    """
    sizes, started_s = QUICK if quick else FULL, time.monotonic()
    result: dict[str, Any] = {"machine": machine()} | ({"rough": ROUGH} if quick else {})
    with workplace(settings) as place:
        result |= measure(place, sizes, progress)
    return result | {"seconds": round(time.monotonic() - started_s)}


def measure(place: Workplace, sizes: Sizes, progress: Progress) -> dict[str, Any]:
    """Return what `bench` does, but for the machine and the time that it took."""
    progress(f"a cluster with one slot runs; producing {sizes.events:,} events")
    stream = throughput.fill(place, sizes.events)
    ours = {job: throughput.rates(place, stream, job, sizes.prefixes, progress) for job in JOBS}
    before, total = flink_jobs.slots(place.rest_url)
    live = latency.measure(place, sizes.history, sizes.warm_s, sizes.seconds, sizes.swaps, progress)
    ended = cancelled(1, total, before, flink_jobs.wait_slots(place.rest_url, total))
    result: dict[str, Any] = {}
    for job in JOBS:
        theirs = throughput.rates(place, stream, f"tutorial {job}", sizes.tutorial_prefixes, progress)
        result[job] = side_by_side(ours[job], theirs)
    again = submit_and_cancel(place, sizes.cycles, progress) if sizes.cycles else ended
    return result | live | {"submit_cancel": again}


def side_by_side(ours: Rates, theirs: Rates) -> dict[str, float]:
    """Return a job's rates beside the tutorial's."""
    return {
        "events_per_s": round(ours.events_per_s),
        "lists_per_s": round(ours.lists_per_s),
        "writes_per_s": round(ours.written_per_s),
        "startup_s": round(ours.startup_s, 1),
        "cpu_us_per_event": round(ours.cpu_us_per_event),
        "tutorial_events_per_s": round(theirs.events_per_s),
        "tutorial_writes_per_s": round(theirs.written_per_s),
        "ratio": round(ours.events_per_s / theirs.events_per_s, 1),
    }


def submit_and_cancel(place: Workplace, cycles: int, progress: Progress) -> dict[str, int]:
    """Submit each job and cancel it in the middle of its work, `cycles` times in a row; free slots before and after."""
    before, total = flink_jobs.slots(place.rest_url)
    for job in JOBS:
        for cycle in range(cycles):
            submitted = place.submit(job, place.settings.events_topic)
            flink_jobs.wait_running(place.rest_url, submitted)
            flink_jobs.cancel(place.rest_url, submitted)
            free = flink_jobs.wait_slots(place.rest_url, total)
            progress(f"{job}: submitted and cancelled {cycle + 1} of {cycles} times, {free} of {total} slots free")
    return cancelled(cycles * len(JOBS), total, before, free)


def cancelled(cycles: int, total: int, before: int, after: int) -> dict[str, int]:
    return {"cycles": cycles, "slots": total, "slots_before": before, "slots_after": after}
