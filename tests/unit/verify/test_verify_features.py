"""The feature oracle, against values worked out by hand."""

import pytest

from jobs.errors import DefinitionError
from jobs.verify.features import Row, newest_rows, session_starts
from jobs.verify.views import Aggregate, View
from tests.support.verify_slices import accepted, at, event

LATER = at("23:59:00")
MINUTE = 60_000


def session_view(*aggregates: tuple[str, str]) -> View:
    """A view over sessions with a gap of 30 minutes; features are named after their function."""
    each = tuple(Aggregate(function, column, function, None) for function, column in aggregates)
    return View("session", ("visitor_id",), each, delay_ms=1000, gap_ms=30 * MINUTE)


def window_view(
    minutes: int, *aggregates: tuple[str, str], slide_ms: int | None = None, key: str = "visitor_id"
) -> View:
    each = tuple(Aggregate(function, column, function, minutes * MINUTE) for function, column in aggregates)
    return View("activity", (key,), each, delay_ms=1000, slide_ms=slide_ms)


def values(view: View, *events: dict, watermark_ms: int = LATER) -> dict:
    (row,) = newest_rows(view, accepted(*events), watermark_ms).values()
    return row.values


def sum_of(*numbers: int | None, function: str) -> object:
    """`function` over prices, one a minute; None is an event without a price."""
    priced = [{} if number is None else {"price_minor": number} for number in numbers]
    events = [event(f"12:{minute:02d}:00", f"e{minute}", **fields) for minute, fields in enumerate(priced)]
    return values(session_view((function, "price_minor")), *events)[function]


@pytest.mark.parametrize(("second", "views"), [("12:29:59.999", 2), ("12:30:00", 2), ("12:30:00.001", 1)])
def test_an_event_exactly_one_gap_later_belongs_to_the_session(second, views):
    assert values(session_view(("sum", "is_view")), event("12:00:00", "a"), event(second, "b")) == {"sum": views}


def test_session_is_counted_in_event_time_whatever_order_of_arrival():
    late_bridge = [event("12:00:00", "a"), event("12:50:00", "c"), event("12:25:00", "b")]
    assert values(session_view(("sum", "is_view")), *late_bridge) == {"sum": 3}


def test_sessions_start_after_each_pause_that_is_longer_than_gap():
    assert session_starts([0, 1800, 3601, 3601, 9000], gap_ms=1800) == [0, 2, 4]


def test_row_stands_at_last_event_that_event_time_has_passed():
    entries = accepted(event("12:00:00", "a"), event("12:01:00", "b"))
    view = session_view(("count", "event_id"))
    assert newest_rows(view, entries, at("12:01:00")) == {("v",): Row(at("12:01:00"), {"count": 2})}
    assert newest_rows(view, entries, at("12:00:59.999")) == {("v",): Row(at("12:00:00"), {"count": 1})}
    assert newest_rows(view, entries, at("11:59:59.999")) == {}


def test_a_frame_includes_both_of_its_ends():
    view = window_view(5, ("sum", "is_view"))
    end, inside, outside = event("12:05:00", "a"), event("12:00:00", "b"), event("11:59:59.999", "c")
    assert values(view, outside, inside, end) == {"sum": 2}


def test_events_of_equal_time_are_in_each_others_frames():
    """Events of the same time are in each others frames and the later arrival is last."""
    twins = event("12:00:00", "a", item_id="first"), event("12:00:00", "b", item_id="second")
    assert values(window_view(5, ("sum", "is_view"), ("last", "item_id"), ("first", "item_id")), *twins) == {
        "sum": 2,
        "last": "second",
        "first": "first",
    }


def test_a_window_holds_the_newest_events_up_to_the_cap():
    """A window holds the newest events by time and then arrival and no more than the cap."""
    view = window_view(5, ("count", "item_id"), ("first", "item_id"))
    clicks = accepted(
        *(
            event(clock, item, item_id=item)
            for clock, item in (("12:00:02", "d"), ("12:00:01", "b"), ("12:00:00", "a"), ("12:00:01", "c"))
        )
    )
    held = {cap: newest_rows(view, clicks, LATER, cap)[("v",)].values for cap in (1, 2, 3, 4, 5)}
    assert held == {
        cap: {"count": min(cap, 4), "first": first} for cap, first in zip((1, 2, 3, 4, 5), "dcbaa", strict=True)
    }


def test_a_session_counts_distinct_values_up_to_the_cap():
    """A session counts distinct values up to the cap and all its events."""
    view = session_view(("count_distinct", "item_id"), ("count", "item_id"))
    clicks = accepted(*(event(f"12:00:0{n}", f"e{n}", item_id=item) for n, item in enumerate("abcab")))
    held = [newest_rows(view, clicks, LATER, cap)[("v",)].values for cap in (2, 3, 4)]
    assert held == [{"count_distinct": distinct, "count": 5} for distinct in (2, 3, 3)]


def test_a_sliding_view_ends_with_the_event_leaving_its_window():
    # Seen at 12:00:30, so it enters at 12:01 and leaves five minutes later, at 12:06.
    view = window_view(5, ("sum", "is_view"), slide_ms=MINUTE)
    entries = accepted(event("12:00:30", "a"))
    due = {
        clock: newest_rows(view, entries, at(clock))
        for clock in ("12:00:59.998", "12:00:59.999", "12:05:59.998", "12:05:59.999", "13:00:00")
    }
    entered = {("v",): Row(at("12:01:00"), {"sum": 1})}
    left = {("v",): Row(at("12:06:00"), {"sum": 0})}
    assert list(due.values()) == [{}, entered, entered, left, left]


def test_event_on_the_full_minute_enters_at_the_next_one():
    view = window_view(5, ("sum", "is_view"), slide_ms=MINUTE)
    assert newest_rows(view, accepted(event("12:00:00", "a")), at("12:01:00")) == {
        ("v",): Row(at("12:01:00"), {"sum": 1})
    }


def test_the_row_of_the_last_change_has_all_windows():
    """All windows of a sliding view stand in the row of the last change."""
    # a enters at 12:01 and leaves 5 min at 12:06; b enters at 12:04. At 12:08 nothing changed since 12:06.
    both = (Aggregate("5m", "is_view", "sum", 5 * MINUTE), Aggregate("1h", "is_view", "sum", 60 * MINUTE))
    view = View("item", ("item_id",), both, delay_ms=1000, slide_ms=MINUTE)
    entries = accepted(event("12:00:30", "a"), event("12:03:10", "b", visitor_id="w"))
    assert newest_rows(view, entries, at("12:08:00")) == {("i",): Row(at("12:06:00"), {"5m": 1, "1h": 2})}


def test_distinct_visitors_are_counted_over_the_window():
    view = window_view(5, ("count_distinct", "visitor_id"), slide_ms=MINUTE, key="item_id")
    seen = [event(f"12:00:0{n}", f"e{n}", visitor_id=visitor) for n, visitor in enumerate("aab")]
    assert values(view, *seen, watermark_ms=at("12:02:00")) == {"count_distinct": 2}


def test_an_event_without_the_entity_is_not_in_the_view():
    search = event("12:00:00", "a", event_type="search", item_id=None, query="shoes")
    assert newest_rows(window_view(5, ("sum", "is_search"), key="item_id"), accepted(search), LATER) == {}


@pytest.mark.parametrize(
    ("function", "numbers", "expected"),
    [
        ("sum", (3, None, 4), 7),
        ("sum", (None,), 0),
        ("count", (3, None, 4), 2),
        ("count", (None,), 0),
        ("min", (4, None, 3), 3),
        ("min", (None,), None),
        ("max", (4, None, 3), 4),
        ("max", (None,), None),
        ("mean", (3, None, 4), 3.5),
        ("mean", (None,), None),
        ("std", (2, 4, None, 6), 2.0),  # deviations -2, 0, 2: sqrt(8 / 2)
        ("std", (2, None), None),
        ("count_distinct", (3, 3, None, 4), 2),
        ("first", (None, 3, 4), 3),
        ("first", (None,), None),
        ("last", (3, 4, None), 4),
        ("last", (None,), None),
        ("span", (4, None, 9), 5),
        ("span", (4,), 0),
        ("span", (None,), None),
        ("last_2", (1, 2, 3), [2, 3]),
        ("last_2", (1, 2, None), [2]),  # of the last two events, those that have a value
        ("last_2", (1, None, None), []),
        ("last_9", (1, None, 3), [1, 3]),
        ("is_single", (None,), 1),
        ("is_single", (1, 2), 0),
    ],
)
def test_functions_look_at_the_values_that_are_there(function, numbers, expected):
    assert sum_of(*numbers, function=function) == expected


def test_derived_columns_follow_the_type_of_the_event():
    view = session_view(("sum", "cart_delta_minor"), ("max", "viewed_price_minor"), ("mean", "purchase_value_minor"))
    shopping = [
        event("12:00:00", "a", price_minor=500),
        event("12:01:00", "b", event_type="add_to_cart", price_minor=500, quantity=3),
        event("12:02:00", "c", event_type="remove_from_cart", price_minor=500),
        event("12:03:00", "d", event_type="add_to_cart"),  # no price: adds no value
        event("12:04:00", "e", event_type="purchase", price_minor=900, quantity=2),
    ]
    assert values(view, *shopping) == {"sum": 1000, "max": 500, "mean": 1800.0}


def test_a_purchase_without_a_quantity_is_of_one_piece():
    view = session_view(("sum", "purchased_pieces"), ("mean", "purchased_pieces"), ("count", "quantity"))
    bought = event("12:00:00", "a", event_type="purchase", quantity=3), event("12:01:00", "b", event_type="purchase")
    seen = event("12:02:00", "c", quantity=9)
    assert values(view, *bought, seen) == {"sum": 4, "mean": 2.0, "count": 2}


def test_a_float32_feature_keeps_what_a_float32_can():
    view = View("s", ("visitor_id",), (Aggregate("rating", "rating", "last", None, "Float32"),), 1000, gap_ms=MINUTE)
    rated = event("12:00:00", "a", event_type="rating", rating=0.1)
    assert values(view, rated) == {"rating": 0.10000000149011612}


@pytest.mark.parametrize(
    ("function", "column"), [("median", "price_minor"), ("sum", "prize_minor"), ("last_0", "item_id")]
)
def test_an_unknown_function_or_column_is_named(function, column):
    with pytest.raises(DefinitionError, match=rf"session\.{function}"):
        newest_rows(session_view((function, column)), [], LATER)
