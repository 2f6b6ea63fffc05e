"""Measure from event to list at several rates, without and with the features job beside, and name the slowest's causes.

    python -m jobs.lab.bench.latencies [--rates 200 1000 2000] [--seconds 40] [--json FILE]

One cluster of two slots, one rankings job. 200 events a second are watched. Each of the slowest five moments is told
with what held the event: pauses of the JVMs, phases of checkpoints, threads that waited for a processor, slow answers
of Redis, a late generator. Linux only. It needs confluent-kafka (`make test-env`) and a machine with nothing else
running.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from jobs.cluster import processes
from jobs.connect import flink_rest
from jobs.jvm.java import JCMD
from jobs.lab.bench import causes, flink_jobs, latency, throughput
from jobs.lab.bench.causes import Span
from jobs.lab.bench.latency import EVENTS_PER_S, Schedule, Seen
from jobs.lab.bench.memory import KINDS, kind, machine, thread_name
from jobs.lab.bench.samples import ELSE, EVERY_S, Samples, threads
from jobs.lab.bench.swaps import Swaps
from jobs.lab.bench.workplace import MODEL, Workplace, workplace
from jobs.lab.repeating import repeating
from jobs.operate import extras
from jobs.settings import Settings

RATES = (200, 1_000, 2_000)
HISTORY = 20_000  # events that are read before
WARM_UP_S = 30.0  # of load on new jobs, in which Java compiles the most, and the features job reads what was before
SETTLE_S = 5.0  # of load at a rate before the first watched event
SLOW_REDIS_MS = 5  # a command that takes so long is counted; Redis keeps only the second in which it began
BESIDE_TOLD = 3  # of what went on beside a slow event, in its line
ON_THE_WAY = ("source", "operators", "exchange with Python")  # the TaskManager's threads that an event passes
LOGGED = ("task_manager", "broker")  # the JVMs that an event passes


def measure(place: Workplace, rates: Sequence[int], seconds: float) -> Iterator[dict[str, Any]]:
    """Yield latencies, the causes of the slowest, and the cores that each process took: one rate after the other.

    All rates go to one rankings job, first alone, then with the features job beside it. It is new, and Redis empty.
    """
    place.store.flushall()
    loads = schedules(place, rates, seconds)
    known, groups = _ids(place), dict[str, set[int]]()
    jobs = {"rankings": latency.start_job(place, loads[0], MODEL)}
    groups["rankings"] = _ids(place) - known
    for number, schedule in enumerate(loads):
        if number == len(rates) + 1:
            jobs["features"] = place.submit("features", schedule.topic)
            flink_jobs.wait_running(place.rest_url, jobs["features"])
        folder = latency.shared_folder(place, schedule)
        if not schedule.watched:
            latency.output(latency.spawn("load", folder), schedule)
            continue
        groups["features"] = _ids(place) - known - groups["rankings"]
        yield {"features_beside": "features" in jobs} | _run(place, schedule, folder, jobs, groups)
    for job in jobs.values():
        flink_jobs.cancel(place.rest_url, job)
    latency.check_offsets(loads[-1])


def schedules(place: Workplace, rates: Sequence[int], seconds: float) -> list[Schedule]:
    """Return the loads without and with the features job: one that warms the JVMs up, then one of each rate."""
    loads = [(EVENTS_PER_S, WARM_UP_S, WARM_UP_S), *((rate, SETTLE_S, SETTLE_S + seconds) for rate in rates)] * 2
    stream, history, planned = HISTORY + sum(round(rate * ends_s) for rate, _, ends_s in loads), HISTORY, []
    for rate, warm_s, ends_s in loads:
        planned.append(latency.plan(place, rate, history, warm_s, ends_s, Swaps(0, 0), stream))
        history += planned[-1].count
    return planned


def _run(
    place: Workplace, schedule: Schedule, folder: Path, jobs: Mapping[str, str], groups: Mapping[str, set[int]]
) -> dict[str, Any]:
    """Send and watch one load."""
    watcher, generator = (latency.spawn(name, folder) for name in ("watch", "load"))
    time.sleep(schedule.warm_s)
    _forget_slow_commands(place)
    writes, began_s = throughput.writes(place), time.monotonic()
    samples = _samples(place, groups, {"reader": watcher.pid, "generator": generator.pid})
    with repeating(samples.look, EVERY_S, "samples"):
        latency.output(generator, schedule)
        latency.output(watcher, schedule)
    samples.close()
    writes_per_s = (throughput.writes(place) - writes) / (time.monotonic() - began_s)
    checkpoints = [span for name, job in jobs.items() for span in _checkpoints(place.rest_url, name, job)]
    of_redis = {"redis_writes_per_s": round(writes_per_s), "redis_slow_commands": _slow_commands(place)}
    return _result(place, schedule, folder, samples, checkpoints) | of_redis


def _result(
    place: Workplace, schedule: Schedule, folder: Path, samples: Samples, checkpoints: Sequence[Span]
) -> dict[str, Any]:
    """Return what the run showed, once everything of it has ended."""
    seen = latency.seen_in(folder)
    sent_ns = np.array(latency.sent_times(folder, schedule.count))
    spans = [*samples.spans(), *checkpoints, *_of_the_load(seen, sent_ns, schedule.events_per_s)]
    pauses = {name: _pauses(place, name) for name in LOGGED}
    spans += chain.from_iterable(pauses.values())
    figures = latency.percentiles_of(seen, schedule.watched)
    first = schedule.watched[0]
    moments = [
        {"at_s": round((slow.sent_ns - int(sent_ns[first])) / 1e9, 1)} | causes.explain(slow, spans, figures["p50"])
        for slow in causes.slowest(seen.latencies_ms, sent_ns)
    ]
    behind_ms = causes.lateness_ms(sent_ns, schedule.events_per_s)[first:]
    return {
        "events_per_s": schedule.events_per_s,
        "latency_ms": figures,
        "generator_behind_ms_max": round(float(behind_ms.max()), 1),
        "slowest": moments,
        "pauses_ms": {name: _lengths(each, int(sent_ns[first]), int(sent_ns[-1])) for name, each in pauses.items()},
        "cores": samples.cores(int(sent_ns[first]), int(sent_ns[-1])),
    }


def _of_the_load(seen: Seen, sent_ns: np.ndarray, events_per_s: int) -> list[Span]:
    polls = [causes.whole("Redis answered the reader late", *poll, holds=True) for poll in seen.long_polls_ns]
    return [*polls, *causes.late(sent_ns, events_per_s)]


def _pids(place: Workplace) -> dict[int, str]:
    """Return the kind of each process of the cluster."""
    kinds = ((process.pid, kind(processes.words(process))) for process in processes.owned(place.settings.state_dir))
    return {pid: name for pid, name in kinds if name in KINDS.values()}


def _pid(place: Workplace, name: str) -> int:
    return next(pid for pid, other in _pids(place).items() if other == name)


def _ids(place: Workplace) -> set[int]:
    """Return the ids of the TaskManager's threads, and of the Python workers."""
    pids = _pids(place)
    return {pid for pid, name in pids.items() if name == "python_worker"} | set(
        threads(next(pid for pid, name in pids.items() if name == "task_manager"))
    )


def _samples(place: Workplace, groups: Mapping[str, set[int]], load: dict[str, int]) -> Samples:
    """Sample all processes, and the waits of the threads that an event passes on its way to its list."""
    pids = _pids(place)
    taskmanager, broker, redis = (_pid(place, name) for name in ("task_manager", "broker", "redis"))
    workers = {
        f"{job} worker {number}".removesuffix(" 1"): pid
        for job, ids in groups.items()
        for number, pid in enumerate(sorted(pid for pid in ids if pids.get(pid) == "python_worker"), 1)
    }
    others = {name: pid for pid, name in pids.items() if name != "python_worker"}
    does = {tid: thread_name(taskmanager, tid) for tid in threads(taskmanager)}
    requests = [tid for tid in threads(broker) if thread_name(broker, tid) == "requests"]
    running = {"compiler of the TaskManager": [tid for tid in does if does[tid] == "compiler"]}
    waiting = {
        "generator": list(threads(load["generator"])),
        "broker": requests,
        "rankings in the TaskManager": [tid for tid in groups["rankings"] if does.get(tid) in ON_THE_WAY],
        **{name: list(threads(pid)) for name, pid in workers.items() if name.startswith("rankings")},
        "redis": [redis],
        "reader": list(threads(load["reader"])),
    }
    return Samples(others | workers | load | {"this measurement": os.getpid()}, running, waiting)


def _checkpoints(rest_url: str, name: str, job: str) -> Iterator[Span]:
    """Yield the phases of a job's last ten checkpoints, which Flink remembers. Only those of rankings hold lists."""
    ahead_ns = time.time_ns() - time.monotonic_ns()
    for checkpoint in flink_rest.ask(rest_url, f"/jobs/{job}/checkpoints")["history"]:
        path = f"/jobs/{job}/checkpoints/details/{checkpoint['id']}"
        for vertex in flink_rest.ask(rest_url, path)["tasks"]:
            for subtask in flink_rest.ask(rest_url, f"{path}/subtasks/{vertex}")["subtasks"]:
                if subtask["status"] == "completed":
                    trigger_ms = checkpoint["trigger_timestamp"]
                    yield from causes.phases(name, trigger_ms, subtask, ahead_ns, holds=name == "rankings")


def _pause_log(place: Workplace, name: str) -> Path:
    return place.settings.state_dir.resolve() / f"pauses-{name}.log"


def log_pauses(place: Workplace) -> None:
    """Ask the JVMs to write down their pauses from now on, without a restart."""
    for name in LOGGED:
        log = ["VM.log", f"output={_pause_log(place, name)}", "what=safepoint=info", "decorators=timenanos"]
        subprocess.run([str(JCMD), str(_pid(place, name)), *log], check=True, capture_output=True)


def _pauses(place: Workplace, name: str) -> list[Span]:
    return causes.pauses(_pause_log(place, name).read_text(), name)


def _lengths(spans: Sequence[Span], begin_ns: int, end_ns: int) -> dict[str, float]:
    """Return how many spans began between two times, and how long they were together and at most."""
    lengths_ms = [span.taken_ns / 1e6 for span in spans if begin_ns <= span.begin_ns <= end_ns]
    return {"count": len(lengths_ms), "sum": round(sum(lengths_ms), 1), "max": round(max(lengths_ms, default=0.0), 1)}


def _forget_slow_commands(place: Workplace) -> None:
    place.store.config_set("slowlog-log-slower-than", SLOW_REDIS_MS * 1000)
    place.store.config_set("latency-monitor-threshold", SLOW_REDIS_MS)
    place.store.slowlog_reset()
    place.store.latency_reset()


def _slow_commands(place: Workplace) -> dict[str, Any]:
    """Return how many commands were slow, the longest, and what else Redis itself says took long, in ms."""
    slow_log: Any = place.store.slowlog_get(128)
    latest: Any = place.store.latency_latest()
    slow_ms = [entry["duration"] / 1000 for entry in slow_log]
    events = {name.decode(): longest for name, _, _, longest, *_ in latest}
    return {"count": len(slow_ms), "max_ms": round(max(slow_ms, default=0.0), 1), "events_max_ms": events}


def line(result: dict[str, Any]) -> str:
    """Return a run's figures and the causes of its slowest moments, as lines of text."""
    figures, beside = result["latency_ms"], "with features" if result["features_beside"] else "rankings alone"
    head = f"{result['events_per_s']:,} events/s, {beside}: p50 / p90 / p99 / max " + " / ".join(
        f"{figures[name]:.0f}" for name in ("p50", "p90", "p99", "max")
    )
    head += f" ms; {figures['lists']:,} lists of {figures['events']:,} events watched"
    head += f"; {result['redis_writes_per_s']:,} writes/s"
    head += f"; generator at most {result['generator_behind_ms_max']:.0f} ms late"
    head += f"; {result['cores'][ELSE]:.2f} cores taken by something else"
    return "\n".join([head, *(_moment(slow) for slow in result["slowest"])])


def _moment(slow: Mapping[str, Any]) -> str:
    causes_of = ", ".join(slow["causes"]) or "no cause found"
    beside = ", ".join(f"{name} {ms:.0f} ms" for name, ms in list(slow["beside_ms"].items())[:BESIDE_TOLD])
    return f"  {slow['latency_ms']:.0f} ms at {slow['at_s']} s: {causes_of}{f'; beside it {beside}' if beside else ''}"


@contextmanager
def cluster() -> Iterator[Workplace]:
    """Start a cluster of two slots whose JVMs log their pauses."""
    with workplace(Settings(), slots=2) as place:
        log_pauses(place)
        yield place


def main() -> None:
    """Print each run's lines, and store all results if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=int, nargs="+", default=RATES, help="Events a second.")
    parser.add_argument("--seconds", type=float, default=40.0, help="How long each run is watched.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="Write the results as JSON.")
    given = parser.parse_args()
    with extras.of_program("python -m jobs.lab.bench.latencies"):
        import confluent_kafka  # noqa: F401 - the load is sent with it
    about, results = machine(), []
    sys.stdout.write(f"{about}\n")
    with cluster() as place:
        for result in measure(place, given.rates, given.seconds):
            results.append(result)
            sys.stdout.write(f"{line(result)}\n")
            sys.stdout.flush()
    if given.json:
        given.json.write_bytes(msgspec.json.format(msgspec.json.encode({"machine": about, "runs": results}), indent=2))


if __name__ == "__main__":
    main()
