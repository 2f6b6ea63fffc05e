"""What becomes of each record: refused, heartbeat, suppressed, late, duplicate or counted (pure)."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Literal

from jobs.connect.kafka_read import Position, Record
from jobs.contract.consent import Consents
from jobs.contract.events import HEARTBEAT, Event, Refusal, parse

Kind = Literal["refused", "heartbeat", "suppressed", "late", "duplicate", "counted"]
FUTURE = Refusal("future_event_time", "event_time_ms")


@dataclass(frozen=True, slots=True)
class Entry:
    """One record and what becomes of it; `event` is None when it is refused, `refusal` when it isn't.

    Of a record that isn't compared (neither refused nor late) key and value aren't kept.
    A `forgotten` one counts for items and categories, and no more for its visitor, who withdrew or was erased since.
    """

    record: Record
    kind: Kind
    event: Event | None = None
    refusal: Refusal | None = None
    forgotten: bool = False

    @property
    def arrival(self) -> tuple[int, int, int]:
        """Event time, then arrival: the order in which a visitor's events stand."""
        return self.event["event_time_ms"], *self.record.position


@dataclass(frozen=True)
class Classified:
    """All records by (partition, offset), and how far event time has come on every partition.

    `watermark_ms` is None while no record is accepted.
    """

    entries: list[Entry] = field(repr=False)
    watermark_ms: int | None

    def of_kind(self, *kinds: Kind) -> list[Entry]:
        return [entry for entry in self.entries if entry.kind in kinds]

    def remembered(self, *kinds: Kind) -> list[Entry]:
        """Those that count for their visitors."""
        return [entry for entry in self.of_kind(*kinds) if not entry.forgotten]

    def refused_by_reason(self) -> dict[str, int]:
        return dict(Counter(entry.refusal.reason for entry in self.of_kind("refused")).most_common())


def classify(
    records: Iterable[Record],
    delay_ms: int,
    *,
    horizon_ms: int = 86_400_000,
    refused_as_future: Collection[Position] = (),
    now_ms: int | None = None,
    max_skew_ms: int = 300_000,
    consents: Consents | None = None,
    reduced: Callable[[Event], Event] = lambda event: event,
) -> Classified:
    """Walks each partition in offset order; `records` come sorted by (partition, offset).

    An accepted record is late when its event time is at most the highest so far (its own included) minus `delay_ms`.
    Of the on-time ones the first with an event_id counts, and again one that is `horizon_ms` newer than it. Heartbeats
    move event time and are never late.
    An event too far in the future for the job's clock may not be so any more now: `refused_as_future` holds the places
    where the job said so. `consents` as they stand now; nobody has withdrawn if there are none.
    `reduced` says what is kept of an event that counts.
    """
    consents = consents or Consents("assumed")
    entries: list[Entry] = []
    newest_ms: dict[int, int] = {}
    counted_ms: dict[str, int] = {}
    for record in records:
        parsed = parse(record.value, now_ms, max_skew_ms)
        if not isinstance(parsed, Refusal) and record.position in refused_as_future:
            parsed = FUTURE
        if isinstance(parsed, Refusal):
            entries.append(Entry(record, "refused", refusal=parsed))
            continue
        event_time_ms = parsed["event_time_ms"]
        newest_ms[record.partition] = max(newest_ms.get(record.partition, 0), event_time_ms)
        late = event_time_ms <= newest_ms[record.partition] - delay_ms
        verdict = "counts"
        if parsed["event_type"] != HEARTBEAT:
            verdict = consents.verdict(parsed["visitor_id"], *record.position, event_time_ms)
        kind = "suppressed" if verdict == "suppressed" else _kind(parsed, late, counted_ms, horizon_ms)
        kept = reduced(parsed) if kind == "counted" else parsed
        shown = record if kind == "late" else record._replace(key=None, value=None)
        entries.append(Entry(shown, kind, event=kept, forgotten=verdict == "forgotten"))
    return Classified(entries, min(newest_ms.values()) - delay_ms if newest_ms else None)


def _kind(event: Event, late: bool, counted_ms: dict[str, int], horizon_ms: int) -> Kind:
    if event["event_type"] == HEARTBEAT:
        return "heartbeat"
    if late:
        return "late"
    event_id, time_ms = event["event_id"], event["event_time_ms"]
    if event_id in counted_ms and time_ms < counted_ms[event_id] + horizon_ms:
        return "duplicate"
    counted_ms[event_id] = time_ms
    return "counted"
