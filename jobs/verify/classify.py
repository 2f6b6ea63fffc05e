"""Say of each record what becomes of it: refused, heartbeat, suppressed, late, duplicate or counted (pure)."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from jobs.connect.kafka_read import Position, Record
from jobs.contract.consent import Consents
from jobs.contract.events import HEARTBEAT, Event, Refusal, parse

Kind = Literal["refused", "heartbeat", "suppressed", "late", "duplicate", "counted"]
FUTURE = Refusal("future_event_time", "event_time_ms")


@dataclass(frozen=True, slots=True)
class Entry:
    """One record and what becomes of it. A refused one has a `refusal` and no `event`, any other an `event` only.

    Key and value are kept of refused and late records only, whose bytes are compared.
    A `forgotten` one counts for items and categories. It no longer counts for its visitor, who withdrew or was erased.
    """

    record: Record
    kind: Kind
    event: Event | None = None
    refusal: Refusal | None = None
    forgotten: bool = False

    @property
    def order(self) -> tuple[int, int, int]:
        """Return event time, partition and offset: the order in which a visitor's events stand."""
        return self.event["event_time_ms"], *self.record.position


@dataclass(frozen=True)
class Classified:
    """All records by (partition, offset), and the event time that every partition has reached.

    `watermark_ms` is None while no record is accepted.
    """

    entries: list[Entry] = field(repr=False)
    watermark_ms: int | None

    def of_kind(self, *kinds: Kind) -> list[Entry]:
        return [entry for entry in self.entries if entry.kind in kinds]

    def remembered(self, *kinds: Kind) -> list[Entry]:
        """Return the entries of these kinds that count for their visitors."""
        return [entry for entry in self.of_kind(*kinds) if not entry.forgotten]

    def since(self, offsets: Mapping[int, int]) -> "Classified":
        """Return the same without the entries before these offsets; event time has come as far."""
        entries = [entry for entry in self.entries if entry.record.offset >= offsets.get(entry.record.partition, 0)]
        return Classified(entries, self.watermark_ms)

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
    ids_shared: bool = False,
    reduced: Callable[[Event], Event] = lambda event: event,
) -> Classified:
    """Walk each partition in offset order; `records` come sorted by (partition, offset).

    An accepted record is late if its event time is at most the highest so far (its own included) minus `delay_ms`. Of
    a visitor's that are on time the first with an event_id counts, and later one that is `horizon_ms` newer. Heartbeats
    move event time and are never late.

    Args:
        refused_as_future: the places of events that lay too far in the future by the job's clock; now they may not.
        consents: as they stand now. If absent, nobody has withdrawn.
        ids_shared: an event_id counts once for all visitors, as in state that a release before secrets began.
        reduced: returns what to keep of an event that counts.
    """
    consents = consents or Consents("assumed")
    entries: list[Entry] = []
    newest_ms: dict[int, int] = {}
    counted_ms: dict[tuple[str, str], int] = {}
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
        kind = "suppressed" if verdict == "suppressed" else _kind(parsed, late, counted_ms, horizon_ms, ids_shared)
        kept = reduced(parsed) if kind == "counted" else parsed
        shown = record if kind == "late" else record._replace(key=None, value=None)
        entries.append(Entry(shown, kind, event=kept, forgotten=verdict == "forgotten"))
    return Classified(entries, min(newest_ms.values()) - delay_ms if newest_ms else None)


def _kind(event: Event, late: bool, counted_ms: dict[tuple[str, str], int], horizon_ms: int, ids_shared: bool) -> Kind:
    if event["event_type"] == HEARTBEAT:
        return "heartbeat"
    if late:
        return "late"
    whose = "" if ids_shared else event["visitor_id"]
    event_id, time_ms = (whose, event["event_id"]), event["event_time_ms"]
    if event_id in counted_ms and time_ms < counted_ms[event_id] + horizon_ms:
        return "duplicate"
    counted_ms[event_id] = time_ms
    return "counted"
