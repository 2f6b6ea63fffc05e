"""The list oracle: the list that each visitor should have after the last event.

Pure but for the model, which is an argument.
"""

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
    """A visitor's current session by event time, as of its last arrived event, which lies at `position`.

    `ends` are the last places in all partitions that hold the visitor's events: which one arrived last isn't known.
    """

    events: list[Event]
    position: Position
    ends: frozenset[Position] = frozenset()

    @property
    def event_time_ms(self) -> int:
        return self.events[-1]["event_time_ms"]


@dataclass(frozen=True, slots=True)
class Ranked:
    """The items that may stand in a list, best first, more than the list holds, so that near ties can be told.

    `items` maps an item to its score. `fallback` is "popular" where the session holds no item that the model knows.
    """

    items: dict[str, float]
    fallback: str | None


def current_sessions(entries: Iterable[Entry], gap_ms: int) -> dict[str, Session]:
    """Return each visitor's current session.

    `entries` are all accepted ones but heartbeats, late and duplicate ones included, in offset order. Of the last 50
    arrivals the first with an event_id counts. The session starts after the last pause longer than `gap_ms`.
    """
    return {visitor: current_session(group, gap_ms) for visitor, group in by_visitor(entries).items()}


def by_visitor(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Return each visitor's entries in their order."""
    arrivals: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        arrivals[entry.event["visitor_id"]].append(entry)
    return dict(arrivals)


def without_consent(
    entries: Iterable[Entry], consents: Consents, visitors: Iterable[str]
) -> dict[str, tuple[int, int]]:
    """Return the visitors who get the popularity list because consent is missing.

    They have withdrawn, or their newest event came without consent. `entries` are those that count for their visitors
    and the suppressed ones, in offset order; `visitors` are those who said something. With each visitor stand the
    earliest and the latest time from which the list's expiry may be counted.
    """
    times_ms: dict[str, list[int]] = defaultdict(list)
    for entry in entries:
        visitor, time_ms = entry.event["visitor_id"], entry.event["event_time_ms"]
        if entry.kind != "suppressed":
            times_ms.pop(visitor, None)
        elif time_ms >= consents.since_ms(visitor):
            times_ms[visitor].append(time_ms)
    for visitor in visitors:
        latest = consents.latest(visitor)
        if latest and latest.state == "withdrawn":
            times_ms[visitor].append(latest.at_ms)
    return {visitor: (min(times), max(times)) for visitor, times in times_ms.items()}


def current_session(arrivals: Sequence[Entry], gap_ms: int) -> Session:
    """Return the session as of the last of a visitor's entries."""
    first_of_id: dict[str, Entry] = {}
    for entry in arrivals[-LAST_EVENTS:]:
        first_of_id.setdefault(entry.event["event_id"], entry)
    events = [entry.event for entry in sorted(first_of_id.values(), key=lambda entry: entry.order)]
    start = session_starts([event["event_time_ms"] for event in events], gap_ms)[-1]
    ends = {entry.record.partition: entry.record.position for entry in arrivals}
    return Session(events[start:], arrivals[-1].record.position, frozenset(ends.values()))


def known_events(session: Session, bundle: "Bundle") -> list[Event]:
    """Return the session's events whose type and item are in the model's vocabulary."""
    return [
        event
        for event in session.events
        if event["event_type"] in bundle.type_index and event.get("item_id") in bundle.item_index
    ]


def rank(
    sessions: Mapping[str, Session], contexts: Mapping[str, Sequence[float]], bundle: "Bundle"
) -> dict[str, Ranked]:
    """Return the ranking of each visitor: by the model, or the fallback where the session holds no item that it knows.

    A visitor with known items and no context in `contexts` gets no ranking: nothing can be said about the scores.
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
        inputs = model_inputs(
            [sequences[visitor] for visitor in batch], [contexts[visitor] for visitor in batch], bundle
        )
        scores, listed = bundle.score(*inputs)
        for visitor, row, places in zip(batch, scores.tolist(), listed.tolist(), strict=True):
            scored = {bundle.items[place]: score for place, score in zip(places, row, strict=True)}
            rankings[visitor] = Ranked(_allowed(scored, sessions[visitor], bundle), None)
    return rankings


def model_inputs(
    sequences: list[list[Event]], contexts: list[Sequence[float]], bundle: "Bundle"
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the model's inputs for B sessions of at most T events, padded with 0.

    items, types int64 [B, T]; gaps float32 [B, T]; lengths int64 [B]; context float32 [B, C].
    """
    shape = len(sequences), max(map(len, sequences))
    items, types, gaps = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.float32)
    for row, sequence in enumerate(sequences):
        for column, event in enumerate(sequence):
            items[row, column] = bundle.item_index[event["item_id"]]
            types[row, column] = bundle.type_index[event["event_type"]]
            before = sequence[column - 1] if column else event
            gaps[row, column] = math.log1p((event["event_time_ms"] - before["event_time_ms"]) / 1000)
    context = np.array(contexts, np.float32).reshape(len(sequences), len(bundle.context_features))
    return items, types, gaps, np.array([len(sequence) for sequence in sequences], np.int64), context


def _allowed(scored: Mapping[str, float], session: Session, bundle: "Bundle") -> dict[str, float]:
    """Return the scores without items bought in this session and, if the bundle names a catalogue, items outside it."""
    bought = {event.get("item_id") for event in session.events if event["event_type"] == "purchase"}
    return {
        item: score
        for item, score in scored.items()
        if item not in bought and (not bundle.names or item in bundle.names)
    }
