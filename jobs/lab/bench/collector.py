"""Load a collector with twice its limit, slow clients and broken bodies, beside good clients; measure what it does.

    python -m jobs.lab.bench.collector --minutes 10 --limit 1000 | jq .

Starts a broker and a collector of its own. Exit code 1 if an acknowledged event isn't in Kafka, or if anything but 200,
a refusal, or 503 was answered.
"""

import argparse
import asyncio
import gzip
import json
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from jobs.contract.events import Event
from jobs.lab.bench.collector_system import KEY, Broker, RunningCollector
from jobs.lab.replay.chaos import DAMAGES, TOO_LARGE

GOOD_KEY = f"another-{KEY}"  # a limit of its own, as another shop has
GOOD_CLIENTS, GOOD_PAUSE_S = 10, 0.1
FLOOD_CLIENTS, FLOOD_BATCH = 20, 10
SLOW_CLIENTS, FUZZ_CLIENTS = 100, 4
CALM_S = 15.0


@dataclass
class Load:
    """What clients sent and were told; latencies in seconds."""

    place: tuple[str, int]
    limit: float
    until_s: float = 0.0
    acknowledged: set[str] = field(default_factory=set)
    calm_s: list[float] = field(default_factory=list)
    good_s: list[float] = field(default_factory=list)
    statuses: dict[str, Counter[str]] = field(default_factory=dict)
    slow_closed: int = 0
    sent: int = 0

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.until_s

    def events(self, count: int) -> list[dict]:
        self.sent += count
        return [
            {"schema_version": 1, "event_id": f"load-{self.sent - n}", "event_type": "view", "item_id": f"i{n}",
             "visitor_id": f"visitor-{(self.sent - n) % 5000}"}
            for n in range(count)
        ]  # fmt: skip


class Connection:
    """One keep-alive connection; opened again when the other side has closed it."""

    def __init__(self, place: tuple[str, int]) -> None:
        self._place = place
        self._writer: asyncio.StreamWriter | None = None

    async def post(self, body: bytes, key: str, *headers: str) -> str:
        """Return the status of the answer, or `closed`."""
        try:
            if self._writer is None:
                self._reader, self._writer = await asyncio.open_connection(*self._place)
            lines = ["POST /events HTTP/1.1", "host: x", f"x-write-key: {key}", "x-consent: granted", *headers]
            self._writer.write("\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body)
            answer = (await self._reader.readuntil(b"\r\n\r\n")).lower()
            length = int(answer.partition(b"content-length: ")[2].split(b"\r\n")[0])
            await self._reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return "closed"
        if b"connection: close" in answer:
            self.close()
        return answer.split(b" ")[1].decode()

    def close(self) -> None:
        if self._writer:
            self._writer.close()
        self._writer = None


async def good(load: Load, latencies_s: list[float]) -> None:
    """Be a visitor's page: send one event ten times a second."""
    connection = Connection(load.place)
    while not load.over:
        events, began_s = load.events(1), time.monotonic()
        status = await connection.post(json.dumps(events).encode(), GOOD_KEY, "content-type: application/json")
        latencies_s.append(time.monotonic() - began_s)
        note(load, "good", status, events)
        await asyncio.sleep(GOOD_PAUSE_S)
    connection.close()


async def flood(load: Load) -> None:
    """Send, together with the other floods, twice what the key may."""
    connection, pause_s = Connection(load.place), FLOOD_CLIENTS * FLOOD_BATCH / (2 * load.limit)
    due_s = time.monotonic() + random.random() * pause_s
    while not load.over:
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        due_s += pause_s
        events = load.events(FLOOD_BATCH)
        note(
            load,
            "flood",
            await connection.post(json.dumps(events).encode(), KEY, "content-type: application/json"),
            events,
        )
    connection.close()


def note(load: Load, who: str, status: str, events: list[dict]) -> None:
    load.statuses.setdefault(who, Counter())[status] += 1
    if status == "200":
        load.acknowledged.update(event["event_id"] for event in events)


async def slow(load: Load, number: int) -> None:
    """Send a byte a second, of a head or of a body, until the collector closes; then once more."""
    start = b"POST /events HTTP/1.1\r\nhost: x\r\n"
    if number % 2:
        start += f"x-write-key: {GOOD_KEY}\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n".encode()
    while not load.over:
        try:
            reader, writer = await asyncio.open_connection(*load.place)
            writer.write(start)
            shut_out = asyncio.ensure_future(reader.read())
            while not load.over and not shut_out.done():
                writer.write(b"x")
                await writer.drain()
                await asyncio.wait([shut_out], timeout=1)
            shut_out.cancel()
            writer.close()
        except OSError:
            pass
        load.slow_closed += 1


def damaged_events(count: int, seed: int = 7) -> list[bytes]:
    """Return events with a damage of `replay.chaos`, or with some bytes changed, cut or doubled."""
    chooser, kinds = random.Random(seed), [kind for kind in DAMAGES if kind != TOO_LARGE]
    damaged = []
    for number in range(count):
        event: Event = {
            "schema_version": 1, "event_id": f"broken-{number}", "event_type": "view", "item_id": "i1",
            "visitor_id": f"visitor-{number % 5000}", "event_time_ms": time.time_ns() // 1_000_000,
        }  # fmt: skip
        value = bytearray(DAMAGES[chooser.choice(kinds)](event) if number % 2 else json.dumps(event).encode())
        start = chooser.randrange(len(value) + 1)
        end = min(len(value), start + chooser.choice((0, 1, 3, 20)))
        value[start:end] = chooser.choice((chooser.randbytes(1), b"", bytes(value[start:end]) * 2, b'"', b"\\ud83d"))
        damaged.append(bytes(value))
    return damaged


async def fuzz(load: Load, corpus: list[bytes]) -> None:
    """Send damaged events: alone, in arrays, packed, cut, and under wrong content types."""
    connection, chooser = Connection(load.place), random.Random(7)
    while not load.over:
        body = b"[" + b",".join(chooser.sample(corpus, 3)) + b"]" if chooser.random() < 0.5 else chooser.choice(corpus)
        packed = chooser.random() < 0.2
        body = gzip.compress(body)[: chooser.choice((10, 10_000))] if packed else body
        headers = [f"content-type: {chooser.choice(('application/json', 'text/plain', 'image/png'))}"]
        headers += ["content-encoding: gzip"] if packed else []
        status = await connection.post(body, chooser.choice((KEY, GOOD_KEY, "wrong")), *headers)
        load.statuses.setdefault("fuzz", Counter())[status] += 1
        await asyncio.sleep(0.02)
    connection.close()


async def run(load: Load, minutes: float, process: psutil.Process) -> tuple[list[int], float]:
    """Send calmly for `CALM_S`, then all at once.

    Return the collector's resident bytes at each second of the latter, and its share of a core.
    """
    load.until_s = time.monotonic() + CALM_S
    await asyncio.gather(*(good(load, load.calm_s) for _ in range(GOOD_CLIENTS)))
    load.until_s = time.monotonic() + minutes * 60
    corpus, rss = damaged_events(3000), []
    cpu_before_s = sum(process.cpu_times()[:2])

    async def watch() -> None:
        while not load.over:
            rss.append(process.memory_info().rss)
            await asyncio.sleep(1)

    await asyncio.gather(
        watch(),
        *(good(load, load.good_s) for _ in range(GOOD_CLIENTS)),
        *(flood(load) for _ in range(FLOOD_CLIENTS)),
        *(slow(load, number) for number in range(SLOW_CLIENTS)),
        *(fuzz(load, corpus) for _ in range(FUZZ_CLIENTS)),
    )
    return rss, (sum(process.cpu_times()[:2]) - cpu_before_s) / (minutes * 60)


def report(load: Load, broker: Broker, collector: RunningCollector, rss: list[int], minutes: float) -> dict:
    ids = (json.loads(record.value)["event_id"] for record in broker.records("events"))
    stored = Counter(
        event_id for event_id in ids if event_id.startswith("load-")
    )  # the broken bodies hold some events, too
    told = sum(load.statuses.values(), Counter())
    return {
        "minutes": minutes,
        "limit_events_per_s": load.limit,
        "sent": load.sent,
        "acknowledged": len(load.acknowledged),
        "acknowledged_per_s": round(len(load.acknowledged) / (minutes * 60 + CALM_S)),
        "missing": len(load.acknowledged - stored.keys()),
        "stored_twice": sum(count > 1 for count in stored.values()),
        "answers": load.statuses,
        "other_5xx": sum(count for status, count in told.items() if status.startswith("5") and status != "503"),
        "slow_connections_closed": load.slow_closed,
        "good_ms": {"calm": _ms(load.calm_s), "under_load": _ms(load.good_s)},
        "rss_mb": {"after_30_s": rss[min(30, len(rss) - 1)] >> 20, "end": rss[-1] >> 20, "most": max(rss) >> 20},
        "load_average": psutil.getloadavg(),
        "collector_log_lines": len(collector.log.read_text().splitlines()),
    }


def _ms(latencies_s: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(latencies_s, [50, 99]) * 1000
    return {"p50": round(p50, 1), "p99": round(p99, 1), "requests": len(latencies_s)}


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--minutes", type=float, default=10)
    arguments.add_argument("--limit", type=float, default=1000, help="events a second that a key may send")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder, Broker(Path(folder) / "kafka") as broker:
        (Path(folder) / "collector").mkdir()
        unbounded = ("address_requests_per_s", "address_events_per_s", "address_new_per_s")
        limits = {"key_events_per_s": chosen.limit} | dict.fromkeys(unbounded, 1e6)  # all clients have one address here
        with RunningCollector(broker, Path(folder) / "collector", **limits) as collector:
            load = Load(collector.place, chosen.limit)
            rss, core_share = asyncio.run(run(load, chosen.minutes, psutil.Process(collector.process.pid)))
            result = report(load, broker, collector, rss, chosen.minutes) | {
                "collector_core_share": round(core_share, 2)
            }
    print(json.dumps(result, indent=1))
    return int(bool(result["missing"] or result["other_5xx"]))


if __name__ == "__main__":
    sys.exit(main())
