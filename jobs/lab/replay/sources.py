"""Contract events in event-time order, from a set or a user's own file."""

import csv
import math
import os
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from jobs.contract.events import Event, Refusal, parse
from jobs.errors import DataError, SettingsError
from jobs.files import events as files
from jobs.files import mapping as mappings
from jobs.files import times
from jobs.files.events import Row, refused
from jobs.lab.replay.shops import DATASETS, SHOPS, Shop
from jobs.lab.replay.topic_time import moment

# What a reader raises for a file that is damaged, or is another one than its name says.
UNREADABLE = (OSError, EOFError, zlib.error, csv.Error, msgspec.DecodeError, KeyError, ValueError, ArithmeticError)


def read(
    source: str | os.PathLike[str],
    mapping: Path | None = None,
    data_dir: Path | None = None,
    *,
    since: str | None = None,
    until: str | None = None,
    skipped: Counter[str] | None = None,
) -> Iterator[Event]:
    """Yield the events of a set or a file, in event-time order (equal times: in file order); `parse` accepts each.

    Args:
        source: a name in `SHOPS`, or a file of one's own (see `jobs/files/events.py`).
        mapping: TOML file that says what the columns of a file of one's own mean (see `jobs/files/mapping.py`).
        data_dir: folder that holds the sets which may not be shipped, as `<data_dir>/retailrocket/events.csv.gz`.
        since: first moment that is read, as a date or date and time; UTC unless it says otherwise.
        until: first moment that isn't read any more.
        skipped: counts rows that are no events, by reason; complete when the last event was read.

    Raises DataError for a source that isn't there or a row that can't be an event, SettingsError for a bad moment.
    """
    skipped = Counter() if skipped is None else skipped
    from_ms = moment_ms(since, "since") if since else 0
    to_ms = moment_ms(until, "until") if until else None
    name = os.fspath(source)
    if name in SHOPS:
        shop = SHOPS[name]
        rows = _counted(name, shop.rows(_files(name, shop, data_dir), skipped), skipped)
        events = _checked(name, _within(name, rows, from_ms, to_ms))
        return events if shop.in_time_order else _sorted(events)
    if not Path(name).is_file():
        raise DataError(f"{name!r} is neither a set nor a file", f"one of {', '.join(SHOPS)}, or a path")
    rows = files.read(Path(name), mappings.load(mapping), skipped)
    return _sorted(row.event for row in _within(name, rows, from_ms, to_ms))


def moment_ms(text: str, name: str) -> int:
    """Return a date, or date and time, as ms since 1970; UTC unless it says otherwise.

    `name` is the setting, for the error.
    """
    moment = times.parsed(text)
    if moment is None:
        raise SettingsError(f"{name} is {text!r}", "a date such as 2008-08-01 or 2008-08-01T12:00:00Z")
    return round(moment.timestamp() * 1000)


def _files(name: str, shop: Shop, data_dir: Path | None) -> list[Path]:
    if shop.shipped:
        return [DATASETS / file for file in shop.files]
    if data_dir is None:
        raise DataError(f"{name} may not be shipped with liveshelf", f"--data-dir FOLDER that holds {shop.files[0]}")
    paths = [data_dir / file for file in shop.files]
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path} is missing", f"--data-dir FOLDER that holds {', '.join(shop.files)}")
    return paths


def _counted(name: str, rows: Iterable[Row], skipped: Counter[str]) -> Iterator[Row]:
    """Pass all rows on; raise DataError if there was none at all."""
    row = None
    for row in rows:
        yield row
    if row is None and not skipped:
        raise DataError(f"{name} holds no event", "give a file with at least one row")


def _within(name: str, rows: Iterable[Row], from_ms: int, to_ms: int | None) -> Iterator[Row]:
    """Pass on the rows of a span; raise DataError if there are rows, and none of them is in it."""
    first_ms, last_ms, taken = math.inf, -math.inf, 0
    for row in rows:
        time_ms = row.event["event_time_ms"]
        first_ms, last_ms = min(first_ms, time_ms), max(last_ms, time_ms)
        if time_ms >= from_ms and (to_ms is None or time_ms < to_ms):
            taken += 1
            yield row
    if not taken and first_ms <= last_ms:
        span = f"{moment(int(first_ms))} to {moment(int(last_ms))}"
        raise DataError(f"{name} has no event since or until then: it has those of {span}", "another since or until")


def _checked(name: str, rows: Iterable[Row]) -> Iterator[Event]:
    encode = msgspec.json.Encoder().encode
    try:
        for row in rows:
            event = parse(encode(row.event))
            if isinstance(event, Refusal):
                raise refused(f"{row.file}, line {row.line}", row.event, event)
            yield event
    except UNREADABLE as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"a file of {name} can't be read: {reason}", "get it again") from error


def _sorted(events: Iterable[Event]) -> Iterator[Event]:
    """Yield events by event time. They are held as JSON, which takes a quarter of the memory of dictionaries."""
    encode, decode = msgspec.json.Encoder().encode, msgspec.json.Decoder().decode
    held = [(event["event_time_ms"], encode(event)) for event in events]
    held.sort(key=lambda row: row[0])
    for _, text in held:
        yield decode(text)
