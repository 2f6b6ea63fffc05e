"""The sets: what their rows become. Counts are published with the sets, or were counted with zcat, grep and pandas."""

import hashlib
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from jobs.errors import DataError, SettingsError
from jobs.lab.replay.shops import DATASETS, eshop_time_of_day_ms
from jobs.lab.replay.sources import read

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
NOT_SHIPPED = ["retailrocket", "trivago100k", "yoochoose64"]


@pytest.fixture
def data_dir() -> Path:
    if not DATA.is_dir():
        pytest.skip(f"the sets that may not be shipped are read from {DATA}, which isn't there")
    return DATA


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
def test_a_session_of_eshop_fits_in_its_day_with_pauses_of_20_minutes_or_less(clicks: int, pause_ms: int | None):
    for session in ("1", "24026"):
        times = [eshop_time_of_day_ms(session, order, clicks) for order in range(1, clicks + 1)]
        assert 0 <= times[0] <= times[-1] < 86_400_000
        assert {b - a for a, b in pairwise(times)} == ({pause_ms} if pause_ms else set())


def test_eshop_is_shipped_as_it_was_published(data_dir: Path):
    published = data_dir / "eshop2008" / "eshop_clothing_2008.csv.gz"
    shipped = DATASETS / "eshop2008.csv.gz"
    assert hashlib.sha256(shipped.read_bytes()).digest() == hashlib.sha256(published.read_bytes()).digest()


def test_every_shipped_set_names_its_licence():
    text = (DATASETS / "LICENCES.md").read_text()
    for file in DATASETS.rglob("*.gz"):
        assert file.name in text or f"{file.parent.name}/*" in text


def test_onlineretail_skips_and_counts_what_is_no_purchase():
    skipped: Counter[str] = Counter()
    events = list(read("onlineretail", until="2010-12-02", skipped=skipped))
    # 541,909 lines: 9,288 cancellations, 1,336 more without a positive quantity, 1,181 more without a positive price.
    assert skipped == {"cancellation": 9_288, "quantity_not_positive": 1_336, "price_not_positive": 1_181}
    assert events[0] == {
        "schema_version": 1,
        "event_id": "retail-536365-1",
        "event_type": "purchase",
        "event_time_ms": 1_291_191_960_000,  # 2010-12-01 08:26
        "visitor_id": "c17850",
        "user_id": "17850",
        "session_id": "536365",
        "item_id": "85123A",
        "price_minor": 255,
        "currency": "GBP",
        "quantity": 6,
        "country": "GB",
    }
    # 536544 is the first invoice without a customer; its first line is "21773,DECORATIVE ROSE BATHROOM BOTTLE,1.0".
    assert next(event for event in events if event["event_id"] == "retail-536544-1")["visitor_id"] == "invoice-536544"


def test_otto_has_800_views_52_carts_and_10_purchases():
    assert Counter(event["event_type"] for event in read("otto")) == {"view": 800, "add_to_cart": 52, "purchase": 10}


def test_serenade_has_the_clicks_of_all_three_parts():
    events = list(read("serenade_toy"))
    assert len(events) == 113_601 + 1_451 + 1_233
    assert len({event["event_id"] for event in events}) == len(events)


def test_retailrocket_has_46350_events(data_dir: Path):
    events = list(read("retailrocket", data_dir=data_dir))
    assert len(events) == 46_350
    assert len({event["visitor_id"] for event in events}) == 13_118
    kinds = Counter(event["event_type"] for event in events)
    assert kinds == {"view": 43_203, "add_to_cart": 2_396, "purchase": 751}


def test_trivago_counts_the_text_where_an_item_belongs(data_dir: Path):
    skipped: Counter[str] = Counter()
    events = list(read("trivago100k", data_dir=data_dir, skipped=skipped))
    assert skipped == {"text_instead_of_item": 4}
    assert len(events) == 100_003 - 4
    # interactions 68,538 + 1,829 + 1,445 + 1,159 and clickouts 13,597, less the four
    kinds = Counter(event["event_type"] for event in events)
    assert kinds["view"] + 4 == 86_568
    assert kinds["search"] == 5_303 + 3_060 + 2_948 + 1_080 + 1_044


def test_yoochoose_has_training_and_test_clicks_with_categories(data_dir: Path):
    events = list(read("yoochoose64", data_dir=data_dir))
    assert len(events) == 99_943 + 7_299
    assert all("category" in event for event in events)


@pytest.mark.parametrize("name", NOT_SHIPPED)
def test_a_set_that_may_not_be_shipped_asks_for_its_folder(name: str, tmp_path: Path):
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
