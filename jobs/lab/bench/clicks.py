"""Shop events for the measurements, made with numpy from a seed: visitors come in visits, items follow a power law."""

import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import NamedTuple

import msgspec
import numpy as np

from jobs.connect import kafka_send
from jobs.contract import events
from jobs.lab.replay.produce import FLUSH_MS, beat
from jobs.lab.replay.shift import AHEAD_MS

EVENTS_PER_S = 1_000  # of event time
VISIT_EVENTS = 10  # on average; the committed shops have 5 to 10
VISIT_PAUSE_S = 20.0  # on average, between two events of a visit
# Three visits long: from then on as many visits end as begin (20,000 are under way), as in a shop that has been open.
SETTLE_S = 600
CATEGORIES = 30
ZIPF_EXPONENT, ZIPF_SHIFT = 0.9, 10.0  # the best seller gets 1 % of the views, the first 1,000 of 18,009 items half
TYPE_SHARES = {"view": 0.86, "search": 0.05, "add_to_cart": 0.06, "remove_from_cart": 0.01, "purchase": 0.02}
TYPES = tuple(TYPE_SHARES)
DEVICES = ("phone", "desktop", "tablet")
COUNTRIES = ("DE", "FR", "NL", "AT", "SE")


class Clicks(NamedTuple):
    """Events in event-time order: event n is at place n of every array. Integers number visitors, items and so on."""

    visitor: np.ndarray
    visit: np.ndarray
    item: np.ndarray
    kind: np.ndarray  # place in TYPES
    dwell_ms: np.ndarray
    price_minor: np.ndarray  # the item's

    def __len__(self) -> int:
        return len(self.visitor)

    def part(self, start: int, stop: int) -> "Clicks":
        return Clicks(*(column[start:stop] for column in self))


def make(count: int, visitors: int, items: int, seed: int, events_per_s: float = EVENTS_PER_S) -> Clicks:
    """Return `count` events of `visitors` visitors; the same seed gives the same events.

    Visits begin evenly over a span, and the events' order is that of their times in it; the events come from the middle
    of it. The times themselves are left to the sender, who gives them evenly, `events_per_s`.
    """
    random = np.random.default_rng(seed)
    settle = max(
        int(SETTLE_S * events_per_s), count // 10
    )  # the lengths drawn are count in all, give or take a few per cent
    drawn = count + 2 * settle
    lengths = random.geometric(1 / VISIT_EVENTS, drawn // VISIT_EVENTS)
    visits = len(lengths)
    visit = np.repeat(np.arange(visits), lengths)
    pauses_s = random.exponential(VISIT_PAUSE_S, len(visit))
    begins = np.concatenate([[0], lengths.cumsum()[:-1]])
    passed_s = pauses_s.cumsum()
    into_visit_s = passed_s - np.repeat(passed_s[begins], lengths)
    starts_s = random.uniform(0, drawn / events_per_s, visits)
    order = np.argsort(starts_s[visit] + into_visit_s, kind="stable")[settle : settle + count]
    visitor_of_visit = random.permutation(np.resize(np.arange(visitors), visits))
    item = _items(count, items, random)
    return Clicks(
        visitor=visitor_of_visit[visit[order]],
        visit=visit[order],
        item=item,
        kind=random.choice(len(TYPES), count, p=list(TYPE_SHARES.values())),
        dwell_ms=random.exponential(30_000, count).astype(np.int64) + 200,
        price_minor=random.lognormal(7.5, 0.8, items).astype(np.int64)[item] + 99,
    )


def _items(count: int, items: int, random: np.random.Generator) -> np.ndarray:
    weights = (np.arange(items) + ZIPF_SHIFT) ** -ZIPF_EXPONENT
    shares = weights.cumsum() / weights.sum()
    return random.permutation(items)[np.searchsorted(shares, random.random(count)).clip(max=items - 1)]


def visitor_id(number: int) -> str:
    return f"visitor-{number}"


def documents(clicks: Clicks, item_ids: list[str], name: str) -> Iterator[events.Event]:
    """Yield the events of the contract, without their times; `name` makes their ids unique."""
    rows = zip(*(column.tolist() for column in clicks), strict=True)
    for number, (visitor, visit, item, kind, dwell_ms, price_minor) in enumerate(rows):
        event: events.Event = {
            "schema_version": events.SCHEMA_VERSION,
            "event_id": f"{name}-{number}",
            "event_type": TYPES[kind],
            "visitor_id": visitor_id(visitor),
            "session_id": f"{name}-visit-{visit}",
            "channel": "web",
            "device": DEVICES[visitor % len(DEVICES)],
            "country": COUNTRIES[visitor % len(COUNTRIES)],
            "dwell_ms": dwell_ms,
        }
        if TYPES[kind] == "search":
            event["query"] = f"words {item % CATEGORIES}"
        else:
            category = f"category-{item % CATEGORIES}"
            event |= {"item_id": item_ids[item], "category": category, "price_minor": price_minor, "currency": "EUR"}
        yield event


def partitions(clicks: Clicks, count: int) -> np.ndarray:
    """Return the partition of each event; all events of a visitor are in one."""
    return clicks.visitor % count


def offsets(partition: np.ndarray) -> np.ndarray:
    """Return int64 [N]: the offset that each event gets in its partition of a new topic."""
    offset = np.empty(len(partition), np.int64)
    for number in np.unique(partition):
        places = np.flatnonzero(partition == number)
        offset[places] = np.arange(len(places))
    return offset


def prefix_ends(partition: np.ndarray, count: int) -> dict[int, int]:
    """Return where the topic's first `count` events end: the offset after the last one, by partition."""
    return dict(enumerate(np.bincount(partition[:count], minlength=int(partition.max()) + 1).tolist()))


def produce(
    bootstrap: str,
    topic: str,
    stream: Iterable[events.Event],
    partition: np.ndarray,
    count: int,
    ahead_ms: int = 1000 + FLUSH_MS,
) -> None:
    """Fill a topic with events whose last one happens now, then move time on by `ahead_ms`, so that windows end.

    With confluent-kafka, if it is installed: at kafka-python's 5,400 events/s a million takes three minutes.
    """
    first_ms = time.time_ns() // 1_000_000 - count * 1000 // EVENTS_PER_S
    with closing(kafka_send.connect(bootstrap, topic, fast=True)) as sender:
        for number, (event, place) in enumerate(zip(stream, partition.tolist(), strict=True)):
            time_ms = first_ms + number * 1000 // EVENTS_PER_S
            event["event_time_ms"] = time_ms
            sender.send(event["visitor_id"].encode(), msgspec.json.encode(event), time_ms, place)
        beat_ms = min(
            first_ms + count * 1000 // EVENTS_PER_S + ahead_ms,
            time.time_ns() // 1_000_000 + AHEAD_MS,
        )
        beat(sender, beat_ms)
        sender.flush()
