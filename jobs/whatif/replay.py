"""Make logged lists again under another plan, with the operator's own evaluation and the facts of their time."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from jobs.catalogue.columns import Snapshot, Table
from jobs.connect.kafka_read import Record, stream
from jobs.contract import items
from jobs.contract.items import FactContract, Refusal
from jobs.contract.shelf import Logged
from jobs.contract.shelf_plan import ShelfPlan
from jobs.rankings.session import Session
from jobs.rankings.shelf_ranker import Question, ShelfRanker
from models.serving.bundle import Bundle

BATCH = 64


class Pair(NamedTuple):
    """A logged list, the items that the other plan shows, and what was known of all items."""

    logged: Logged
    items: list[str]
    facts: Snapshot


class Facts:
    """The topics of facts, taken one record after the other up to the offsets that lists name."""

    def __init__(self, bootstrap: str, contracts: Sequence[FactContract]) -> None:
        self._table = Table(contracts)
        self._coming: dict[str, list[tuple[int, items.Fact]]] = {
            contract.topic: list(self.of_records(contract, stream(bootstrap, contract.topic, must_exist=False)))[::-1]
            for contract in contracts
        }
        self._snapshot: Snapshot | None = None

    @staticmethod
    def of_records(contract: FactContract, records: Iterable[Record]) -> Iterator[tuple[int, items.Fact]]:
        """Yield what records say, each with its offset."""
        for record in records:
            fact = items.parse(contract, record.key, record.value)
            if not isinstance(fact, Refusal):
                yield record.offset, fact

    def at(self, offsets: Mapping[str, int]) -> Snapshot:
        """Return what was known before these offsets. Time goes forward only: what was known once stays."""
        for topic, before in offsets.items():
            coming = self._coming.get(topic, [])
            while coming and coming[-1][0] < before:
                self._table.take(topic, coming.pop()[1])
                self._snapshot = None
        self._snapshot = self._snapshot or self._table.snapshot()
        return self._snapshot


class Replay:
    """Makes lists under one plan."""

    def __init__(self, plan: ShelfPlan, bundle: Bundle) -> None:
        self._plan, self._bundle = plan, bundle
        self._names = {shelf.name for shelf in plan.of_visitors}
        self._ranker: ShelfRanker | None = None
        self._snapshot: Snapshot | None = None
        self.seconds, self.lists = 0.0, 0

    def make(self, lists: Sequence[tuple[Logged, Session]], snapshot: Snapshot) -> list[list[str] | None]:
        """Return the items of each list, those in reserve included; None for a shelf that the plan hasn't."""
        if self._ranker is None:
            self._ranker = ShelfRanker(self._bundle, self._plan, snapshot)
        elif self._snapshot is not snapshot:
            self._ranker.take(snapshot)
        self._snapshot = snapshot
        questions, wanted = list[Question](), dict[str, list[int]]()
        for logged, session in lists:
            known = {name: value for name, value in logged.visitor.items() if not name.startswith("session_")}
            context = np.array(logged.context, np.float32)
            questions.append(Question(session, context, known, logged.now_ms, logged.list_id))
            if logged.shelf in self._names:
                wanted.setdefault(logged.shelf, []).append(len(questions) - 1)
        begun_s = time.perf_counter()
        made = self._ranker.make(questions, wanted) if wanted else {}
        self.seconds += time.perf_counter() - begun_s
        self.lists += sum(map(len, wanted.values()))
        found: list[list[str] | None] = [None] * len(lists)
        for name, numbers in wanted.items():
            for number, each in zip(numbers, made[name], strict=True):
                found[number] = each.ranked.items
        return found

    def close(self) -> None:
        if self._ranker is not None:
            self._ranker.close()


def replayed(lists: Sequence[tuple[Logged, Session]], replay: Replay, facts: Facts) -> Iterator[Pair]:
    """Yield each list with what it becomes, in the order of the facts that were known."""

    def moment(pair: tuple[Logged, Any]) -> list[tuple[str, int]]:
        return sorted(pair[0].facts.items())

    for _, group in groupby(sorted(lists, key=moment), key=moment):
        of_moment = list(group)
        snapshot = facts.at(of_moment[0][0].facts)
        for begin in range(0, len(of_moment), BATCH):
            batch = of_moment[begin : begin + BATCH]
            for (logged, _), found in zip(batch, replay.make(batch, snapshot), strict=True):
                if found is not None:
                    yield Pair(logged, found, snapshot)
