"""Comparisons: what counts as equal, what as a difference, and what the report says."""

import base64
import io
import json

import msgspec
import pytest
from rich.console import Console

from jobs.connect.kafka_read import Record, Slice
from jobs.contract.letters import Letter
from jobs.errors import DataError
from jobs.verify.classify import classify
from jobs.verify.conservation import compare_letters, letters_for, refused_as_future
from jobs.verify.features import Row
from jobs.verify.lists import Ranked, Session
from jobs.verify.online import compare_view, same_value
from jobs.verify.parts import Expected
from jobs.verify.render import render
from jobs.verify.report import Report
from jobs.verify.shelf import compare_lists, compare_log
from jobs.verify.shelf_log import LogRecord, read_log
from jobs.verify.views import Aggregate, View
from tests.support.verify_slices import at, event, records

BOUGHT = View("activity", ("visitor_id",), (Aggregate("bought", "is_purchase", "sum", 60_000),), delay_ms=1000)


def differences(report: Report) -> dict[str, int]:
    return {name: count.mismatched for name, count in report.by_name.items() if count.mismatched}


@pytest.mark.parametrize(
    ("expected", "found", "same"),
    [
        (3, 3, True),
        (10**18 + 1, 10**18, False),  # as doubles they would be equal
        (1.0, 1.0 + 5e-10, True),
        (1.0, 1.0 + 1e-5, False),
        (0.0, 9e-7, True),
        (None, None, True),
        (None, 0, False),
        (0, None, False),
        (["a", "b"], ["a", "b"], True),
        (["a", "b"], ["b", "a"], False),
        ([], None, False),
        ([0.1], [0.1 + 1e-12], True),
        ("1", 1, False),
    ],
)
def test_values_are_equal_as_their_type_allows(expected, found, same):
    assert same_value(expected, found) is same


def test_missing_row_old_row_and_row_too_many_are_differences():
    now, before = Row(2000, {"bought": 0}), Row(1000, {"bought": 0})
    report = Report()
    expected = Expected({("a",): now, ("b",): now, ("c",): now})
    compare_view(report, BOUGHT, expected, {("a",): now, ("b",): before, ("x",): now}, {})
    assert differences(report) == {"activity:event_time_ms": 3, "activity:bought": 1}
    assert report.compared == 7
    assert report.by_kind == {"older_row": 1, "missing_row": 2, "extra_row": 1}


def letter(offset: int, reason: str = "empty", field: str = "", original: bytes = b"", **changed: object) -> bytes:
    text = {"original": original.decode(), "original_base64": None}
    fields = {"reason": reason, "field": field, "topic": "events", "partition": 0, "offset": offset, "refused_at_ms": 1}
    return msgspec.json.encode(text | fields | changed)


def conservation(events: list[Record], *dead: bytes, late: tuple[bytes, ...] = ()) -> dict[str, int]:
    slice_ = Slice("events", events, {0: 0}, {0: len(events)})
    report, classified = Report(), classify(events, delay_ms=1000)
    sides = [letters_for(slice_, Slice("side", records(*side), {0: 0}, {0: len(side)})) for side in (dead, late)]
    compare_letters(report, classified, *sides)
    return differences(report)


def test_each_refused_event_has_its_letter_however_often():
    bad = records(b"", b"\xff", event("12:00:00", "a"))
    binary = letter(1, "not_utf8", original=b"", original_base64=base64.b64encode(b"\xff").decode())
    assert conservation(bad, letter(0), binary, letter(0)) == {}


def test_a_missing_a_wrong_and_a_needless_letter_are_differences():
    bad = records(b"", b"[]", event("12:00:00", "a"))
    assert conservation(bad, letter(1, "not_json", original=b"[]"), letter(2)) == {"dead:reason": 3}


def test_a_letter_with_other_bytes_is_a_difference():
    assert conservation(records(b"[]"), letter(0, "not_an_object", original=b"[1]")) == {"dead:original": 1}


def test_letters_about_other_records_are_not_ours():
    assert conservation(records(event("12:00:00", "a")), letter(7), letter(0, topic="elsewhere")) == {}


def test_late_events_are_kept_where_the_oracle_calls_them_late():
    slice_ = records(event("12:00:10", "a"), event("12:00:00", "b"))
    kept = letter(1, "late", "event_time_ms", slice_[1].value)
    assert conservation(slice_, late=(kept,)) == {}
    assert conservation(slice_) == {"late:reason": 1}


def test_the_jobs_clock_is_read_from_the_dead_letters():
    dead = {(0, 4): [msgspec.json.decode(letter(4, "future_event_time", "event_time_ms"), type=Letter)]}
    assert refused_as_future(dead) == {(0, 4)}


def test_what_is_no_letter_is_named_with_its_place():
    with pytest.raises(DataError, match="side holds at partition 0, offset 0"):
        letters_for(Slice("events", [], {}, {}), Slice("side", records(b"{}"), {}, {}))


SESSION = Session([event("12:00:00", "a", item_id="i1"), event("12:00:05", "b", item_id="i2")], (1, 42))
RANKED = Ranked({"i3": 2.5, "i4": 1.25, "i5": 1.0}, None)
STORED = {
    "version": "00010000000000000042",
    "items": ["i3", "i4"],
    "scores": [2.5, 1.25],
    "model": "m",
    "event_time_ms": at("12:00:05"),
    "computed_at_ms": 1,
    "session_events": 2,
    "fallback": None,
    "list_id": "1-42",
}


def list_differences(stored: dict | None) -> dict[str, int]:
    report = Report()
    values = {} if stored is None else {"v": msgspec.json.encode(stored)}
    compare_lists(report, {"v": SESSION}, {"v": RANKED}, values, {}, model="m", list_size=2)
    return differences(report)


def test_a_stored_list_is_compared_field_by_field():
    assert list_differences(STORED) == {}
    wrong = {
        "items": ["i4", "i3"],
        "scores": [2.5, 1.3],
        "model": "n",
        "event_time_ms": 0,
        "session_events": 3,
        "fallback": "popular",
        "list_id": "1-41",
    }
    for name, value in wrong.items():
        # Scores belong to items: with the items swapped they are wrong too.
        expected = {"list:items": 1, "list:scores": 1} if name == "items" else {f"list:{name}": 1}
        assert list_differences(STORED | {name: value}) == expected


def test_the_version_is_the_first_thing_in_the_value():
    moved = dict(sorted(STORED.items()))
    assert list_differences(moved) == {"list:version": 1}


def test_of_two_partitions_either_ones_last_event_may_be_answered():
    """Nobody knows which of two partitions the job read last; an event before these is the wrong one in both."""
    split = Session(SESSION.events, (1, 42), frozenset({(0, 7), (1, 42)}))

    def differing(version: str, list_id: str) -> dict[str, int]:
        report, stored = Report(), STORED | {"version": version, "list_id": list_id}
        compare_lists(
            report, {"v": split}, {"v": RANKED}, {"v": msgspec.json.encode(stored)}, {}, model="m", list_size=2
        )
        return differences(report)

    assert differing("00010000000000000042", "1-42") == differing("00000000000000000007", "0-7") == {}
    assert differing("00000000000000000006", "0-6") == {"list:version": 1, "list:list_id": 1}
    assert differing("00010000000000000042", "0-7") == {"list:version": 1}


def test_an_absent_list_differs_in_everything():
    names = ("version", "items", "scores", "model", "event_time_ms", "session_events", "fallback", "list_id")
    assert list_differences(None) == {f"list:{name}": 1 for name in names}


def logged(offset: int, context: float = 0.0, shelf: str = "home") -> dict:
    return {
        "visitor_id": "v",
        "shelf": shelf,
        "partition": 1,
        "offset": offset,
        "context": [context],
        "context_features": ["s:x"],
        "session_items": ["i1"],
    }


def test_the_newest_log_record_answers_the_newest_event():
    """The newest log record answers the newest event and of a replays the last counts."""
    log = records(logged(42, 1.0), logged(41, 2.0), logged(42, 3.0), logged(99, shelf="mail"))
    assert read_log(log).of_shelf("home")["v"] == LogRecord("v", "home", 1, 42, [3.0], ["s:x"], ["i1"])


def test_of_two_partitions_records_the_last_logged_one_counts():
    class Model:
        context_features, item_index, type_index = ["s:x"], {"i1": 1}, {"view": 1}

    log = records(logged(42), logged(7) | {"partition": 0})
    assert read_log(log).of_shelf("home")["v"].offset == 7
    report = Report()
    split = Session(SESSION.events, (1, 42), frozenset({(0, 7), (1, 42)}))
    compare_log(report, {"v": split}, read_log(log).of_shelf("home"), Model)
    assert report.ok


def test_a_log_record_of_the_first_release_counts_too():
    old = {"channel" if name == "shelf" else name: value for name, value in logged(42).items()}
    assert read_log(records(old)).of_shelf("home") == read_log(records(logged(42))).of_shelf("home")
    assert read_log(records(old)).of_shelf("mail") == {}


def test_log_is_held_against_the_last_event_and_its_items():
    class Model:
        context_features, item_index, type_index = ["s:x"], {"i1": 1}, {"view": 1}

    report = Report()
    compare_log(report, {"v": SESSION}, read_log(records(logged(42))).of_shelf("home"), Model)
    assert report.ok
    compare_log(report, {"v": SESSION}, read_log(records(logged(41))).of_shelf("home"), Model)
    compare_log(report, {"v": SESSION}, {}, Model)
    assert differences(report) == {"log:position": 2, "log:session_items": 1, "log:context_features": 1}


def test_report_counts_by_name_and_keeps_first_differences_of_each():
    report = Report()
    for n in range(9):
        report.compare("a:x", str(n), 1, 2)
    report.compare("b:y", "[red]", b"\xff", None)
    report.compare("b:y", "2", 1, 1)
    document = json.loads(report.to_json())
    assert [document[name] for name in ("compared", "equal", "mismatched", "ok")] == [11, 1, 10, False]
    assert document["by_feature"]["a:x"] == {"compared": 9, "equal": 0, "mismatched": 9}
    assert [each["entity"] for each in document["mismatches"]] == ["0", "1", "2", "3", "4", "[red]"]


def test_nothing_compared_is_not_a_success():
    assert not Report().ok


def test_table_shows_entities_as_they_are_and_says_what_expired():
    report = Report(counts={"read": 1234, "refused": 2, "expired": 1}, refused_by_reason={"empty": 2})
    report.compare("a:x", "[red]visitor", 1, None)
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(render(report))
    shown = console.export_text()
    for part in ("1,234", "empty", "a:x", "[red]visitor", "1 compared, 0 equal, 1 mismatched", "outlived their time"):
        assert part in shown
