"""What was known of an item at a moment: by hand, and where compaction leaves nobody sure."""

import pytest

from jobs.connect.kafka_read import Record
from jobs.contract import shelf_plan as plan
from jobs.contract.items import FactContract, FactField
from jobs.verify.everywhere import Everywhere
from jobs.verify.fact_history import LAG_MS, TOMBSTONES_MS, FactHistory
from jobs.verify.gate import LIST_LIFE_MS, long_gone
from jobs.verify.shelf_rules import Known, is_true

WHAT = FactContract("what", (FactField(name="category", kind="string", max_length=9),))
TERMS = FactContract("terms", (FactField(name="stock", kind="int"), FactField(name="created", kind="int")))
NOW_MS = 100 * LAG_MS
OLD_MS = NOW_MS - 2 * LAG_MS


def record(offset: int, item: str, value: str | None, time_ms: int = NOW_MS) -> Record:
    return Record(0, offset, time_ms, item.encode(), None if value is None else value.encode())


def history(*terms: Record, what: tuple[Record, ...] = ()) -> FactHistory:
    return FactHistory({WHAT: what, TERMS: terms}, NOW_MS)


def known(told: FactHistory, item: str, **offsets: int) -> dict:
    return dict(told.facts(offsets).get(item, {}))


def test_the_newest_record_before_an_offset_counts_as_a_whole() -> None:
    told = history(
        record(0, "a", '{"stock": 1, "created": 7}'),
        record(1, "a", '{"stock": 2}'),
        record(2, "a", None),
        what=(record(0, "a", '{"category": "shoes"}'),),
    )
    assert known(told, "a", terms=0, what=1) == {"category": "shoes"}
    assert known(told, "a", terms=1, what=0) == {"stock": 1, "created": 7}
    assert known(told, "a", terms=2, what=1) == {"category": "shoes", "stock": 2}
    assert known(told, "a", terms=3, what=0) == {}
    assert told.was_named("a", {"terms": 3})
    assert not told.was_named("a", {"terms": 0})


def test_a_refused_record_changes_nothing() -> None:
    told = history(record(0, "a", '{"stock": 1}'), record(1, "a", '{"stock": "2"}'))
    assert known(told, "a", terms=2) == {"stock": 1}
    said = told.said("a", "terms", 2)
    assert said is not None
    assert said.offset == 0


def test_items_that_changed_lie_between_two_moments() -> None:
    told = history(*(record(offset, item, '{"stock": 1}') for offset, item in enumerate("abcab")))
    assert told.changed({"terms": 1}, {"terms": 3}) == {"b", "c"}
    assert told.changed({"terms": 5}, {"terms": 4}) == {"b"}
    assert told.changed({"terms": 2}, {"terms": 2}) == set()


def test_an_item_is_long_gone_when_no_list_holds_it() -> None:
    now_ms = 2 * LIST_LIFE_MS
    old_ms = now_ms - LIST_LIFE_MS - 1
    told = history(
        record(0, "stays", '{"stock": 0}', old_ms),
        record(1, "gone", None, old_ms),
        record(2, "went", '{"stock": 1}', old_ms),
        record(3, "elsewhere", None, old_ms),
        record(4, "went", None, old_ms + 1),
        what=(record(0, "elsewhere", '{"category": "shoes"}', old_ms),),
    )
    assert long_gone(told, now_ms) == {"gone"}


@pytest.mark.parametrize(
    ("first_ms", "before", "list_ms", "whole"),
    [
        (OLD_MS, 5, OLD_MS + 1, False),  # the first record of b lies at 7, and what stood before it may be gone
        (OLD_MS, 8, OLD_MS + 1, True),  # the list was made with that record
        (OLD_MS, 1, OLD_MS + 1, True),  # nothing is missing before offset 1
        (OLD_MS, 5, NOW_MS - LAG_MS + 1, True),  # too young for compaction to have taken what it read
        (NOW_MS, 5, OLD_MS + 1, True),  # b's record is too young to have replaced one
        (NOW_MS, 8, NOW_MS - TOMBSTONES_MS - 1, False),  # a removal may be gone, and the item with it
    ],
)
def test_a_list_is_unsure_where_compaction_may_have_taken(
    first_ms: int, before: int, list_ms: int, whole: bool
) -> None:
    told = history(record(0, "a", '{"stock": 1}', OLD_MS), record(7, "b", '{"stock": 1}', first_ms))
    assert told.is_whole({"terms": before}, list_ms) is whole


def test_without_a_gap_everything_is_still_there() -> None:
    told = history(record(0, "a", '{"stock": 1}', OLD_MS), record(1, "b", '{"stock": 1}', OLD_MS))
    assert told.is_whole({"terms": 1}, 1)


def test_an_old_refused_record_alone_leaves_its_item_unsure() -> None:
    told = history(
        record(3, "a", '{"stock": "1"}', OLD_MS), record(5, "b", '{"stock": 1}'), record(6, "a", '{"stock": 2}')
    )
    assert [told.is_whole({"terms": before}, OLD_MS + 1) for before in (4, 6, 7)] == [False, False, True]


def test_only_what_may_have_changed_is_looked_at_again() -> None:
    """a turns when `now` passes 100, b with its record; c is looked at once."""
    looked: list[str] = []
    new: plan.Condition = plan.Compare("<", plan.Feature("item", "created", "int"), plan.Moment(0))
    told = history(
        record(0, "a", '{"created": 100}'), record(1, "b", '{"created": 900}'), record(2, "b", '{"created": 5}')
    )

    def is_new(known: Known, item: str) -> bool:
        looked.append(item)
        return is_true(new, known, item)

    values: dict[str, bool] = {}
    everywhere = Everywhere(told, "abc", is_new, [new], values.__setitem__)
    assert everywhere.move_to({"terms": 2}, 50) == 3
    assert values == {"a": False, "b": False, "c": False}
    assert everywhere.move_to({"terms": 2}, 90) == 3
    assert everywhere.move_to({"terms": 2}, 110) == 4
    assert everywhere.move_to({"terms": 3}, 200) == 5
    assert values == {"a": True, "b": True, "c": False}
    assert everywhere.move_to({"terms": 2}, 99) == 7  # and back again
    assert sorted(looked) == ["a", "a", "a", "b", "b", "b", "c"]
