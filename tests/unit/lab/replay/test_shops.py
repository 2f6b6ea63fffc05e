"""The sets: what their rows become. Counts are published with the sets, or were counted with zcat, grep and pandas."""

import gzip
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from jobs.errors import DataError, SettingsError
from jobs.lab.replay.shops import DATASETS, eshop_time_of_day_ms
from jobs.lab.replay.sources import read

NOT_SHIPPED = ["retailrocket", "trivago100k", "yoochoose64"]


def test_august_of_eshop_has_14148_clicks_in_time_order():
    events = list(read("eshop2008", since="2008-08-01", until="2008-09-01"))
    assert len(events) == 14_148
    times = [event["event_time_ms"] for event in events]
    assert times == sorted(times)
    assert len({event["event_id"] for event in events}) == 14_148


def test_the_first_row_of_eshop_is_this_event():
    # 2008,4,1,1,29,1,1,A13,1,5,1,28,2,1; session 1 has 9 clicks, so its start lies within the first 21 h 20 min.
    event = next(event for event in read("eshop2008", until="2008-04-02") if event["event_id"] == "eshop-1-1")
    time_ms = event.pop("event_time_ms")
    assert 1_207_008_000_000 <= time_ms < 1_207_008_000_000 + 76_800_000
    assert event == {
        "schema_version": 1,
        "event_id": "eshop-1-1",
        "event_type": "view",
        "visitor_id": "s1",
        "item_id": "A13",
        "category": "trousers",
        "price_minor": 2800,
        "currency": "USD",
        "country": "29",
    }


@pytest.mark.parametrize(
    ("clicks", "pause_ms"),
    [(1, None), (2, 1_200_000), (71, 1_200_000), (72, 1_199_166), (195, 442_769)],
)
def test_a_session_of_eshop_fits_in_its_day(clicks: int, pause_ms: int | None):
    """A session of eshop fits in its day with pauses of 20 minutes or less."""
    for session in ("1", "24026"):
        times = [eshop_time_of_day_ms(session, order, clicks) for order in range(1, clicks + 1)]
        assert 0 <= times[0] <= times[-1] < 86_400_000
        assert {b - a for a, b in pairwise(times)} == ({pause_ms} if pause_ms else set())


def test_every_shipped_set_names_its_licence():
    text = (DATASETS / "LICENCES.md").read_text()
    for file in DATASETS.rglob("*.gz"):
        assert file.name in text or f"{file.parent.name}/*" in text


def test_otto_has_800_views_52_carts_and_10_purchases():
    assert Counter(event["event_type"] for event in read("otto")) == {"view": 800, "add_to_cart": 52, "purchase": 10}


def written(folder: Path, files: dict[str, str]) -> Path:
    """Write gzipped files with rows of our own invention in a set's published columns; return their folder."""
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(gzip.compress(text.encode()))
    return folder


def test_each_kind_of_retailrocket_row_becomes_its_event(tmp_path: Path):
    rows = """\
Time,UserId,Type,ItemId,CatId
1441852593,7,view,11,3
1441852600,7,addtocart,11,3
1441852601,8,transaction,12,4
"""
    events = list(read("retailrocket", data_dir=written(tmp_path, {"retailrocket/events.csv.gz": rows})))
    assert events[0] == {
        "schema_version": 1,
        "event_id": "retailrocket-2",
        "event_type": "view",
        "event_time_ms": 1_441_852_593_000,
        "visitor_id": "u7",
        "item_id": "11",
        "category": "3",
    }
    assert [event["event_type"] for event in events] == ["view", "add_to_cart", "purchase"]


def test_trivago_counts_the_text_where_an_item_belongs(tmp_path: Path):
    rows = """\
user_id,session_id,timestamp,step,action_type,reference,platform,city,device,current_filters,impressions,prices
A,s1,1541599523,1,interaction item image,59,FR,"Marseille, France",tablet,,,
A,s1,1541599530,2,clickout item,60,FR,"Marseille, France",tablet,,,
A,s1,1541599540,3,search for item,61,FR,"Marseille, France",tablet,,,
A,s1,1541599550,4,filter selection,Sauna,FR,"Marseille, France",tablet,,,
A,s1,1541599560,5,interaction item rating,Paris,FR,"Marseille, France",tablet,,,
"""
    skipped: Counter[str] = Counter()
    folder = written(tmp_path, {"trivago100k/events.csv.gz": rows})
    events = list(read("trivago100k", data_dir=folder, skipped=skipped))
    assert skipped == {"text_instead_of_item": 1}
    assert [(event["event_type"], event.get("item_id"), event.get("query")) for event in events] == [
        ("view", "59", None),
        ("view", "60", None),
        ("search", "61", "61"),
        ("search", None, "Sauna"),
    ]


def test_yoochoose_has_training_and_test_clicks_with_categories(tmp_path: Path):
    head = "SessionId\tItemId\tCatId\tTime\n"
    files = {
        "yoochoose64/train_full.tsv.gz": f"{head}1\t21\t5\t1411994580.5\n",
        "yoochoose64/test.tsv.gz": f"{head}2\t22\t0\t1411994583.727\n",
    }
    events = list(read("yoochoose64", data_dir=written(tmp_path, files)))
    assert [(event["event_id"], event["event_time_ms"], event["category"]) for event in events] == [
        ("yoochoose-train_full-2", 1_411_994_580_500, "5"),
        ("yoochoose-test-2", 1_411_994_583_727, "0"),
    ]


@pytest.mark.parametrize("name", NOT_SHIPPED)
def test_set_that_may_not_be_shipped_asks_for_its_folder(name: str, tmp_path: Path):
    with pytest.raises(DataError, match="--data-dir"):
        read(name)
    with pytest.raises(DataError, match="is missing"):
        read(name, data_dir=tmp_path)


def test_an_unknown_name_lists_the_sets():
    with pytest.raises(DataError, match=r"'eshop' is neither a set nor a file\n  fix: one of eshop2008, onlineretail"):
        read("eshop")


def test_a_moment_that_is_none_is_refused_with_an_example():
    with pytest.raises(SettingsError, match="since is 'August'"):
        read("eshop2008", since="August")


@pytest.mark.parametrize(
    "span", [{"since": "2008-08-25"}, {"until": "2008-04-01"}, {"since": "2009-01-01", "until": "2010-01-01"}]
)
def test_a_span_without_an_event_names_the_span_that_has(span: dict[str, str]):
    with pytest.raises(DataError, match=r"no event since or until .* 2008-04-01 .* to 2008-08-13 [\s\S]*another since"):
        list(read("eshop2008", **span))
