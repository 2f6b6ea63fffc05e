"""What is made of the rows of a batch: which lists, and with what. No Flink and no network.

A batch may hold several rows of a visitor. For each list the newest row counts that asks for it: earlier lists would be
overwritten at once.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from jobs.catalogue.columns import Snapshot
from jobs.contract.shelf_plan import ShelfPlan
from jobs.rankings.ranker import Ranker
from jobs.rankings.shelf_ranker import Made, Question, ShelfRanker
from jobs.shelves.items import Items

WITHDRAWN, ERASED = "withdrawn", "erased"  # in the column `consent`: the row is no event (Histories.java)

Wanted = Mapping[int, Sequence[str]]  # the shelves that a row of the batch is asked for
Answers = dict[tuple[int, str], Made]  # by the question's number, and shelf


class ListMaker(Protocol):
    """Makes the lists that rows ask for."""

    names: frozenset[str]

    @property
    def items(self) -> Items | None:
        """Return the items that rules know, None where there are no rules."""

    def wanted(self, visitor_ids: Sequence[str], types: Sequence[str | None], consents: Sequence[str | None]) -> Wanted:
        """Return the rows of a batch that are answered, and the shelves of each."""

    def make(self, questions: Sequence[Question], wanted: Sequence[Sequence[str]]) -> Answers:
        """Return the lists of the questions, each of which asks for some shelves."""

    def take(self, snapshot: Snapshot) -> None:
        """Make lists with these facts from now on."""

    def close(self) -> None:
        """End the model's threads."""


class OneList:
    """Makes one list for each visitor: that of a shop which has activated no shelves."""

    def __init__(self, ranker: Ranker, shelf: str) -> None:
        self._ranker, self._shelf = ranker, shelf
        self.names = frozenset({shelf})
        self.items = None

    def wanted(self, visitor_ids: Sequence[str], types: Sequence[str | None], consents: Sequence[str | None]) -> Wanted:
        return dict.fromkeys({visitor_id: row for row, visitor_id in enumerate(visitor_ids)}.values(), (self._shelf,))

    def make(self, questions: Sequence[Question], wanted: Sequence[Sequence[str]]) -> Answers:
        contexts = np.stack([question.context for question in questions])
        lists = self._ranker.rank([question.session for question in questions], contexts)
        return {
            (number, self._shelf): Made(ranked._replace(fallback="no_consent") if question.is_anonymous else ranked, {})
            for number, (question, ranked) in enumerate(zip(questions, lists, strict=True))
        }

    def take(self, snapshot: Snapshot) -> None:
        """Change nothing: without shelves no rule reads facts."""

    def close(self) -> None:
        self._ranker.close()


class ListsOfShelves:
    """Makes the lists of all shelves that an event asks for."""

    def __init__(self, plan: ShelfPlan, ranker: ShelfRanker) -> None:
        self._ranker = ranker
        shelves = [shelf for shelf in plan.of_visitors if shelf.events]
        self._all = tuple(shelf.name for shelf in shelves)
        types = {kind for shelf in shelves for kind in shelf.events}
        self._by_type = {kind: tuple(shelf.name for shelf in shelves if kind in shelf.events) for kind in types}
        self.names = frozenset(self._all)

    @property
    def items(self) -> Items:
        return self._ranker.items

    def wanted(self, visitor_ids: Sequence[str], types: Sequence[str | None], consents: Sequence[str | None]) -> Wanted:
        """Return the newest row of each visitor and shelf. A row without an event asks for all shelves."""
        newest: dict[tuple[str, str], int] = {}
        for row, (visitor_id, kind) in enumerate(zip(visitor_ids, types, strict=True)):
            for name in self._by_type.get(kind, ()) if kind is not None else self._all:
                newest[visitor_id, name] = row
        for row, (visitor_id, consent) in enumerate(zip(visitor_ids, consents, strict=True)):
            if consent in (WITHDRAWN, ERASED):
                newest[visitor_id, ""] = row  # a shop without such shelves forgets, too
        wanted: dict[int, list[str]] = {}
        for (_, name), row in newest.items():
            wanted.setdefault(row, []).extend([name] if name else [])
        return wanted

    def make(self, questions: Sequence[Question], wanted: Sequence[Sequence[str]]) -> Answers:
        numbers: dict[str, list[int]] = {name: [] for name in self._all}
        for number, names in enumerate(wanted):
            for name in names:
                numbers[name].append(number)
        made = self._ranker.make(questions, numbers)
        return {
            (number, name): each
            for name, lists in made.items()
            for number, each in zip(numbers[name], lists, strict=True)
        }

    def take(self, snapshot: Snapshot) -> None:
        self._ranker.take(snapshot)

    def close(self) -> None:
        self._ranker.close()
