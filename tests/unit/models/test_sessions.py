"""Files of clicks and of questions: what each format means, and the line that is wrong."""

import gzip

import pandas as pd
import pytest

from jobs.errors import DataError
from models.clicks.sessions import questions_of, read_lists, read_prefixes, read_sessions


def ids(sessions) -> list[list[str]]:
    return [[event.item for event in session] for session in sessions]


def write(path, text: str):
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["clicks.txt", "clicks.txt.gz", "clicks"])
def test_text_file_holds_session_line_and_empty_line_holds_none(tmp_path, name):
    path = write(tmp_path / name, "7 8 7\n\n  sku-9  \nblouse_é 7\n")
    assert ids(read_sessions(path)) == [["7", "8", "7"], ["sku-9"], ["blouse_é", "7"]]


def test_clicks_of_a_table_are_put_in_time_order(tmp_path):
    """Clicks of a table are put in order of time and sessions by their last click."""
    rows = [
        "SessionId\tItemId\tCatId\tTime",
        "b\t5\t1\t30.5",
        "a\t1\t1\t10",
        "a\t2\t1\t40",
        "b\t4\t1\t20",
        "c\t9\t1\t40",
    ]
    sessions = read_sessions(write(tmp_path / "clicks.tsv", "\n".join(rows)))
    assert ids(sessions) == [["4", "5"], ["1", "2"], ["9"]]
    assert sessions[0][1].time_s == 30.5


def test_events_are_cut_at_pause_of_more_than_30_minutes(tmp_path):
    lines = [
        '{"visitor_id":"v","event_type":"view","event_time_ms":1000,"item_id":"a","device":"phone"}',
        '{"visitor_id":"v","event_type":"search","event_time_ms":2000}',
        '{"visitor_id":"v","event_type":"purchase","event_time_ms":1801000,"item_id":"b"}',
        '{"visitor_id":"v","event_type":"view","event_time_ms":3601001,"item_id":"c"}',
        "",
        '{"visitor_id":"w","event_type":"view","event_time_ms":1500,"item_id":"d"}',
    ]
    sessions = read_sessions(write(tmp_path / "events.jsonl.gz", "\n".join(lines)))
    assert ids(sessions) == [["d"], ["a", "b"], ["c"]]  # 1,800.000 s belong together, 1,800.001 s don't
    assert [event.type for event in sessions[1]] == ["view", "purchase"]


def test_parquet_holds_the_same_events(tmp_path):
    columns = {
        "visitor_id": ["v", "v"],
        "event_type": ["view", "search"],
        "event_time_ms": [1, 2],
        "item_id": ["a", None],
    }
    pd.DataFrame(columns).to_parquet(tmp_path / "events.parquet")
    assert ids(read_sessions(tmp_path / "events.parquet")) == [["a"]]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("clicks.txt", b"1 2\n3 4\t5\n", r"line 2: '3 4\\t5' has a tab"),
        ("clicks.txt", b"1 2\n\xff\xfe 3\n", r"line 2: invalid start byte"),
        ("clicks.txt", b"1 2\n3 \x00\n", r"line 2 holds a null byte"),
        ("clicks.txt", b"\n\n", r"holds no session"),
        ("clicks.txt.gz", b"not gzip", r"can't be read after line 0 \(Not a gzipped file"),
        ("clicks.tsv", b"SessionId\tItem\tTime\n1\t2\t3\n", r"line 1 is \['SessionId', 'Item', 'Time'\]"),
        ("clicks.tsv", b"SessionId\tItemId\tTime\n1\t2\t3\n1\t2\n", r"line 3: '1\\t2' isn't a click"),
        ("clicks.tsv", b"SessionId\tItemId\tTime\n1\t2\tnoon\n", r"line 2: .*noon.* isn't a click"),
        ("clicks.tsv", b"SessionId\tItemId\tTime\n1\t2\tnan\n", r"line 2: .*nan.* isn't a click"),
        ("clicks.tsv", b"SessionId\tItemId\tTime\n1\t\t5\n", r"line 2: .* has no session or no item"),
        ("events.jsonl", b'{"visitor_id":7,"event_type":"view","event_time_ms":1}\n', r"line 1: .*visitor_id"),
        ("events.parquet", b"PAR", r"can't be read as events"),
    ],
)  # fmt: skip
def test_what_cant_be_read_is_refused_with_its_line(tmp_path, name, content, complaint):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=complaint) as error:
        read_sessions(tmp_path / name)
    assert name in str(error.value)
    assert "fix:" in str(error.value)


def test_a_file_that_isnt_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone.txt can't be read after line 0 \(No such file"):
        read_sessions(tmp_path / "gone.txt")


def test_a_line_of_prefixes_asks_one_question(tmp_path):
    questions = read_prefixes(write(tmp_path / "q.tsv", "5 6\t7\n8\t5\n"))
    assert [([event.item for event in question.prefix], question.target) for question in questions] == [
        (["5", "6"], "7"),
        (["8"], "5"),
    ]


@pytest.mark.parametrize("line", ["5 6 7", "\t7", "5\t", "5\t6 7", ""])
def test_line_that_is_no_question_is_refused_with_its_number(tmp_path, line):
    with pytest.raises(DataError, match=r"q.tsv, line 2: .* isn't `item item …<TAB>target`"):
        read_prefixes(write(tmp_path / "q.tsv", f"5\t6\n{line}\n"))


def test_a_list_may_be_empty_but_names_no_item_twice(tmp_path):
    assert read_lists(write(tmp_path / "lists.tsv", "a b c\n\nd\n")) == [["a", "b", "c"], [], ["d"]]
    with pytest.raises(DataError, match=r"line 2 lists 'b' twice"):
        read_lists(write(tmp_path / "lists.tsv", "a b\nb c b\n"))


def test_every_prefix_is_question_and_a_single_event_asks_none(tmp_path):
    sessions = read_sessions(write(tmp_path / "clicks.txt", "a b c\nd\n"))
    asked = questions_of(sessions)
    assert [("".join(event.item for event in question.prefix), question.target) for question in asked] == [
        ("a", "b"),
        ("ab", "c"),
    ]


FEATURES = ["visitor_activity:views_1h", "visitor_session:view_count"]


def test_parquet_may_hold_features_under_both_of_feasts_names(tmp_path):
    """Parquet may hold the features at each event under both of Feast's names."""
    columns = {
        "visitor_id": ["v", "v"], "event_type": ["view", "view"], "event_time_ms": [1, 2], "item_id": ["a", "b"],
        "visitor_session:view_count": [1, 2], "visitor_activity__views_1h": [None, 7.5], "view_count": [8, 9],
    }  # fmt: skip
    pd.DataFrame(columns).to_parquet(tmp_path / "events.parquet")
    (session,) = read_sessions(tmp_path / "events.parquet", FEATURES)
    assert [event.context for event in session] == [(0, 1), (7.5, 2)]
    (without,) = read_sessions(tmp_path / "events.parquet")
    assert [event.context for event in without] == [(), ()]


def test_a_file_names_the_feature_that_it_lacks(tmp_path):
    """A file that lacks one of the features names it and the way out."""
    columns = {
        "visitor_id": ["v"], "event_type": ["view"], "event_time_ms": [1], "item_id": ["a"],
        "visitor_session__view_count": [3],
    }  # fmt: skip
    pd.DataFrame(columns).to_parquet(tmp_path / "events.parquet")
    with pytest.raises(
        DataError, match=r"events.parquet has no column for visitor_activity:views_1h, .*\n  fix: add it"
    ):
        read_sessions(tmp_path / "events.parquet", FEATURES)


def test_a_file_with_none_of_the_features_has_no_context(tmp_path):
    columns = {"visitor_id": ["v"], "event_type": ["view"], "event_time_ms": [1], "item_id": ["a"]}
    pd.DataFrame(columns).to_parquet(tmp_path / "events.parquet")
    assert read_sessions(tmp_path / "events.parquet", FEATURES)[0][0].context == ()


def test_a_feature_that_is_no_number_is_named(tmp_path):
    columns = {
        "visitor_id": ["v"], "event_type": ["view"], "event_time_ms": [1], "item_id": ["a"],
        "visitor_session__view_count": ["many"],
    }  # fmt: skip
    pd.DataFrame(columns).to_parquet(tmp_path / "events.parquet")
    with pytest.raises(DataError, match=r"events.parquet, column visitor_session__view_count: .*many"):
        read_sessions(tmp_path / "events.parquet", FEATURES[1:])
