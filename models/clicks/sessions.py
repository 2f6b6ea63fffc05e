"""Read files of clicks as sessions in time order, and files of questions; an error names the line.

| file                          | what a line is                                                                       |
|-------------------------------|--------------------------------------------------------------------------------------|
| text (any other name)         | a session: item ids with blanks between, oldest first; sessions in time order        |
| `.tsv`                        | a click: `SessionId ItemId Time` under a header, in any order, Time in seconds       |
| `.jsonl`, `.parquet`          | an event of the contract; a visitor's pause of over 30 minutes starts a session.     |
|                               | Parquet may also hold the features' values at the event, as Feast's training sets do |
| prefixes (`read_prefixes`)    | a question: items seen, oldest first, a tab, the item that came next                 |
| lists (`read_lists`)          | a ranked list made elsewhere: item ids, best first                                   |

Each may be gzipped (`.gz`). Ids are kept as text, whatever they look like.
"""

import gzip
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from jobs.errors import DataError
from models.clicks.dataset import Event, Session

SESSION_GAP_S = 1800.0
DEFAULT_TYPE = "view"
EVENT_COLUMNS = ("visitor_id", "event_type", "event_time_ms", "item_id")


class Question(NamedTuple):
    """Hold the events up to now, and the item that came next."""

    prefix: Session
    target: str


class ClickEvent(msgspec.Struct):
    """Hold the fields of an event of the contract that training needs."""

    visitor_id: str
    event_type: str
    event_time_ms: int
    item_id: str | None = None


def read_sessions(path: Path, features: Sequence[str] = ()) -> list[Session]:
    """Return the sessions in `path`, oldest first, single clicks included.

    A Parquet file that has a column for one of the `features` ("view:feature") must have one for each: their values
    become the events' context, in this order. From all other files no context is known.
    Raises DataError with the line for what can't be read, for a missing feature, and for a file without a session.
    """
    name = path.name.removesuffix(".gz")
    readers: dict[str, Callable[[Path], list[Session]]] = {
        ".tsv": _from_tsv,
        ".jsonl": _from_jsonl,
        ".parquet": partial(_from_parquet, features=features),
    }
    sessions = readers.get(Path(name).suffix, _from_text)(path)
    if not sessions:
        raise DataError(f"{path} holds no session", "give a file with at least one click")
    return sessions


def read_prefixes(path: Path) -> list[Question]:
    """Return the questions in `path`: `item item item<TAB>target` a line."""
    questions = []
    for number, line in _lines(path):
        prefix, tab, target = line.rstrip("\r\n").partition("\t")
        if not tab or not prefix.split() or len(target.split()) != 1:
            raise DataError(f"{path}, line {number}: {_short(line)} isn't `item item …<TAB>target`", "mend the line")
        questions.append(Question(_clicks(prefix.split()), target.strip()))
    if not questions:
        raise DataError(f"{path} holds no question", "write `item item …<TAB>target` a line")
    return questions


def read_lists(path: Path) -> list[list[str]]:
    """Return the ranked lists in `path`; an empty line is an empty list."""
    lists = []
    for number, line in _lines(path):
        ids = line.split()
        if len(set(ids)) != len(ids):
            twice = next(item for item in ids if ids.count(item) > 1)
            raise DataError(f"{path}, line {number} lists {twice!r} twice", "list each item once")
        lists.append(ids)
    return lists


def questions_of(sessions: Iterable[Session]) -> list[Question]:
    """Return n - 1 questions for each session of n events."""
    return [Question(session[:end], session[end].item) for session in sessions for end in range(1, len(session))]


def _clicks(ids: Iterable[str]) -> Session:
    """Return events of which only the order is known: no time passes between them."""
    return [Event(item, DEFAULT_TYPE, 0.0) for item in ids]


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield each line with its number from 1. Raises DataError for a file that can't be read as UTF-8, or as gzip."""
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                yield number, line.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, line {number}: {error.reason} at byte {error.start}", "save it as UTF-8") from error
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"{path} can't be read after line {number} ({reason})", "give the path of a readable file"
        ) from error


def _short(line: str) -> str:
    text = line.rstrip("\r\n")
    return repr(text if len(text) <= 60 else text[:57] + "…")


def _from_text(path: Path) -> list[Session]:
    sessions = []
    for number, line in _lines(path):
        if "\t" in line.strip():
            raise DataError(
                f"{path}, line {number}: {_short(line)} has a tab; a session is item ids with blanks between",
                "name a table of clicks .tsv; a file of prefixes and targets belongs to `liveshelf evaluate`",
            )
        if "\0" in line:
            raise DataError(f"{path}, line {number} holds a null byte", "give a text file")
        if ids := line.split():
            sessions.append(_clicks(ids))
    return sessions


def _from_tsv(path: Path) -> list[Session]:
    lines = _lines(path)
    header = next(lines, (0, ""))[1].rstrip("\r\n").split("\t")
    places = {name: header.index(name) for name in ("SessionId", "ItemId", "Time") if name in header}
    if len(places) < 3:
        raise DataError(f"{path}, line 1 is {header}", "begin with a header that names SessionId, ItemId and Time")
    clicks: dict[str, list[Event]] = {}
    for number, line in lines:
        values = line.rstrip("\r\n").split("\t")
        try:
            session, item, time_s = (values[places[name]].strip() for name in ("SessionId", "ItemId", "Time"))
            event = Event(item, DEFAULT_TYPE, _finite(time_s))
        except (IndexError, ValueError) as error:
            raise DataError(
                f"{path}, line {number}: {_short(line)} isn't a click", "give a session, an item and a time in seconds"
            ) from error
        if not item or not session:
            raise DataError(f"{path}, line {number}: {_short(line)} has no session or no item", "mend the line")
        clicks.setdefault(session, []).append(event)
    return _in_time_order(clicks.values())


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _from_jsonl(path: Path) -> list[Session]:
    decoder = msgspec.json.Decoder(ClickEvent)
    events = []
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            events.append((decoder.decode(line), ()))
        except msgspec.DecodeError as error:
            raise DataError(f"{path}, line {number}: {error}", "give one event of the contract a line") from error
    return _sessionize(events)


def _from_parquet(path: Path, features: Sequence[str]) -> list[Session]:
    try:
        columns = _columns(path, features)
        table = pd.read_parquet(path, columns=[*EVENT_COLUMNS, *columns])
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} can't be read as events: {error}", f"give columns {', '.join(EVENT_COLUMNS)}"
        ) from error
    events = table[list(EVENT_COLUMNS)]
    rows = events.astype(object).where(events.notna(), None).itertuples(index=False, name=None)
    pairs = []
    for number, (row, context) in enumerate(zip(rows, _contexts(path, table, columns), strict=True), start=1):
        try:
            pairs.append((msgspec.convert(dict(zip(EVENT_COLUMNS, row, strict=True)), ClickEvent), context))
        except msgspec.ValidationError as error:
            raise DataError(f"{path}, row {number}: {error}", "give one event of the contract a row") from error
    return _sessionize(pairs)


def _columns(path: Path, features: Sequence[str]) -> list[str]:
    """Return the column of each `view:feature`, which Feast may call `view__feature`; [] if the file has none.

    Raises DataError for a file that has some of them: what it lacks would be learned as 0, and served as it is.
    """
    there = set(pq.read_schema(path).names)
    columns = {
        feature: next((name for name in (feature, feature.replace(":", "__")) if name in there), None)
        for feature in features
    }
    missing = [feature for feature, column in columns.items() if column is None]
    if len(missing) == len(columns):
        return []
    if missing:
        raise DataError(
            f"{path} has no column for {', '.join(missing)}, but one for {len(columns) - len(missing)} others "
            "that the model reads",
            "add it with Feast's get_historical_features, or take it out of the feature service",
        )
    return [column for column in columns.values() if column is not None]


def _contexts(path: Path, table: pd.DataFrame, columns: list[str]) -> list[tuple[float, ...]]:
    """Return each row's values in `columns`, 0 for missing ones."""
    values = np.zeros((len(table), len(columns)), np.float32)
    for place, name in enumerate(columns):
        try:
            values[:, place] = pd.to_numeric(table[name]).fillna(0)
        except (TypeError, ValueError) as error:
            raise DataError(f"{path}, column {name}: {error}", "the model's features are numbers") from error
    return list(map(tuple, values.tolist()))


def _sessionize(events: Iterable[tuple[ClickEvent, tuple[float, ...]]]) -> list[Session]:
    """Return sessions as the rankings job cuts them: by visitor, in event time, at pauses of over 30 minutes.

    Events without an item are left out.
    """
    by_visitor: dict[str, Session] = {}
    for event, context in events:
        if event.item_id:
            click = Event(event.item_id, event.event_type, event.event_time_ms / 1000, context)
            by_visitor.setdefault(event.visitor_id, []).append(click)
    return _in_time_order(part for clicks in by_visitor.values() for part in cut(clicks, SESSION_GAP_S))


def cut(events: Iterable[Event], gap_s: float) -> Iterator[Session]:
    """Yield one visitor's events, given in any order, as sessions: a pause of more than `gap_s` ends one."""
    ordered = sorted(events, key=lambda event: event.time_s)
    begin = 0
    for place in range(1, len(ordered)):
        if ordered[place].time_s - ordered[place - 1].time_s > gap_s:
            yield ordered[begin:place]
            begin = place
    yield ordered[begin:]


def _in_time_order(sessions: Iterable[Session]) -> list[Session]:
    """Return sessions in order of their last event, each with its events in order of time, equal ones as they came."""
    ordered = [sorted(session, key=lambda event: event.time_s) for session in sessions]
    return sorted(ordered, key=lambda session: session[-1].time_s)
