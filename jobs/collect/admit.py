"""Turn an event's bytes into what is stored: contract, time, pseudonyms, and the fields that are filled in. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote

import msgspec

from jobs.collect.access import Consent
from jobs.collect.consent import State
from jobs.contract import events, nothing
from liveshelf.pseudonyms import Pseudonyms

_encode = msgspec.json.Encoder().encode


class Admitted(NamedTuple):
    """An event as it is stored. `visitor` is the pseudonym."""

    visitor: str
    value: bytes
    event_time_ms: int


class Rejected(NamedTuple):
    """The reason why an event isn't stored, and its field or "".

    It is one of the contract, `too_old`, or one of `newcomers`.
    """

    reason: str
    field: str = ""


class Judged(NamedTuple):
    """The verdicts on a request. `rejected` is by place in the body, `states` by pseudonym."""

    admitted: list[Admitted]
    rejected: dict[int, Rejected]
    suppressed: int
    states: dict[str, State]


Bound = Callable[[events.Event], Rejected | None]


@dataclass(frozen=True, slots=True)
class Rules:
    """The limits on an event's time, and the keys that make pseudonyms."""

    pseudonyms: Pseudonyms
    max_skew_ms: int
    max_age_ms: int

    def admit(
        self, raw: bytes, seen: Mapping[str, str], now_ms: int, bound: Bound = lambda _: None
    ) -> Admitted | Rejected:
        """Check an event and return what is stored of it.

        Args:
            raw: the event's JSON.
            seen: fields that the request tells (device, country). What the event says itself wins.
            now_ms: the collector's clock: the event's time if it has none, and the latest time that is stored.
            bound: says of what would be stored why it isn't, if it isn't.

        An event that waited says when it is sent (`sent_ms`) by the clock that dated it. What counts is how long ago it
        was by that clock, which may be wrong by days. An event may be ahead by `max_skew_ms`, but is stored as now. The
        newest event of a partition decides what is late in it, so one fast clock would make everybody else's events
        late.
        """
        document = events.decode(raw)
        if isinstance(document, events.Refusal):
            return Rejected(*document)
        if document.get("event_type") == events.HEARTBEAT:  # moves time on for all: the producers' own
            return Rejected("unknown_value", "event_type")
        if refused := _date(document, now_ms):
            return refused
        event = events.check(document, now_ms, self.max_skew_ms)
        if isinstance(event, events.Refusal):
            return Rejected(*event)
        if _names_nobody(event["visitor_id"]):
            return Rejected("out_of_range", "visitor_id")
        if event["event_time_ms"] < now_ms - self.max_age_ms:
            return Rejected("too_old", "event_time_ms")
        event_time_ms = min(event["event_time_ms"], now_ms)
        stored = self.pseudonyms.event({**seen, **event, "event_time_ms": event_time_ms})
        if refused := bound(stored):
            return refused
        return Admitted(stored["visitor_id"], _encode(stored), event_time_ms)

    def judge(
        self,
        raws: Sequence[bytes],
        consent: Consent,
        seen: Mapping[str, str],
        now_ms: int,
        bound: Bound = lambda _: None,
    ) -> "Judged":
        """Judge a request's events, and say which states of consent they make known.

        Nothing of an event is kept without consent. A denial is kept under each valid key, so that what was stored
        before a rotation of keys is withdrawn too.
        """
        if consent != "granted":
            denying = self.visitors(raws) if consent == "denied" else []
            return Judged([], {}, len(raws), dict.fromkeys(denying, "withdrawn"))
        verdicts = [self.admit(raw, seen, now_ms, bound) for raw in raws]
        admitted = [verdict for verdict in verdicts if isinstance(verdict, Admitted)]
        rejected = {place: verdict for place, verdict in enumerate(verdicts) if isinstance(verdict, Rejected)}
        return Judged(admitted, rejected, 0, dict.fromkeys((event.visitor for event in admitted), "granted"))

    def visitors(self, raws: Iterable[bytes]) -> list[str]:
        """Return the pseudonyms, under every valid key, of the visitors whom events name. Nothing else is read."""
        found: dict[str, None] = {}
        for raw in raws:
            document = events.decode(raw)
            visitor = document.get("visitor_id") if isinstance(document, dict) else None
            longest = events.FIELD["visitor_id"].max_length
            if isinstance(visitor, str) and len(visitor) <= longest and not _names_nobody(visitor):
                found.update(dict.fromkeys(self.pseudonyms.all_of(visitor)))
        return list(found)


def _names_nobody(visitor: str) -> bool:
    """Return True for an id that names nothing, also as a cookie holds it: [object%20Object]."""
    return nothing.names_nothing(unquote(visitor) if "%" in visitor else visitor)


def _date(document: dict[str, object], now_ms: int) -> Rejected | None:
    """Set the event's time by the collector's clock, or return why that can't be done."""
    time_ms, sent_ms = document.get("event_time_ms"), document.get("sent_ms")
    if sent_ms is not None and type(sent_ms) is not int:
        return Rejected("wrong_type", "sent_ms")
    if time_ms is None:
        document["event_time_ms"] = now_ms
    elif isinstance(sent_ms, int) and type(time_ms) is int:
        document["event_time_ms"] = now_ms - max(0, sent_ms - time_ms)
    return None
