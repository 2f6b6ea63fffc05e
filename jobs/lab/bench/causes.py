"""Name what went on while the slowest events waited for their lists. Pure.

Every time is one of `time.monotonic_ns()`, which is also the clock of Java's log (`timenanos`).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

MOMENTS = 5
APART_NS = 100_000_000  # two slow events that are nearer than that are one moment
SHARE = 0.5  # of the time beyond the median that a cause must fill: less explains less than half of it
LEAST_MS = 1.0  # of an overlap that is told
LATE_MS = 10.0  # a generator that was later than that sends a group of events at once
SAFEPOINT = re.compile(r'^\[(\d+)ns\].*?Safepoint "(\w+)".*Total: +(\d+) ns', re.MULTILINE)


class Span(NamedTuple):
    """Something that went on for a while.

    `taken_ns` is how much of the span it took: all of it for a pause, a part for a thread that ran now and then.
    `holds` says that an event can't go on meanwhile. Otherwise it only goes on beside it.
    """

    name: str
    begin_ns: int
    end_ns: int
    taken_ns: int
    holds: bool

    def overlap_ms(self, begin_ns: int, end_ns: int) -> float:
        """Return how many ms of it lie in a time, taken as spread evenly over the span."""
        both_ns = min(self.end_ns, end_ns) - max(self.begin_ns, begin_ns)
        return max(0, both_ns) * self.taken_ns / max(1, self.end_ns - self.begin_ns) / 1e6


class Slow(NamedTuple):
    """A slow event: its number, when it was sent, and how long its list took."""

    number: int
    sent_ns: int
    latency_ms: float

    @property
    def seen_ns(self) -> int:
        """Return when its list could be read."""
        return self.sent_ns + round(self.latency_ms * 1e6)


def whole(name: str, begin_ns: int, end_ns: int, holds: bool) -> Span:
    """Return a span that something fills."""
    return Span(name, begin_ns, end_ns, end_ns - begin_ns, holds)


def pauses(log: str, process: str) -> list[Span]:
    """Return the times at which a JVM let no thread run, from its log (`-Xlog:safepoint`, decorated with timenanos)."""
    ends = ((int(end), reason, int(total)) for end, reason, total in SAFEPOINT.findall(log))
    return [whole(f"{process} paused ({reason})", end - total, end, holds=True) for end, reason, total in ends]


def phases(job: str, trigger_ms: int, subtask: Mapping[str, Any], ahead_ns: int, holds: bool) -> list[Span]:
    """Return the phases of one subtask's checkpoint: waiting for barriers, the snapshot itself, and writing it.

    `subtask` is Flink's answer about it, and `ahead_ns` how far its clock (epoch) is ahead of `time.monotonic_ns()`.
    The task works on while its state is written.
    """
    begin_ms, spans = trigger_ms + subtask["start_delay"], []
    parts = (
        ("waited for barriers", subtask["alignment"]["duration"], holds),
        ("took its snapshot", subtask["checkpoint"]["sync"], holds),
        ("wrote its checkpoint", subtask["checkpoint"]["async"], False),
    )
    for does, ms, stops in parts:
        begin_ns = begin_ms * 1_000_000 - ahead_ns
        spans += [whole(f"{job} {does}", begin_ns, begin_ns + ms * 1_000_000, stops)] if ms > 0 else []
        begin_ms += max(0, ms)
    return spans


def lateness_ms(sent_ns: np.ndarray, events_per_s: int) -> np.ndarray:
    """Return float [count]: how long after its time in the schedule the generator sent each event.

    The event that was the least late counts as sent in time.
    """
    due_ns = np.arange(len(sent_ns)) * (1e9 / events_per_s)
    behind_ns = (sent_ns - sent_ns[0]) - due_ns
    return (behind_ns - behind_ns.min()) / 1e6


def late(sent_ns: np.ndarray, events_per_s: int) -> list[Span]:
    """Return the times at which the generator was more than `LATE_MS` late, from when the first event was due."""
    behind_ms = lateness_ms(sent_ns, events_per_s)
    numbers = np.flatnonzero(behind_ms > LATE_MS)
    groups = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1) if len(numbers) else []
    return [
        whole("generator late", int(sent_ns[group[0]] - behind_ms[group[0]] * 1e6), int(sent_ns[group[-1]]), holds=True)
        for group in groups
    ]


def slowest(latencies_ms: Mapping[int, float], sent_ns: Sequence[int] | np.ndarray) -> list[Slow]:
    """Return the slowest event of each of the `MOMENTS` slowest moments, the slowest first."""
    moments: list[Slow] = []
    for number, latency_ms in sorted(latencies_ms.items(), key=lambda event: -event[1]):
        slow = Slow(number, int(sent_ns[number]), latency_ms)
        if all(slow.sent_ns > other.seen_ns + APART_NS or other.sent_ns > slow.seen_ns + APART_NS for other in moments):
            moments.append(slow)
        if len(moments) == MOMENTS:
            break
    return moments


def explain(slow: Slow, spans: Iterable[Span], median_ms: float) -> dict[str, Any]:
    """Return what overlapped a slow event, in ms by name; `causes` are those that held it for long enough.

    A cause fills at least `SHARE` of what the event took longer than the median. Without one, `causes` is empty.
    """
    held_ms: dict[str, float] = {}
    beside_ms: dict[str, float] = {}
    for span in spans:
        ms = span.overlap_ms(slow.sent_ns, slow.seen_ns)
        if ms > 0:
            into = held_ms if span.holds else beside_ms
            into[span.name] = into.get(span.name, 0.0) + ms
    least_ms = SHARE * (slow.latency_ms - median_ms)
    return {
        "latency_ms": round(slow.latency_ms, 1),
        "causes": [name for name, ms in _told(held_ms) if ms >= least_ms],
        "held_ms": dict(_told(held_ms)),
        "beside_ms": dict(_told(beside_ms)),
    }


def _told(ms_by_name: Mapping[str, float]) -> list[tuple[str, float]]:
    ordered = sorted(ms_by_name.items(), key=lambda named: -named[1])
    return [(name, round(ms, 1)) for name, ms in ordered if ms >= LEAST_MS]
