"""Count what the rankings operator does, for Flink's reporters.

All are counters, because counters add up over tasks and restarts.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobs.rankings.publish import PublishCounts
from jobs.rankings.ranked_list import RankedList

if TYPE_CHECKING:  # so that the tests of this module need no Flink
    from pyflink.metrics import MetricGroup

FACTS_BOUNDS_MS = (200, 1000, 10_000)
LATENCY_BOUNDS_MS = (5, 10, 20, 30, 50, 100, 250, 1000)


class RankingMetrics:
    """Hold the counters of one operator instance. Each method is called once a batch."""

    def __init__(self, group: "MetricGroup") -> None:
        self._batches = group.counter("batches")
        self._batch_rows = group.counter("batch_rows")
        self._superseded = group.counter("rows_superseded")
        self._lists = {
            level: group.counter(f"lists_{level or 'personal'}")
            for level in (None, "popular", "model_error", "no_consent")
        }
        self._written = group.counter("lists_written")
        self._stale = group.counter("stale_writes")
        self._elsewhere = group.counter("lists_in_two_partitions")
        self._forgotten = group.counter("lists_forgotten")
        self._models_taken = group.counter("models_taken")
        self._models_refused = group.counter("models_refused")
        self._refusals = 0
        self._model_us = group.counter("model_us")
        self._redis_us = group.counter("redis_us")
        self._facts = {name: group.counter(f"facts_{name}") for name in ("items", "read", "refused")}
        self._facts_before = dict.fromkeys(self._facts, 0)
        self._facts_age = [group.counter(f"facts_age_ms_le_{bound}") for bound in (*FACTS_BOUNDS_MS, "inf")]
        # Cumulative, as Prometheus means `le`: a list that took 7 ms counts in le_10 and in all above.
        self._latency = [group.counter(f"event_to_redis_ms_le_{bound}") for bound in (*LATENCY_BOUNDS_MS, "inf")]

    def rows(self, rows: int, superseded: int) -> None:
        """Count a batch of `rows`, of which a newer one of the same visitor superseded some."""
        self._batches.inc()
        self._batch_rows.inc(rows)
        self._superseded.inc(superseded)

    def lists(self, ranked: list[RankedList], counts: PublishCounts) -> None:
        """Count a batch's lists by their fallback, and how they were published."""
        for fallback, lists in Counter(a_list.fallback for a_list in ranked).items():
            self._lists[fallback].inc(lists)
        self._written.inc(counts.written)
        self._stale.inc(counts.stale)
        self._elsewhere.inc(counts.elsewhere)

    def forgotten(self, lists: int) -> None:
        """Count lists that a visitor's withdrawal or erasure replaced."""
        self._forgotten.inc(lists)

    def model_taken(self) -> None:
        """Count a change of the model that serves."""
        self._models_taken.inc()

    def models_refused(self, refusals: int) -> None:
        """Count the versions that were refused; `refusals` is their number since the operator was opened."""
        self._models_refused.inc(refusals - self._refusals)
        self._refusals = refusals

    def facts(self, age_ms: int, items: int, read: int, refused: int) -> None:
        """Count a batch by the age of what it knows of items.

        `items` are known now. `read` and `refused` records were counted since the operator was opened. `items` may
        shrink, so its counter is what all tasks know together.
        """
        for name, value in (("items", items), ("read", read), ("refused", refused)):
            self._facts[name].inc(value - self._facts_before[name])
            self._facts_before[name] = value
        for counter, bound in zip(self._facts_age, (*FACTS_BOUNDS_MS, None), strict=True):
            if bound is None or age_ms <= bound:
                counter.inc()

    def spent(self, model_ns: int, redis_ns: int) -> None:
        """Count a batch's time in the model (with encoding and rules) and in Redis (reading and writing)."""
        self._model_us.inc(model_ns // 1000)
        self._redis_us.inc(redis_ns // 1000)

    def visible(self, appended_at_ms: Sequence[int], now_ms: int) -> None:
        """Count lists by the time from their Kafka records (`appended_at_ms`) to `now_ms`."""
        latency_ms = sorted(now_ms - each for each in appended_at_ms)
        within = [bisect_right(latency_ms, bound) for bound in LATENCY_BOUNDS_MS]
        for counter, lists in zip(self._latency, (*within, len(latency_ms)), strict=True):
            counter.inc(lists)
