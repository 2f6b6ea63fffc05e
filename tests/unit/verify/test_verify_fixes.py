"""The fix line fits what was found."""

from typing import get_args

import msgspec
import pytest

from jobs.verify import fixes
from jobs.verify.classify import classify
from jobs.verify.conservation import compare_letters
from jobs.verify.features import Row
from jobs.verify.lists import Session
from jobs.verify.online import compare_view
from jobs.verify.parts import Expected
from jobs.verify.report import Kind, Report
from jobs.verify.shelf import compare_lists, compare_log
from jobs.verify.views import Aggregate, View
from tests.support.verify_slices import event, records

VIEW = View("activity", ("visitor_id",), (Aggregate("views", "is_view", "sum", 60_000),), delay_ms=1000)
SESSION = Session([event("12:00:00", "a")], (1, 42))


def test_each_kind_of_difference_has_its_own_fix():
    assert set(fixes.BY_KIND) == set(get_args(Kind))
    assert len(set(fixes.BY_KIND.values())) == len(fixes.BY_KIND)


def of_row(stored: dict) -> Report:
    report = Report()
    compare_view(report, VIEW, Expected({("a",): Row(2000, {"views": 1})}), stored, {})
    return report


def of_list(version: str) -> Report:
    report, value = Report(), b'{"version":"%s"}' % version.encode() if version else b""
    compare_lists(report, {"v": SESSION}, {}, {"v": value} if value else {}, {}, model="m", list_size=2)
    return report


def of_letters() -> Report:
    report = Report()
    compare_letters(report, classify(records(b""), delay_ms=1), {}, {})
    return report


@pytest.mark.parametrize(
    ("report", "kinds"),
    [
        (of_row({}), {"missing_row"}),
        (of_row({("a",): Row(1000, {"views": 1})}), {"older_row"}),
        (of_row({("a",): Row(3000, {"views": 1})}), {"newer_row"}),
        (of_row({("a",): Row(2000, {"views": 2})}), {"wrong_value"}),
        (of_row({("a",): Row(2000, {"views": 1}), ("b",): Row(1, {"views": 1})}), {"extra_row"}),
        (of_list(""), {"missing_list"}),
        (of_list("00010000000000000041"), {"older_list"}),
        (of_list("00010000000000000043"), {"newer_list"}),
        (of_list("00010000000000000042"), {"wrong_list"}),
        (of_letters(), {"missing_letter"}),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, set) else "",
)
def test_difference_is_of_the_kind_that_its_fix_is_about(report: Report, kinds: set[Kind]):
    assert set(report.by_kind) == kinds
    (line,) = report.fixes()
    assert line.endswith(fixes.BY_KIND[kinds.pop()])


def test_the_log_has_a_fix_of_its_own():
    class Model:
        context_features, item_index, type_index = [], {"i": 1}, {"view": 1}

    report = Report()
    compare_log(report, {"v": SESSION}, {}, Model)
    assert set(report.by_kind) == {"wrong_log"}


def test_a_job_that_is_behind_is_named_first():
    """A job that is behind is named first and the most frequent kind next."""
    report = Report(behind={"features": 1037, "rankings": 0})
    report.compare("a:x", "1", 1, 2)
    for entity in ("2", "3"):
        report.compare("a:x", entity, 1, None, kind="missing_row")
    first, second, third = report.fixes()
    assert first == "the features job had 1,037 records left to read: liveshelf verify --wait 60s"
    assert second.startswith("2 missing_row: ")
    assert third.startswith("1 wrong_value: ")


def test_a_job_that_never_completed_a_checkpoint_is_named():
    report = Report(behind={"features": None})
    report.compare("a:x", "1", 1, None, kind="missing_row")
    assert report.fixes()[0].startswith("the features job has completed no checkpoint: liveshelf status")


def test_nothing_compared_says_why():
    assert Report().fixes() == [fixes.NOTHING]
    assert Report(lost={0: 500}).fixes() == [fixes.TAKEN]


def test_where_nothing_differs_nothing_is_to_be_done():
    report = Report(behind={"features": 7})
    report.compare("a:x", "1", 1, 1)
    assert report.fixes() == []
    assert msgspec.json.decode(report.to_json())["fixes"] == []
