"""Every item's score, not the best ones' only: for ranks among all, and for what a session less would have changed."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jobs.contract import shelf_plan as plan
from jobs.contract.events import Event
from jobs.verify.lists import model_inputs
from jobs.verify.shelf_candidates import Answer, told
from jobs.verify.shelf_lists import lift
from jobs.verify.shelf_sources import Sources

Scores = NDArray[np.float32]  # [N]: of the model's items


class AllScores:
    """The scores of all items of the model for one list, lifts included."""

    def __init__(self, sources: Sources, answer: Answer) -> None:
        self._sources, self._answer = sources, answer
        self.question = question = answer.question
        self.items = sources.bundle.items[1:]
        self.of_model = np.zeros(len(self.items), np.float32)  # what the model's answer to the visitor's events weighs
        self.others = np.zeros(len(self.items), np.float32)
        for source, offer in answer.candidates.parts:
            if self.is_about_events(source):
                self.of_model += source.weight * self._ask(source, [self._told(source, question.events)])[0]
            else:
                least = min(offer.values(), default=0.0)
                given = [source.weight * offer.get(item, least) for item in self.items]
                self.others += np.array(given, np.float32)
        lifts = [lift(question.shelf, question.known, item) for item in self.items] if question.shelf.lift else 0.0
        self.others += np.array(lifts, np.float32)
        self.totals = self.of_model + self.others
        self.place_of = {item: place for place, item in enumerate(self.items)}

    def score(self, item: str) -> float | None:
        """Return an item's score; None for one of which no source has anything to say."""
        if item in self._answer.scores:
            return self._answer.scores[item]
        return float(self.totals[self.place_of[item]]) if item in self.place_of and self._has_model() else None

    def rank(self, item: str) -> int | None:
        """Return an item's place among all by score, from 1."""
        score = self.score(item)
        if score is None:
            return None
        totals = self.totals.copy()
        for other, given in self._answer.scores.items():
            if other in self.place_of:
                totals[self.place_of[other]] = given
        beyond = sum(given > score for other, given in self._answer.scores.items() if other not in self.place_of)
        return 1 + int((totals > score).sum()) + beyond if self._has_model() else self._rank_among_candidates(score)

    def without(self, left_out: Sequence[str]) -> list[Scores | None]:
        """Return all scores as they were without the events of one item; None where no event would be left."""
        found: list[Scores | None] = [None] * len(left_out)
        for source, _ in self._answer.candidates.parts:
            if not self.is_about_events(source):
                continue
            rest = [[event for event in self.question.events if event.get("item_id") != item] for item in left_out]
            sessions = [self._told(source, events) for events in rest]
            asked = [number for number, session in enumerate(sessions) if session]
            for number, row in zip(asked, self._ask(source, [sessions[number] for number in asked]), strict=True):
                before = found[number]
                found[number] = source.weight * row if before is None else before + source.weight * row
        return [None if each is None else each + self.others for each in found]

    @staticmethod
    def is_about_events(source: plan.Source) -> bool:
        """Return True for a source that asks the model of the visitor's events, or of the cart that they made."""
        return source.kind == "session" or (source.kind == "together" and source.what == "basket")

    def _has_model(self) -> bool:
        return bool(self.of_model.any())

    def _rank_among_candidates(self, score: float) -> int:
        return 1 + sum(given > score for given in self._answer.scores.values())

    def _told(self, source: plan.Source, events: Sequence[Event]) -> list[Event]:
        bundle = self._sources.bundle
        if source.kind == "session":
            given: Sequence[Event] = events
        else:
            left = {event.get("item_id") for event in events}
            basket = [item for item in told(source, self.question) if item in left]
            given = [{"event_type": source.as_type, "item_id": item, "event_time_ms": 0} for item in basket]
        return [
            event
            for event in given
            if event["event_type"] in bundle.type_index and event.get("item_id") in bundle.item_index
        ]

    def _ask(self, source: plan.Source, sessions: Sequence[list[Event]]) -> list[Scores]:
        """Return the model's scores of all items for sessions; zeros for one without an event."""
        bundle = self._sources.bundle
        found = [np.zeros(len(self.items), np.float32) for _ in sessions]
        asked = [number for number, session in enumerate(sessions) if session]
        if not asked:
            return found
        zeros = [0.0] * len(bundle.context_features)
        context = self.question.context if source.kind == "session" else zeros
        inputs = model_inputs([sessions[number] for number in asked], [context] * len(asked), bundle)
        scores, listed = bundle.score(*inputs, k=len(self.items))
        for number, row, places in zip(asked, scores, listed, strict=True):
            found[number][places - 1] = row
        return found


def ranks(totals: Scores, allowed: NDArray[np.bool_], place: int) -> int:
    """Return an item's place by score among the items that rules allow, from 1."""
    return 1 + int((allowed & (totals > totals[place])).sum())
