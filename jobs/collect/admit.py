"""From an event's bytes to what is stored of it: the contract, its time, pseudonyms, and what is filled in. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from jobs.collect.access import Consent
from jobs.collect.consent import State
from jobs.contract import events
from jobs.sdk.pseudonyms import Pseudonyms

_encode = msgspec.json.Encoder().encode


class Admitted(NamedTuple):
    """An event as it is stored: `visitor` is the pseudonym."""

    visitor: str
    value: bytes
    event_time_ms: int


class Rejected(NamedTuple):
    """Why an event isn't taken: a reason of the contract, or `too_old`; and the field that it is about, or ""."""

    reason: str
    field: str = ""


class Judged(NamedTuple):
    """`rejected` by place in the request's body, `states` by pseudonym."""

    admitted: list[Admitted]
    rejected: dict[int, Rejected]
    suppressed: int
    states: dict[str, State]


@dataclass(frozen=True, slots=True)
class Rules:
    """How far an event's time may lie ahead and back, and whose keys make pseudonyms."""

    pseudonyms: Pseudonyms
    max_skew_ms: int
    max_age_ms: int

    def admit(self, raw: bytes, seen: Mapping[str, str], now_ms: int) -> Admitted | Rejected:
        """Check an event and make it what is stored.

        Args:
            raw: its JSON.
            seen: fields that the request tells (device, country); what the event says itself stays.
            now_ms: the collector's clock: an event's time when it has none, and at the latest.

        An event's time may lie ahead by what clocks differ, but is stored as now: the newest event of a partition
        decides what is late in it, so one clock that is fast would make everybody else's events late.
        """
        document = events.decode(raw)
        if isinstance(document, events.Refusal):
            return Rejected(*document)
        if document.get("event_type") == events.HEARTBEAT:  # moves time on for all: the producers' own
            return Rejected("unknown_value", "event_type")
        if document.get("event_time_ms") is None:
            document["event_time_ms"] = now_ms
        event = events.check(document, now_ms, self.max_skew_ms)
        if isinstance(event, events.Refusal):
            return Rejected(*event)
        if event["event_time_ms"] < now_ms - self.max_age_ms:
            return Rejected("too_old", "event_time_ms")
        event_time_ms = min(event["event_time_ms"], now_ms)
        stored = self.pseudonyms.event({**seen, **event, "event_time_ms": event_time_ms})
        return Admitted(stored["visitor_id"], _encode(stored), event_time_ms)

    def judge(self, raws: Sequence[bytes], consent: Consent, seen: Mapping[str, str], now_ms: int) -> "Judged":
        """What becomes of a request's events, and which states of consent they make known.

        Without consent nothing of an event is kept. A denial is kept, under each valid key: what was stored before a
        rotation is withdrawn, too.
        """
        if consent != "granted":
            denying = self.visitors(raws) if consent == "denied" else []
            return Judged([], {}, len(raws), dict.fromkeys(denying, "withdrawn"))
        verdicts = [self.admit(raw, seen, now_ms) for raw in raws]
        admitted = [verdict for verdict in verdicts if isinstance(verdict, Admitted)]
        rejected = {place: verdict for place, verdict in enumerate(verdicts) if isinstance(verdict, Rejected)}
        return Judged(admitted, rejected, 0, dict.fromkeys((event.visitor for event in admitted), "granted"))

    def visitors(self, raws: Iterable[bytes]) -> list[str]:
        """The pseudonyms under every valid key of the visitors whom events name; of nothing else is taken notice."""
        found: dict[str, None] = {}
        for raw in raws:
            document = events.decode(raw)
            visitor = document.get("visitor_id") if isinstance(document, dict) else None
            if isinstance(visitor, str) and 0 < len(visitor) <= events.FIELD["visitor_id"].max_length:
                found.update(dict.fromkeys(self.pseudonyms.all_of(visitor)))
        return list(found)
