"""Make a stream hard: events out of order, events sent twice, broken records, each with its own random numbers.

Pure functions of streams; the order is `shuffle_within`, `records`, `corrupt`, `duplicate`, so that a broken record has
no copy and the counts by `mark` are exact.
"""

import heapq
import random
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import NamedTuple

import msgspec

from jobs.contract.events import MAX_EVENT_BYTES, Event, Refusal, parse

INTACT = ""
DUPLICATE = "duplicate"
TOO_LARGE = "too_large"

# A client that got no answer sends again; how many other records lie between is open, 50 is a busy producer's batch.
MAX_RECORDS_BETWEEN = 50
TOO_LARGE_BYTES = 2_097_152
TOO_LARGE_EVERY = 200  # one in so many broken records weighs 2 MB: more would measure the network

_encode = msgspec.json.Encoder().encode


class Record(NamedTuple):
    """The record of an event; `mark` is INTACT, DUPLICATE or the kind of damage."""

    key: bytes
    value: bytes
    event: Event
    mark: str = INTACT


def shuffle_within(events: Iterable[Event], seconds: float, rng: random.Random) -> Iterator[Event]:
    """Yield events in the order of event time + a delay drawn evenly from [0, seconds).

    An event that arrives after another is less than `seconds` older: with a watermark delay of `seconds` (or more)
    nothing is late.
    """
    spread_ms = round(seconds * 1000)
    waiting: list[tuple[int, int, Event]] = []
    for number, event in enumerate(events):
        time_ms = event["event_time_ms"]
        while waiting and waiting[0][0] <= time_ms:  # whatever follows arrives at time_ms or later
            yield heapq.heappop(waiting)[2]
        delay_ms = rng.randrange(spread_ms) if spread_ms else 0
        heapq.heappush(waiting, (time_ms + delay_ms, number, event))
    while waiting:
        yield heapq.heappop(waiting)[2]


def records(events: Iterable[Event]) -> Iterator[Record]:
    """Yield each event as its record, intact."""
    for event in events:
        yield Record(event["visitor_id"].encode(), _encode(event), event)


def corrupt(stream: Iterable[Record], share: float, rng: random.Random) -> Iterator[Record]:
    """Yield the stream with about `share` of its records damaged, in all ways of `DAMAGES` in turn; keys stay.

    Each is sure to be refused by `events.parse`. Two megabytes come once in `TOO_LARGE_EVERY` damaged records, first as
    number `len(DAMAGES)`.
    """
    small = [kind for kind in DAMAGES if kind != TOO_LARGE]
    damaged = count()
    turn = 0
    for record in stream:
        if rng.random() >= share:
            yield record
            continue
        kind = TOO_LARGE if next(damaged) % TOO_LARGE_EVERY == len(small) else small[turn % len(small)]
        turn += kind != TOO_LARGE
        value = DAMAGES[kind](record.event)
        assert isinstance(parse(value), Refusal), f"{kind} passes the event contract: {value[:200]!r}"
        yield record._replace(value=value, mark=kind)


def duplicate(
    stream: Iterable[Record], share: float, rng: random.Random, on_time_ms: int | None = None
) -> Iterator[Record]:
    """Yield the stream with exact copies of about `share` of its intact records, each among the next 50 records.

    Args:
        on_time_ms: a copy is sent before any record that is this much newer than it. With the watermark delay, no copy
            is late (in a sparse stream 50 records can be hours).
    """
    waiting: list[tuple[int, Record]] = []  # (number of the record that the copy precedes, copy)
    for number, record in enumerate(stream):
        too_old_ms = None if on_time_ms is None else record.event["event_time_ms"] - on_time_ms
        still_waiting = []
        for place, copy in waiting:
            if place <= number or _is_older(copy, too_old_ms):
                yield copy
            else:
                still_waiting.append((place, copy))
        waiting = still_waiting
        yield record
        if record.mark == INTACT and rng.random() < share:
            waiting.append((number + rng.randint(1, MAX_RECORDS_BETWEEN), record._replace(mark=DUPLICATE)))
    yield from (copy for _, copy in waiting)


def _is_older(record: Record, too_old_ms: int | None) -> bool:
    return too_old_ms is not None and record.event["event_time_ms"] <= too_old_ms


def _without(event: Event, name: str) -> Event:
    return {key: value for key, value in event.items() if key != name}


def _with_literal(event: Event, literal: bytes) -> bytes:
    return _encode(_without(event, "rating"))[:-1] + b',"rating":' + literal + b"}"


DAMAGES: dict[str, Callable[[Event], bytes]] = {
    "not_json": lambda event: _encode(event)[:-1],
    "wrong_type": lambda event: _encode(event | {"event_time_ms": str(event["event_time_ms"])}),
    "unknown_type": lambda event: _encode(event | {"event_type": "teleport"}),
    "missing_field": lambda event: _encode(_without(event, "visitor_id")),
    "nan": lambda event: _with_literal(event, b"NaN"),
    "infinity": lambda event: _with_literal(event, b"-Infinity"),
    "control_character": lambda event: _encode(event | {"visitor_id": f"{event['visitor_id'][:100]}\0"}),
    "not_utf8": lambda event: _with_literal(event, b'"\xff\xfe"'),
    "empty": lambda event: b"",
    "array": lambda event: b"[" + _encode(event) + b"]",
    TOO_LARGE: lambda event: _encode(event | {"query": "x" * TOO_LARGE_BYTES}),
}
assert TOO_LARGE_BYTES > MAX_EVENT_BYTES
