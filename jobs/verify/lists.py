"""The list oracle: what each visitor should see after its last event (pure but for the model, which is an argument)."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jobs.connect.kafka_read import Position
from jobs.contract.consent import Consents
from jobs.contract.events import Event
from jobs.verify.classify import Entry
from jobs.verify.features import session_starts

if TYPE_CHECKING:  # onnxruntime takes 0.3 s to import
    from models.serving.bundle import Bundle

LAST_EVENTS = 50  # arrivals of a visitor that the ranker keeps
BATCH = 256
POPULAR = "popular"


@dataclass(frozen=True, slots=True)
class Session:
    """A visitor's current session by event time, as of its last arrived event, which lies at `position`."""

    events: list[Event]
    position: Position

    @property
    def event_time_ms(self) -> int:
        return self.events[-1]["event_time_ms"]


@dataclass(frozen=True, slots=True)
class Ranked:
    """What may stand in a list, best first, by the oracle; longer than the list, so that near ties can be told.

    `items` to its score. `fallback` is "popular" where the session holds no item that the model knows.
    """

    items: dict[str, float]
    fallback: str | None


def current_sessions(entries: Iterable[Entry], gap_ms: int) -> dict[str, Session]:
    """Each visitor's current session.

    `entries` are all accepted ones but heartbeats (late and duplicates included) in offset order. Of the last 50
    arrivals the first with an event_id counts; the session starts after the last pause longer than `gap_ms`.
    """
    arrivals: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        arrivals[entry.event["visitor_id"]].append(entry)
    return {visitor: _current_session(group, gap_ms) for visitor, group in arrivals.items()}


def without_consent(entries: Iterable[Entry], consents: Consents, visitors: Iterable[str]) -> set[str]:
    """Who gets the popularity list for want of consent: who withdrew last, and whose newest event came without consent.

    `entries` are those that count for their visitors and the suppressed ones, in offset order; `visitors` have said
    something.
    """
    found: dict[str, bool] = {}
    for entry in entries:
        visitor, time_ms = entry.event["visitor_id"], entry.event["event_time_ms"]
        latest = consents.latest(visitor)
        if entry.kind != "suppressed" or latest is None or time_ms >= latest.at_ms:
            found[visitor] = entry.kind == "suppressed"
    withdrawn = {visitor for visitor in visitors if consents.latest(visitor).state == "withdrawn"}
    return withdrawn | {visitor for visitor, denied in found.items() if denied}


def _current_session(arrivals: list[Entry], gap_ms: int) -> Session:
    first_of_id: dict[str, Entry] = {}
    for entry in arrivals[-LAST_EVENTS:]:
        first_of_id.setdefault(entry.event["event_id"], entry)
    events = [entry.event for entry in sorted(first_of_id.values(), key=lambda entry: entry.arrival)]
    start = session_starts([event["event_time_ms"] for event in events], gap_ms)[-1]
    return Session(events[start:], arrivals[-1].record.position)


def known_events(session: Session, bundle: "Bundle") -> list[Event]:
    """The session's events that the model knows: their type and their item are in its vocabulary."""
    return [
        event
        for event in session.events
        if event["event_type"] in bundle.type_index and event.get("item_id") in bundle.item_index
    ]


def rank(
    sessions: Mapping[str, Session], contexts: Mapping[str, Sequence[float]], bundle: "Bundle"
) -> dict[str, Ranked]:
    """The ranking of each visitor whose session the model knows and whose context is in `contexts`, or the fallback.

    Visitors with known items but no context get no ranking: nothing can be said about their scores.
    """
    sequences = {visitor: known_events(session, bundle) for visitor, session in sessions.items()}
    popular = dict.fromkeys(bundle.popular, 0.0)
    rankings = {
        visitor: Ranked(_allowed(popular, sessions[visitor], bundle), POPULAR)
        for visitor, sequence in sequences.items()
        if not sequence
    }
    scorable = [visitor for visitor, sequence in sequences.items() if sequence and visitor in contexts]
    scorable.sort(key=lambda visitor: len(sequences[visitor]))  # a batch costs as much as its longest row
    for begin in range(0, len(scorable), BATCH):
        batch = scorable[begin : begin + BATCH]
        inputs = model_inputs([sequences[each] for each in batch], [contexts[each] for each in batch], bundle)
        scores, listed = bundle.score(*inputs)
        for visitor, row, places in zip(batch, scores.tolist(), listed.tolist(), strict=True):
            scored = {bundle.items[place]: score for place, score in zip(places, row, strict=True)}
            rankings[visitor] = Ranked(_allowed(scored, sessions[visitor], bundle), None)
    return rankings


def model_inputs(
    sequences: list[list[Event]], contexts: list[Sequence[float]], bundle: "Bundle"
) -> tuple[np.ndarray, ...]:
    """items, types int64 [B, T]; gaps float32 [B, T]; lengths int64 [B]; context float32 [B, C]; padded with 0."""
    shape = len(sequences), max(map(len, sequences))
    items, types, gaps = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.float32)
    for row, sequence in enumerate(sequences):
        for column, event in enumerate(sequence):
            items[row, column] = bundle.item_index[event["item_id"]]
            types[row, column] = bundle.type_index[event["event_type"]]
            before = sequence[column - 1] if column else event
            gaps[row, column] = math.log1p((event["event_time_ms"] - before["event_time_ms"]) / 1000)
    context = np.array(contexts, np.float32).reshape(len(sequences), len(bundle.context_features))
    return items, types, gaps, np.array([len(each) for each in sequences], np.int64), context


def _allowed(scored: Mapping[str, float], session: Session, bundle: "Bundle") -> dict[str, float]:
    """Without what was bought in this session and what the catalogue (if the bundle names one) doesn't hold."""
    bought = {event.get("item_id") for event in session.events if event["event_type"] == "purchase"}
    return {
        item: score
        for item, score in scored.items()
        if item not in bought and (not bundle.names or item in bundle.names)
    }
