"""What becomes of an event of someone who has said something about it; each case worked out by hand."""

import msgspec
import pytest

from jobs.contract.consent import Consents, Record, gathered

PLACE = (0, 50)


def said(mode: str, *records: Record) -> Consents:
    return gathered([(0, b"v", msgspec.json.encode(record)) for record in records], mode)


GRANT, WITHDRAW = Record("granted", 100), Record("withdrawn", 200)
ERASE = Record("erased", 200, {"0": 40})

CASES = {
    "nothing said, assumed": ("assumed", (), 150, "counts"),
    "nothing said, required": ("required", (), 150, "suppressed"),
    "before the grant, required": ("required", (GRANT,), 99, "suppressed"),
    "at the grant, required": ("required", (GRANT,), 100, "counts"),
    "before the grant, assumed": ("assumed", (GRANT,), 99, "counts"),
    "from the withdrawal on": ("assumed", (WITHDRAW,), 200, "suppressed"),
    "before the withdrawal, allowed then": ("assumed", (WITHDRAW,), 199, "forgotten"),
    "before the withdrawal and a grant since": (
        "required",
        (GRANT, WITHDRAW, Record("granted", 300)),
        150,
        "forgotten",
    ),
    "between a withdrawal and a grant": ("required", (GRANT, WITHDRAW, Record("granted", 300)), 250, "suppressed"),
    "since the second grant": ("required", (GRANT, WITHDRAW, Record("granted", 300)), 300, "counts"),
    "before the erasure by time": ("assumed", (ERASE,), 199, "forgotten"),
    "back after the erasure, assumed": ("assumed", (ERASE,), 200, "counts"),
    "back after the erasure, required": ("required", (GRANT, ERASE), 200, "suppressed"),
    "before the erasure by place, with a clock ahead": (
        "assumed",
        (Record("erased", 200, {"0": 51}),),
        450,
        "forgotten",
    ),
    "behind the erasure's place in its partition": (
        "assumed",
        (Record("erased", 200, {"0": 50, "1": 99}),),
        450,
        "counts",
    ),
    "erased after a withdrawal, which still holds": (
        "assumed",
        (WITHDRAW, Record("erased", 300, {}, True)),
        400,
        "suppressed",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_consent_up_to_an_event_and_since_decides_about_it(case: str) -> None:
    """An event counts is forgotten or suppressed by what was said up to it and since."""
    mode, records, event_time_ms, expected = CASES[case]
    assert said(mode, *records).verdict("v", *PLACE, event_time_ms) == expected
    assert said(mode, *records).verdict("another", *PLACE, event_time_ms) == said(mode).verdict(
        "v", *PLACE, event_time_ms
    )


def test_what_is_no_record_is_left_out() -> None:
    """What is no record is left out and an empty one forgets what was said."""
    withdrawn = msgspec.json.encode(WITHDRAW)
    consents = gathered(
        [(0, b"a", withdrawn), (0, b"a", b"?"), (0, b"a", b'{"state":"maybe","at_ms":1}'), (0, None, withdrawn)],
        "assumed",
    )
    assert consents.of("a") == [WITHDRAW]
    assert gathered([(0, b"a", withdrawn), (0, b"a", None)], "assumed").visitors() == []


def test_of_two_partitions_one_with_the_newer_time_speaks_last() -> None:
    """The visitor's withdrawal went to another partition, because partitions had been added since the grant."""
    grant, withdrawal = msgspec.json.encode(GRANT), msgspec.json.encode(WITHDRAW)
    for records in ([(0, b"v", withdrawal), (1, b"v", grant)], [(0, b"v", grant), (1, b"v", withdrawal)]):
        assert gathered(records, "required").of("v") == [GRANT, WITHDRAW]


def test_within_a_partition_arrival_decides_whatever_the_times() -> None:
    """The partition's clock stands at 200 from the withdrawal on, so another's record of 150 comes before it."""
    records = [WITHDRAW, GRANT, Record("granted", 150)]
    consents = Consents("required")
    for partition, record in zip((0, 0, 1), records, strict=True):
        consents.add("v", record, partition)
    assert consents.of("v") == [Record("granted", 150), WITHDRAW, GRANT]
