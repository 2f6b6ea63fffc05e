"""The rankings job's one Python operator: a batch of histories in, lists in Redis and their log records out.

`eval` reads as the way of a list: session → context → candidates, rules and selection → publish. What is made of a row
stands in `lists.py`: one list (`ranker.py`), or those of the shop's shelves (`shelf_ranker.py`).
"""

import gc
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pyflink.table.udf import FunctionContext, ScalarFunction

from jobs.catalogue.columns import Table
from jobs.catalogue.follower import Follower
from jobs.contract.items import FactContract
from jobs.contract.ranker_settings import RankerSettings
from jobs.contract.shelf import LISTS
from jobs.flow import failpoints
from jobs.rankings.arrays import Floats
from jobs.rankings.context import ContextReader
from jobs.rankings.gate import GateWriter
from jobs.rankings.lists import ERASED, WITHDRAWN, ListMaker, ListsOfShelves, OneList, Wanted
from jobs.rankings.metrics import RankingMetrics
from jobs.rankings.model_source import ModelSource
from jobs.rankings.publish import Encoder, Forgotten, Publication, Publisher
from jobs.rankings.ranker import Ranker
from jobs.rankings.session import RECORD_SEPARATOR, Session, current_sessions
from jobs.rankings.shared_lists import SharedLists
from jobs.rankings.shelf_ranker import Question, ShelfRanker
from jobs.rankings.shelf_source import ShelfSource
from jobs.rankings.trends import Trends
from jobs.shelves.versions import ShelfVersions

# The worker's gRPC threads hand over each bundle; Python's default of 5 ms is as long as a whole bundle takes.
SWITCH_INTERVAL_S = 0.0005
NO_FACTS = Table(()).snapshot()
Lists = dict[tuple[int, str], Publication]  # by place in the batch, and shelf


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
    """A row of a batch that is answered."""

    place: int  # in the batch
    visitor_id: str
    partition: int
    offset: int
    history: str  # packed as `session.current_session` reads it
    event_time_ms: int
    consent: str | None  # None: the visitor may be personalized
    arrived_ms: int  # of the Kafka record; the event's time where no event has come

    @property
    def is_control(self) -> bool:
        """Return True for a withdrawal or an erasure, which answers no event."""
        return self.consent in (WITHDRAWN, ERASED)


class RankSessions(ScalarFunction):
    """Ranks and publishes each visitor's lists of a batch, and answers with the log records."""

    LISTS = LISTS  # the first word of the keys

    def __init__(self, config: RankConfig) -> None:
        self._config = config

    def is_deterministic(self) -> bool:
        """Return False: it writes, so the planner may neither drop nor repeat it."""
        return False

    def open(self, function_context: FunctionContext) -> None:
        """Load the model, connect to Redis, and read what is known of the items."""
        ranker = self._config.ranker
        self._facts = NO_FACTS
        self._gate: GateWriter | None = None
        if self._config.facts:
            self._follower = Follower(self._config.kafka_bootstrap, self._config.facts).start()
            self._facts = self._follower.snapshot
        self._models = ModelSource(Path(ranker.model_dir), public_key=ranker.model_public_key)
        self._shelves = ShelfSource(ranker.shelves_dir)
        self._publisher = Publisher(self._config.redis_url, ranker.list_ttl_s, lists=self.LISTS)
        self._metrics = RankingMetrics(function_context.get_metric_group())
        self._gap_ms = ranker.session_gap_s * 1000
        self._serve()
        if self._config.facts:
            self._open_shared()
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        # The vocabulary is most of what lives here; a full collection would walk it and hold a batch up.
        gc.collect()
        gc.freeze()

    def _open_shared(self) -> None:
        """Begin to write what is no visitor's: items' and places' lists, trends, the gate."""
        config, ranker = self._config, self._config.ranker
        self._shared = SharedLists(
            config.redis_url,
            ranker.list_ttl_s,
            ShelfSource(ranker.shelves_dir),
            bundle=lambda: self._models.bundle,
            snapshot=lambda: self._follower.snapshot,
            trends=Trends(config.redis_url, config.feast_project, config.kafka_bootstrap, config.facts),
        )
        if ranker.shelves_dir:
            versions = ShelfVersions(Path(ranker.shelves_dir))
            self._gate = GateWriter(config.redis_url, versions, lambda: self._follower.snapshot, ranker.list_ttl_s)
            self._gate.offer(self._maker.items)

    def close(self) -> None:
        """Close what was opened."""
        for name in ("_context", "_publisher", "_maker", "_gate", "_follower", "_shared"):
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
        event_type: pd.Series,
        arrived_ms: pd.Series,
    ) -> pd.Series:
        """Return the log records of each row that was answered, joined by RECORD_SEPARATOR, None for all other rows.

        The columns are fields of `Row`, and the type of each row's event.
        """
        self._look()
        columns = (visitor_id, partition, offset, history, event_time_ms, consent, arrived_ms)
        wanted = self._maker.wanted(visitor_id.tolist(), event_type.tolist(), consent.tolist())
        rows = _rows(columns, sorted(wanted))
        publications = self._rank([row for row in rows if row.consent != ERASED], wanted)
        self._forget([row for row in rows if row.is_control], wanted, publications)
        answered = [row for row in rows if not row.is_control]
        records = np.full(len(visitor_id), None, dtype=object)
        for place, record in self._publish(answered, wanted, publications).items():
            records[place] = record
        self._metrics.models_refused(self._models.refusals)
        self._metrics.rows(len(visitor_id), len(visitor_id) - len(rows))
        return pd.Series(records, dtype=object)  # else pandas looks through them for times

    def _look(self) -> None:
        """Take what is new: a model, a version of shelves, facts."""
        has_model, has_shelves = self._models.poll(), self._shelves.poll()
        if has_model or has_shelves:
            self._serve()
        if has_model:
            self._metrics.model_taken()
        if self._config.facts:
            if self._facts is not self._follower.snapshot:
                self._facts = self._follower.snapshot
                self._maker.take(self._facts)
            if self._gate is not None:
                self._gate.offer(self._maker.items)
            self._metrics.facts(self._follower.age_ms(), self._facts.items, self._follower.read, self._follower.refused)

    def _serve(self) -> None:
        """Serve with the model and the shelves that are active now: make anew what depends on them, close the old."""
        config, bundle, plan = self._config, self._models.bundle, self._shelves.plan
        old = [getattr(self, name, None) for name in ("_maker", "_context")]
        threads = config.ranker.model_threads
        if plan is None:
            self._maker: ListMaker = OneList(Ranker(bundle, config.ranker.list_size, threads), config.ranker.shelf)
        else:
            self._maker = ListsOfShelves(plan, ShelfRanker(bundle, plan, self._facts, threads))
        self._context = ContextReader(
            config.redis_url, config.feast_project, bundle.context_features, of_rules=plan.visitor if plan else ()
        )
        self._encoder = Encoder(bundle.version, bundle.context_features, self._shelves.version)
        for opened in old:
            if opened is not None:
                opened.close()

    def _rank(self, rows: list[Row], wanted: Wanted) -> Lists:
        """Return the lists of each row.

        A visitor without consent gets lists without anything of theirs, and nothing of theirs is read.
        """
        if not rows:
            return {}
        started = time.perf_counter_ns()
        cut = iter(current_sessions([row.history for row in rows if not row.consent], self._gap_ms))
        sessions = [Session.nothing(row.event_time_ms) if row.consent else next(cut) for row in rows]
        contexts, features = self._contexts(rows)
        read = time.perf_counter_ns()
        questions = [
            Question(session, context, known, row.arrived_ms, f"{row.partition}-{row.offset}", bool(row.consent))
            for row, session, context, known in zip(rows, sessions, contexts, features, strict=True)
        ]
        made = self._maker.make(questions, [wanted[row.place] for row in rows])
        self._metrics.spent(model_ns=time.perf_counter_ns() - read, redis_ns=read - started)
        computed_at_ms = time.time_ns() // 1_000_000
        return {
            (rows[number].place, shelf): Publication(
                visitor_id=rows[number].visitor_id,
                shelf=shelf,
                partition=rows[number].partition,
                offset=rows[number].offset,
                ranked=each.ranked,
                session=sessions[number],
                context=questions[number].context.tolist(),
                computed_at_ms=computed_at_ms,
                now_ms=rows[number].arrived_ms,
                visitor=each.visitor,
            )
            for (number, shelf), each in made.items()
        }

    def _contexts(self, rows: list[Row]) -> tuple[Floats, list[dict[str, Any]]]:
        """Return float32 [B, C], and what rules may know: the features of those who consented, 0 and {} for others."""
        consenting = [number for number, row in enumerate(rows) if not row.consent]
        contexts = np.zeros((len(rows), self._context.width), np.float32)
        known: list[dict[str, Any]] = [{} for _ in rows]
        contexts[consenting], found = self._context.read_all([rows[number].visitor_id for number in consenting])
        for number, features in zip(consenting, found, strict=True):
            known[number] = features
        return contexts, known

    def _publish(self, rows: list[Row], wanted: Wanted, lists: Lists) -> dict[int, str]:
        """Write the rows' lists to Redis. Return the log records by place, none for visitors without consent."""
        if not rows:
            return {}
        started = time.perf_counter_ns()
        places = [(row, shelf) for row in rows for shelf in wanted[row.place]]
        publications = [lists[row.place, shelf] for row, shelf in places]
        values = [self._encoder.value(publication, self._facts.offsets) for publication in publications]
        failpoints.reached("rankings.before_write")
        counts = self._publisher.publish(publications, values)
        failpoints.reached("rankings.after_write")
        self._metrics.spent(model_ns=0, redis_ns=time.perf_counter_ns() - started)
        self._metrics.lists([publication.ranked for publication in publications], counts)
        self._metrics.visible([row.event_time_ms for row in rows], time.time_ns() // 1_000_000)
        records: dict[int, list[str]] = {}
        for (row, _), publication, value in zip(places, publications, values, strict=True):
            if not row.consent:
                records.setdefault(row.place, []).append(self._encoder.log_record(publication, value))
        return {place: RECORD_SEPARATOR.join(each) for place, each in records.items()}

    def _forget(self, rows: list[Row], wanted: Wanted, lists: Lists) -> None:
        """Replace the lists of visitors who withdrew or were erased, those of shelves that are gone, too."""
        if not rows:
            return
        now_ms = time.time_ns() // 1_000_000
        gone = {self._config.ranker.shelf, *self._shelves.names}
        forgotten = [
            Forgotten(
                visitor_id=row.visitor_id,
                shelf=shelf,
                newest=(row.partition, row.offset),
                event_time_ms=row.event_time_ms,
                ranked=lists[row.place, shelf].ranked if (row.place, shelf) in lists else None,
                computed_at_ms=now_ms,
                is_withdrawn=row.consent == WITHDRAWN,
            )
            for row in rows
            for shelf in (*wanted[row.place], *sorted(gone - self._maker.names))
        ]
        values = [self._encoder.behind_version(each, self._facts.offsets) for each in forgotten]
        self._metrics.forgotten(self._publisher.forget(forgotten, values))


def _rows(columns: Sequence[pd.Series], places: Sequence[int]) -> list[Row]:
    """Return the rows of a batch at these places, in order. `columns` are those of `Row` after the first."""
    *given, arrived_ms = (column.tolist() for column in columns)
    times_ms = given[4]
    arrived = [
        time_ms if each is None or each != each else int(each)  # nan, where the column has no event's
        for time_ms, each in zip(times_ms, arrived_ms, strict=True)
    ]
    batch = list(zip(*given, arrived, strict=True))
    return [Row(place, *batch[place]) for place in places]
