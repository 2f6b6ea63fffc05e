"""Sessions worked out by hand; times are minutes after T0."""

import pytest

from jobs.rankings.session import Session, current_session, current_sessions, newest_rows

T0 = 1_700_000_000_000
MINUTE_MS = 60_000
GAP_MS = 30 * MINUTE_MS


def packed(*events: str) -> str:
    """Each event as "minute type item id", "-" for no item, in order of arrival."""
    records = []
    for event in events:
        minute, kind, item, event_id = event.split()
        time_ms = T0 + round(float(minute) * MINUTE_MS)
        records.append("\x1f".join([str(time_ms), kind, "" if item == "-" else item, event_id, ""]))
    return "\x1e".join(records)


def items_of(*events: str) -> list[str]:
    return current_session(packed(*events), GAP_MS).items


def test_one_event_is_a_session() -> None:
    session = current_session(packed("0 view a e1"), GAP_MS)

    assert session == Session([T0], ["view"], ["a"], frozenset())
    assert session.session_events == 1
    assert session.event_time_ms == T0


def test_event_exactly_one_gap_later_still_belongs_to_the_session() -> None:
    assert items_of("0 view a e1", "30 view b e2") == ["a", "b"]


def test_pause_one_millisecond_longer_than_the_gap_starts_a_session() -> None:
    history = f"{T0}\x1fview\x1fa\x1fe1\x1f\x1e{T0 + GAP_MS + 1}\x1fview\x1fb\x1fe2\x1f"

    assert current_session(history, GAP_MS).items == ["b"]


def test_only_the_events_after_the_last_of_several_pauses_count() -> None:
    assert items_of("0 view a e1", "40 view b e2", "80 view c e3", "81 view d e4") == ["c", "d"]


def test_repeated_event_counts_once_and_the_first_to_arrive_stays() -> None:
    session = current_session(packed("0 view a e1", "1 view b e2", "2 purchase c e1", "3 view d e2"), GAP_MS)

    assert session.items == ["a", "b"]
    assert session.event_times_ms == [T0, T0 + MINUTE_MS]
    assert session.purchased == frozenset()
    assert session.session_events == 2


def test_events_out_of_order_are_put_into_event_time_order() -> None:
    """Events that arrived out of order are put into event time order."""
    assert items_of("2 view c e3", "0 view a e1", "1 view b e2") == ["a", "b", "c"]


def test_arrival_decides_between_equal_event_times() -> None:
    assert items_of("1 view b e2", "0 view a e1", "1 view c e3", "1 view d e0") == ["a", "b", "c", "d"]


def test_a_late_event_of_a_past_session_changes_nothing() -> None:
    """A late event of a session that is over leaves the current one as it is."""
    session = current_session(packed("100 view b e2", "101 view c e3", "5 view a e1"), GAP_MS)

    assert session.items == ["b", "c"]
    assert session.event_time_ms == T0 + 101 * MINUTE_MS


def test_a_late_event_between_two_sessions_joins_them() -> None:
    assert items_of("0 view a e1", "50 view c e3") == ["c"]
    assert items_of("0 view a e1", "50 view c e3", "25 view b e2") == ["a", "b", "c"]


def test_each_history_of_a_batch_gives_its_own_session() -> None:
    """Of a long one, one out of order, one with a repeat and one with a pause, none takes another's events."""
    histories = [
        packed("0 view a e1", "1 view b e2", "2 search - e3"),
        packed("5 view d e5", "4 view c e4"),
        packed("0 purchase e e6", "1 view f e6"),
        packed("0 view g e7", "40 view h e8"),
    ]

    found = current_sessions(histories, GAP_MS)

    assert [session.items for session in found] == [["a", "b", ""], ["c", "d"], ["e"], ["h"]]
    assert [session.event_time_ms - T0 for session in found] == [2 * MINUTE_MS, 5 * MINUTE_MS, 0, 40 * MINUTE_MS]
    assert found[2].purchased == {"e"}
    assert current_sessions([], GAP_MS) == []


def test_events_without_an_item_keep_a_session_going() -> None:
    session = current_session(packed("0 view a e1", "20 search - e2", "40 view b e3"), GAP_MS)

    assert session.items == ["a", "", "b"]
    assert session.types == ["view", "search", "view"]
    assert session.session_events == 3


def test_what_was_bought_in_an_earlier_session_isnt_in_purchased() -> None:
    session = current_session(
        packed("0 purchase a e1", "40 view b e2", "41 purchase c e3", "42 purchase b e4", "43 view a e5"), GAP_MS
    )

    assert session.purchased == {"b", "c"}


@pytest.mark.parametrize(
    ("visitors", "rows"),
    [([], []), (["a"], [0]), (["a", "b", "a", "c", "b"], [2, 3, 4]), (["a", "a", "a"], [2]), (["b", "a"], [0, 1])],
)
def test_newest_row_of_each_visitor_is_its_last_in_batch(visitors: list[str], rows: list[int]) -> None:
    assert newest_rows(visitors) == rows
