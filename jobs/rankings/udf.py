"""The rankings job's one Python operator: a batch of histories in, lists in Redis and their log records out."""

import gc
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pyflink.table.udf import FunctionContext, ScalarFunction

from jobs import failpoints
from jobs.rankings.context import ContextReader
from jobs.rankings.history import Session, current_session, newest_rows
from jobs.rankings.metrics import RankingMetrics
from jobs.rankings.model_source import ModelSource
from jobs.rankings.publish import Encoder, Publication, PublishCounts, Publisher
from jobs.rankings.score import RankedList, Scorer
from models.bundle import Bundle

# The worker's gRPC threads hand over each bundle; Python's default of 5 ms is as long as a whole bundle takes.
SWITCH_INTERVAL_S = 0.0005


@dataclass(frozen=True)
class RankConfig:
    """What the operator is told at submit; it travels pickled, so it holds names and addresses only."""

    model_dir: str
    redis_url: str
    channel: str
    list_ttl_s: int
    list_size: int
    model_threads: int
    session_gap_s: int
    feast_project: str

    def __repr__(self) -> str:
        """Without the address, which may hold a password."""
        return f"RankConfig({Path(self.model_dir).name}, {self.channel!r}, list_size={self.list_size})"


class RankSessions(ScalarFunction):
    """Ranks and publishes the newest row of each visitor in a batch, and answers with the log records."""

    def __init__(self, config: RankConfig) -> None:
        self._config = config

    def is_deterministic(self) -> bool:
        """It writes: the planner may neither drop nor repeat it."""
        return False

    def open(self, function_context: FunctionContext) -> None:
        config = self._config
        self._models = ModelSource(Path(config.model_dir))
        self._publisher = Publisher(config.redis_url, config.channel, config.list_ttl_s)
        self._metrics = RankingMetrics(function_context.get_metric_group())
        self._gap_ms = config.session_gap_s * 1000
        self._serve(self._models.bundle)
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        # The vocabulary is most of what lives here; a full collection would walk it and hold a batch up.
        gc.collect()
        gc.freeze()

    def _serve(self, bundle: Bundle) -> None:
        """From now on with this model: everything that depends on it is made anew, and the old closed."""
        config = self._config
        old = [getattr(self, name, None) for name in ("_scorer", "_context")]
        self._scorer = Scorer(bundle, config.list_size, config.model_threads)
        self._context = ContextReader(config.redis_url, config.feast_project, bundle.context_features)
        self._encoder = Encoder(config.channel, bundle.version, bundle.context_features)
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
    ) -> pd.Series:
        """The log record of each visitor's newest row; None for the rows that a later one of the batch supersedes.

        `history` is packed as `history.current_session` reads it, `appended_at_ms` is the
        Kafka record's timestamp: the latency counters mean something where producers set it to the present.
        """
        if self._models.poll():
            self._serve(self._models.bundle)
            self._metrics.model_taken()
        rows = newest_rows(visitor_id)
        visitors = visitor_id.take(rows).tolist()
        histories = history.take(rows).tolist()
        sessions = [current_session(packed, self._gap_ms) for packed in histories]
        started = time.perf_counter_ns()
        contexts = self._context.read(visitors)
        read = time.perf_counter_ns()
        ranked = self._scorer.rank(sessions, contexts)
        scored = time.perf_counter_ns()
        origins = zip(visitors, partition.take(rows).tolist(), offset.take(rows).tolist(), strict=True)
        publications = _publications(list(origins), ranked, sessions, contexts)
        values = [self._encoder.value(publication) for publication in publications]
        encoded = time.perf_counter_ns()
        counts = self._publish(publications, values)
        written = time.perf_counter_ns()
        records = np.full(len(visitor_id), None, dtype=object)
        records[rows] = list(map(self._encoder.log_record, publications, values))
        self._metrics.batch(len(visitor_id), ranked, counts)
        self._metrics.models_refused(self._models.refusals)
        self._metrics.spent(model_ns=scored - read, redis_ns=read - started + written - encoded)
        self._metrics.visible(appended_at_ms.to_numpy()[rows], time.time_ns() // 1_000_000)
        return pd.Series(records)

    def _publish(self, publications: list[Publication], values: list[bytes]) -> PublishCounts:
        failpoints.reached("rankings.before_write")
        counts = self._publisher.publish(publications, values)
        failpoints.reached("rankings.after_write")
        return counts


def _publications(
    origins: list[tuple[str, int, int]], ranked: list[RankedList], sessions: list[Session], contexts: np.ndarray
) -> list[Publication]:
    now_ms = time.time_ns() // 1_000_000
    rows = zip(origins, ranked, sessions, contexts.tolist(), strict=True)
    return [Publication(*origin, one, session, context, now_ms) for origin, one, session, context in rows]
