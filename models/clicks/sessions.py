"""Read files of clicks as sessions in time order, and files of questions; an error names the line.

| file                          | what a line is                                                                       |
|-------------------------------|--------------------------------------------------------------------------------------|
| text (any other name)         | a session: item ids with blanks between, oldest first; sessions in time order        |
| `.tsv`                        | a click: `SessionId ItemId Time` under a header, in any order, Time in seconds since |
|                               | 1970, or since a begin of the file's own                                             |
| `.jsonl`, `.parquet`          | an event of the contract; a visitor's pause of over 30 minutes starts a session.     |
|                               | Parquet may also hold the features' values at the event, as Feast's training sets do |
| prefixes (`read_prefixes`)    | a question: items seen, oldest first, a tab, the item that came next                 |
| lists (`read_lists`)          | a ranked list made elsewhere: item ids, best first                                   |

Each may be gzipped; `jobs/files` opens them all, and reads the events. Ids are kept as text, whatever they look like.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jobs.errors import DataError
from jobs.files import events as contract_events
from jobs.files import ids, tables, text, times
from jobs.files.numbers import number
from models.clicks.dataset import MAX_EVENTS, Event, Session

SESSION_GAP_S = 1800.0
DEFAULT_TYPE = "view"
FORMS = (
    "give a session a line (item ids with blanks between), a .tsv with SessionId, ItemId and Time, or events of the "
    "contract as .jsonl or .parquet"
)
# What a table looks like where a session should stand: separators of values, a JSON value, a date.
_SEPARATORS = (",", ";")
_SEPARATORS_OF_ONE_WORD = ("|", "::")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ].*)?")


class Question(NamedTuple):
    """Hold the last events up to now, at most `MAX_EVENTS`, and the item that came next."""

    prefix: Session
    target: str


Counts = Callable[[Mapping[str, Any]], bool]


def every(_event: Mapping[str, Any]) -> bool:
    """Take every event."""
    return True


def read_sessions(path: Path, features: Sequence[str] = (), counts: Counts = every) -> list[Session]:
    """Return the sessions in `path`, oldest first, single clicks included.

    Of a file of events, those are taken that `counts` says yes to. The other files name no visitors.

    A Parquet file that has a column for one of the `features` ("view:feature") must have one for each: their values
    become the events' context, in this order. From all other files no context is known.
    Raises DataError with the line for what can't be read, for a missing feature, and for a file without a session.
    """
    readers: dict[str, Callable[[Path], list[Session]]] = {
        ".tsv": _from_tsv,
        ".csv": _refuse_csv,
        ".parquet": partial(_from_parquet, features=features, counts=counts),
        **dict.fromkeys(tables.JSON_LINES, partial(_from_events, counts=counts)),
    }
    sessions = readers.get(text.kind(path), _from_text)(path)
    if not sessions:
        raise DataError(f"{path} holds no session", "give a file with at least one click")
    return sessions


def read_prefixes(path: Path) -> list[Question]:
    """Return the questions in `path`: `item item item<TAB>target` a line.

    A blank line is refused: the lines of `read_lists` stand beside these.
    """
    questions = []
    for at, line in text.lines(path):
        seen, tab, after = line.rstrip("\r\n").partition("\t")
        prefix, target = seen.split(), after.split()
        if not tab or not prefix or len(target) != 1:
            raise DataError(f"{path}, line {at}: {text.short(line)} isn't `item item …<TAB>target`", "mend the line")
        _refuse_table(path, at, line, [*prefix, *target])
        questions.append(Question(_clicks(prefix), target[0]))
    if not questions:
        raise DataError(f"{path} holds no question", "write `item item …<TAB>target` a line")
    return questions


def read_lists(path: Path) -> list[list[str]]:
    """Return the ranked lists in `path`; an empty line is an empty list."""
    lists = []
    for at, line in text.lines(path):
        items = line.split()
        if len(set(items)) != len(items):
            twice = next(item for item in items if items.count(item) > 1)
            raise DataError(f"{path}, line {at} lists {twice!r} twice", "list each item once")
        _refuse_table(path, at, line, items)
        lists.append(items)
    return lists


def questions_of(sessions: Iterable[Session], since_s: float = float("-inf")) -> list[Question]:
    """Return a question for each event after a session's first one that lies after `since_s`.

    A prefix holds the last `MAX_EVENTS` events, as a visitor's history does in serving. With all of them, memory would
    grow with the square of a session: a robot's 20,000 clicks took 1.5 GB.
    """
    return [
        Question(session[max(0, end - MAX_EVENTS) : end], session[end].item)
        for session in sessions
        for end in range(1, len(session))
        if session[end].time_s > since_s
    ]


def click_of(event: Mapping[str, Any]) -> Event | None:
    """Return what an event of the contract says to a model, None for one without an item."""
    if "item_id" not in event:
        return None
    return Event(event["item_id"], event["event_type"], event["event_time_ms"] / 1000)


def _clicks(items: Iterable[str]) -> Session:
    """Return events of which only the order is known: no time passes between them."""
    return [Event(item, DEFAULT_TYPE, 0.0) for item in items]


def _refuse_csv(path: Path) -> list[Session]:
    first = next(text.lines(path), (1, ""))[1]
    raise DataError(f"{path}, line 1: {text.short(first)} is a line of a table, no session", FORMS)


def _from_text(path: Path) -> list[Session]:
    sessions = []
    for at, line in text.lines(path):
        items = line.split()
        if "\t" in line.strip():
            raise DataError(
                f"{path}, line {at:,}: {text.short(line)} has a tab; a session is item ids with blanks between",
                "name a table of clicks .tsv; a file of prefixes and targets belongs to `liveshelf evaluate`",
            )
        _refuse_table(path, at, line, items)
        if items:
            sessions.append(_clicks(items))
    return sessions


def _refuse_table(path: Path, at: int, line: str, items: list[str]) -> None:
    """Raise DataError for a line that isn't one of ids, but of a table or of JSON."""
    found = next((repr(separator) for separator in _SEPARATORS if separator in line), "")
    if line.lstrip()[:1] in ("{", "["):
        found = "a value of JSON"
    if len(items) == 1:
        found = found or next((repr(each) for each in _SEPARATORS_OF_ONE_WORD if items[0].count(each) > 1), "")
    found = found or next((f"{item!r}, which is a time" for item in items if _DATE.fullmatch(item)), "")
    if found or _CONTROL.search(line):
        what = f"{path}, line {at:,}: {text.short(line)} has {found or 'a control character'}"
        raise DataError(f"{what}; here are item ids with blanks between", FORMS)
    for item in items:
        _check_id(path, at, "item", item)


def _check_id(path: Path, at: int, name: str, given: str) -> str:
    """Return a session's or an item's id, without blanks around it; raise DataError for what can't be one."""
    if ids.is_plain(given):
        return given
    found = ids.cleaned(given)
    if not found:
        raise DataError(f"{path}, line {at:,}: {name} {given!r} names nothing", "give an id, or take the line out")
    if flaw := ids.flaw(found):
        raise DataError(f"{path}, line {at:,}: {name} {found!a:.80} is {flaw.what}", flaw.fix)
    return found


def _from_tsv(path: Path) -> list[Session]:
    clicks: dict[str, list[Event]] = {}
    clock = _Clock(path)
    rows = tables.table(path, "\t", ("SessionId", "ItemId", "Time"), about_missing=FORMS)
    for at, row in rows:
        session, item = (_check_id(path, at, name, str(row[name])) for name in ("SessionId", "ItemId"))
        clicks.setdefault(session, []).append(Event(item, DEFAULT_TYPE, clock.seconds(at, row["Time"])))
    clock.refuse_two()
    return _in_time_order(clicks.values())


class _Clock:
    """Read the times of a file: all of them since 1970, or all of them since a begin of the file's own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._first: dict[bool, tuple[int, object]] = {}  # since 1970? → line and time

    def seconds(self, line: int, raw: object) -> float:
        """Return a time in seconds; raise DataError for what is none, or lies after tomorrow."""
        found = number(raw)
        if found is not None and found * 1000 < times.EARLIEST_MS:
            self._first.setdefault(False, (line, raw))
            return float(found)
        place = f"{self._path}, line", line, "Time in seconds", "Time"
        found_ms = times.time_ms(place, raw, "s", "write Time in seconds")
        self._first.setdefault(True, (line, raw))
        return found_ms / 1000 if found is None else float(found)

    def refuse_two(self) -> None:
        """Raise DataError where some times are since 1970 and others, such as a 0 for none, aren't."""
        if len(self._first) > 1:
            line, raw = self._first[False]
            raise DataError(
                f"{self._path}, line {line:,}: Time {raw!r} lies before 2000, other lines' don't",
                "write all of them in seconds since 1970, or all since one begin",
            )


def _from_events(path: Path, counts: Counts) -> list[Session]:
    return _sessionize((row.event, ()) for row in contract_events.read(path) if counts(row.event))


def _from_parquet(path: Path, features: Sequence[str], counts: Counts) -> list[Session]:
    contexts = _contexts(path, features)
    rows = (row for row in contract_events.read(path) if counts(row.event))
    return _sessionize((row.event, contexts[row.line - 1] if contexts else ()) for row in rows)


def _columns(path: Path, features: Sequence[str]) -> list[str]:
    """Return the column of each `view:feature`, which Feast may call `view__feature`; [] if the file has none.

    Raises DataError for a file that has some of them: what it lacks would be learned as 0, and served as it is.
    """
    there = set(tables.columns(path))
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


def _contexts(path: Path, features: Sequence[str]) -> list[tuple[float, ...]]:
    """Return each row's values of the features, 0 for missing ones; [] if the file has none of them."""
    columns = _columns(path, features) if features else []
    if not columns:
        return []
    table = tables.values(path, columns).to_pandas()
    values = np.zeros((len(table), len(columns)), np.float32)
    for place, name in enumerate(columns):
        try:
            values[:, place] = pd.to_numeric(table[name]).fillna(0)
        except (TypeError, ValueError) as error:
            raise DataError(f"{path}, column {name}: {error}", "the model's features are numbers") from error
        if not np.isfinite(values[:, place]).all():
            row = int(np.flatnonzero(~np.isfinite(values[:, place]))[0])
            raise DataError(
                f"{path}, row {row + 1:,}: {name} is {values[row, place]}", "give a finite number, or nothing"
            )
    return list(map(tuple, values.tolist()))


def _sessionize(events: Iterable[tuple[Mapping[str, Any], tuple[float, ...]]]) -> list[Session]:
    """Return sessions as the rankings job cuts them: by visitor, in event time, at pauses of over 30 minutes.

    Events without an item are left out, and so is an event whose id the visitor has had before.
    """
    by_visitor: dict[str, dict[str, Event]] = {}
    for event, context in events:
        click = click_of(event)
        if click:
            clicks = by_visitor.setdefault(event["visitor_id"], {})
            clicks.setdefault(event["event_id"], click._replace(context=context))
    return _in_time_order(part for clicks in by_visitor.values() for part in cut(clicks.values(), SESSION_GAP_S))


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
