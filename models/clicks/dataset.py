"""Read the packaged click sets as sessions, and make the arrays that the model reads from sessions."""

import hashlib
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from jobs.errors import DataError

EVENT_TYPES = ["view", "search", "add_to_cart", "remove_from_cart", "purchase", "rating", "click"]

# A session keeps its last 50 events. In eshop 136 of 24,026 sessions are longer (the longest has 195), and a padded
# batch costs as much as its longest row.
MAX_EVENTS = 50

ESHOP_CATEGORIES = {1: "trousers", 2: "skirt", 3: "blouse", 4: "sale item"}
ESHOP_WORDS = {1: "trousers", 2: "skirts", 3: "blouses", 4: "sale"}  # as the replay's catalogue has them
ESHOP_COLOURS = {
    1: "beige",
    2: "black",
    3: "blue",
    4: "brown",
    5: "burgundy",
    6: "gray",
    7: "green",
    8: "navy blue",
    9: "of many colors",
    10: "olive",
    11: "pink",
    12: "red",
    13: "violet",
    14: "white",
}
# Clicks of eshop carry a day and their order, no clock. The replay spreads them evenly, about 20 minutes apart.
ESHOP_GAP_S = 1200.0


class Event(NamedTuple):
    """Hold one thing that a visitor did; `time_s` is event time in seconds since 1970.

    `context` holds the values of the context features at that time, in the order in which `read_sessions` was asked for
    them, or nothing where they aren't known.
    """

    item: str
    type: str
    time_s: float
    context: tuple[float, ...] = ()


Session = list[Event]  # in event-time order
Encoded = Sequence[Sequence[int]]  # sessions of items 1..N, oldest first (see `Encoder.numbers`)


class Parts(NamedTuple):
    """Hold a set cut by time: choose on `fit` and `validate`, ship what learned from `ship`, look at `test` once.

    `fingerprint` is the sha256 of the file that `ship` came from, `facts` what the set tells of each item.
    """

    fit: list[Session]
    validate: list[Session]
    ship: list[Session]
    test: list[Session]
    names: dict[str, str]
    fingerprint: str
    facts: dict[str, dict[str, str | int]] = {}  # noqa: RUF012 - never written to


class Batch(NamedTuple):
    """Hold the model's inputs for B sessions, left-aligned and padded with 0 at the right to T events."""

    items: np.ndarray  # int64 [B, T], 1..n_items
    types: np.ndarray  # int64 [B, T], index into the event types + 1
    gaps: np.ndarray  # float32 [B, T], log1p(seconds since the event before), 0 for the first
    lengths: np.ndarray  # int64 [B]


class Clicks(NamedTuple):
    """Hold S sessions' last events, at most `MAX_EVENTS` each, one after another: E events with C context features.

    Event 0 is the one that fills rows up: all its values are 0.
    """

    items: np.ndarray  # int64 [E], 1..n_items
    types: np.ndarray  # int64 [E], as in `Batch`
    gaps: np.ndarray  # float32 [E], as in `Batch`
    context: np.ndarray  # float32 [E, C]
    starts: np.ndarray  # int64 [S]
    lengths: np.ndarray  # int64 [S], 0 for a session without an item of the catalogue

    @classmethod
    def of(
        cls,
        sessions: Sequence[Session],
        item_index: Mapping[str, int],
        type_index: Mapping[str, int],
        n_context: int = 0,
    ) -> "Clicks":
        """Return the events of the catalogue's items; a gap is measured from the event before among those."""
        rows = [[event for event in session if event.item in item_index][-MAX_EVENTS:] for session in sessions]
        events = [Event("", "", 0.0), *(event for row in rows for event in row)]
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        starts = 1 + lengths.cumsum() - lengths
        times = np.array([event.time_s for event in events])
        gaps = np.log1p(np.maximum(0, np.diff(times, prepend=0.0))).astype(np.float32)
        gaps[starts[lengths > 0]] = 0
        return cls(
            np.array([0, *(item_index[event.item] for event in events[1:])], np.int64),
            np.array([type_index.get(event.type, 0) for event in events], np.int64),
            gaps,
            context_at(events, n_context),
            starts,
            lengths,
        )

    def batch(self, rows: np.ndarray) -> tuple[Batch, np.ndarray]:
        """Return the sessions `rows` int64 [B], padded, and their context [B, T, C]."""
        lengths = np.maximum(self.lengths[rows], 1)
        places = np.arange(lengths.max(initial=1))  # [T]
        events = np.where(places < self.lengths[rows, None], self.starts[rows, None] + places, 0)  # [B, T]
        return Batch(self.items[events], self.types[events], self.gaps[events], lengths), self.context[events]


def pad(sessions: Sequence[Session], item_index: Mapping[str, int], type_index: Mapping[str, int]) -> Batch:
    """Return sessions as padded arrays, of the last `MAX_EVENTS` events with an item of the catalogue.

    A gap is measured from the event before among those, so an unknown item changes nothing. A session without an item
    of the catalogue gets length 1 and item 0. Its scores mean nothing, and the caller must not use them.
    """
    return Clicks.of(sessions, item_index, type_index).batch(np.arange(len(sessions)))[0]


def context_at(events: Sequence[Event], n_context: int) -> np.ndarray:
    """Return float32 [E, C]: the values of C = `n_context` features at each event, 0 where they aren't known."""
    if not n_context:
        return np.zeros((len(events), 0), np.float32)
    unknown = (0.0,) * n_context
    return np.array([event.context or unknown for event in events], np.float32).reshape(len(events), n_context)


def read(dataset: str, path: Path) -> Parts:
    """Read `eshop` from its one csv.gz, or `serenade` from the folder with train, valid and test.

    Raises DataError if a file is missing or isn't this set.
    """
    readers = {"eshop": read_eshop, "serenade": read_serenade}
    if dataset not in readers:
        raise DataError(f"dataset is {dataset!r}", f"use one of {sorted(readers)}")
    return readers[dataset](path)


def read_eshop(path: Path) -> Parts:
    """Read UCI's e-shop clothing 2008: April to June fit, July validates, April to July ship, August tests."""
    table = _read_table(path, ",", ["month", "session_id", "page2_clothing_model", "order"])
    table = table.sort_values(["session_id", "order"], kind="stable")
    day_s = pd.to_datetime(table[["year", "month", "day"]]).astype("datetime64[s]").astype("int64")
    table = table.assign(item=table["page2_clothing_model"], time_s=day_s + ESHOP_GAP_S * (table["order"] - 1))
    by_month = {int(month): _sessions(rows, "session_id") for month, rows in table.groupby("month")}
    fit = by_month[4] + by_month[5] + by_month[6]
    ship = fit + by_month[7]
    return Parts(fit, by_month[7], ship, by_month[8], _eshop_names(table), fingerprint(path), _eshop_facts(table))


def read_serenade(folder: Path) -> Parts:
    """Read the three files that bol.com published; the shipped model learns from `train` alone, as VMIS-kNN did."""
    parts = []
    for name in ("train", "valid", "test"):
        table = _read_table(folder / f"{name}.tsv.gz", "\t", ["SessionId", "ItemId", "Time"])
        table = table.sort_values(["SessionId", "Time"], kind="stable")  # valid and test run backwards in time
        table = table.assign(item=table["ItemId"].astype(str), time_s=table["Time"])
        parts.append(_sessions(table, "SessionId"))
    train, valid, test = parts
    names = {event.item: f"item {event.item}" for session in train for event in session}
    return Parts(train, valid, train, test, names, fingerprint(folder / "train.tsv.gz"))


def fingerprint(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def clicks_by_item(sessions: Iterable[Session], before: Mapping[str, int] | None = None) -> dict[str, int]:
    """Return each item's clicks, with those of `before`, most first; equally frequent items stand in order of id."""
    counts = Counter(before or {})
    counts.update(event.item for session in sessions for event in session)
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def with_support(sessions: list[Session], min_session: int, min_item_support: int) -> list[Session]:
    """Drop clicks on items with fewer than `min_item_support` clicks, then sessions with fewer than `min_session`.

    Each is done once, so an item may end below its support. Raises DataError if nothing is left to teach with.
    """
    if min_session <= 1 and min_item_support <= 1:
        return sessions
    clicks = Counter(event.item for session in sessions for event in session)
    supported = ([event for event in session if clicks[event.item] >= min_item_support] for session in sessions)
    left = [session for session in supported if len(session) >= max(1, min_session)]
    if not any(len(session) > 1 for session in left):
        raise DataError(
            f"of {len(sessions):,} sessions none has {max(2, min_session)} clicks on items that were clicked "
            f"{min_item_support} times",
            "lower --min-session or --min-item-support",
        )
    return left


class Encoder:
    """What a model is given of sessions: the numbers of its items (item 1 is the most frequent one), and the context.

    `context_features` name what the events' `context` holds, "view:feature", in the order of the model's input.
    """

    def __init__(
        self,
        sessions: Iterable[Session],
        before: Mapping[str, int] | None = None,
        context_features: Sequence[str] = (),
    ) -> None:
        self.context_features = list(context_features)
        self.clicks = clicks_by_item(sessions, before)
        self.items = list(self.clicks)
        self.index = {item: number for number, item in enumerate(self.items, start=1)}

    def numbers(self, sessions: list[Session]) -> list[list[int]]:
        """Each session's known items in 1..N, oldest first."""
        return [[self.index[event.item] for event in session if event.item in self.index] for session in sessions]


def _read_table(path: Path, separator: str, columns: list[str]) -> pd.DataFrame:
    if not path.is_file():
        raise DataError(f"{path} is missing", "give the place of the set (see models/README.md, Train)")
    try:
        table = pd.read_csv(path, sep=separator)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(f"{path} can't be read ({error})", "get it again") from error
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise DataError(f"{path} has no column {missing[0]!r}; it has {list(table.columns)}", "give a file of that set")
    return table


def _sessions(table: pd.DataFrame, key: str) -> list[Session]:
    """Return sessions by their first event. Every event is a `view`: both sets record product pages only."""
    sessions: dict[object, Session] = {}
    for session_id, item, time_s in zip(table[key], table["item"], table["time_s"], strict=True):
        sessions.setdefault(session_id, []).append(Event(item, "view", float(time_s)))
    return sorted(sessions.values(), key=lambda session: session[0].time_s)


def _eshop_facts(table: pd.DataFrame) -> dict[str, dict[str, str | int]]:
    """Return category, colour and price by item: what the replay's catalogue says of it."""
    last = table.groupby("item").last()
    columns = last["page1_main_category"].map(ESHOP_WORDS), last["colour"].map(ESHOP_COLOURS), last["price"] * 100
    return {
        item: {"category": category, "colour": colour, "price_minor": int(price)}
        for item, category, colour, price in zip(last.index, *columns, strict=True)
    }


def _eshop_names(table: pd.DataFrame) -> dict[str, str]:
    """Return names like `blouse A13, navy blue, $28`, from each item's most frequent category, colour and price."""
    columns = ["page1_main_category", "colour", "price"]
    usual = table.groupby("item")[columns].agg(lambda values: values.mode().iloc[0])
    return {
        str(item): f"{ESHOP_CATEGORIES[category]} {item}, {ESHOP_COLOURS[colour]}, ${price}"
        for item, category, colour, price in usual.itertuples()
    }
