"""Move recorded events to the present."""

import hashlib
from collections.abc import Iterable, Iterator

from jobs.contract.events import Event

CLOCK_SKEW_MS = 300_000  # the contract refuses what lies further in the future
SKEW_MARGIN_MS = 5_000  # clocks of broker and workers needn't agree to the second
AHEAD_MS = CLOCK_SKEW_MS - SKEW_MARGIN_MS


def shifted(events: list[Event], speed: float | None, start_ms: int) -> Iterator[Event]:
    """Yield the events with their times moved by `shift_ms`."""
    if events:
        yield from moved(events, shift_ms(events[0]["event_time_ms"], events[-1]["event_time_ms"], speed, start_ms))


def moved(events: Iterable[Event], by_ms: int) -> Iterator[Event]:
    """Yield the events with their times moved; an id changes too, as a moved event is another one."""
    for event in events:
        event_id, time_ms = _shifted_id(event["event_id"], by_ms), event["event_time_ms"] + by_ms
        yield event | {"event_id": event_id, "event_time_ms": time_ms}


def shift_ms(first_ms: int, last_ms: int, speed: float | None, start_ms: int, not_before_ms: int = 0) -> int:
    """Return how far to move events so that the first (up to speed 1) or the last (above) is sent at its event time.

    Args:
        first_ms, last_ms: event times of the first and the last event.
        speed: event time per time on the wall; None sends all at once.
        start_ms: when sending starts.
        not_before_ms: the first event moves to this time or later, if no event then lies further in the future when it
            is sent than the contract allows. Otherwise nothing changes: those events can't all be on time.
    """
    if speed is not None and speed <= 1:
        by_ms = start_ms - first_ms
    else:
        lasts_ms = 0 if speed is None else int((last_ms - first_ms) / speed)
        by_ms = start_ms + lasts_ms - last_ms
    ahead_ms = not_before_ms - (first_ms + by_ms)
    return by_ms + ahead_ms if 0 < ahead_ms <= AHEAD_MS else by_ms


def _shifted_id(event_id: str, by_ms: int) -> str:
    text = f"{event_id}@{by_ms}"
    return text if len(text) <= 64 else hashlib.sha256(text.encode()).hexdigest()  # 128 UTF-16 units are allowed
