"""The readers and the arrays that the model reads."""

import gzip

import numpy as np
import pytest

from jobs.errors import DataError
from jobs.lab.replay.catalogues import eshop2008
from jobs.lab.replay.shops import DATASETS
from models.clicks.dataset import EVENT_TYPES, MAX_EVENTS, Encoder, Event, pad, read, with_support

ITEMS = {"a": 1, "b": 2}
TYPES = {name: index for index, name in enumerate(EVENT_TYPES, start=1)}


def test_rows_are_left_aligned_and_padded_with_zeros_at_right():
    batch = pad([[Event("b", "view", 0)], [Event("a", "view", 0), Event("b", "purchase", 9)]], ITEMS, TYPES)
    assert batch.items.tolist() == [[2, 0], [1, 2]]
    assert batch.types.tolist() == [[1, 0], [1, 5]]  # view is the first of the types, purchase the fifth
    assert batch.lengths.tolist() == [1, 2]
    assert batch.gaps[1].tolist() == pytest.approx([0, np.log(10)])  # log1p(9 seconds)
    assert [array.dtype for array in batch] == [np.int64, np.int64, np.float32, np.int64]


def test_an_unknown_item_changes_nothing():
    with_unknown = [Event("a", "view", 0), Event("?", "view", 5), Event("b", "view", 9)]
    without = [Event("a", "view", 0), Event("b", "view", 9)]
    for found, expected in zip(pad([with_unknown], ITEMS, TYPES), pad([without], ITEMS, TYPES), strict=True):
        assert found.tolist() == expected.tolist()


def test_session_without_known_item_has_length_1_and_item_0():
    batch = pad([[Event("?", "view", 0)], []], ITEMS, TYPES)
    assert batch.items.tolist() == [[0], [0]]
    assert batch.lengths.tolist() == [1, 1]


def test_a_long_session_keeps_its_last_events():
    events = [Event("a", "view", second) for second in range(MAX_EVENTS)] + [Event("b", "view", MAX_EVENTS)]
    batch = pad([events], ITEMS, TYPES)
    assert batch.lengths.tolist() == [MAX_EVENTS]
    assert batch.items[0, -1] == 2


def test_the_vocabulary_starts_with_the_most_frequent_item():
    """The vocabulary starts with the most frequent item and breaks ties by id."""
    sessions = [[Event(item, "view", 0) for item in "cbbac"]]
    assert Encoder(sessions).items == ["b", "c", "a"]


def test_eshop_has_the_published_rows_months_and_names(eshop_file):
    parts = read("eshop", eshop_file)
    assert sum(len(session) for session in parts.ship + parts.test) == 165_474
    assert len(parts.ship) + len(parts.test) == 24_026
    assert sum(len(session) for session in parts.test) == 14_148  # August
    assert sum(len(session) for session in parts.validate) == 35_231  # July
    assert len(Encoder(parts.ship).items) == 217
    # The file's first two lines: 1 April 2008, session 1, A13 (category 1, colour 1, $28), then A16.
    assert parts.names["A13"] == "trousers A13, beige, $28"
    first = parts.ship[0]
    assert [event.item for event in first[:2]] == ["A13", "A16"]
    assert [event.time_s for event in first[:2]] == [1_207_008_000, 1_207_008_000 + 1200]


def test_a_missing_file_is_named_with_the_way_out(tmp_path):
    with pytest.raises(DataError, match=r"nowhere.csv.gz is missing") as error:
        read("eshop", tmp_path / "nowhere.csv.gz")
    assert "models/README.md, Train" in str(error.value)


def test_a_file_of_another_set_is_refused(tmp_path):
    (tmp_path / "other.csv").write_text("SessionId,ItemId\n1,2\n")
    with pytest.raises(DataError, match="has no column 'month'"):
        read("eshop", tmp_path / "other.csv")


@pytest.mark.parametrize(
    "content", [b"", gzip.compress(b"month,order\n1,2\n" * 99)[:-12], b"no gzip"], ids=["empty", "cut", "no gzip"]
)
def test_a_damaged_set_is_one_clear_error(tmp_path, content):
    (tmp_path / "eshop.csv.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"eshop\.csv\.gz can't be read \(.*\)\n  fix: get it again"):
        read("eshop", tmp_path / "eshop.csv.gz")


def clicks(*lines: str) -> list[list[Event]]:
    return [[Event(item, "view", 0.0) for item in line.split()] for line in lines]


def test_rare_items_go_first_and_then_sessions_that_became_short():
    # b has one click; without it the second session has one left. c stays, though only one click of it is left.
    sessions = clicks("a c a", "b c", "a")
    assert with_support(sessions, 2, 2) == clicks("a c a")
    assert with_support(sessions, 1, 2) == clicks("a c a", "c", "a")
    assert with_support(sessions, 3, 1) == clicks("a c a")


def test_nothing_is_taken_away_by_default():
    sessions = clicks("a", "b b")
    assert with_support(sessions, 1, 1) is sessions


def test_a_filter_that_leaves_nothing_says_so():
    with pytest.raises(DataError, match=r"of 2 sessions none has 3 clicks on items that were clicked 1 times"):
        with_support(clicks("a", "b b"), 3, 1)
    with pytest.raises(DataError, match=r"of 2 sessions none has 2 clicks on items that were clicked 2 times"):
        with_support(clicks("a b", "a c"), 1, 2)


def test_eshops_facts_are_those_of_the_replays_catalogue():
    """The packaged model learned their words from one, and meets those of the other."""
    facts = read("eshop", DATASETS / "eshop2008.csv.gz").facts
    for item, row in eshop2008():
        assert facts[item] == {name: row[name] for name in ("category", "colour", "price_minor")}
    assert len(facts) == 217
