"""Files of clicks and of questions: what each format means, and the line that is wrong."""

import gzip
import json

import pandas as pd
import pytest

from jobs.errors import DataError
from models.clicks.dataset import MAX_EVENTS, Event
from models.clicks.sessions import questions_of, read_lists, read_prefixes, read_sessions

EIGHT_MS = 1_714_550_400_000  # 2024-05-01T08:00:00Z


def ids(sessions) -> list[list[str]]:
    return [[event.item for event in session] for session in sessions]


def write(path, text: str):
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def event(after_ms: int, item: str | None, **fields) -> str:
    """Return an event of 1 May 2024 as a line of JSON, some time after 8 o'clock."""
    given = {"visitor_id": "v", "event_type": "view", "event_time_ms": EIGHT_MS + after_ms, "item_id": item}
    return json.dumps(given | fields)


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
        event(0, "a", device="phone"),
        event(1_000, None, event_type="search", query="lamp"),
        event(1_800_000, "b", event_type="purchase"),
        event(3_600_001, "c"),
        "",
        event(500, "d", visitor_id="w"),
    ]
    sessions = read_sessions(write(tmp_path / "events.jsonl.gz", "\n".join(lines)))
    assert ids(sessions) == [["d"], ["a", "b"], ["c"]]  # 1,800.000 s belong together, 1,800.001 s don't
    assert [event.type for event in sessions[1]] == ["view", "purchase"]


def test_parquet_holds_the_same_events(tmp_path):
    columns = {
        "visitor_id": ["v", "v"],
        "event_type": ["view", "search"],
        "event_time_ms": [EIGHT_MS, EIGHT_MS + 1],
        "item_id": ["a", None],
        "query": [None, "lamp"],
    }
    pd.DataFrame(columns).to_parquet(tmp_path / "events.parquet")
    assert ids(read_sessions(tmp_path / "events.parquet")) == [["a"]]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_only_events_that_count_are_learned(suffix, tmp_path):
    rows = [json.loads(event(at_ms, item, visitor_id=who)) for at_ms, item, who in ((0, "a", "v"), (5, "b", "w"))]
    path = tmp_path / f"events.{suffix}"
    pd.DataFrame(rows).to_parquet(path) if suffix == "parquet" else path.write_text("\n".join(map(json.dumps, rows)))
    assert ids(read_sessions(path, counts=lambda each: each["visitor_id"] != "v")) == [["b"]]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("clicks.txt", b"1 2\n3 4\t5\n", r"line 2: '3 4\\t5' has a tab"),
        ("clicks.txt", b"1 2\n\xff\xfe 3\n", r"line 2: invalid start byte"),
        ("clicks.txt", b"1 2\n3 \x00\n", r"line 2 holds a null byte"),
        ("clicks.txt", b"\n\n", r"holds no session"),
        ("clicks.txt.gz", b"not gzip", r"can't be read after line 0 \(Not a gzipped file"),
        ("clicks.tsv", b"SessionId\tItem\tTime\n1\t2\t3\n", r"line 1: the header has no column 'ItemId'; it has"),
        ("clicks.tsv", b"SessionId\tItemId\tTime\n1\t2\t3\n1\t2\n", r"line 3: not 3 values as in the header but 2"),
        ("clicks.tsv", b"SessionId\tItemId\tTime\n1\t2\tnoon\n", r"line 2: Time .* is 'noon', not in unit 's'"),
        ("clicks.tsv", b"SessionId\tItemId\tTime\n1\t2\tnan\n", r"line 2: Time in seconds .* is 'nan'"),
        ("clicks.tsv", b"SessionId\tItemId\tTime\n1\t\t5\n", r"line 2: ItemId '' names nothing"),
        ("events.jsonl", event(0, "a", visitor_id=[7]).encode(), r"line 1: visitor_id .* is \[7\], not text"),
        ("events.parquet", b"PAR", r"can't be read as Parquet"),
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
        "visitor_id": ["v", "v"], "event_type": ["view", "view"], "event_time_ms": [EIGHT_MS, EIGHT_MS + 1],
        "item_id": ["a", "b"],
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
        "visitor_id": ["v"], "event_type": ["view"], "event_time_ms": [EIGHT_MS], "item_id": ["a"],
        "visitor_session__view_count": [3],
    }  # fmt: skip
    pd.DataFrame(columns).to_parquet(tmp_path / "events.parquet")
    with pytest.raises(
        DataError, match=r"events.parquet has no column for visitor_activity:views_1h, .*\n  fix: add it"
    ):
        read_sessions(tmp_path / "events.parquet", FEATURES)


def test_a_file_with_none_of_the_features_has_no_context(tmp_path):
    columns = {"visitor_id": ["v"], "event_type": ["view"], "event_time_ms": [EIGHT_MS], "item_id": ["a"]}
    pd.DataFrame(columns).to_parquet(tmp_path / "events.parquet")
    assert read_sessions(tmp_path / "events.parquet", FEATURES)[0][0].context == ()


def test_a_feature_that_is_no_number_is_named(tmp_path):
    columns = {
        "visitor_id": ["v"], "event_type": ["view"], "event_time_ms": [EIGHT_MS], "item_id": ["a"],
        "visitor_session__view_count": ["many"],
    }  # fmt: skip
    pd.DataFrame(columns).to_parquet(tmp_path / "events.parquet")
    with pytest.raises(DataError, match=r"events.parquet, column visitor_session__view_count: .*many"):
        read_sessions(tmp_path / "events.parquet", FEATURES[1:])


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (
            "clicks.dat",
            "81,2024-03-11T09:05:12.400Z,700101,0\n",
            r"line 1: '81,2024-03-11T09:05:12\.400Z,700101,0' has ','",
        ),
        ("blanks.dat", "81,2024-03-11 09:05:12,700101\n", r"line 1: .* has ','"),
        ("events.csv", "timestamp,visitorid\n1,2\n", r"line 1: 'timestamp,visitorid' is a line of a table"),
        ("events.CSV.GZ", "timestamp visitorid\n", r"line 1: .* is a line of a table"),
        ("shop.inter", "user_id:token\titem_id:token\n", r"line 1: .* has a tab"),
        ("clicks.dat", "7 8\n81;700101;0\n", r"line 2: '81;700101;0' has ';'"),
        ("ratings.dat", "1::1193::5::978300760\n", r"line 1: .* has '::'"),
        ("clicks.log", "81|700101|0\n", r"line 1: .* has '\|'"),
        ("clicks.txt", "81 2024-03-11 700101\n", r"line 1: .* has '2024-03-11', which is a time"),
        ("clicks.hive", "81\x01700101\x010\n", r"line 1: .* has a control character"),
        ("clicks.txt", "81\x1f700101\n", r"line 1: .* has a control character"),
        ("clicks", '{"visitor_id":"v"}\n', r"line 1: .* has a value of JSON"),
    ],
)
def test_a_table_is_no_list_of_sessions(tmp_path, name, content, says):
    with pytest.raises(DataError, match=says + r"[^\0]*\n  fix: (give a session a line|name a table)"):
        read_sessions(write(tmp_path / name.replace(".GZ", ".gz"), content))


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ("8.80004E+06", "is shortened by a spreadsheet"),
        ('"8"', "is in quotes"),
        ("undefined", "names nothing"),
        ("\\N", "names nothing"),
    ],
)
def test_what_can_be_no_id_is_refused_in_both_forms(tmp_path, item, says):
    with pytest.raises(DataError, match=f"clicks.txt, line 2: item .* {says}"):
        read_sessions(write(tmp_path / "clicks.txt", f"7 8\n9 {item}\n"))
    for name, row in (("ItemId", f"1\t{item}\t5"), ("SessionId", f"{item}\t7\t5")):
        with pytest.raises(DataError, match=f"clicks.tsv, line 2: {name} .* {says}"):
            read_sessions(write(tmp_path / "clicks.tsv", f"SessionId\tItemId\tTime\n{row}\n"))


@pytest.mark.parametrize("item", ["a|b", "shop::7", "2024-03-11-shoe", "sku_1.5", "E+05", "#7"])
def test_unusual_ids_may_stand_in_a_session(tmp_path, item):
    assert ids(read_sessions(write(tmp_path / "clicks.txt", f"{item} 7\n"))) == [[item, "7"]]


def test_questions_and_lists_are_no_tables(tmp_path):
    with pytest.raises(DataError, match=r"q\.tsv, line 1: '7,8\\t9' has ','"):
        read_prefixes(write(tmp_path / "q.tsv", "7,8\t9\n"))
    with pytest.raises(DataError, match=r"l\.txt, line 2: '9;8' has ';'"):
        read_lists(write(tmp_path / "l.txt", "7 8\n9;8\n"))


@pytest.mark.parametrize(
    ("times", "says"),
    [
        (("1714550401123",), r"line 2: Time in seconds .* is '1714550401123': in unit 's' that is the year 56301"),
        (("1714550401", "0"), r"line 3: Time '0' lies before 2000, other lines' don't"),
        (("1.71455E+09",), r"line 2: Time in seconds .* is '1\.71455E\+09', not in unit 's'"),
        (("2024-05-01 08:00:01 UTC",), r"line 2: .* not in unit 's'\n  fix: it looks like unit \"iso\""),
    ],
)
def test_a_clock_that_cannot_be_right_is_refused(tmp_path, times, says):
    rows = "".join(f"1\tmug\t{time}\n" for time in times)
    with pytest.raises(DataError, match=says):
        read_sessions(write(tmp_path / "clicks.tsv", f"SessionId\tItemId\tTime\n{rows}"))


def test_a_column_of_clicks_stands_once(tmp_path):
    with pytest.raises(DataError, match=r"2 columns are called 'ItemId'"):
        read_sessions(write(tmp_path / "clicks.tsv", "SessionId\tItemId\tItemId\tTime\n1\ta\tb\t5\n"))


def test_blank_lines_and_blanks_around_ids_change_nothing(tmp_path):
    table = "\n SessionId\tItemId\tTime\n\n1 \t a\t5\n1\tb\t6\n \n"
    assert ids(read_sessions(write(tmp_path / "clicks.tsv", table))) == [["a", "b"]]
    lines = [event(0, " a", visitor_id="v "), "", event(1, "b\ufeff")]
    assert ids(read_sessions(write(tmp_path / "events.jsonl", "\n".join(lines)))) == [["a", "b"]]


def test_an_event_that_comes_twice_counts_once(tmp_path):
    lines = [event(0, "a", event_id="1"), event(1, "b", event_id="2"), event(0, "a", event_id="1")]
    assert ids(read_sessions(write(tmp_path / "events.jsonl", "\n".join(lines)))) == [["a", "b"]]


def test_the_questions_of_a_robot_stay_small():
    """A question holds what the model reads, so memory grows with a session's clicks and not with their square."""
    session = [Event(str(place % 40), "view", float(place)) for place in range(2000)]
    asked = questions_of([session])
    assert len(asked) == 1999
    assert [len(question.prefix) for question in asked] == [*range(1, MAX_EVENTS), *[MAX_EVENTS] * 1950]
    assert asked[-1].prefix == session[-1 - MAX_EVENTS : -1]


def test_questions_may_begin_after_a_moment():
    session = [Event(item, "view", float(place)) for place, item in enumerate("abc")]
    assert [question.target for question in questions_of([session], since_s=1.0)] == ["c"]
