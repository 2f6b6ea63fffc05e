"""Measure from outside how long it takes from an event to its list in Redis; and reads and memory under that load."""

import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from jobs.connect import kafka_admin, kafka_send
from jobs.connect.kafka_read import read_slice
from jobs.errors import ServiceError
from jobs.lab.bench import clicks, flink_jobs, swaps
from jobs.lab.bench.clicks import Clicks
from jobs.lab.bench.figures import percentiles
from jobs.lab.bench.memory import memory_mb
from jobs.lab.bench.swaps import Swaps
from jobs.lab.bench.workplace import VISITORS, Workplace
from jobs.rankings.publish import version
from liveshelf.reader import ShelfReader, shelf_key
from models.serving.registry import Registry

TOPIC = "bench.live"
EVENTS_PER_S = 1_000
WATCHED_PER_S = 200  # of the events, evenly
CATCH_UP_LIMIT_S = 180.0
LOADED_READS, LOADED_PAUSE_S = 2_000, 0.002
LOADED_READS_PER_S = 100  # of the measured seconds: with the pause a read takes 4 ms or more


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """What generator and reader share in advance: every live event, its partition and its offset follow from it."""

    kafka_bootstrap: str
    redis_url: str
    topic: str
    shelf: str
    items: list[str]
    partitions: int
    history: int  # events in the topic before the first live one
    count: int  # live events
    stream: int  # events in all, with those of schedules that follow on the same topic
    events_per_s: int
    warm_s: float  # live events before that aren't watched
    swaps_s: float  # from then on versions are swapped
    swaps: Swaps
    sample_every: int

    @property
    def watched(self) -> range:
        """Return the live events whose lists are watched."""
        return range(int(self.warm_s * self.events_per_s), self.count, self.sample_every)

    @property
    def swaps_from(self) -> int:
        """Return the first live event after the swaps have begun."""
        return int(self.swaps_s * self.events_per_s)


class Seen(msgspec.Struct, frozen=True):
    """The reader's result: the latency of each event that got its list, and the times between polls (resolution).

    `long_polls_ns` holds when an exchange with Redis began and ended (`time.monotonic_ns()`), if it took long.
    """

    latencies_ms: dict[int, float]
    polls_ms: list[float]
    long_polls_ns: list[tuple[int, int]]


def _all_clicks(schedule: Schedule) -> Clicks:
    return clicks.make(schedule.stream, VISITORS, len(schedule.items), seed=2)


def live_clicks(schedule: Schedule) -> Clicks:
    """Return the events that the generator sends."""
    return _all_clicks(schedule).part(schedule.history, schedule.history + schedule.count)


def live_offsets(schedule: Schedule) -> np.ndarray:
    """Return int64 [count]: the live events' offsets.

    Before them a partition holds its part of the history and one heartbeat.
    """
    offsets = clicks.offsets(clicks.partitions(_all_clicks(schedule), schedule.partitions))
    return offsets[schedule.history : schedule.history + schedule.count] + 1


def sent_times(folder: Path, count: int) -> np.ndarray:
    """Open int64 [count], shared by the processes: `time.monotonic_ns()` when each event was sent, 0 before."""
    return np.memmap(folder / "sent_ns.bin", np.int64, "r+", shape=(count,))


def measure(
    place: Workplace, history: int, warm_s: float, seconds: float, changes: Swaps, progress: Callable[[str], None]
) -> dict:
    """Return `latency_ms`, `swaps`, `read_ms` and `memory_mb` of the rankings job under `EVENTS_PER_S`.

    `history` events fill the visitors' histories before, `warm_s` seconds of load come before the measured `seconds`,
    and after them the model is changed as `changes` says.
    """
    schedule = plan(place, EVENTS_PER_S, history, warm_s, warm_s + seconds, changes)
    folder = shared_folder(place, schedule)
    registry = swaps.registry_of(place.settings.state_dir / "versions")
    job = start_job(place, schedule, registry.folder)
    lasts_s = schedule.count / EVENTS_PER_S
    progress(f"latency: {history:,} events of history are read; {EVENTS_PER_S:,} events/s for {lasts_s:.0f} s")
    watcher, generator = (spawn(name, folder) for name in ("watch", "load"))
    time.sleep(warm_s + seconds / 3)
    memory = memory_mb(place.settings.state_dir)
    visitors = np.unique(live_clicks(schedule).visitor[: int(warm_s * EVENTS_PER_S)]).tolist()
    loaded = _reads(place, random.Random(3).choices(visitors, k=loaded_reads(seconds)), LOADED_PAUSE_S)
    first_list_ms = _swap(place, folder, schedule, registry)
    behind_ms = float(output(generator, schedule))
    output(watcher, schedule)
    check_offsets(schedule)
    flink_jobs.cancel(place.rest_url, job)
    seen = seen_in(folder)
    idle = _reads(place, visitors[:10_000] if len(visitors) >= 10_000 else random.Random(4).choices(visitors, k=10_000))
    return _latencies(seen, schedule, behind_ms, first_list_ms) | {
        "read_ms": idle | {"under_load": loaded},
        "memory_mb": memory,
    }


def loaded_reads(seconds: float) -> int:
    """Return how many lists are read under load. They must end before the swaps begin, or these come late.

    With 2,000 reads in 8 s the load ended before two of three versions had made a list.
    """
    return min(LOADED_READS, int(LOADED_READS_PER_S * seconds))


def plan(
    place: Workplace, events_per_s: int, history: int, warm_s: float, swaps_s: float, changes: Swaps, stream: int = 0
) -> Schedule:
    """Return the schedule of a load of `events_per_s` until `swaps_s`, and then for as long as the `changes` take.

    Schedules of one `stream` (its events in all) follow one another: what one sends is the next one's history too.
    """
    count = round((swaps_s + changes.seconds) * events_per_s)
    return Schedule(
        kafka_bootstrap=place.services.kafka_bootstrap,
        redis_url=place.services.redis_url,
        topic=TOPIC,
        shelf=place.settings.ranker.shelf,
        items=place.items,
        partitions=place.settings.topic_partitions,
        history=history,
        count=count,
        stream=stream or history + count,
        events_per_s=events_per_s,
        warm_s=warm_s,
        swaps_s=swaps_s,
        swaps=changes,
        sample_every=max(1, events_per_s // WATCHED_PER_S),
    )


def shared_folder(place: Workplace, schedule: Schedule) -> Path:
    """Make the folder that generator and reader share; return it."""
    folder = place.settings.state_dir / f"live{schedule.history}"
    folder.mkdir()
    (folder / "schedule.json").touch(mode=0o600)  # a Redis address may hold a password
    (folder / "schedule.json").write_bytes(msgspec.json.encode(schedule))
    np.zeros(schedule.count, np.int64).tofile(folder / "sent_ns.bin")
    return folder


def start_job(place: Workplace, schedule: Schedule, model_dir: Path) -> str:
    """Fill the topic with the history, submit the rankings job, and wait until its lists answer the last of it.

    The history ends now, so that no live event is late for a features job.
    """
    place.new_topic(schedule.topic)
    history = _all_clicks(schedule).part(0, schedule.history)
    partition = clicks.partitions(history, schedule.partitions)
    stream = clicks.documents(history, schedule.items, "history")
    clicks.produce(schedule.kafka_bootstrap, schedule.topic, stream, partition, schedule.history, ahead_ms=0)
    for key in place.store.scan_iter("shelf:*", count=5_000):
        place.store.unlink(key)  # their versions are places in another topic
    job = place.submit("rankings", schedule.topic, model_dir=str(model_dir))
    flink_jobs.wait_running(place.rest_url, job)
    offset = clicks.offsets(partition)
    last = [int(np.flatnonzero(partition == number)[-1]) for number in range(schedule.partitions)]
    keys = [shelf_key(clicks.visitor_id(int(history.visitor[row])), schedule.shelf) for row in last]
    deadline = time.monotonic() + CATCH_UP_LIMIT_S
    answers = [version(number, int(offset[row])).encode() for number, row in enumerate(last)]
    while any(place.store.getrange(key, 12, 31) < answer for key, answer in zip(keys, answers, strict=True)):
        if time.monotonic() > deadline:
            raise ServiceError(f"the rankings job didn't catch up within {CATCH_UP_LIMIT_S:.0f} s", "see its log")
        time.sleep(0.1)
    return job


def _swap(place: Workplace, folder: Path, schedule: Schedule, registry: Registry) -> list[int]:
    """Change the versions when their time has come; return how long the first list of each takes, in ms."""
    sent = sent_times(folder, schedule.count)
    while not sent[schedule.swaps_from]:
        time.sleep(0.01)
    bootstrap, topic = schedule.kafka_bootstrap, place.settings.rankings_topic
    logged = kafka_admin.end_offsets(bootstrap, topic)
    history = swaps.swap(registry, schedule.swaps)
    return swaps.first_list_ms(read_slice(bootstrap, topic, logged).records, history)


def spawn(name: str, folder: Path) -> subprocess.Popen[str]:
    """Start the generator ("load") or the reader ("watch")."""
    argv = [sys.executable, "-m", f"jobs.lab.bench.{name}", str(folder)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def output(process: subprocess.Popen[str], schedule: Schedule) -> str:
    """Wait until the process has ended; return what it printed. Raises ServiceError if it failed."""
    said, complaint = process.communicate(timeout=60 + schedule.count / schedule.events_per_s)
    if process.returncode:
        raise ServiceError(f"{' '.join(process.args[2:])} ended with {process.returncode}:\n{complaint}", "report this")
    return said


def check_offsets(schedule: Schedule) -> None:
    """Raise ServiceError unless the topic holds what the reader's offsets, known in advance, rely on."""
    held = sum(kafka_admin.end_offsets(schedule.kafka_bootstrap, schedule.topic).values())
    expected = schedule.history + schedule.count + schedule.partitions
    if held != expected:
        raise ServiceError(f"{schedule.topic} holds {held:,} records instead of {expected:,}", "measure again")


def seen_in(folder: Path) -> Seen:
    """Return what the reader saw."""
    return msgspec.json.decode((folder / "seen.json").read_bytes(), type=Seen)


def _latencies(seen: Seen, schedule: Schedule, behind_ms: float, first_list_ms: list[int]) -> dict[str, dict]:
    """Return `latency_ms`, measured before the swaps, and `swaps` with the latency during them."""
    quiet, swapped = (
        percentiles_of(seen, [number for number in schedule.watched if (number >= schedule.swaps_from) is during])
        for during in (False, True)
    )
    about = {
        "events_per_s": schedule.events_per_s,
        "resolution_ms": percentiles(seen.polls_ms),
        "generator_behind_ms_max": behind_ms,
        "generator": "confluent-kafka" if kafka_send.has_confluent() else "kafka-python",  # which takes more of a core
    }
    counts = msgspec.structs.asdict(schedule.swaps) | {"shown": len(first_list_ms)}
    ratio = round(swapped["p99"] / quiet["p99"], 2)
    return {
        "latency_ms": quiet | about,
        "swaps": counts | {"latency_ms": swapped, "p99_ratio": ratio, "first_list_ms": percentiles(first_list_ms)},
    }


def percentiles_of(seen: Seen, numbers: Sequence[int]) -> dict[str, float | int]:
    """Return percentiles over these events; `lists` counts those that got their list."""
    latencies_ms = [seen.latencies_ms[number] for number in numbers if number in seen.latencies_ms]
    return percentiles(latencies_ms) | {"events": len(numbers), "lists": len(latencies_ms)}


def _reads(place: Workplace, visitors: list[int], pause_s: float = 0.0) -> dict[str, float | int]:
    """Return percentiles of `ShelfReader.get` for these visitors, one after another."""
    reader = ShelfReader(place.services.redis_url, place.settings.ranker.shelf)
    times_ms, lists = [], 0
    for visitor in visitors:
        started_ns = time.perf_counter_ns()
        shelf = reader.get(clicks.visitor_id(visitor))
        times_ms.append((time.perf_counter_ns() - started_ns) / 1e6)
        lists += shelf.state != "absent"
        time.sleep(pause_s)
    reader.close()
    return percentiles(times_ms, digits=3) | {"reads": len(visitors), "lists": lists}
