"""The rankings job's one Python operator: a batch of histories in, lists in Redis and their log records out."""

import gc
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from pyflink.table.udf import FunctionContext, ScalarFunction

from jobs.contract.ranker_settings import RankerSettings
from jobs.flow import failpoints
from jobs.rankings.context import ContextReader
from jobs.rankings.metrics import RankingMetrics
from jobs.rankings.model_source import ModelSource
from jobs.rankings.publish import Encoder, Forgotten, Publication, Publisher
from jobs.rankings.score import RankedList, Scorer
from jobs.rankings.session import Session, current_session, newest_rows
from models.serving.bundle import Bundle

# The worker's gRPC threads hand over each bundle; Python's default of 5 ms is as long as a whole bundle takes.
SWITCH_INTERVAL_S = 0.0005


@dataclass(frozen=True)
class RankConfig:
    """What the operator is told at submit; it travels pickled, so it holds names and addresses only."""

    ranker: RankerSettings
    redis_url: str
    feast_project: str

    def __repr__(self) -> str:
        """Without the address, which may hold a password."""
        return (
            f"RankConfig({Path(self.ranker.model_dir).name}, {self.ranker.shelf!r}, list_size={self.ranker.list_size})"
        )


CONTROLS = ("withdrawn", "erased")


class Row(NamedTuple):
    """A visitor's newest row in a batch: what the JVM says, and its place."""

    place: int
    visitor_id: str
    partition: int
    offset: int
    history: str
    event_time_ms: int
    consent: str | None


class Ranked(NamedTuple):
    """A list, and what it was made of."""

    ranked: RankedList
    session: Session
    context: list[float]


class RankSessions(ScalarFunction):
    """Ranks and publishes the newest row of each visitor in a batch, and answers with the log records."""

    def __init__(self, config: RankConfig) -> None:
        self._config = config

    def is_deterministic(self) -> bool:
        """It writes: the planner may neither drop nor repeat it."""
        return False

    def open(self, function_context: FunctionContext) -> None:
        ranker = self._config.ranker
        self._models = ModelSource(Path(ranker.model_dir), public_key=ranker.model_public_key)
        self._publisher = Publisher(self._config.redis_url, ranker.shelf, ranker.list_ttl_s)
        self._metrics = RankingMetrics(function_context.get_metric_group())
        self._gap_ms = ranker.session_gap_s * 1000
        self._serve(self._models.bundle)
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        # The vocabulary is most of what lives here; a full collection would walk it and hold a batch up.
        gc.collect()
        gc.freeze()

    def _serve(self, bundle: Bundle) -> None:
        """From now on with this model: everything that depends on it is made anew, and the old closed."""
        config = self._config
        old = [getattr(self, name, None) for name in ("_scorer", "_context")]
        self._scorer = Scorer(bundle, config.ranker.list_size, config.ranker.model_threads)
        self._context = ContextReader(config.redis_url, config.feast_project, bundle.context_features)
        self._encoder = Encoder(config.ranker.shelf, bundle.version, bundle.context_features)
        for each in old:
            if each is not None:
                each.close()

    def close(self) -> None:
        for name in ("_context", "_publisher", "_scorer"):
            if (opened := getattr(self, name, None)) is not None:  # open may have failed before it was made
                opened.close()

    def eval(
        self,
        visitor_id: pd.Series,
        partition: pd.Series,
        offset: pd.Series,
        history: pd.Series,
        appended_at_ms: pd.Series,
        consent: pd.Series,
    ) -> pd.Series:
        """The log record of each visitor's newest row that was ranked; None for all others.

        `history` is packed as `history.current_session` reads it, `appended_at_ms` is the
        Kafka record's timestamp: the latency counters mean something where producers set it to the present.
        `consent` says what else a row may be (`jobs/jvm/src/liveshelf/Histories.java`).
        """
        if self._models.poll():
            self._serve(self._models.bundle)
            self._metrics.model_taken()
        rows = newest_rows(visitor_id)
        columns = (visitor_id, partition, offset, history, appended_at_ms, consent)
        batch = list(map(Row, rows, *(column.take(rows).tolist() for column in columns)))
        ranked = self._rank([row for row in batch if row.consent != "erased"])
        self._forget([row for row in batch if row.consent in CONTROLS], ranked)
        published = [row for row in batch if row.consent not in CONTROLS]
        records = np.full(len(visitor_id), None, dtype=object)
        for place, record in self._publish(published, ranked).items():
            records[place] = record
        self._metrics.models_refused(self._models.refusals)
        self._metrics.rows(len(visitor_id), len(visitor_id) - len(rows))
        return pd.Series(records)

    def _rank(self, rows: list[Row]) -> dict[int, Ranked]:
        """By place in the batch; whoever didn't consent gets the popularity list, and nothing of theirs is read."""
        if not rows:
            return {}
        started = time.perf_counter_ns()
        sessions = [
            Session.nothing(row.event_time_ms) if row.consent else current_session(row.history, self._gap_ms)
            for row in rows
        ]
        agreed = [number for number, row in enumerate(rows) if not row.consent]
        contexts = np.zeros((len(rows), self._context.width), np.float32)
        contexts[agreed] = self._context.read([rows[number].visitor_id for number in agreed])
        read = time.perf_counter_ns()
        lists = self._scorer.rank(sessions, contexts)
        self._metrics.spent(model_ns=time.perf_counter_ns() - read, redis_ns=read - started)
        return {
            row.place: Ranked(one._replace(fallback="no_consent") if row.consent else one, session, context)
            for row, one, session, context in zip(rows, lists, sessions, contexts.tolist(), strict=True)
        }

    def _publish(self, rows: list[Row], ranked: dict[int, Ranked]) -> dict[int, str]:
        """Lists into Redis; the log records of those that were personal or could have been, by place in the batch."""
        if not rows:
            return {}
        started, now_ms = time.perf_counter_ns(), time.time_ns() // 1_000_000
        publications = [Publication(*row[1:4], *ranked[row.place], now_ms) for row in rows]
        values = [self._encoder.value(publication) for publication in publications]
        failpoints.reached("rankings.before_write")
        counts = self._publisher.publish(publications, values)
        failpoints.reached("rankings.after_write")
        self._metrics.spent(model_ns=0, redis_ns=time.perf_counter_ns() - started)
        self._metrics.lists([publication.ranked for publication in publications], counts)
        appended_at_ms = np.fromiter((row.event_time_ms for row in rows), np.int64, len(rows))
        self._metrics.visible(appended_at_ms, time.time_ns() // 1_000_000)
        logged = zip(rows, publications, values, strict=True)
        return {row.place: self._encoder.log_record(one, value) for row, one, value in logged if not row.consent}

    def _forget(self, rows: list[Row], ranked: dict[int, Ranked]) -> None:
        now_ms, version = time.time_ns() // 1_000_000, self._models.bundle.version
        popular = {row.place: ranked[row.place].ranked for row in rows if row.place in ranked}
        lists = [
            Forgotten(
                row.visitor_id, (row.partition, row.offset), row.event_time_ms, popular.get(row.place), now_ms, version
            )
            for row in rows
        ]
        if lists:
            self._metrics.forgotten(self._publisher.forget(lists))
