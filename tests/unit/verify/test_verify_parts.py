"""Features that began to count later, against values worked out by hand."""

from dataclasses import replace

from jobs.flow.began import Beginning
from jobs.verify.classify import classify
from jobs.verify.features import Row
from jobs.verify.online import compare_view
from jobs.verify.parts import expected_rows, parts_of
from jobs.verify.report import Report
from jobs.verify.views import Aggregate, View
from tests.support.verify_slices import at, event, records

MINUTE = 60_000
OLD, NEW = Aggregate("old", "is_view", "sum", None), Aggregate("new", "is_view", "sum", None)
SESSION = View("session", ("visitor_id",), (OLD, NEW), delay_ms=1000, gap_ms=30 * MINUTE)
LATER = at("23:59:00")


def counted(*events: dict) -> list:
    return classify(records(*events), delay_ms=10**12).of_kind("counted")


def test_later_part_counts_the_events_from_its_first_offset_on():
    clicks = counted(event("12:00:00", "a"), event("12:01:00", "b"), event("12:02:00", "c"))
    rows = {
        first: expected_rows([SESSION], {"session:new": Beginning(1, {0: first})}, clicks, LATER, 100)["session"].rows
        for first in (0, 2, 3)
    }
    assert rows == {
        0: {("v",): Row(at("12:02:00"), {"old": 3, "new": 3})},
        2: {("v",): Row(at("12:02:00"), {"old": 3, "new": 1})},
        3: {("v",): Row(at("12:02:00"), {"old": 3, "new": None})},  # nothing was written for it
    }


def test_partition_that_savepoint_does_not_name_counts_from_its_beginning():
    assert expected_rows([SESSION], {"session:new": Beginning(1, {7: 5})}, counted(event("12:00:00", "a")), LATER, 100)[
        "session"
    ].rows == {("v",): Row(at("12:00:00"), {"old": 1, "new": 1})}


def test_what_was_seen_before_savepoint_stays_a_duplicate_after_it():
    clicks = counted(event("12:00:00", "a"), event("12:01:00", "a"), event("12:02:00", "b"))
    rows = expected_rows([SESSION], {"session:new": Beginning(1, {0: 1})}, clicks, LATER, 100)["session"].rows
    assert rows[("v",)].values == {"old": 2, "new": 1}


def test_features_that_were_added_together_are_one_part():
    view = replace(SESSION, aggregates=(OLD, NEW, replace(NEW, feature="newer")))
    added = Beginning(3, {0: 4, 1: 2})
    began = {"session:new": added, "session:newer": added, "other:old": Beginning(1, {0: 9})}
    parts = [([one.feature for one in part.view.aggregates], part.began) for part in parts_of(view, began)]
    assert parts == [(["old"], Beginning(0, {})), (["new", "newer"], added)]


def test_a_feature_of_unknown_beginning_is_counted_and_not_compared():
    """A feature that began nobody knows where is counted and not compared."""
    report = Report()
    expected = expected_rows(
        [SESSION], {"session:new": Beginning(1, None)}, counted(event("12:00:00", "a")), LATER, 100
    )["session"]
    compare_view(report, SESSION, expected, {("v",): Row(at("12:00:00"), {"old": 1, "new": 77})}, {})
    assert report.ok
    assert report.compared == 1
    assert dict(report.not_compared) == {"counts from a savepoint on that can't be read": 2}
    compare_view(report, SESSION, expected, {("v",): Row(at("12:00:00"), {"old": 2, "new": 77})}, {})
    assert report.by_kind == {"wrong_value": 1}


def sliding(name: str, *minutes: int) -> View:
    windows = tuple(Aggregate(f"{each}m", "is_view", "sum", each * MINUTE) for each in minutes)
    return View(name, ("item_id",), windows, delay_ms=1000, slide_ms=MINUTE)


def test_sliding_views_of_one_entity_and_slide_are_written_together():
    """The event enters at 12:01. At 12:06 it leaves the 5 minutes of one view, at 12:11 the 10 minutes of the other."""
    clicks = counted(event("12:00:30", "a"))
    alone = expected_rows([sliding("short", 5)], {}, clicks, at("12:30:00"), 100)
    both = expected_rows([sliding("short", 5), sliding("long", 10)], {}, clicks, at("12:30:00"), 100)
    assert alone["short"].rows == {("i",): Row(at("12:06:00"), {"5m": 0})}
    assert both["short"].rows == {("i",): Row(at("12:11:00"), {"5m": 0})}


def test_sliding_view_in_two_parts_has_the_time_of_either():
    """The old part's hour ends at 13:01 for the first click; the new part's 5 minutes end at 12:16 for the second."""
    view = sliding("shelf", 60, 5)
    clicks = counted(event("12:00:30", "a"), event("12:10:30", "b"))
    expected = expected_rows([view], {"shelf:5m": Beginning(1, {0: 1})}, clicks, at("13:05:00"), 100)["shelf"]
    assert expected.rows == {("i",): Row(at("13:01:00"), {"60m": 1, "5m": 0})}
    results = []
    for clock in ("13:01:00", "12:16:00", "12:11:00", "13:11:00"):
        report = Report()
        compare_view(report, view, expected, {("i",): Row(at(clock), {"60m": 1, "5m": 0})}, {})
        results.append(dict(report.by_kind))
    assert results == [{}, {}, {"older_row": 1}, {"newer_row": 1}]


def test_a_part_stays_a_part_when_the_job_begins_again():
    """Each part still writes rows of its own: after the 5 minutes of one, after the 60 minutes of the other."""
    view = sliding("shelf", 60, 5)
    began = {"shelf:5m": Beginning(1, {})}
    expected = expected_rows([view], began, counted(event("12:00:30", "a")), at("13:05:00"), 100)["shelf"]
    assert expected.rows == {("i",): Row(at("13:01:00"), {"60m": 0, "5m": 0})}
    assert expected.times_ms == {("i",): {at("13:01:00"), at("12:06:00")}}
