"""Generate load in a process of its own: send live events at a steady rate and note when each was sent.

    python -m jobs.lab.bench.load FOLDER

FOLDER holds `schedule.json` and `sent_ns.bin` (see `latency.py`), both written before the start.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
from confluent_kafka import Producer

from jobs.lab.bench import clicks
from jobs.lab.bench.latency import Schedule, live_clicks, sent_times


def main(folder: Path) -> None:
    """Send the schedule's events; raises if Kafka doesn't take one. Prints how late the latest one left, in ms."""
    schedule = msgspec.json.decode((folder / "schedule.json").read_bytes(), type=Schedule)
    stream = live_clicks(schedule)
    partition = clicks.partitions(stream, schedule.partitions).tolist()
    documents = clicks.documents(stream, schedule.items, "live")
    producer = Producer(
        {
            "bootstrap.servers": schedule.kafka_bootstrap,
            "linger.ms": 0,
            "enable.idempotence": True,
            "allow.auto.create.topics": False,
            "delivery.report.only.error": True,
        }
    )
    lost: list[object] = []
    latest_s = _send(
        producer, schedule, zip(documents, partition, strict=True), sent_times(folder, schedule.count), lost
    )
    left = producer.flush(30)
    if lost or left:
        sys.exit(f"Kafka lost {len(lost) + left} live events, the first: {lost[:1]}")
    sys.stdout.write(f"{latest_s * 1000:.1f}\n")


def _send(
    producer: Producer, schedule: Schedule, stream: Iterator[tuple[dict, int]], sent_ns: np.ndarray, lost: list[object]
) -> float:
    """Send each event at its time; return the longest delay behind the schedule in seconds."""
    started_s, latest_s = time.monotonic(), 0.0
    for number, (event, place) in enumerate(stream):
        due_s = started_s + number / schedule.events_per_s
        while (early_s := due_s - time.monotonic()) > 0:
            time.sleep(early_s)
            producer.poll(0)
        latest_s = max(latest_s, -early_s)
        event["event_time_ms"] = time.time_ns() // 1_000_000
        value, key = msgspec.json.encode(event), event["visitor_id"].encode()
        sent_ns[number] = time.monotonic_ns()
        producer.produce(
            schedule.topic,
            value,
            key,
            place,
            timestamp=event["event_time_ms"],
            on_delivery=lambda error, _: lost.append(error) if error else None,
        )
        producer.poll(0)
    return latest_s


if __name__ == "__main__":
    main(Path(sys.argv[1]))
