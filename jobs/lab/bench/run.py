"""`liveshelf bench`: the two jobs beside the tutorials' kind of jobs, latency, reads, memory, submit and cancel."""

import time
from collections.abc import Callable, Mapping
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
LEAST_US = 1.0  # of a thread or step that is told
PROFILED = (20_000, 20_000, 120_000)  # prefixes, as in Sizes
ROUGH = "rough: seconds of load on cold JVMs; don't quote these figures, and compare them only with another quick run"


def bench(settings: Settings, quick: bool, progress: Progress) -> dict[str, Any]:
    """Return everything that the lab's table shows; rates come from runs that are read to their end.

    Args:
        settings: the definitions, and the state folder in whose `bench` a cluster of one slot is started.
        quick: smaller sizes. The figures are rough, and the result says so.
        progress: told a line at each step.

    Raises ServiceError if a service or a job fails, DataError if what was measured makes no rate.
    """
    return _at_work(settings, quick, lambda place: measure(place, QUICK if quick else FULL, progress))


def profile(settings: Settings, quick: bool, progress: Progress) -> dict[str, Any]:
    """Return where an event's processor time goes while each job reads a backlog: by process, thread and step.

    Arguments and errors are those of `bench`.
    """
    prefixes = QUICK.prefixes if quick else PROFILED
    return _at_work(settings, quick, lambda place: processor_time(place, prefixes, progress))


def _at_work(settings: Settings, quick: bool, work: Callable[[Workplace], dict[str, Any]]) -> dict[str, Any]:
    """Return what `work` measures, where and when it did, and how long that took."""
    started_s = time.monotonic()
    result: dict[str, Any] = {"machine": machine()} | ({"rough": ROUGH} if quick else {})
    with workplace(settings) as place:
        result |= work(place)
    return result | {"seconds": round(time.monotonic() - started_s)}


def processor_time(place: Workplace, prefixes: tuple[int, ...], progress: Progress) -> dict[str, Any]:
    """Return each job's rate over a backlog, and the processor time of an event by process."""
    progress(f"a cluster with one slot runs; producing {max(prefixes):,} events")
    stream, result = throughput.fill(place, max(prefixes)), dict[str, Any]()
    for job in JOBS:
        rates = throughput.rates(place, stream, job, prefixes, progress, profile=True)
        result[job] = {
            "events_per_s": round(rates.events_per_s),
            "cpu_us_per_event": round(rates.cpu_us_per_event),
            "cpu_us_by_process": rounded(rates.cpu_us_by_process),
            "cpu_us_by_thread": rounded(rates.cpu_us_by_thread, LEAST_US),
            "python_worker_us_by_step": rounded(rates.worker_us_by_step, LEAST_US),
        }
    if not result[JOBS[0]]["python_worker_us_by_step"]:
        progress(
            "the worker's steps weren't sampled: that takes py-spy (make test-env) and the right to trace processes"
        )
    return result


def measure(place: Workplace, sizes: Sizes, progress: Progress) -> dict[str, Any]:
    """Return all figures of `bench`."""
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


def rounded(cpu_us: Mapping[str, float], least: float = 0.1) -> dict[str, float]:
    """Return parts of the processor time of an event, the most first; those that take at least so much."""
    ordered = sorted(cpu_us.items(), key=lambda named: -named[1])
    return {name: round(taken, 1) for name, taken in ordered if round(taken, 1) >= least}


def side_by_side(ours: Rates, theirs: Rates) -> dict[str, Any]:
    """Return a job's rates beside the tutorial's."""
    return {
        "events_per_s": round(ours.events_per_s),
        "lists_per_s": round(ours.lists_per_s),
        "writes_per_s": round(ours.written_per_s),
        "startup_s": round(ours.startup_s, 1),
        "cpu_us_per_event": round(ours.cpu_us_per_event),
        "cpu_us_by_process": rounded(ours.cpu_us_by_process),
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
