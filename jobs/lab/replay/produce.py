"""The replay: contract events into Kafka at a pace, with heartbeats that move time on in every partition."""

import hashlib
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import msgspec

from jobs.connect import kafka_send
from jobs.connect.kafka_send import Sender
from jobs.contract.events import HEARTBEAT, SCHEMA_VERSION, Event
from jobs.errors import SettingsError
from jobs.lab.replay import chaos
from jobs.lab.replay.chaos import DUPLICATE, INTACT, Record

CLOCK_SKEW_MS = 300_000  # the contract refuses what lies further in the future
SKEW_MARGIN_MS = 5_000  # clocks of broker and workers needn't agree to the second
# Sliding windows take an event in up to a minute after it: one second more and everything is flushed.
FLUSH_MS = 61_000
HEARTBEAT_EVERY_RECORDS = 200  # at full speed, where time on the wall says nothing


@dataclass
class ReplayReport:
    """What a replay sent. `produced` = `events` + `duplicates`; accepted are `produced` without the corrupted ones.

    `events` counts each event once, corrupted or not; `corrupted` and `skipped` count by kind and by reason.
    `heartbeats` are records beside `produced`. Times are of intact events, in ms; `final_heartbeat_ms` is where time
    stands at the end, and `flushed` is false when the clock's limit kept it too low to close every window.
    """

    produced: int = 0
    events: int = 0
    duplicates: int = 0
    corrupted: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    heartbeats: int = 0
    first_event_time_ms: int | None = None
    last_event_time_ms: int | None = None
    final_heartbeat_ms: int | None = None
    flushed: bool = True
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """How a replay is sent; SettingsError for a value out of range.

    watermark_delay_s: the source's delay; copies come within it, and the last heartbeat lies beyond it.
    speed: event time per time on the wall (1: as it happened); None sends as fast as it can.
    shift_to_now: move all event times so that none lies in the future when it is sent and the newest is as close to
        now as it can be: up to speed 1 the first event is now, above it the last one is, when it is sent. Event ids
        change with the shift, or a second replay within a day would count as duplicates.
    limit: take only so many events.
    shuffle_within_s: see `chaos.shuffle_within`.
    duplicate, corrupt: shares of events that are sent twice, and whose bytes are damaged.
    seed: the same seed gives the same records.
    heartbeat_every_ms: time on the wall between two heartbeats (at full speed also after every 200 records).
    min_visitor_pause_ms: time on the wall between two events of a visitor, at least.
    fast: with librdkafka, where it is installed, at a pace too.
    """

    watermark_delay_s: float
    speed: float | None = None
    shift_to_now: bool = False
    limit: int | None = None
    shuffle_within_s: float = 0
    duplicate: float = 0.0
    corrupt: float = 0.0
    seed: int = 0
    heartbeat_every_ms: int = 200
    min_visitor_pause_ms: int = 0
    fast: bool = False

    def __post_init__(self) -> None:
        if self.speed is not None and not 0 < self.speed < float("inf"):
            raise SettingsError(f"speed is {self.speed}", "a number above 0 (1: as it happened), or max")
        if self.limit is not None and self.limit < 0:
            raise SettingsError(f"limit is {self.limit}", "a number of events, from 0")
        for name in ("watermark_delay_s", "shuffle_within_s", "min_visitor_pause_ms"):
            if getattr(self, name) < 0:
                raise SettingsError(f"{name} is {getattr(self, name)}", "a time from 0")
        if self.heartbeat_every_ms <= 0:
            raise SettingsError(f"heartbeat_every_ms is {self.heartbeat_every_ms}", "a time above 0, such as 200")
        for name in ("duplicate", "corrupt"):
            if not 0 <= getattr(self, name) <= 1:
                raise SettingsError(f"{name} is {getattr(self, name)}", "a share from 0 to 1")


def replay(
    bootstrap: str,
    topic: str,
    events: Iterable[Event],
    *,
    on_event: Callable[[Event], None] | None = None,
    skipped: Counter[str] | None = None,
    **knobs: Any,
) -> ReplayReport:
    """Send events (in event-time order) to a topic and report what was sent.

    Args:
        on_event: called just before an intact event is sent for the first time.
        skipped: what the reader counts (see `sources.read`), for the report.
        knobs: the fields of `Knobs`; `watermark_delay_s` is required.

    Raises SettingsError for a bad knob and ServiceError if Kafka doesn't take the records.
    """
    how = Knobs(**knobs)
    taken: Iterable[Event] = islice(events, how.limit)
    if how.shift_to_now:
        taken = shifted(list(taken), how.speed, time.time_ns() // 1_000_000)
    with closing(kafka_send.connect(bootstrap, topic, fast=how.fast or how.speed is None)) as sender:
        run = _Run(sender, how)
        for record in hardened(taken, how):
            run.send(record, on_event)
        run.finish()
    run.report.skipped += skipped or Counter()
    return run.report


def shifted(events: list[Event], speed: float | None, start_ms: int) -> Iterator[Event]:
    """Events moved so that the first (up to speed 1) or the last (above) is sent at its own event time.

    In between, none is sent before its event time. `start_ms` is when sending starts.
    """
    if not events:
        return
    first_ms, last_ms = events[0]["event_time_ms"], events[-1]["event_time_ms"]
    if speed is not None and speed <= 1:
        shift_ms = start_ms - first_ms
    else:
        lasts_ms = 0 if speed is None else int((last_ms - first_ms) / speed)
        shift_ms = start_ms + lasts_ms - last_ms
    for event in events:
        event_id, time_ms = _shifted_id(event["event_id"], shift_ms), event["event_time_ms"] + shift_ms
        yield event | {"event_id": event_id, "event_time_ms": time_ms}


def _shifted_id(event_id: str, shift_ms: int) -> str:
    text = f"{event_id}@{shift_ms}"
    return text if len(text) <= 64 else hashlib.sha256(text.encode()).hexdigest()  # 128 UTF-16 units are allowed


def hardened(events: Iterable[Event], how: Knobs) -> Iterator[Record]:
    """The records to send; each knob has its own random numbers, so that none changes what another one chooses."""
    if how.shuffle_within_s:
        events = chaos.shuffle_within(events, how.shuffle_within_s, random.Random(f"{how.seed}/shuffle"))
    stream = chaos.records(events)
    if how.corrupt:
        stream = chaos.corrupt(stream, how.corrupt, random.Random(f"{how.seed}/corrupt"))
    if how.duplicate:
        on_time_ms = _ms(how.watermark_delay_s)
        stream = chaos.duplicate(stream, how.duplicate, random.Random(f"{how.seed}/duplicate"), on_time_ms)
    return stream


def beat(sender: Sender, time_ms: int) -> None:
    """Send a heartbeat to each partition: nothing from before `time_ms` follows."""
    value = msgspec.json.encode({"schema_version": SCHEMA_VERSION, "event_type": HEARTBEAT, "event_time_ms": time_ms})
    for partition in range(sender.partitions):
        sender.send(None, value, time_ms, partition)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


WAKE_S = 1.0  # a consumer's fetch takes 10 ms, on a busy machine a few hundred


class _Run:
    """One replay on its way: the clock, the heartbeats and the counts."""

    def __init__(self, sender: Sender, how: Knobs) -> None:
        self.report = ReplayReport()
        self._sender, self._speed = sender, how.speed
        self._shuffle_ms, self._delay_ms = _ms(how.shuffle_within_s), _ms(how.watermark_delay_s)
        self._heartbeat_every_s = how.heartbeat_every_ms / 1000
        self._visitor_pause_s = how.min_visitor_pause_ms / 1000
        self._started_s = time.monotonic()
        self._first_ms = 0
        self._newest_ms = 0  # newest event time that was sent: the replay's position
        self._next_heartbeat_s = self._started_s + self._heartbeat_every_s
        self._since_heartbeat = 0
        self._visitor_sent_s: dict[bytes, float] = {}

    def send(self, record: Record, on_event: Callable[[Event], None] | None) -> None:
        time_ms = record.event["event_time_ms"]
        position_ms = max(self._newest_ms, time_ms)
        if not self.report.produced:
            self._wake(time_ms)
            self._first_ms, self._newest_ms, self._started_s = time_ms, time_ms, time.monotonic()
        if self._speed is not None:
            self._wait(self._started_s + (position_ms - self._first_ms) / 1000 / self._speed, position_ms)
        if self._visitor_pause_s and record.key in self._visitor_sent_s:
            self._wait(self._visitor_sent_s[record.key] + self._visitor_pause_s, position_ms)
        if on_event and record.mark == INTACT:
            on_event(record.event)
        self._sender.send(record.key, record.value, time_ms)
        if self._visitor_pause_s:
            self._visitor_sent_s[record.key] = time.monotonic()
        self._newest_ms = position_ms
        self._count(record)
        self._since_heartbeat += 1
        crowded = self._speed is None and self._since_heartbeat >= HEARTBEAT_EVERY_RECORDS
        if crowded or time.monotonic() >= self._next_heartbeat_s:
            self._heartbeat(self._newest_ms - self._shuffle_ms)

    def _wake(self, first_ms: int) -> None:
        """Tell every partition where time starts, before any event moves it on in one of them.

        A partition that was idle holds no watermark back: without this, the first ones that a job reads from one
        partition made the beginning of the other late.
        """
        self._heartbeat(first_ms - self._shuffle_ms)
        self._sender.flush()
        time.sleep(WAKE_S)
        self._next_heartbeat_s = time.monotonic() + self._heartbeat_every_s

    def finish(self) -> None:
        """Move time on until everything is flushed, as far as the clock's limit allows, and wait for Kafka."""
        if self.report.produced:
            wanted_ms = self._newest_ms + self._delay_ms + FLUSH_MS
            allowed_ms = time.time_ns() // 1_000_000 + CLOCK_SKEW_MS - SKEW_MARGIN_MS
            self.report.flushed = wanted_ms <= allowed_ms
            self.report.final_heartbeat_ms = min(wanted_ms, allowed_ms)
            self._heartbeat(self.report.final_heartbeat_ms)
        self._sender.flush()
        self.report.seconds = time.monotonic() - self._started_s

    def _wait(self, until_s: float, next_ms: int) -> None:
        """Sleep, with heartbeats that stay below the next record's place in event time."""
        while (now_s := time.monotonic()) < until_s:
            if now_s >= self._next_heartbeat_s:
                self._heartbeat(min(self._position_ms(now_s), next_ms) - self._shuffle_ms)
            time.sleep(max(0.0, min(until_s, self._next_heartbeat_s) - now_s))

    def _position_ms(self, now_s: float) -> int:
        if self._speed is None:
            return self._newest_ms
        return max(self._newest_ms, self._first_ms + int((now_s - self._started_s) * 1000 * self._speed))

    def _heartbeat(self, time_ms: int) -> None:
        """To every partition. At `position - shuffle` it makes nothing late: whatever follows is newer than that."""
        beat(self._sender, max(1, time_ms))
        self.report.heartbeats += self._sender.partitions
        self._next_heartbeat_s = time.monotonic() + self._heartbeat_every_s
        self._since_heartbeat = 0

    def _count(self, record: Record) -> None:
        report, time_ms = self.report, record.event["event_time_ms"]
        report.produced += 1
        if record.mark == DUPLICATE:
            report.duplicates += 1
            return
        report.events += 1
        if record.mark != INTACT:
            report.corrupted[record.mark] += 1
            return
        report.first_event_time_ms = min(time_ms, report.first_event_time_ms or time_ms)
        report.last_event_time_ms = max(time_ms, report.last_event_time_ms or time_ms)
