"""The replay: contract events into Kafka at a pace, with heartbeats that move event time on in every partition."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import msgspec

from jobs.connect import kafka_admin, kafka_send
from jobs.connect.kafka_send import Sender
from jobs.contract.events import HEARTBEAT, SCHEMA_VERSION, Event
from jobs.errors import SettingsError
from jobs.lab.replay import chaos, topic_time
from jobs.lab.replay.chaos import DUPLICATE, INTACT, Record
from jobs.lab.replay.shift import AHEAD_MS, moved, shift_ms
from jobs.lab.replay.topic_time import TopicTime, moment

# A sliding window takes an event in up to a minute after it: one second more and everything is flushed.
FLUSH_MS = 61_000
HEARTBEAT_EVERY_RECORDS = 200  # at full speed, where time on the wall says nothing
WAKE_S = 1.0  # a consumer's fetch takes 10 ms, on a busy machine a few hundred
EMPTY_TOPIC = "begin with an empty topic: liveshelf down, remove the state folder, liveshelf up, liveshelf submit"

Tell = Callable[[str], None]


@dataclass
class ReplayReport:
    """The numbers of a replay.

    `produced` = `events` + `duplicates`. `events` counts each event once, corrupted or not; accepted are `produced`
    without the corrupted ones. `corrupted` and `skipped` count by kind and by reason. `late` counts records that are
    late for features. `heartbeats` are records beside `produced`, `beside` those that others sent meanwhile.

    Times are of intact events, in ms. `final_heartbeat_ms` is where event time stands at the end; `flushed` is False if
    that is too early to close every window. `last_visitor` is the visitor of the last intact event.
    """

    produced: int = 0
    events: int = 0
    duplicates: int = 0
    late: int = 0
    corrupted: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    heartbeats: int = 0
    beside: int = 0
    first_event_time_ms: int | None = None
    last_event_time_ms: int | None = None
    final_heartbeat_ms: int | None = None
    flushed: bool = True
    last_visitor: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """How a replay is sent; SettingsError for a value out of range.

    watermark_delay_s: the features job's delay; copies come within it, and the last heartbeat lies beyond it.
    speed: event time per time on the wall (1: as it happened); None sends as fast as it can.
    shift_to_now: move all event times to the present (see `shift.shift_ms`), and behind what the topic holds already
        where that is possible. Event ids change with the shift, or a second replay within a day would be duplicates.
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

    @property
    def delay_ms(self) -> int:
        return _ms(self.watermark_delay_s)


def replay(
    bootstrap: str,
    topic: str,
    events: Iterable[Event],
    *,
    on_event: Callable[[Event], None] | None = None,
    skipped: Counter[str] | None = None,
    tell: Tell = lambda line: None,
    **knobs: Any,
) -> ReplayReport:
    """Send events (in event-time order) to a topic and report what was sent.

    Args:
        on_event: called just before an intact event is sent for the first time.
        skipped: what the reader counts (see `sources.read`), for the report.
        tell: called with a warning when events will be late because the topic holds newer ones.
        knobs: the fields of `Knobs`; `watermark_delay_s` is required.

    Raises SettingsError for a bad knob and ServiceError if Kafka doesn't take the records.
    """
    how = Knobs(**knobs)
    taken: Iterable[Event] = islice(events, how.limit)
    with closing(kafka_send.connect(bootstrap, topic, fast=how.fast or how.speed is None)) as sender:
        reached = topic_time.look(bootstrap, topic, how.delay_ms)
        if how.shift_to_now:
            taken = _shifted_to_now(list(taken), how, reached, tell)
        run = _Run(sender, how, reached, tell)
        for record in hardened(taken, how):
            run.send(record, on_event)
        run.finish(lambda: sum(kafka_admin.end_offsets(bootstrap, topic).values()))
    run.report.skipped += skipped or Counter()
    return run.report


def _shifted_to_now(events: list[Event], how: Knobs, reached: TopicTime, tell: Tell) -> Iterator[Event]:
    """Return the moved events, after a warning with the number of those that are late all the same."""
    if not events:
        return iter(())
    start_ms, newest_ms = time.time_ns() // 1_000_000, reached.latest_ms()
    by_ms = shift_ms(events[0]["event_time_ms"], events[-1]["event_time_ms"], how.speed, start_ms, newest_ms)
    late = sum(
        reached.is_late(reached.partition(event["visitor_id"].encode()), event["event_time_ms"] + by_ms)
        for event in events
    )
    if late:
        tell(
            f"{late:,} of {len(events):,} events will be late for features: the topic holds newer ones already, up to "
            f"{moment(newest_ms)}. Lists take them all.\n"
            f"  fix: --speed 1 sends each event when it happens, from now on, which takes {_hours(events)} here; "
            f"or {EMPTY_TOPIC}"
        )
    return moved(events, by_ms)


def _hours(events: list[Event]) -> str:
    """Return the span of events in order of time, as a person says it."""
    span_s = (events[-1]["event_time_ms"] - events[0]["event_time_ms"]) / 1000
    return f"{span_s / 3600:.1f} hours" if span_s >= 3600 else f"{span_s / 60:.1f} minutes"


def consequences(report: ReplayReport, option: str = "") -> Iterator[str]:
    """Yield what a person should know after a replay, a line each. `option` says what the visitors' ids are."""
    if report.beside:
        yield f"others sent {report.beside:,} records meanwhile: theirs move time on and close the newest windows"
    elif not report.flushed:
        yield "the newest windows stay open: their end lies in the future"
    ends_ms = report.final_heartbeat_ms or 0
    if ends_ms > time.time_ns() // 1_000_000:
        yield f"time in the topic stands at {moment(ends_ms)}: an event from before that is late for features"
    if report.last_visitor is not None:
        yield f"look at a visitor: liveshelf show {report.last_visitor}{option}"


def hardened(events: Iterable[Event], how: Knobs) -> Iterator[Record]:
    """Yield the records to send. Each knob has its own random numbers, so none changes what another one chooses."""
    if how.shuffle_within_s:
        events = chaos.shuffle_within(events, how.shuffle_within_s, random.Random(f"{how.seed}/shuffle"))
    stream = chaos.records(events)
    if how.corrupt:
        stream = chaos.corrupt(stream, how.corrupt, random.Random(f"{how.seed}/corrupt"))
    if how.duplicate:
        stream = chaos.duplicate(stream, how.duplicate, random.Random(f"{how.seed}/duplicate"), how.delay_ms)
    return stream


def beat(sender: Sender, time_ms: int) -> None:
    """Send a heartbeat to each partition: nothing from before `time_ms` follows."""
    value = msgspec.json.encode({"schema_version": SCHEMA_VERSION, "event_type": HEARTBEAT, "event_time_ms": time_ms})
    for partition in range(sender.partitions):
        sender.send(None, value, time_ms, partition)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


class _Run:
    """One replay on its way: the clock, the heartbeats and the counts."""

    def __init__(self, sender: Sender, how: Knobs, reached: TopicTime, tell: Tell) -> None:
        self.report = ReplayReport()
        self._sender, self._speed, self._tell = sender, how.speed, tell
        self._shuffle_ms, self._delay_ms = _ms(how.shuffle_within_s), how.delay_ms
        self._heartbeat_every_s = how.heartbeat_every_ms / 1000
        self._visitor_pause_s = how.min_visitor_pause_ms / 1000
        self._reached, self._before_ms = reached, dict(reached.newest_ms)
        self._warns = not how.shift_to_now  # which has warned already, with the number
        self._started_s = time.monotonic()
        self._first_ms = 0
        self._newest_ms = 0  # newest event time that was sent: the replay's position
        self._next_heartbeat_s = self._started_s + self._heartbeat_every_s
        self._since_heartbeat = 0
        self._visitor_sent_s: dict[bytes, float] = {}

    def send(self, record: Record, on_event: Callable[[Event], None] | None) -> None:
        """Wait for the record's turn and send it."""
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
        partition = self._reached.partition(record.key)
        self._sender.send(record.key, record.value, time_ms, partition)
        if self._visitor_pause_s:
            self._visitor_sent_s[record.key] = time.monotonic()
        self._newest_ms = position_ms
        self._count(record)
        if record.mark in (INTACT, DUPLICATE):
            self._count_late(partition, time_ms)
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

    def finish(self, records_in_topic: Callable[[], int]) -> None:
        """Move time on until every window is closed, as far as the clock's limit allows, and wait for Kafka.

        If others sent records meanwhile, time stays where it is: a heartbeat of the next minute would make their events
        of that minute late, and they move time on themselves.
        """
        self._sender.flush()
        if self.report.produced:
            before, own = sum(self._reached.ends.values()), self.report.produced + self.report.heartbeats
            self.report.beside = max(0, records_in_topic() - before - own)
            flush_ms = self._newest_ms + self._delay_ms + FLUSH_MS
            allowed_ms = self._newest_ms if self.report.beside else time.time_ns() // 1_000_000 + AHEAD_MS
            self.report.flushed = flush_ms <= allowed_ms
            self.report.final_heartbeat_ms = min(flush_ms, allowed_ms)
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
        """Beat in every partition. At `position - shuffle` that makes nothing late: whatever follows is newer."""
        time_ms = max(1, time_ms)
        beat(self._sender, time_ms)
        for partition in range(self._sender.partitions):
            self._reached.move(partition, time_ms)
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
        report.last_visitor = record.event["visitor_id"]
        report.first_event_time_ms = min(time_ms, report.first_event_time_ms or time_ms)
        report.last_event_time_ms = max(time_ms, report.last_event_time_ms or time_ms)

    def _count_late(self, partition: int, time_ms: int) -> None:
        """Count an accepted record if it is late; warn once, if that is because of what the topic held before."""
        self._reached.move(partition, time_ms)
        if not self._reached.is_late(partition, time_ms):
            return
        self.report.late += 1
        before_ms = self._before_ms.get(partition, 0)
        if self._warns and time_ms <= before_ms - self._delay_ms:
            self._warns = False
            self._tell(
                f"events before {moment(before_ms - self._delay_ms)} are late for features: the topic holds newer ones "
                f"already. Lists take them all.\n  fix: --shift-to-now moves the events to the present; "
                f"or {EMPTY_TOPIC}"
            )
