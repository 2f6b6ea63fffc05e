"""Rows and lists that have outlived their time to live: they must be absent, and that isn't a difference."""

import pytest
from msgspec import json

from jobs.contract.consent import Consents
from jobs.contract.consent import Record as Said
from jobs.verify.classify import classify
from jobs.verify.expiry import NEAR_MS, Reading, entity_expiries
from jobs.verify.features import Row
from jobs.verify.lists import Session, without_consent
from jobs.verify.online import compare_view
from jobs.verify.parts import Expected
from jobs.verify.report import Report
from jobs.verify.shelf import compare_lists, compare_without_consent
from jobs.verify.views import Aggregate, View
from tests.support.verify_slices import at, event, records

DAY_MS = 86_400_000
VIEWS = Aggregate("views", "is_view", "sum", 60_000)
SHORT = View("short", ("visitor_id",), (VIEWS,), delay_ms=1000, ttl_ms=DAY_MS)
LONG = View("long", ("visitor_id",), (VIEWS,), delay_ms=1000, ttl_ms=30 * DAY_MS)
FOR_EVER = View("for_ever", ("visitor_id",), (VIEWS,), delay_ms=1000)
NOW_MS = at("12:00:00")


@pytest.mark.parametrize(
    ("expires_in_ms", "fate"),
    [(-NEAR_MS - 1, "gone"), (-NEAR_MS, "either"), (0, "either"), (NEAR_MS, "either"), (NEAR_MS + 1, "stands")],
)
def test_what_expires_near_the_reading_may_be_there_or_not(expires_in_ms: int, fate: str):
    """What expires near the moment of reading may be there or not."""
    assert Reading(NOW_MS, NOW_MS).fate(NOW_MS + expires_in_ms, NOW_MS + expires_in_ms) == fate


def test_a_long_reading_is_near_at_both_of_its_ends():
    """A reading that takes long is near at both of its ends."""
    reading = Reading(NOW_MS, NOW_MS + 60_000)
    assert reading.fate(NOW_MS + 30_000, NOW_MS + 30_000) == "either"
    assert reading.fate(NOW_MS + 60_000 + NEAR_MS + 1, NOW_MS + 10**9) == "stands"


def test_an_entity_lives_as_long_as_its_longest_row():
    """Feast keeps all views of an entity in one hash, and Redis expires it as a whole."""
    rows = {"short": {("a",): Row(NOW_MS, {})}, "long": {("a",): Row(NOW_MS - DAY_MS, {}), ("b",): Row(5, {})}}
    assert entity_expiries([SHORT, LONG], rows) == {("a",): NOW_MS + 29 * DAY_MS, ("b",): 5 + 30 * DAY_MS}
    assert entity_expiries([FOR_EVER], {"for_ever": {("a",): Row(1, {})}}) == {("a",): float("inf")}


def compared(fate: str, stored: dict) -> Report:
    report = Report()
    compare_view(report, SHORT, Expected({("a",): Row(1000, {"views": 1})}), stored, {("a",): fate})
    return report


def test_a_row_that_has_outlived_its_ttl_must_be_absent():
    assert compared("gone", {}).ok
    assert compared("gone", {("a",): Row(1000, {"views": 1})}).by_kind == {"outlived": 1}


def test_row_near_its_expiry_is_compared_if_it_is_there():
    absent = compared("either", {})
    assert absent.compared == 0
    assert absent.not_compared.total() == 2
    assert compared("either", {("a",): Row(1000, {"views": 1})}).equal == 2
    assert compared("either", {("a",): Row(1000, {"views": 2})}).by_kind == {"wrong_value": 1}


def test_a_list_that_has_outlived_its_ttl_must_be_absent():
    session = Session([event("12:00:00", "a")], (0, 0))
    results = {}
    for fate in ("stands", "either", "gone"):
        report = Report()
        compare_lists(report, {"v": session}, {}, {}, {"v": fate}, model="m", list_size=2)
        results[fate] = (report.mismatched > 0, report.not_compared.total())
    assert results == {"stands": (True, 0), "either": (False, 1), "gone": (False, 0)}
    report = Report()
    compare_lists(report, {"v": session}, {}, {"v": b"{}"}, {"v": "gone"}, model="m", list_size=2)
    assert report.by_kind == {"outlived": 1}


def test_popularity_list_that_has_outlived_its_ttl_must_be_absent():
    class Model:
        popular, names = ["i"], {}

    report = Report()
    compare_without_consent(report, {"v": "gone", "w": "stands"}, {"w": json.encode({"fallback": None})}, Model, 2)
    assert report.by_kind == {"consent_list": 3}


def test_popularity_list_expires_after_event_or_withdrawal_that_it_answers():
    consents = Consents("assumed")
    consents.add("v", Said("withdrawn", at("12:00:00")))
    slice_ = records(event("11:00:00", "a"), event("12:10:00", "b"), event("12:05:00", "c"))
    entries = classify(slice_, delay_ms=10**9, consents=consents).of_kind("counted", "suppressed")
    assert without_consent(entries, consents, ["v"]) == {"v": (at("12:00:00"), at("12:10:00"))}
