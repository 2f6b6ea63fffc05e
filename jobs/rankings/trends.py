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
from jobs.contract.shelf_plan import TREND, TREND_CATEGORY_VISITORS, TREND_VISITORS, Count, ShelfPlan, Source
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
    category_visitors: int


NOTHING = Trending(0.0, 0, 0)
FACTS = (TREND, TREND_VISITORS, TREND_CATEGORY_VISITORS)


class Trends:
    """Keeps the facts about trends. One worker at a time does it, and another may have done it before."""

    def __init__(self, redis_url: str, project: str, bootstrap: str, contracts: Sequence[FactContract]) -> None:
        self._connection = Connection(redis_url, patience_s=5)
        self._project, self._bootstrap = project, bootstrap
        self._topic = topic_of(contracts)

    def close(self) -> None:
        self._connection.close()

    def write(self, plan: ShelfPlan, items: Sequence[str], snapshot: Snapshot) -> int:
        """Write what differs from what the facts say, and return the number of records.

        Facts that were written a moment ago and aren't in `snapshot` yet are written once more, which does no harm.
        """
        source = source_of(plan)
        if source is None or self._topic is None:
            return 0
        known = known_trends(snapshot)
        changed = {
            item: now for item, now in self._read(source, items, snapshot) if _differs(known.get(item, NOTHING), now)
        }
        if changed:
            sender = kafka_send.connect(self._bootstrap, self._topic, fast=False)
            try:
                for item, now in changed.items():
                    sender.send(item.encode(), msgspec.json.encode(dict(zip(FACTS, now, strict=True))), 1)
                sender.flush()
            finally:
                sender.close()
        return len(changed)

    def _read(self, source: Source, items: Sequence[str], snapshot: Snapshot) -> Iterator[tuple[str, Trending]]:
        assert source.visitors is not None, "lint has found it"
        assert source.category_visitors is not None, "lint has found it"
        category_of = _categories(items, snapshot)
        categories = sorted(set(category_of.values()))
        counted = dict(self._counts("category", categories, [source.category_visitors]))
        for item, (*numbers, visitors) in self._counts("item_id", items, [*source.counts, source.visitors]):
            of_category = counted.get(category_of.get(item, ""), [0.0])[0]
            yield item, Trending(trend(source, numbers), int(visitors), int(of_category))

    def _counts(self, entity: str, keys: Sequence[str], features: Sequence[Count]) -> Iterator[tuple[str, list[float]]]:
        """Yield what the online store holds of each entity."""
        fields = [feature_field(each.view, each.name) for each in features]
        rest = iter(keys)
        while chunk := list(itertools.islice(rest, CHUNK)):
            asked = [entity_key(self._project, {entity: key}) for key in chunk]
            replies = self._connection.exchange([("HMGET", key, *fields) for key in asked])
            for key, reply in zip(chunk, replies, strict=True):
                if not isinstance(reply, list):
                    raise ServiceError(f"Redis refused to read counts of {entity}: {reply!r}", "liveshelf status")
                yield key, [decode_number(value) for value in reply]


def _categories(items: Sequence[str], snapshot: Snapshot) -> dict[str, str]:
    """Return the category of each item that has one."""
    column = snapshot.columns.get("category")
    if column is None:
        return {}
    rows = snapshot.places(items).tolist()
    found = ((item, column.value(row)) for item, row in zip(items, rows, strict=True) if row >= 0)
    return {item: str(category) for item, category in found if category is not None}


def topic_of(contracts: Sequence[FactContract]) -> str | None:
    """Return the topic of facts that trends are written to, None if a shop has none."""
    return next((each.topic for each in contracts if all(map(each.field, FACTS))), None)


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
    columns = [snapshot.columns.get(name) for name in FACTS]
    if any(column is None for column in columns):
        return {}
    found = {}
    for item, row in list(snapshot.rows.items()):
        if row < snapshot.size:
            value, *visitors = (column.value(row) for column in columns if column)
            if value is not None:
                found[item] = Trending(float(value), *(int(each or 0) for each in visitors))
    return found


def _differs(before: Trending, now: Trending) -> bool:
    return abs(now.trend - before.trend) > LEAST_CHANGE * before.trend or now[1:] != before[1:]
