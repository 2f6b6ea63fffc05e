"""The features job's one Python step: write the rows of all operators into the online store, a batch at a time."""

import sys
import time
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import msgspec
import pandas as pd
from pyflink.table import ScalarFunction
from pyflink.table.udf import FunctionContext

from jobs.features.feast_writer import FeastWriter
from jobs.features.online_store import Row
from jobs.features.plan import FeaturePlan
from jobs.features.redis_writer import RedisWriter, WriteCounts
from jobs.flow import failpoints


class WriterConfig(msgspec.Struct, frozen=True):
    """The data from which the operator opens its writer."""

    plan: FeaturePlan
    redis_url: str
    feature_store_yaml: str = ""  # given when the online store isn't Redis: then rows go through Feast's own interface


class WriteFeatures(ScalarFunction):
    """`write_features(operator, entity, event_time_ms, seq, payload)` → 1 for each row.

    A batch holds everything since the last checkpoint barrier or bundle. So when a checkpoint completes, Redis has
    accepted all rows before it. Delivery is at-least-once: writes are versioned, and writing again changes nothing.
    """

    def __init__(self, config: WriterConfig) -> None:
        # Plain bytes: what is shipped to workers holds no client and no class.
        self._config = msgspec.json.encode(config)

    def is_deterministic(self) -> bool:
        """Return False: the function writes, so the planner may neither drop nor repeat it."""
        return False

    def open(self, function_context: FunctionContext) -> None:
        config = msgspec.json.decode(self._config, type=WriterConfig)
        sys.setswitchinterval(0.0005)
        if config.feature_store_yaml:
            self._writer: FeastWriter | RedisWriter = FeastWriter(config.feature_store_yaml, config.plan)
        else:
            self._writer = RedisWriter(config.redis_url, config.plan)
        group = function_context.get_metric_group()
        self._facts = {operator.key for operator in config.plan.fact_operators()}
        self._counters = {
            name: group.counter(name) for name in ("rows", "written", "superseded", "stale", "erased", "redis_us")
        }

    def eval(
        self, operator: pd.Series, entity: pd.Series, event_time_ms: pd.Series, seq: pd.Series, payload: pd.Series
    ) -> pd.Series:
        operators, entities, payloads = operator.tolist(), entity.tolist(), payload.tolist()
        times, seqs = event_time_ms.tolist(), seq.tolist()
        erased = {(operators[i], entities[i]): i for i, each in enumerate(payloads) if each is None}
        # Facts come in the order of their topic, whatever the broker's clock said.
        ordered = [0 if each in self._facts else times[i] for i, each in enumerate(operators)] if self._facts else times
        newest = newest_rows(zip(operators, entities, ordered, seqs, strict=True), erased)
        rows = [(operators[i], Row(entities[i], times[i], seqs[i], payloads[i])) for i in newest]
        failpoints.reached("features.before_write")
        started = time.perf_counter_ns()
        if erased:
            self._counters["erased"].inc(self._erase(erased, times, seqs))
        counts: WriteCounts = self._writer.write(rows)
        failpoints.reached("features.after_write")
        self._count(len(operators), counts, (time.perf_counter_ns() - started) // 1000)
        return pd.Series([1] * len(operators))

    def _erase(self, erased: Mapping[tuple[str, str], int], times_ms: list[int], seqs: list[int]) -> int:
        """Delete the rows of those who were forgotten, and facts that were taken back; return how many were there."""
        forgotten = [(*key, times_ms[i]) for key, i in erased.items() if key[0] not in self._facts]
        removed = [(*key, times_ms[i], seqs[i]) for key, i in erased.items() if key[0] in self._facts]
        count = self._writer.erase(forgotten) if forgotten else 0
        return count + (self._writer.remove(removed) if removed else 0)

    def _count(self, rows: int, counts: WriteCounts, redis_us: int) -> None:
        kept = counts.written + counts.stale
        values = {
            "rows": rows,
            "written": counts.written,
            "superseded": rows - kept,
            "stale": counts.stale,
            "redis_us": redis_us,
        }
        for name, value in values.items():
            self._counters[name].inc(value)

    def close(self) -> None:
        self._writer.close()


def newest_rows(
    rows: Iterable[tuple[str, str, int, int]], erased: Mapping[tuple[str, str], int] = MappingProxyType({})
) -> list[int]:
    """Return the places of each (operator, entity)'s newest row. The others would be overwritten at once.

    `erased` holds the place of the last row that erases what came before it.
    """
    newest: dict[tuple[str, str], tuple[int, int, int]] = {}
    for place, (operator, entity, time_ms, seq) in enumerate(rows):
        if erased and place <= erased.get((operator, entity), -1):
            continue
        known = newest.get((operator, entity))
        if known is None or (time_ms, seq) >= known[:2]:
            newest[operator, entity] = (time_ms, seq, place)
    return [place for _, _, place in newest.values()]
