"""Watch Redis from a process of its own: note when the list that answers an event can be read.

    python -m jobs.lab.bench.watch FOLDER

FOLDER holds `schedule.json` and `sent_ns.bin` (see `latency.py`); `seen.json` is written at the end. The job
isn't asked: the schedule says which offset each event gets, and a list's version is the place that it answers.
"""

import sys
import time
from collections import deque
from pathlib import Path

import msgspec
import numpy as np
import redis

from jobs.lab.bench import clicks
from jobs.lab.bench.latency import Schedule, Seen, live_clicks, live_offsets, sent_times
from jobs.rankings.publish import version
from liveshelf.reader import shelf_key

SLEEP_S = 0.001  # with the exchange itself a poll takes 1.3 ms, and a tenth of a core
LONG_NS = 10_000_000  # an exchange with Redis that took so long is kept
PATIENCE_S = 10.0  # what isn't there by then counts as lost


def main(folder: Path) -> None:
    """Watch the sampled events' lists until all are seen or the patience is over."""
    schedule = msgspec.json.decode((folder / "schedule.json").read_bytes(), type=Schedule)
    stream, offset = live_clicks(schedule), live_offsets(schedule)
    keys = {
        number: shelf_key(clicks.visitor_id(int(stream.visitor[number])), schedule.shelf) for number in schedule.watched
    }
    partition = clicks.partitions(stream, schedule.partitions)
    answers = {number: version(int(partition[number]), int(offset[number])).encode() for number in schedule.watched}
    store = redis.Redis.from_url(schedule.redis_url)
    seen = _watch(store, keys, answers, sent_times(folder, schedule.count))
    (folder / "seen.json").write_bytes(msgspec.json.encode(seen))


def _watch(store: redis.Redis, keys: dict[int, str], answers: dict[int, bytes], sent_ns: np.ndarray) -> Seen:
    """Ask for the versions of all lists that are due, again and again; an answer's time is the end of its exchange."""
    coming, pending = deque(keys), {}
    latencies_ms, polls_ms, long_polls_ns = {}, [], []
    last_sent_s = before_ns = time.monotonic_ns()
    while coming or pending:
        while coming and sent_ns[coming[0]]:
            number = coming.popleft()
            pending[number] = int(sent_ns[number])
            last_sent_s = time.monotonic()
        if not pending:
            if not coming or (polls_ms and time.monotonic() - last_sent_s > PATIENCE_S):
                break
            time.sleep(SLEEP_S)
            before_ns = time.monotonic_ns()
            continue
        numbers, asked_ns = list(pending), time.monotonic_ns()
        with store.pipeline(transaction=False) as pipeline:
            for number in numbers:
                pipeline.getrange(keys[number], 12, 31)
            versions = pipeline.execute()
        now_ns = time.monotonic_ns()
        polls_ms.append((now_ns - before_ns) / 1e6)
        before_ns = now_ns
        if now_ns - asked_ns > LONG_NS:
            long_polls_ns.append((asked_ns, now_ns))
        for number, current in zip(numbers, versions, strict=True):
            if current >= answers[number]:
                latencies_ms[number] = (now_ns - pending.pop(number)) / 1e6
        if not coming and time.monotonic() - last_sent_s > PATIENCE_S:
            break
        time.sleep(SLEEP_S)
    return Seen(latencies_ms, polls_ms, long_polls_ns)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
