"""Measure what the gate costs a read: `python -m jobs.lab.bench.gate_reads`. It starts a Redis of its own.

Rounds of each case follow each other, so that all see the same machine: a bare GET with redis-py and json, then `get()`
without a gate, with one that stands, and with one of which ten items change ten times a second.
"""

import json
import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import quantiles
from typing import cast

import redis

from jobs.cluster import processes
from jobs.cluster import redis as redis_server
from jobs.contract.shelf import GATE, GATE_STATE, GATE_VERSION, ShelfValue, shelf_key
from jobs.rankings.gate_set import GateSet, Known, hash_of, version_of
from liveshelf import ShelfReader

VISITORS, ITEMS, HELD, PLACES, SPARE = 2000, 20_000, 5000, 28, 8
CHANGES_A_SECOND, CHANGED = 10, 10
ROUNDS, ROUND_S = 10, 2.0
CASES = ("bare GET", "no gate", "gate stands", "gate changes")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        (port,) = processes.free_ports(1)
        redis_server.start(Path(folder), port)
        try:
            while not redis_server.answers(redis_server.url(port)):
                time.sleep(0.05)
            report(measure(redis_server.url(port)))
        finally:
            processes.stop(processes.owned(Path(folder)))


def measure(url: str) -> dict[str, list[float]]:
    """Return the seconds of each read by case."""
    client = redis.Redis.from_url(url)
    fill(client)
    here, there = multiprocessing.get_context("spawn").Pipe()
    writer = multiprocessing.get_context("spawn").Process(target=keep, args=(url, there), daemon=True)
    writer.start()
    reader = ShelfReader(url)
    reads: dict[str, Callable[[str], object]] = dict.fromkeys(CASES, reader.get)
    reads["bare GET"] = lambda visitor: json.loads(cast(bytes, client.get(shelf_key(visitor, "home"))))
    seconds: dict[str, list[float]] = {case: [] for case in CASES}
    for _ in range(ROUNDS):
        for case in CASES:
            here.send(case)
            here.recv()
            seconds[case] += timed(reads[case])
    here.send("")
    writer.join()
    return seconds


def timed(read: Callable[[str], object]) -> list[float]:
    chooser, end_s, seconds = random.Random(2), time.perf_counter() + ROUND_S, []
    while (began_s := time.perf_counter()) < end_s:
        read(f"v{chooser.randrange(VISITORS)}")
        seconds.append(time.perf_counter() - began_s)
    return seconds


def fill(client: redis.Redis) -> None:
    """Write a list for each visitor: 20 items and 8 in reserve, with reasons."""
    chooser, now_ms = random.Random(1), time.time_ns() // 1_000_000
    for visitor in range(VISITORS):
        value = ShelfValue(
            version="0" * 20,
            items=[str(item) for item in chooser.sample(range(ITEMS), PLACES)],
            scores=[2.5 - place / 7 for place in range(PLACES)],
            model="eshop-1030fbc8dbb6",
            event_time_ms=now_ms,
            computed_at_ms=now_ms,
            session_events=3,
            fallback=None,
            list_id="0-1",
            shelves="shelves-0123456789ab",
            why=[0] * PLACES,
            seen=["1", "2", "3", "4"],
            because=[0] * PLACES,
            spare=SPARE,
        )
        fields = {name: getattr(value, name) for name in value.__struct_fields__}
        client.set(shelf_key(f"v{visitor}", "home"), json.dumps(fields))


def keep(url: str, orders: Connection) -> None:
    """Make the gate what each order says, then keep it so until the next one. Runs in a process of its own."""
    client, gate, chooser = redis.Redis.from_url(url), GateSet(url, patience_s=5), random.Random(3)
    case = ""
    while True:
        if not case or orders.poll(1 / CHANGES_A_SECOND):
            case = orders.recv()
            if not case:
                return
            if case in ("bare GET", "no gate"):
                client.delete(GATE, GATE_VERSION, GATE_STATE)
            else:
                write(gate, chooser)
            orders.send(case)
        elif case == "gate changes":
            write(gate, chooser)


def write(gate: GateSet, chooser: random.Random) -> None:
    """Hold 5,000 items back, or exchange some of those that are held."""
    before = set(gate.stored().members)
    gone = set(chooser.sample(sorted(before), CHANGED // 2)) if before else set()
    free = [str(item) for item in range(ITEMS) if str(item) not in before]
    after = before - gone | set(chooser.sample(free, CHANGED // 2 if before else HELD))
    changes = [(hash_of(item), item) for item in after - before] + [(-hash_of(item), item) for item in gone]
    gate.write(Known(1, "shelves", {}), version_of(sum(map(hash_of, after)), len(after)), changes)


def report(seconds: dict[str, list[float]]) -> None:
    print(f"{'':14}{'reads':>9}{'p50 µs':>9}{'p99 µs':>9}{'p99.9 µs':>10}")
    for case, each in seconds.items():
        points = quantiles(each, n=1000)
        figures = [f"{points[place] * 1e6:9.0f}" for place in (499, 989, 998)]
        print(f"{case:14}{len(each):9,}{''.join(figures[:2])} {figures[2]}")


if __name__ == "__main__":
    main()
