"""Measure what an event costs by the number of visitors whom a job knows, beside what `liveshelf plan` predicts.

    python -m jobs.lab.bench.known_visitors [--visitors 10000 1000000] [--events 100000] [--rounds 2]

For each job and number N, one event of each of N visitors fills the state, within 30 minutes of event time. Ten minutes
later comes what is measured: `--events` events, all of them sent before the job has read a tenth. Visits, items and
times in it are the same for each N. As many visitors as the smallest N are in it, drawn out of the N. So each of them
has the same session, and only the number of the other visitors differs. 60,000 events of 1,000 further visitors come in
between, because a job's own code is compiled anew for each job.

Sizes come in turn on one cluster, whose heap is what the plan says for the largest N. Sizes of state are taken at the
end: that of a checkpoint, all that lives after a full collection of the heap, and Redis. No checkpoint is made before,
and Redis doesn't rewrite its file, because both cost by the time that passes and not by events. What two checkpoints at
the end cost is told. The rankings job reads the features that the features job wrote just before. Items have no facts,
which the plan counts.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import msgspec
import numpy as np
import psutil

from jobs.connect import kafka_send
from jobs.errors import ServiceError
from jobs.lab.bench import clicks, flink_jobs, memory, redis_bytes
from jobs.lab.bench.clicks import Clicks
from jobs.lab.bench.figures import JOB
from jobs.lab.bench.throughput import writes
from jobs.lab.bench.workplace import Workplace, workplace
from jobs.lab.budget import coefficients, terms
from jobs.lab.budget.terms import Counts
from jobs.lab.replay.produce import FLUSH_MS, beat
from jobs.operate.running_jobs import JOBS, Job
from jobs.settings import TASK_HEAP_MB, Settings

MINUTE_MS = 60_000
FILL_MS = 30 * MINUTE_MS  # all of it stays in the window of an hour until the end, so nothing leaves meanwhile
PAUSE_MS = 10 * MINUTE_MS  # longer than the session gap: known visitors begin a session, and 5 minutes have passed
WARM, WARM_VISITORS = 60_000, 1_000
NO_CHECKPOINTS_MS = 86_400_000
LOOK_S = 0.3
STILL_S = 3.0  # without a write, and with less than `BUSY` of a core in the job: all is read
BUSY = 0.4  # a collection of garbage that stops the job for seconds takes all cores
SLOWEST_EVENTS_PER_S = 500
SPARE_MB = 6_000  # of the machine's memory: Redis, broker, JobManager, Python


class Part(NamedTuple):
    """Events in the order of their times."""

    name: str
    stream: Clicks
    times_ms: np.ndarray


class Cost(NamedTuple):
    """What an event costs in the measured part."""

    events_per_s: float
    cpu_us: dict[str, float]  # by process, and by thread of the JVMs

    @property
    def job_us(self) -> float:
        return sum(self.cpu_us[name] for name in JOB)

    def thread_us(self, does: str) -> float:
        """Return what threads of the TaskManager took; 0 where threads can't be looked at."""
        return self.cpu_us.get(f"task_manager: {does}", 0.0)


class Sizes(NamedTuple):
    """What the state takes at the end, in bytes."""

    checkpoint: float
    heap: float
    redis: float
    checkpoint_s: tuple[float, float]  # of the first one, and of one in which nothing has changed since
    checkpoint_cpu_s: tuple[float, float]
    collection_s: float


def filling(visitors: int, items: int, first_ms: int) -> Part:
    """Return one event of each of so many visitors."""
    stream = clicks.make(visitors, visitors, items, seed=1)
    each = np.random.default_rng(2).permutation(visitors)
    times_ms = first_ms + np.arange(visitors) * FILL_MS // visitors
    return Part("fill", Clicks(each, each, *stream[2:]), times_ms)


def visits(name: str, count: int, visitors: np.ndarray, items: int, first_ms: int) -> Part:
    """Return events of visits of these visitors, 1,000 a second. The same count and seed give the same visits."""
    stream = clicks.make(count, len(visitors), items, seed=3)
    return Part(name, Clicks(visitors[stream.visitor], *stream[1:]), first_ms + np.arange(count))


def parts(known: int, touched: int, count: int, items: int, now_ms: int) -> Iterator[Part]:
    """Yield the filling, what warms the job, and what is measured, of which the last event is some minutes old."""
    first_ms = now_ms - FILL_MS - 3 * PAUSE_MS - WARM - count
    yield filling(known, items, first_ms)
    first_ms += FILL_MS + PAUSE_MS
    yield visits("warm", WARM, np.arange(known, known + WARM_VISITORS), items, first_ms)
    first_ms += WARM + PAUSE_MS
    drawn = np.random.default_rng(4).choice(known, touched, replace=False)
    yield visits("measured", count, drawn, items, first_ms)


def last_session_events(parts: Sequence[Part]) -> int:
    """Return the events of all visitors' last sessions; a visitor has one session in each part."""
    later, events = np.array([], np.int64), 0
    for part in reversed(parts):
        events += int((~np.isin(part.stream.visitor, later)).sum())
        later = np.union1d(later, part.stream.visitor)
    return events


def counts(parts: Sequence[Part], job: Job) -> Counts:
    """Return what a job's state holds of events within a day."""
    visitor, item, kind = (
        np.concatenate([getattr(part.stream, column) for part in parts]) for column in ("visitor", "item", "kind")
    )
    minute = np.concatenate([part.times_ms for part in parts]) // MINUTE_MS
    _, events_of = np.unique(visitor, return_counts=True)
    if job == "rankings":
        held = np.minimum(events_of, terms.HISTORY_EVENTS)
        return Counts(histories=len(events_of), history_events=int(held.sum()))
    named = np.array([name != "search" for name in clicks.TYPES])[kind]
    item, minute, of_items = item[named], minute[named], visitor[named]
    category = item % clicks.CATEGORIES

    def different(*columns: np.ndarray) -> int:
        return len(np.unique(np.stack(columns), axis=1).T)

    return Counts(
        visitors=len(events_of),
        session_events=last_session_events(parts),
        visitor_events=len(visitor),
        items=different(item),
        item_minutes=different(item, minute),
        item_visitors=different(item, of_items),
        categories=different(category),
        category_minutes=different(category, minute),
        category_visitors=different(category, of_items),
        buckets=terms.BUCKETS * (1 - (1 - 1 / terms.BUCKETS) ** len(visitor)),  # digests fall into them at random
        ids=len(visitor),
    )


def send(place: Workplace, topic: str, part: Part) -> None:
    """Send events, with ids of 36 characters, and a heartbeat after which all windows that wait are written."""
    documents = clicks.documents(part.stream, place.items, part.name)
    rows = zip(documents, part.stream.visitor.tolist(), part.times_ms.tolist(), strict=True)
    partitions = place.settings.topic_partitions
    with closing(kafka_send.connect(place.services.kafka_bootstrap, topic, fast=True)) as sender:
        for event, number, time_ms in rows:
            visitor = redis_bytes.visitor(number)
            event |= {"visitor_id": visitor, "event_time_ms": time_ms}
            sender.send(visitor.encode(), msgspec.json.encode(event), time_ms, number % partitions)
        beat(sender, int(part.times_ms[-1]) + FLUSH_MS)
        sender.flush()


class Watched:
    """A job that runs on a topic of its own, from before its first event."""

    def __init__(self, place: Workplace, job: Job, topic: str) -> None:
        self._place, self._topic, self._folder = place, topic, place.settings.state_dir
        self._clock = memory.CpuClock(self._folder, threads=True)
        place.new_topic(topic)
        self._empty_redis = redis_bytes.held(place.store)
        flink_jobs.wait_slots(place.rest_url, 1)  # a TaskManager that was lost is back
        self.id = place.submit(job, topic, checkpoint_interval_ms=NO_CHECKPOINTS_MS)
        flink_jobs.wait_running(place.rest_url, self.id)

    def read(self, part: Part) -> Cost:
        """Send a part and return what it cost until the job was idle."""
        self._place.store.config_resetstat()
        before, began_s = self._seconds(), time.monotonic()
        send(self._place, self._topic, part)
        deadline_s = began_s + 60 + len(part.stream) / SLOWEST_EVENTS_PER_S
        written, written_s, busy_s, taken_s = 0, began_s, time.monotonic(), self._taken_s()
        while not written or time.monotonic() - busy_s < STILL_S:
            time.sleep(LOOK_S)
            now, now_s = writes(self._place), self._taken_s()
            if now > written:
                written, written_s = now, time.monotonic()
            if written_s > busy_s or now_s - taken_s > BUSY * LOOK_S:
                busy_s = time.monotonic()
            taken_s = now_s
            if time.monotonic() > deadline_s:
                raise ServiceError(f"{self._topic} is still being read after {deadline_s - began_s:.0f} s", "see Flink")
        events, after = len(part.stream), self._seconds()
        taken_us = {name: 1e6 * (seconds - before.get(name, 0.0)) / events for name, seconds in after.items()}
        return Cost(events / (written_s - began_s), taken_us)

    def sizes(self, empty_heap: int) -> Sizes:
        """Return what the job holds now. `empty_heap` is what lived in the TaskManager before any event.

        The job may fail after that: a full collection of gigabytes takes longer than Flink waits for a TaskManager.
        """
        redis = redis_bytes.held(self._place.store) - self._empty_redis
        first, first_cpu_s = self._checkpoint()
        second, second_cpu_s = self._checkpoint()
        heap, collection_s = memory.live_heap(self._folder)
        took = (first.seconds, second.seconds)
        return Sizes(first.bytes, heap - empty_heap, redis, took, (first_cpu_s, second_cpu_s), collection_s)

    def _checkpoint(self) -> tuple[flink_jobs.Checkpoint, float]:
        before_s = self._seconds()["task_manager"]
        done = flink_jobs.checkpoint(self._place.rest_url, self.id)
        return done, self._seconds()["task_manager"] - before_s

    def _taken_s(self) -> float:
        seconds = self._seconds()
        return sum(seconds[name] for name in JOB)

    def cancel(self) -> None:
        flink_jobs.cancel(self._place.rest_url, self.id)

    def _seconds(self) -> dict[str, float]:
        self._clock.look()
        return self._clock.seconds()


def predicted(parts: Sequence[Part], job: Job) -> dict[str, float]:
    """Return what the plan's costs make of these events, in bytes."""
    costs, of_features = coefficients.shipped(), counts(parts, "features")
    visitors = round(of_features.visitors)
    size = terms.asked(visitors, visitors, round(of_features.items))
    lists, *features = (term.amount for term in terms.redis_terms(size, costs, clicks.CATEGORIES))
    of_job = of_features if job == "features" else counts(parts, job)
    return {
        kind: 1e9 * sum(term.amount for term in terms.state_terms(of_job, costs, kind))
        for kind in ("checkpoint", "heap")
    } | {"redis": 1e9 * (lists if job == "rankings" else sum(features))}


def planned_heap_mb(visitors: int, items: int) -> int:
    """Return the heap that a plan says for the features job of visitors with one event each, on one day."""
    quantities = terms.plan(terms.asked(visitors, visitors, items, visitors, visitors), coefficients.shipped())
    (heap,) = (each for each in quantities if each.name.startswith("heap"))
    of_features = sum(term.amount for term in heap.terms if "histories" not in term.what)
    return round(of_features / terms.HEAP_SHARE * 1e9 / 2**20)


def measure(place: Workplace, visitors: Sequence[int], count: int, number: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each number of visitors and each job.

    What an empty TaskManager holds is measured once: the state of a job outlives it by seconds.
    """
    empty_heap = 0
    for known in visitors:
        place.store.flushall()
        place.store.config_set("auto-aof-rewrite-percentage", 0)
        for job in JOBS:
            watched = Watched(place, job, f"known.{job}.{known}.{number}")
            empty_heap = empty_heap or memory.live_heap(place.settings.state_dir)[0]
            sent = list(parts(known, min(visitors), count, len(place.items), time.time_ns() // 1_000_000))
            filled, _, cost = (watched.read(part) for part in sent)
            yield row(job, known, watched.sizes(empty_heap), predicted(sent, job), filled, cost)
            watched.cancel()


def row(job: Job, known: int, sizes: Sizes, expected: dict[str, float], filled: Cost, cost: Cost) -> dict[str, Any]:
    """Return what is printed of a measurement."""
    compared = {}
    for name, bytes_ in expected.items():
        taken = getattr(sizes, name)
        compared[name] = f"{taken / 1e6:,.1f} MB, {taken / bytes_:.2f} of the plan's {bytes_ / 1e6:,.1f} MB"
    return {
        "job": job,
        "visitors": known,
        "events_per_s": round(cost.events_per_s),
        "job_us": round(cost.job_us, 1),
        "us_by_process": {name: round(us, 1) for name, us in cost.cpu_us.items() if ": " not in name and us >= 0.5},
        "collector_us": round(cost.thread_us("garbage collector"), 1),
        "compiler_us": round(cost.thread_us("compiler"), 1),
        "filling_events_per_s": round(filled.events_per_s),
        **compared,
        "checkpoint_s": sizes.checkpoint_s,
        "checkpoint_cpu_s": [round(each, 1) for each in sizes.checkpoint_cpu_s],
        "full_collection_s": round(sizes.collection_s, 1),
    }


def main() -> None:
    """Print the machine and then a line of JSON for each measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    planned_mb = planned_heap_mb(max(given.visitors), len(redis_bytes.shipped_items()))
    heap_mb = max(TASK_HEAP_MB, min(planned_mb, psutil.virtual_memory().available // 2**20 - SPARE_MB))
    print_line(memory.machine() | {"planned_heap_mb": planned_mb, "heap_mb": heap_mb})
    with workplace(Settings(task_heap_mb=heap_mb)) as place:
        for number in range(given.rounds):
            for measured in measure(place, given.visitors, given.events, number):
                print_line(measured)


def print_line(value: dict[str, Any]) -> None:
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
