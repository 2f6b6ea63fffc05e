"""Generate load in a process of its own: send live events at a steady rate and note when each was sent.

    python -m jobs.lab.bench.load FOLDER

FOLDER holds `schedule.json` and `sent_ns.bin` (see `latency.py`), both written before the start.
"""

import sys
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np

from jobs.connect import kafka_send
from jobs.connect.kafka_send import Sender
from jobs.contract.events import Event
from jobs.lab.bench import clicks
from jobs.lab.bench.latency import Schedule, live_clicks, sent_times


def main(folder: Path) -> None:
    """Send the schedule's events; raises if Kafka doesn't take one. Prints how late the latest one left, in ms."""
    schedule = msgspec.json.decode((folder / "schedule.json").read_bytes(), type=Schedule)
    stream = live_clicks(schedule)
    partition = clicks.partitions(stream, schedule.partitions).tolist()
    documents = clicks.documents(stream, schedule.items, f"live{schedule.history}")
    sent_ns = sent_times(folder, schedule.count)
    with closing(kafka_send.connect(schedule.kafka_bootstrap, schedule.topic, fast=True, linger_ms=0)) as sender:
        latest_s = _send(sender, schedule.events_per_s, zip(documents, partition, strict=True), sent_ns)
        sender.flush()
    sys.stdout.write(f"{latest_s * 1000:.1f}\n")


def _send(sender: Sender, events_per_s: int, stream: Iterable[tuple[Event, int]], sent_ns: np.ndarray) -> float:
    """Send each event at its time; return the longest delay behind the schedule in seconds."""
    started_s, latest_s = time.monotonic(), 0.0
    for number, (event, place) in enumerate(stream):
        due_s = started_s + number / events_per_s
        while (early_s := due_s - time.monotonic()) > 0:
            time.sleep(early_s)
        latest_s = max(latest_s, -early_s)
        event["event_time_ms"] = time.time_ns() // 1_000_000
        value, key = msgspec.json.encode(event), event["visitor_id"].encode()
        sent_ns[number] = time.monotonic_ns()
        sender.send(key, value, event["event_time_ms"], place)
    return latest_s


if __name__ == "__main__":
    main(Path(sys.argv[1]))
