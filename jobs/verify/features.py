"""The feature oracle: the row that the online store should hold for each entity of a view (pure).

It is written for clarity. Each value is computed once, from the list of events in its frame, with Python's own sums and
statistics. Only the newest row of an entity is computed, so each entity costs one frame.
"""

import math
import re
import statistics
import struct
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from jobs.contract.events import EVENT_TYPES, FIELD, Event
from jobs.errors import DefinitionError
from jobs.verify.classify import Entry
from jobs.verify.sample import Sample
from jobs.verify.views import Aggregate, View

Value = str | int | float | list | None
Key = tuple[str | int | float, ...]  # the values of an entity's join keys, in the order of View.keys
Columns = dict[str, Value]
PERSON = "visitor_id"
EVERY = Sample()


@dataclass(frozen=True, slots=True)
class Row:
    """An entity's feature values as of `event_time_ms`; an event from before `reach_ms` could change none of them."""

    event_time_ms: int
    values: dict[str, Value]
    reach_ms: int = field(default=0, compare=False)


def with_derived(event: Event) -> Columns:
    """Return an event's columns: the contract's fields and those derived from them. Absent ones aren't in it."""
    kind = event["event_type"]
    columns: Columns = dict(event)
    columns |= {f"is_{each}": int(kind == each) for each in EVENT_TYPES}
    columns["event_time_s"] = event["event_time_ms"] / 1000
    if kind == "purchase":
        columns["purchased_pieces"] = event.get("quantity", 1)
    if "price_minor" in event:
        value_minor = event["price_minor"] * event.get("quantity", 1)
        if kind == "view":
            columns["viewed_price_minor"] = event["price_minor"]
        elif kind == "purchase":
            columns["purchase_value_minor"] = value_minor
        elif kind == "add_to_cart":
            columns["cart_delta_minor"] = value_minor
        elif kind == "remove_from_cart":
            columns["cart_delta_minor"] = -value_minor
    return columns


def newest_rows(
    view: View,
    counted: Iterable[Entry],
    watermark_ms: int,
    max_window_events: int = 10**9,
    sample: Sample = EVERY,
    windows_ms: Iterable[int] = (),
) -> dict[Key, Row]:
    """Return the newest row of each entity in the sample, as of the moment at which event time is `watermark_ms`.

    `counted` are the entries that count, in any order. An event without one of the view's keys isn't in the view.
    A window as of an event holds at most its newest `max_window_events` events, by event time and then place. A
    session counts at most that many distinct values. Sliding windows hold all events.
    `windows_ms` are further windows of the operator that writes a sliding view: a change in one makes a row too.
    Raises DefinitionError for a function or a column that doesn't exist.
    """
    _check(view)
    rows = {}
    for key, events in events_by_key(view.keys, counted, sample).items():
        if view.slide_ms:
            row = _sliding_row(view, events, watermark_ms, windows_ms)
        else:
            row = _event_row(view, events, watermark_ms, max_window_events)
        if row:
            rows[key] = row
    return rows


def events_by_key(keys: tuple[str, ...], counted: Iterable[Entry], sample: Sample = EVERY) -> dict[Key, list[Event]]:
    """Return each entity's events, by event time, then partition and offset."""
    groups: dict[Key, list[Entry]] = defaultdict(list)
    for entry in counted:
        if not all(key in entry.event for key in keys) or (entry.forgotten and PERSON in keys):
            continue
        entity = tuple(entry.event[key] for key in keys)
        if sample.holds(*entity):
            groups[entity].append(entry)
    return {key: [each.event for each in sorted(group, key=lambda entry: entry.order)] for key, group in groups.items()}


def session_starts(times_ms: list[int], gap_ms: int) -> list[int]:
    """Return the places in ascending `times_ms` at which sessions start.

    An event exactly `gap_ms` after the one before it still belongs to its session.
    """
    return [i for i, time_ms in enumerate(times_ms) if i == 0 or time_ms - times_ms[i - 1] > gap_ms]


def _event_row(view: View, events: list[Event], watermark_ms: int, most: int) -> Row | None:
    """Return the row of the last event that event time has passed: its session, or the windows that end with it."""
    seen = [event for event in events if event["event_time_ms"] <= watermark_ms]
    if not seen:
        return None
    times_ms = [event["event_time_ms"] for event in seen]
    if view.gap_ms is not None:
        start = session_starts(times_ms, view.gap_ms)[-1]
        session = [with_derived(event) for event in seen[start:]]
        values = {each.feature: _value(each, session) for each in view.aggregates}
        counts = {each.feature for each in view.aggregates if each.function == "count_distinct"}
        capped = {name: min(value, most) if name in counts else value for name, value in values.items()}
        return Row(times_ms[-1], capped, times_ms[start] - view.gap_ms)
    windows_ms = {each.window_ms for each in view.aggregates}
    longest = [with_derived(event) for event in seen if event["event_time_ms"] >= times_ms[-1] - max(windows_ms)]
    frames = {
        window_ms: [event for event in longest if event["event_time_ms"] >= times_ms[-1] - window_ms][-most:]
        for window_ms in windows_ms
    }
    values = {each.feature: _value(each, frames[each.window_ms]) for each in view.aggregates}
    return Row(times_ms[-1], values, times_ms[-1] - max(windows_ms))


def _sliding_row(view: View, events: list[Event], watermark_ms: int, also_ms: Iterable[int]) -> Row | None:
    """Return the row of the last slide at which an event entered or left a window, the windows `also_ms` included.

    An event enters at the end of its slide. That row is due when event time has passed all that lies before the end.
    """
    slide_ms, windows_ms = view.slide_ms, {each.window_ms for each in view.aggregates}
    entering_ms = [(event["event_time_ms"] // slide_ms + 1) * slide_ms for event in events]
    changes_ms = {entry_ms + stay for entry_ms in entering_ms for stay in (0, *windows_ms, *also_ms)}
    due_ms = [change_ms for change_ms in changes_ms if change_ms - 1 <= watermark_ms]
    if not due_ms:
        return None
    as_of_ms = max(due_ms)
    frames = {
        window_ms: [
            with_derived(event)
            for event, entry_ms in zip(events, entering_ms, strict=True)
            if entry_ms <= as_of_ms < entry_ms + window_ms
        ]
        for window_ms in windows_ms
    }
    values = {each.feature: _value(each, frames[each.window_ms]) for each in view.aggregates}
    return Row(as_of_ms, values, as_of_ms - max([*windows_ms, *also_ms]) - slide_ms)


def _value(aggregate: Aggregate, frame: list[Columns]) -> Value:
    if aggregate.function == "is_single":
        return int(len(frame) == 1)
    last_n = re.fullmatch(r"last_(\d+)", aggregate.function)
    events = frame[-int(last_n[1]) :] if last_n else frame
    present = [event[aggregate.column] for event in events if event.get(aggregate.column) is not None]
    value = present if last_n else FUNCTIONS[aggregate.function](present)
    return _single_precision(value) if "Float32" in aggregate.dtype else value


FUNCTIONS: dict[str, Callable[[list], Value]] = {
    "sum": lambda values: math.fsum(values) if any(isinstance(each, float) for each in values) else sum(values),
    "count": len,
    "min": lambda values: min(values, default=None),
    "max": lambda values: max(values, default=None),
    "mean": lambda values: statistics.fmean(values) if values else None,
    "std": lambda values: statistics.stdev(values) if len(values) > 1 else None,
    "count_distinct": lambda values: len(set(values)),
    "first": lambda values: values[0] if values else None,
    "last": lambda values: values[-1] if values else None,
    "span": lambda values: max(values) - min(values) if values else None,
}
KNOWN_COLUMNS = {
    *(f"is_{each}" for each in EVENT_TYPES),
    "viewed_price_minor",
    "purchased_pieces",
    "purchase_value_minor",
    "cart_delta_minor",
    "event_time_s",
}


def _check(view: View) -> None:
    for each in view.aggregates:
        if each.function not in FUNCTIONS and not re.fullmatch(r"is_single|last_[1-9]\d*", each.function):
            raise DefinitionError(
                f"{view.name}.{each.feature}: {each.function!r} isn't a function",
                f"use one of {', '.join(FUNCTIONS)}, last_N, is_single",
            )
        if each.function != "is_single" and each.column not in KNOWN_COLUMNS | FIELD.keys():
            raise DefinitionError(
                f"{view.name}.{each.feature}: {each.column!r} isn't a column", "liveshelf lint --columns lists them"
            )


def _single_precision(value: Value) -> Value:
    """Return the float32 that a Float32 field keeps of a value."""
    if isinstance(value, list):
        return [_single_precision(each) for each in value]
    return value if value is None else struct.unpack("<f", struct.pack("<f", value))[0]
