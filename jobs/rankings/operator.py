"""The rankings job's one Python operator: a batch of histories in, lists in Redis and their log records out.

`eval` reads as the way of a list: session → context → candidates, rules and selection (`ranker.py`) → publish.
"""

import gc
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from pyflink.table.udf import FunctionContext, ScalarFunction

from jobs.catalogue.follower import Follower
from jobs.contract.items import FactContract
from jobs.contract.ranker_settings import RankerSettings
from jobs.flow import failpoints
from jobs.rankings.arrays import Floats
from jobs.rankings.context import ContextReader
from jobs.rankings.metrics import RankingMetrics
from jobs.rankings.model_source import ModelSource
from jobs.rankings.publish import Encoder, Forgotten, Publication, Publisher
from jobs.rankings.ranker import Ranker
from jobs.rankings.session import Session, current_session, newest_rows
from models.serving.bundle import Bundle

# The worker's gRPC threads hand over each bundle; Python's default of 5 ms is as long as a whole bundle takes.
SWITCH_INTERVAL_S = 0.0005
WITHDRAWN, ERASED = "withdrawn", "erased"  # in the column `consent`: the row is no event (Histories.java)


@dataclass(frozen=True)
class RankConfig:
    """What the operator is told at submit. It travels pickled, so it holds names and addresses only."""

    ranker: RankerSettings
    redis_url: str
    feast_project: str
    kafka_bootstrap: str = ""
    facts: tuple[FactContract, ...] = ()  # the topics of item facts that are followed

    def __repr__(self) -> str:
        """Leave the address out, which may hold a password."""
        model = Path(self.ranker.model_dir).name
        return f"RankConfig({model}, {self.ranker.shelf!r}, list_size={self.ranker.list_size})"


class Row(NamedTuple):
    """A visitor's newest row in a batch."""

    place: int  # in the batch
    visitor_id: str
    partition: int
    offset: int
    history: str  # packed as `session.current_session` reads it
    event_time_ms: int  # of the Kafka record
    consent: str | None  # None: the visitor may be personalized

    @property
    def is_control(self) -> bool:
        """Return True for a withdrawal or an erasure, which answers no event."""
        return self.consent in (WITHDRAWN, ERASED)


class RankSessions(ScalarFunction):
    """Ranks and publishes the newest row of each visitor in a batch, and answers with the log records."""

    def __init__(self, config: RankConfig) -> None:
        self._config = config

    def is_deterministic(self) -> bool:
        """Return False: it writes, so the planner may neither drop nor repeat it."""
        return False

    def open(self, function_context: FunctionContext) -> None:
        """Load the model, connect to Redis, and read what is known of the items."""
        ranker = self._config.ranker
        if self._config.facts:
            self._follower = Follower(self._config.kafka_bootstrap, self._config.facts).start()
            self._facts = self._follower.snapshot
        self._models = ModelSource(Path(ranker.model_dir), public_key=ranker.model_public_key)
        self._publisher = Publisher(self._config.redis_url, ranker.shelf, ranker.list_ttl_s)
        self._metrics = RankingMetrics(function_context.get_metric_group())
        self._gap_ms = ranker.session_gap_s * 1000
        self._serve(self._models.bundle)
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        # The vocabulary is most of what lives here; a full collection would walk it and hold a batch up.
        gc.collect()
        gc.freeze()

    def close(self) -> None:
        """Close what was opened."""
        for name in ("_context", "_publisher", "_ranker", "_follower"):
            if (opened := getattr(self, name, None)) is not None:  # open may have failed before it was made
                opened.close()

    def eval(
        self,
        visitor_id: pd.Series,
        partition: pd.Series,
        offset: pd.Series,
        history: pd.Series,
        event_time_ms: pd.Series,
        consent: pd.Series,
    ) -> pd.Series:
        """Return the log record of each visitor's newest row that was ranked, None for all other rows.

        The columns are fields of `Row`. `event_time_ms` is the Kafka record's timestamp, so the latency counters mean
        something where producers set it to the present.
        """
        if self._models.poll():
            self._serve(self._models.bundle)
            self._metrics.model_taken()
        if self._config.facts:
            self._facts = self._follower.snapshot
            self._metrics.facts(self._follower.age_ms(), self._facts.items, self._follower.read, self._follower.refused)
        rows = _newest(visitor_id, partition, offset, history, event_time_ms, consent)
        publications = self._rank([row for row in rows if row.consent != ERASED])
        self._forget([row for row in rows if row.is_control], publications)
        answered = [row for row in rows if not row.is_control]
        records = np.full(len(visitor_id), None, dtype=object)
        for place, record in self._publish(answered, publications).items():
            records[place] = record
        self._metrics.models_refused(self._models.refusals)
        self._metrics.rows(len(visitor_id), len(visitor_id) - len(rows))
        return pd.Series(records)

    def _serve(self, bundle: Bundle) -> None:
        """Serve with this model from now on: make anew what depends on it, and close the old."""
        config = self._config
        old = [getattr(self, name, None) for name in ("_ranker", "_context")]
        self._ranker = Ranker(bundle, config.ranker.list_size, config.ranker.model_threads)
        self._context = ContextReader(config.redis_url, config.feast_project, bundle.context_features)
        self._encoder = Encoder(config.ranker.shelf, bundle.version, bundle.context_features)
        for opened in old:
            if opened is not None:
                opened.close()

    def _rank(self, rows: list[Row]) -> dict[int, Publication]:
        """Return the list of each row by its place in the batch.

        A visitor without consent gets the popularity list, and nothing of theirs is read.
        """
        if not rows:
            return {}
        started = time.perf_counter_ns()
        sessions = [
            Session.nothing(row.event_time_ms) if row.consent else current_session(row.history, self._gap_ms)
            for row in rows
        ]
        contexts = self._contexts(rows)
        read = time.perf_counter_ns()
        lists = self._ranker.rank(sessions, contexts)
        self._metrics.spent(model_ns=time.perf_counter_ns() - read, redis_ns=read - started)
        computed_at_ms = time.time_ns() // 1_000_000
        return {
            row.place: Publication(
                visitor_id=row.visitor_id,
                partition=row.partition,
                offset=row.offset,
                ranked=ranked._replace(fallback="no_consent") if row.consent else ranked,
                session=session,
                context=context,
                computed_at_ms=computed_at_ms,
            )
            for row, ranked, session, context in zip(rows, lists, sessions, contexts.tolist(), strict=True)
        }

    def _contexts(self, rows: list[Row]) -> Floats:
        """Return float32 [B, C]: the features of the visitors who consented, 0 for all others."""
        consenting = [number for number, row in enumerate(rows) if not row.consent]
        contexts = np.zeros((len(rows), self._context.width), np.float32)
        contexts[consenting] = self._context.read([rows[number].visitor_id for number in consenting])
        return contexts

    def _publish(self, rows: list[Row], lists: dict[int, Publication]) -> dict[int, str]:
        """Write the rows' lists to Redis. Return the log records by place, none for visitors without consent."""
        if not rows:
            return {}
        started = time.perf_counter_ns()
        publications = [lists[row.place] for row in rows]
        values = [self._encoder.value(publication) for publication in publications]
        failpoints.reached("rankings.before_write")
        counts = self._publisher.publish(publications, values)
        failpoints.reached("rankings.after_write")
        self._metrics.spent(model_ns=0, redis_ns=time.perf_counter_ns() - started)
        self._metrics.lists([publication.ranked for publication in publications], counts)
        event_times_ms = np.fromiter((row.event_time_ms for row in rows), np.int64, len(rows))
        self._metrics.visible(event_times_ms, time.time_ns() // 1_000_000)
        return {
            row.place: self._encoder.log_record(publication, value)
            for row, publication, value in zip(rows, publications, values, strict=True)
            if not row.consent
        }

    def _forget(self, rows: list[Row], lists: dict[int, Publication]) -> None:
        """Replace the lists of visitors who withdrew or were erased."""
        if not rows:
            return
        now_ms = time.time_ns() // 1_000_000
        forgotten = [
            Forgotten(
                visitor_id=row.visitor_id,
                newest=(row.partition, row.offset),
                event_time_ms=row.event_time_ms,
                ranked=lists[row.place].ranked if row.place in lists else None,
                computed_at_ms=now_ms,
                model=self._models.bundle.version,
            )
            for row in rows
        ]
        self._metrics.forgotten(self._publisher.forget(forgotten))


def _newest(
    visitor_id: pd.Series,
    partition: pd.Series,
    offset: pd.Series,
    history: pd.Series,
    event_time_ms: pd.Series,
    consent: pd.Series,
) -> list[Row]:
    """Return each visitor's newest row of a batch, in order."""
    places = newest_rows(visitor_id)
    columns = (visitor_id, partition, offset, history, event_time_ms, consent)
    return [
        Row(
            place=place,
            visitor_id=visitor,
            partition=row_partition,
            offset=row_offset,
            history=row_history,
            event_time_ms=row_time_ms,
            consent=row_consent,
        )
        for place, visitor, row_partition, row_offset, row_history, row_time_ms, row_consent in zip(
            places, *(column.take(places).tolist() for column in columns), strict=True
        )
    ]
