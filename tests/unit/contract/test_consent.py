"""What becomes of an event of someone who has said something about it; each case worked out by hand."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.contract.consent import Consents, Record, gathered
from jobs.contract.consent_record import KEPT

PLACE = (0, 50)


def said(mode: str, *records: Record) -> Consents:
    """Return consents of records that were written when they say."""
    written = [(0, place, record.at_ms, b"v", msgspec.json.encode(record)) for place, record in enumerate(records)]
    return gathered(written, mode)


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
    "erased by one who didn't know of the withdrawal": (
        "assumed",
        (WITHDRAW, Record("erased", 300)),
        400,
        "suppressed",
    ),
    "granted and withdrawn at one time": ("assumed", (WITHDRAW, Record("granted", 200)), 300, "suppressed"),
    "granted and erased at one time": ("required", (ERASE, Record("granted", 200)), 300, "suppressed"),
}


@pytest.mark.parametrize("case", CASES)
def test_consent_up_to_an_event_and_since_decides_about_it(case: str) -> None:
    """An event counts is forgotten or suppressed by what was said up to it and since, in whatever order."""
    mode, records, event_time_ms, expected = CASES[case]
    for order in itertools.permutations(records):
        assert said(mode, *order).verdict("v", *PLACE, event_time_ms) == expected
    assert said(mode, *records).verdict("another", *PLACE, event_time_ms) == said(mode).verdict(
        "v", *PLACE, event_time_ms
    )


def test_an_old_grant_that_arrives_late_lifts_no_withdrawal() -> None:
    """A retry, a second collector or a restored topic brings it behind the newer withdrawal."""
    for mode in ("assumed", "required"):
        consents = said(mode, WITHDRAW, GRANT)
        assert consents.verdict("v", *PLACE, 300) == "suppressed"
        assert consents.latest("v") == WITHDRAW


def test_an_old_withdrawal_that_arrives_late_ends_no_grant() -> None:
    consents = said("assumed", Record("granted", 300), WITHDRAW)
    assert consents.verdict("v", *PLACE, 400) == "counts"
    assert consents.latest("v") == Record("granted", 300)


def test_a_grant_after_a_denial_holds_from_its_record_on() -> None:
    """What a visitor did while withdrawn stays undone, whatever time the client's clock gave the grant."""
    for denial in (WITHDRAW, Record("erased", 200)):
        consents = Consents("required")
        consents.add("v", denial)
        consents.add("v", Record("granted", 210), recorded_ms=500)
        found = [consents.verdict("v", *PLACE, time_ms) for time_ms in (300, 499, 500)]
        assert found == ["suppressed", "suppressed", "counts"]
        assert consents.since_ms("v") == 500


def test_a_first_grant_reaches_back_to_its_event() -> None:
    consents = Consents("required")
    consents.add("v", GRANT, recorded_ms=500)
    assert [consents.verdict("v", *PLACE, time_ms) for time_ms in (99, 100)] == ["suppressed", "counts"]
    consents.add("v", Record("withdrawn", 600))
    assert [consents.verdict("v", *PLACE, time_ms) for time_ms in (99, 100, 700)] == [
        "suppressed",
        "forgotten",
        "suppressed",
    ]


def test_a_grant_that_reaches_back_stands_by_its_own_time() -> None:
    """It came with an event of before the withdrawal, and lifts it all the same: it is newer."""
    consents = Consents("required")
    consents.add("v", Record("granted", 500, since_ms=100))
    assert [consents.verdict("v", *PLACE, time_ms) for time_ms in (99, 100, 500)] == ["suppressed", "counts", "counts"]
    consents.add("v", WITHDRAW)
    found = [consents.verdict("v", *PLACE, time_ms) for time_ms in (100, 200, 499, 500)]
    assert found == ["suppressed", "suppressed", "suppressed", "counts"]


def test_a_record_ahead_of_its_timestamp_holds_from_it() -> None:
    """A grant by a clock that is ahead doesn't beat the withdrawal that comes a moment later."""
    consents = Consents("assumed")
    consents.add("v", Record("granted", 1_000), recorded_ms=100)
    consents.add("v", Record("withdrawn", 101))
    assert consents.verdict("v", *PLACE, 2_000) == "suppressed"


def test_a_record_without_a_value_unsays_nothing() -> None:
    withdrawn = msgspec.json.encode(WITHDRAW)
    for records in itertools.permutations([(0, 1, 200, b"v", withdrawn), (0, 2, 300, b"v", None)]):
        assert gathered(records, "assumed").of("v") == [WITHDRAW]


def test_what_is_not_understood_is_named_with_its_place() -> None:
    """The first is about a visitor, so it denies. The others' visitors aren't known."""
    withdrawn = msgspec.json.encode(WITHDRAW)
    records = [(0, 7, 200, b"a", b"?"), (1, 8, 200, None, withdrawn), (1, 9, 200, b'"b"', withdrawn)]
    consents = gathered(records, "assumed")
    assert [str(each) for each in consents.unread] == ["0:7 not_json", "1:8 no_key", "1:9 quoted of key"]
    assert consents.unread_count == 3
    assert consents.visitors() == ["a"]
    assert consents.latest("a") == WITHDRAW


# Any order, any number

SAID = st.builds(
    lambda state, at_ms, late_ms: (Record(state, at_ms), at_ms + late_ms),
    st.sampled_from(["granted", "granted", "withdrawn", "erased"]),
    st.integers(1, 9),
    st.sampled_from([0, 0, 1, 4]),
)


@given(st.lists(SAID, max_size=KEPT), st.booleans(), st.randoms(use_true_random=False))
def test_no_order_of_arrival_changes_what_the_definition_says(records, required, chance):
    """As many records as are kept, so that nothing is merged: the definition is written out over all of them."""
    consents = Consents("required" if required else "assumed")
    for record, recorded_ms in chance.sample(records, len(records)):
        consents.add("v", record, recorded_ms)
    found = [consents.verdict("v", 0, 0, time_ms) for time_ms in range(16)]
    assert found == [defined(records, required, time_ms) for time_ms in range(16)]


def defined(records: list[tuple[Record, int]], required: bool, time_ms: int) -> str:
    denying = ("withdrawn", "erased") if required else ("withdrawn",)
    denied = [each.at_ms for each, _ in records if each.state in denying]
    granted = [(each.at_ms, recorded_ms) for each, recorded_ms in records if each.state == "granted"]
    so_far = [at_ms for at_ms in denied if at_ms <= time_ms]
    if so_far:
        is_allowed = any(at_ms > max(so_far) and recorded_ms <= time_ms for at_ms, recorded_ms in granted)
    else:
        first = [at_ms for at_ms, recorded_ms in granted if all(each > recorded_ms for each in denied)]
        said_by_then = [recorded_ms for _, recorded_ms in granted if recorded_ms <= time_ms]
        is_allowed = not required or bool(said_by_then) or any(at_ms <= time_ms for at_ms in first)
    if not is_allowed:
        return "suppressed"
    is_forgotten = any(time_ms < each.at_ms for each, _ in records if each.state != "granted")
    return "forgotten" if is_forgotten else "counts"


@given(st.lists(SAID, max_size=60), st.booleans(), st.randoms(use_true_random=False))
def test_many_records_in_any_order_allow_no_more_than_all(records, required, chance):
    """What is merged allows nothing that the definition denies, and counts no event that it forgets."""
    one, other = Consents("required" if required else "assumed"), Consents("required" if required else "assumed")
    for record, recorded_ms in records:
        one.add("v", record, recorded_ms)
    for record, recorded_ms in chance.sample(records, len(records)):
        other.add("v", record, recorded_ms)
    for time_ms in range(16):
        verdict = one.verdict("v", 0, 0, time_ms)
        assert verdict == other.verdict("v", 0, 0, time_ms)
        assert verdict in ("suppressed", defined(records, required, time_ms))


def kept(records) -> int:
    consents = Consents("required")
    for record in records:
        consents.add("v", record)
    return len(consents.of("v"))


def test_a_visitor_takes_the_same_memory_however_often_they_speak() -> None:
    assert kept(Record("granted", at_ms) for at_ms in range(1, 20_001)) == KEPT + 1
    flips = (Record(("granted", "withdrawn")[at_ms % 2], at_ms) for at_ms in range(1, 20_001))
    assert kept(flips) == 2 * (KEPT + 1)


def test_repeated_grants_and_denials_change_no_verdict() -> None:
    """A grant a minute for an hour, then a denial a minute for an hour: as if each was said once."""
    grants = [Record("granted", minute) for minute in range(1, 61)]
    denials = [Record("withdrawn", minute) for minute in range(61, 121)]
    often, once = said("required", *grants, *denials), said("required", grants[0], denials[0])
    for minute in (0, 1, 30, 60, 61, 100, 119):
        assert often.verdict("v", *PLACE, minute) == once.verdict("v", *PLACE, minute)
