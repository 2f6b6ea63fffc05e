"""Say of each item how it trends: a fact in a topic of its own, made once a minute from the counts of the features job.

A trend is the sum of an item's counts by their weights; what lies back counts less and is halved every `half_life`. The
counts are of sliding windows, one inside the other: what one holds beyond the smaller ones is as old as the middle
between their lengths.

Being a fact, a trend is followed by every worker, may be lifted, and is named by the offset that each list holds.
"""

import itertools
import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from jobs.catalogue.columns import Snapshot
from jobs.connect import kafka_send
from jobs.connect.redis_pipeline import Connection
from jobs.contract.items import FactContract
from jobs.contract.shelf_plan import TREND, TREND_VISITORS, ShelfPlan, Source
from jobs.errors import ServiceError
from jobs.features.online_store import entity_key, feature_field
from jobs.rankings.context import decode_number

CHUNK = 256
LEAST_CHANGE = 0.02  # of a trend; a smaller one isn't worth a record
DIGITS = 6
LOG = logging.getLogger(__name__)


class Trending(NamedTuple):
    """How an item trends now."""

    trend: float
    visitors: int


NOTHING = Trending(0.0, 0)


class Trends:
    """Keeps the facts about trends. One worker at a time does it, and knows what it wrote."""

    def __init__(self, redis_url: str, project: str, bootstrap: str, contracts: Sequence[FactContract]) -> None:
        self._connection = Connection(redis_url, patience_s=5)
        self._project, self._bootstrap = project, bootstrap
        self._topic = topic_of(contracts)
        self._said: dict[str, Trending] = {}

    def close(self) -> None:
        self._connection.close()

    def write(self, plan: ShelfPlan, items: Sequence[str], known: dict[str, Trending]) -> int:
        """Write what has changed since what is `known`, and return the number of records."""
        source = source_of(plan)
        if source is None or self._topic is None:
            return 0
        known = known | self._said
        changed = {item: now for item, now in self._read(source, items) if _differs(known.get(item, NOTHING), now)}
        if changed:
            sender = kafka_send.connect(self._bootstrap, self._topic, fast=False)
            try:
                for item, now in changed.items():
                    value = msgspec.json.encode({TREND: now.trend, TREND_VISITORS: now.visitors})
                    sender.send(item.encode(), value, 1)  # the broker dates it
                sender.flush()
            finally:
                sender.close()
        self._said |= changed
        return len(changed)

    def _read(self, source: Source, items: Sequence[str]) -> Iterator[tuple[str, Trending]]:
        assert source.visitors is not None, "lint has found them"
        counts = source.counts
        fields = [feature_field(each.view, each.name) for each in (*counts, source.visitors)]
        rest = iter(items)
        while chunk := list(itertools.islice(rest, CHUNK)):
            keys = [entity_key(self._project, {"item_id": item}) for item in chunk]
            for item, reply in zip(
                chunk, self._connection.exchange([("HMGET", key, *fields) for key in keys]), strict=True
            ):
                if not isinstance(reply, list):
                    raise ServiceError(f"Redis refused to read an item's counts: {reply!r}", "liveshelf status")
                *numbers, visitors = map(decode_number, reply)
                yield item, Trending(trend(source, numbers), int(visitors))


def topic_of(contracts: Sequence[FactContract]) -> str | None:
    """Return the topic of facts that trends are written to, None if a shop has none."""
    return next((each.topic for each in contracts if each.field(TREND) and each.field(TREND_VISITORS)), None)


def source_of(plan: ShelfPlan) -> Source | None:
    """Return how trends are counted; lint lets one way through."""
    return next((source for shelf in plan.shelves for source in shelf.take if source.kind == "trend"), None)


def trend(source: Source, numbers: Sequence[float]) -> float:
    """Return the trend of an item, given the values of the source's counts."""
    total = 0.0
    by_type = zip(source.counts, numbers, strict=True)
    for event_type, group in itertools.groupby(by_type, key=lambda pair: pair[0].event_type):
        before, begins_ms = 0.0, 0
        for count, number in group:
            middle_ms = (begins_ms + count.window_ms) / 2
            total += source.weights[event_type] * max(0.0, number - before) * 0.5 ** (middle_ms / source.half_life_ms)
            before, begins_ms = max(number, before), count.window_ms
    return float(f"{total:.{DIGITS}g}")


def known_trends(snapshot: Snapshot) -> dict[str, Trending]:
    """Return what the facts say of trends."""
    trends, visitors = snapshot.columns.get(TREND), snapshot.columns.get(TREND_VISITORS)
    if trends is None or visitors is None:
        return {}
    found = {}
    for item, row in list(snapshot.rows.items())[: snapshot.size]:
        value = trends.value(row)
        if value is not None:
            found[item] = Trending(float(value), int(visitors.value(row) or 0))
    return found


def _differs(before: Trending, now: Trending) -> bool:
    return abs(now.trend - before.trend) > LEAST_CHANGE * before.trend or now.visitors != before.visitors
