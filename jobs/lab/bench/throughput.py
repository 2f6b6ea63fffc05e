"""Measure a job's events a second: run it over prefixes of one topic, and take the slope between the last two runs."""

import time
from collections.abc import Callable, Iterable

from jobs.connect import kafka_admin
from jobs.errors import DataError
from jobs.lab.bench import clicks, flink_jobs, memory
from jobs.lab.bench.clicks import Clicks
from jobs.lab.bench.figures import Look, Measured, Rates, early, slope
from jobs.lab.bench.steps import WorkerSampler
from jobs.lab.bench.workplace import VISITORS, Workplace
from jobs.lab.repeating import repeating

SLOWEST_EVENTS_PER_S = 50  # a run slower than that counts as hanging
LOOK_S = 0.3  # between two looks at a run
# A job that starts reads ahead while its Python worker does, and what it has read is soon written. Marks at 0.2 and 0.4
# gave features 3,575 and 3,394 events/s of 24,000, and rankings 2,535 and 2,516.
EARLY = 0.4
WRITES = ("hset", "set")  # the commands that a job writes with, its own and those in its scripts


def fill(place: Workplace, count: int) -> Clicks:
    """Send `count` events to the topic of events and return them."""
    stream = clicks.make(count, VISITORS, len(place.items), seed=1)
    partition = clicks.partitions(stream, place.settings.topic_partitions)
    documents = clicks.documents(stream, place.items, "bench")
    clicks.produce(place.services.kafka_bootstrap, place.settings.events_topic, documents, partition, count)
    return stream


def rates(
    place: Workplace,
    stream: Clicks,
    job: str,
    prefixes: Iterable[int],
    progress: Callable[[str], None],
    profile: bool = False,
) -> Rates:
    """Return a job's rates (`job`: "features" or "rankings", or either with "tutorial " before it).

    One run for each of `prefixes`, of which the last two count; runs before them warm the cluster's JVM. Of a single
    run, what comes after `EARLY` of its writes counts: that spares a submission. With `profile` also by thread, and by
    step of the Python worker, which is sampled in the first run.
    """
    runs: list[Measured] = []
    for count in prefixes:
        run, looks = _run(place, stream, job, count, profile, sample=profile and not runs)
        runs.append(run)
        progress(f"{job}: {count:,} events in {run.seconds:.1f} s, {run.written:,} written")
    before = runs[-2] if len(runs) > 1 else early(looks, run, EARLY)
    return slope(before, run)._replace(steps=runs[0].steps)


def _run(
    place: Workplace, stream: Clicks, job: str, count: int, threads: bool, sample: bool
) -> tuple[Measured, list[Look]]:
    """Run a job over the first `count` events; return the run, and how it looked on its way.

    Redis is empty before, except for the rankings job: it reads the features that were written before it.
    """
    ends = clicks.prefix_ends(clicks.partitions(stream, place.settings.topic_partitions), count)
    if job == "rankings":
        _forget_lists(place)
    else:
        place.store.flushall()
    place.store.config_resetstat()
    lists, dead = _records(place, place.settings.rankings_topic), _records(place, place.settings.dead_topic)
    tutorial = job.removeprefix("tutorial ")
    submit = place.submit if tutorial == job else place.submit_tutorial
    submitted = submit(tutorial, place.settings.events_topic, ends)
    clock = memory.CpuClock(place.settings.state_dir, threads=threads)
    clock.look()
    before_s, looks = clock.seconds(), list[Look]()
    sampler = WorkerSampler(place.settings.state_dir, place.settings.state_dir / "worker.stacks") if sample else None

    def taken_s() -> dict[str, float]:
        return {name: seconds - before_s.get(name, 0.0) for name, seconds in clock.seconds().items()}

    def look() -> None:
        clock.look()
        looks.append(Look(time.time(), writes(place), taken_s()))
        if sampler and looks[-1].written:
            sampler.look()

    with repeating(look, LOOK_S, "processor time"):
        span = flink_jobs.to_end(place.rest_url, submitted, limit_s=120 + count / SLOWEST_EVENTS_PER_S)
    clock.look()
    refused = _records(place, place.settings.dead_topic) - dead
    if refused:
        raise DataError(
            f"{job} refused {refused:,} of {count:,} events", "the generator breaks the event contract: report this"
        )
    lists = _records(place, place.settings.rankings_topic) - lists
    steps = sampler.shares() if sampler else {}
    whole = Measured(count, span.ended_s - span.began_s, writes(place), lists, taken_s(), steps)
    return whole, [look._replace(seconds=look.seconds - span.began_s) for look in looks]


def _forget_lists(place: Workplace) -> None:
    pipeline = place.store.pipeline(transaction=False)
    for key in place.store.scan_iter("shelf:*", count=5_000):
        pipeline.unlink(key)
    pipeline.execute()


def _records(place: Workplace, topic: str) -> int:
    return sum(kafka_admin.end_offsets(place.services.kafka_bootstrap, topic).values())


def writes(place: Workplace) -> int:
    """Return the rows or lists written since the counters were reset."""
    stats = place.store.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in WRITES)
