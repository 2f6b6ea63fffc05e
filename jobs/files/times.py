"""Read times as other systems write them: numbers since 1970 in four units, and dates with a time of day."""

import re
import time
from datetime import UTC, date, datetime

from jobs.errors import DataError
from jobs.files.numbers import LARGEST, number

PER_MS = {"ms": 1, "us": 1000, "ns": 1_000_000}
NUMBERS = ("s", *PER_MS)
ISO = "iso"
UNITS = (*NUMBERS, ISO)
EARLIEST_MS = 946_684_800_000  # 2000-01-01: no shop that keeps clicks is older, and 1970 means another unit
DAY_MS = 86_400_000

# What may follow a time of day: UTC in its spellings, an offset, or both, as in Go. Java adds the zone in brackets.
_ZONE = (
    r"\s*(?:(?:UTC|GMT)?\s*(?P<offset>[+-]\d\d)(?::?(?P<minutes>\d\d))?(?:\s+UTC)?|Z|UTC|GMT|Etc/UTC|)"
    r"(?:\s*\[[\w/+-]+\])?"
)
_FRACTION = r"(?:[.,]\d+)?"
_SPELLINGS = (
    r"(\d{4})(?P<between>[-/.])(\d\d?)(?P=between)(\d\d?)(?:[ T](\d\d?)(?::(\d\d))?(?::(\d\d" + _FRACTION + "))?",
    r"(\d{4})(?P<between>)(\d\d)(\d\d)(?:[ T](\d\d)(\d\d)?(\d\d" + _FRACTION + ")?",  # without hyphens and colons
)
_MOMENTS = [re.compile(f"{spelling}{_ZONE})?", re.ASCII | re.I) for spelling in _SPELLINGS]


Place = tuple[str, int, str, str]  # file, line, what it is, and its column


def said(place: Place) -> str:
    """Return a place as an error names it."""
    file, line, name, column = place
    return f"{file} {line:,}: {name} (column {column!r})"


def time_ms(place: Place, raw: object, unit: str, fix: str, now_ms: int | None = None) -> int:
    """Return a time as ms since 1970. A moment without a zone is UTC; a date alone is its midnight.

    Args:
        place: where it stands, for errors.
        raw: what stands there; a `datetime`, as Parquet has it, needs no unit.
        unit: one of `UNITS`.
        fix: the way out where another unit would fit.
        now_ms: the clock; the machine's if absent.

    Raises DataError for what is no time in this unit, and for a time before 2000 or after tomorrow.
    """
    latest_ms = (time.time_ns() // 1_000_000 if now_ms is None else now_ms) + DAY_MS
    found = _moment_ms(raw) if unit == ISO or isinstance(raw, datetime) else _number_ms(raw, unit)
    if found is None:
        raise DataError(f"{said(place)} is {raw!r}, not in unit {unit!r}", _fix(raw, unit, fix, latest_ms))
    if not EARLIEST_MS <= found <= latest_ms:
        raise DataError(
            f"{said(place)} is {raw!r}: in unit {unit!r} that is {_year(found)} (out_of_range: 2000 to tomorrow)",
            _fix(raw, unit, fix, latest_ms),
        )
    return found


def unit_of(raw: object, latest_ms: int) -> str:
    """Return the unit in which a time lies between 2000 and `latest_ms`, "" if there is none."""
    if _moment_ms(raw) is not None:
        return ISO
    return next((unit for unit in NUMBERS if EARLIEST_MS <= (_number_ms(raw, unit) or 0) <= latest_ms), "")


def _fix(raw: object, unit: str, fix: str, latest_ms: int) -> str:
    likely = unit_of(raw, latest_ms)
    if likely and likely != unit:
        return f'it looks like unit "{likely}": {fix}'
    if unit == ISO:
        return "write 2024-05-01T08:00:01Z, or an offset such as +02:00 for Z (no names of zones, no day before month)"
    return f"write a number of {unit} since 1970, all its digits and no separators; or another unit: {fix}"


def _number_ms(raw: object, unit: str) -> int | None:
    if type(raw) is str and raw.isascii() and raw.isdecimal():
        raw = int(raw)
    if type(raw) is int and abs(raw) < LARGEST:
        return raw * 1000 if unit == "s" else raw // PER_MS[unit]
    exact = number(raw)
    if exact is None or (isinstance(raw, str) and "e" in raw.lower()):  # a spreadsheet's 1.71455E+12 has lost its end
        return None
    return round(exact * 1000) if unit == "s" else int(exact // PER_MS[unit])


def _moment_ms(raw: object) -> int | None:
    if isinstance(raw, datetime):
        moment: datetime | None = raw
    else:
        moment = parsed(raw) if isinstance(raw, str) else None
    if moment is None:
        return None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def parsed(text: str) -> datetime | None:
    """Return the moment in a text, None if it names none. Without a zone it is UTC; a date alone is its midnight."""
    found = next(filter(None, (spelling.fullmatch(text.strip()) for spelling in _MOMENTS)), None)
    if not found:
        return None
    year, _, month, day, hour, minute, second = found.groups("00")[:7]
    offset = f"{found['offset'] or '+00'}:{found['minutes'] or '00'}"
    try:
        return datetime.fromisoformat(f"{year}-{month:0>2}-{day:0>2}T{hour:0>2}:{minute}:{second}{offset}")
    except ValueError:
        return None


def _year(found_ms: int) -> str:
    """Return a moment as a person says it; years that Python's dates don't have as their number."""
    year = 1970 + found_ms // 31_556_952_000
    if not date.min.year <= year < date.max.year:
        return f"the year {year}"
    return datetime.fromtimestamp(found_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
