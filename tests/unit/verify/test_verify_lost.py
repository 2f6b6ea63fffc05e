"""What can still be compared when the topic's retention has taken events, against times worked out by hand."""

import math

from msgspec import json

from jobs.contract.letters import Letter
from jobs.verify.classify import classify
from jobs.verify.conservation import compare_letters
from jobs.verify.features import newest_rows
from jobs.verify.lost import certain_from_ms
from jobs.verify.parts import expected_rows
from jobs.verify.report import Report
from jobs.verify.views import Aggregate, View
from tests.support.verify_slices import accepted, at, event, records

MINUTE = 60_000
LATER = at("23:59:00")


def test_lost_events_are_older_than_the_first_on_time():
    """The job called the first event late, so it says nothing. The horizon of duplicates is a minute here."""
    slice_ = records(event("12:00:03", "a"), event("12:00:07", "b"), event("12:00:05", "c"), event("12:09:00", "d"))
    entries = classify(slice_, delay_ms=10_000).entries
    assert certain_from_ms(entries, {0}, {(0, 0)}, 10_000, MINUTE) == at("12:01:15")


def test_the_partition_of_which_least_is_known_decides():
    entries = accepted(event("12:00:00", "a")) + accepted(event("12:05:00", "b"), partition=1)
    assert certain_from_ms(entries, {0, 1}, (), 1000, 0) == at("12:05:01")
    assert certain_from_ms(entries, {0}, (), 1000, 0) == at("12:00:01")


def test_without_loss_all_is_certain_and_without_an_event_nothing():
    entries = accepted(event("12:00:00", "a"))
    assert certain_from_ms(entries, (), (), 1000, MINUTE) == -math.inf
    assert certain_from_ms(entries, {7}, (), 1000, MINUTE) == math.inf


def reach(view: View) -> int:
    (row,) = newest_rows(view, accepted(event("12:00:00", "a"), event("12:10:00", "b")), LATER).values()
    return row.reach_ms


def test_row_reaches_back_as_far_as_event_could_change_it():
    """An event one gap before the session would join it. The slide's row at 12:16 is the second event leaving."""
    five, ten = (Aggregate(f"{n}m", "is_view", "sum", n * MINUTE) for n in (5, 10))
    session = View("s", ("visitor_id",), (Aggregate("n", "is_view", "sum", None),), 1000, gap_ms=30 * MINUTE)
    assert reach(session) == at("11:30:00")
    assert reach(View("w", ("visitor_id",), (five, ten), 1000)) == at("12:00:00")
    sliding = View("l", ("visitor_id",), (five,), 1000, slide_ms=MINUTE)
    assert reach(sliding) == at("12:10:00")
    wider = View("m", ("visitor_id",), (ten,), 1000, slide_ms=MINUTE)
    rows = expected_rows([sliding, wider], {}, accepted(event("12:10:00", "b")), LATER, 100)["l"].rows
    assert [row.reach_ms for row in rows.values()] == [at("12:10:00")]  # 12:21, ten minutes and a slide


def test_lateness_is_uncertain_while_lost_events_may_be_newer():
    """Whether an event was late is uncertain while lost ones may be newer."""
    slice_ = records(event("12:00:00", "a"), event("12:05:00", "b"))
    late = {
        (0, offset): [Letter("late", "event_time_ms", json.encode(one).decode(), None, "events", 0, offset)]
        for offset, one in enumerate((event("12:00:00", "a"), event("12:05:00", "b")))
    }
    report = Report()
    compare_letters(report, classify(slice_, delay_ms=1000), {}, late, at("12:03:00"))
    assert report.by_kind == {"extra_letter": 1}
