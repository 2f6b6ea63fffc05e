"""Times in files: the spellings that are read, the units, and what is told where a unit is another one."""

from datetime import UTC, datetime

import pytest

from jobs.errors import DataError
from jobs.files.times import time_ms

NOW_MS = 1_720_000_000_000  # 3 July 2024
EIGHT_MS = 1_714_550_401_000  # 2024-05-01T08:00:01Z


def read(raw: object, unit: str) -> int:
    return time_ms(("a.csv, line", 2, "time", "when"), raw, unit, "set unit in [time]", NOW_MS)


@pytest.mark.parametrize(
    "spelled",
    [
        "2024-05-01 08:00:01 UTC",
        "2024-05-01 08:00:01.000000 UTC",
        "2024-05-01 08:00:01+00",
        "2024-05-01 08:00:01 +0000",
        "2024-05-01 08:00:01 +0000 UTC",
        "2024-05-01 08:00:01 GMT",
        "2024-05-01T08:00:01Z",
        "2024-05-01t08:00:01z",
        "2024-05-01T08:00:01",
        "20240501T080001Z",
        "2024/05/01 08:00:01",
        "2024-5-1 8:00:01",
        "2024.05.01 08:00:01",
        "20240501 080001.0",
        "2024-05-01T08:00:01Z[UTC]",
        "2024-05-01 08:00:01 Etc/UTC",
        " 2024-05-01 08:00:01,000 ",
        "2024-05-01T10:00:01+0200",
        "2024-05-01 10:00:01.0000000 +02:00",
        "2024-05-01T10:00:01+02:00[Europe/Berlin]",
        "2024-05-01T13:30:01+05:30",
        "2024-04-30T22:00:01-10",
        datetime(2024, 5, 1, 8, 0, 1),
        datetime(2024, 5, 1, 8, 0, 1, tzinfo=UTC),
    ],
)
def test_one_moment_in_the_spellings_of_other_systems(spelled: object) -> None:
    assert read(spelled, "iso") == EIGHT_MS


@pytest.mark.parametrize(
    ("raw", "unit", "expected_ms"),
    [
        ("1714550401", "s", EIGHT_MS),
        ("1714550401.5", "s", EIGHT_MS + 500),
        (1714550401.25, "s", EIGHT_MS + 250),
        ("1714550401000.0", "ms", EIGHT_MS),
        (1714550401123456, "us", EIGHT_MS + 123),
        ("1714550402000001", "us", EIGHT_MS + 1000),
        (1714550401999999999, "ns", EIGHT_MS + 999),
    ],
)
def test_numbers_since_1970_in_four_units(raw: object, unit: str, expected_ms: int) -> None:
    assert read(raw, unit) == expected_ms


@pytest.mark.parametrize(
    ("raw", "unit", "is_", "looks"),
    [
        (1714550401, "ms", "1970-01-20 20:15:50", "s"),
        ("1714550401123", "s", "the year 56301", "ms"),
        (1714550401123456, "ms", "the year 56301", "us"),
        (1714550401123, "us", "1970-01-20 20:15:50", "ms"),
        (1714550401123456789, "us", "the year 56301", "ns"),
    ],
)
def test_a_unit_wrong_by_a_thousand_is_told(raw: object, unit: str, is_: str, looks: str) -> None:
    says = (
        rf"a\.csv, line 2: time \(column 'when'\) is \S+: in unit '{unit}' that is {is_} .*\n"
        rf'  fix: it looks like unit "{looks}": set unit in \[time\]'
    )
    with pytest.raises(DataError, match=says):
        read(raw, unit)


@pytest.mark.parametrize(
    ("raw", "unit", "says"),
    [
        ("1714550401", "iso", "not in unit 'iso'\n  fix: it looks like unit \"s\""),
        ("2024-05-01 08:00:01 UTC", "s", "not in unit 's'\n  fix: it looks like unit \"iso\""),
        ("5/1/2024 08:00", "iso", r"no day before month"),
        ("2024-05-01 08:00:01 PM", "iso", "not in unit 'iso'"),
        ("2024-05-01 08:00:01 CEST", "iso", "no names of zones"),
        ("2024-05/01", "iso", "not in unit 'iso'"),
        ("2024511", "iso", "not in unit 'iso'"),
        ("20240501080001", "iso", "not in unit 'iso'"),
        ("2024-05-01T08:00:01:00", "iso", "not in unit 'iso'"),
        ("2024-02-30T00:00:00Z", "iso", "not in unit 'iso'"),
        ("1.71455E+12", "ms", "fix: write a number of ms since 1970, all its digits"),
        ("1,714,550,401", "s", "no separators"),
        ("", "ms", "is '', not in unit 'ms'"),
        (None, "ms", "is None, not in unit 'ms'"),
        (True, "s", "is True, not in unit 's'"),
        ("nan", "s", "is 'nan', not in unit 's'"),
        ("0001-01-01T00:00:00Z", "iso", r"out_of_range: 2000 to tomorrow"),
        ("1999-12-31T23:59:59Z", "iso", r"that is 1999-12-31 23:59:59 \(out_of_range"),
        (NOW_MS + 86_400_001, "ms", r"that is 2024-07-04 09:46:40 \(out_of_range"),
        (-5, "s", r"that is 1969-12-31 23:59:55"),
        ("9" * 19, "s", r"the year \d+ \(out_of_range"),
    ],
)
def test_what_is_no_time_says_so(raw: object, unit: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read(raw, unit)


def test_tomorrow_is_the_last_moment() -> None:
    assert read(NOW_MS + 86_400_000, "ms") == NOW_MS + 86_400_000
    assert read("2000-01-01", "iso") == 946_684_800_000
    assert read("20240501T08", "iso") == read("2024-05-01 08", "iso") == EIGHT_MS - 1000
    for outside in (NOW_MS + 86_400_001, 946_684_799_999):
        with pytest.raises(DataError, match="out_of_range"):
            read(outside, "ms")
