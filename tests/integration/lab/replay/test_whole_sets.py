"""Read whole sets. Counts are published with the sets, or were counted with zcat, grep and pandas."""

import hashlib
import re
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from jobs.lab.replay.shops import DATASETS
from jobs.lab.replay.sources import read
from jobs.settings import REPOSITORY

DATA = REPOSITORY.parent / "shared" / "data"


@pytest.fixture
def data_dir() -> Path:
    if not DATA.is_dir():
        pytest.skip(f"the sets that may not be shipped are read from {DATA}, which isn't there")
    return DATA


@pytest.mark.bench
def test_eshop_is_shipped_as_it_was_published(data_dir: Path):
    published = data_dir / "eshop2008" / "eshop_clothing_2008.csv.gz"
    shipped = DATASETS / "eshop2008.csv.gz"
    assert hashlib.sha256(shipped.read_bytes()).digest() == hashlib.sha256(published.read_bytes()).digest()


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


def test_the_page_of_shelves_replays_the_visitor_that_it_shows():
    page = (REPOSITORY / "jobs" / "shelves" / "README.md").read_text()
    since, limit, visitor = re.search(
        r"replay eshop2008 --since (\S+) .*--limit (\d+)\n.*show (\S+) sale", page
    ).groups()
    events = islice(read("eshop2008", since=since), int(limit))
    assert visitor in {event["visitor_id"] for event in events}


def test_serenade_has_the_clicks_of_all_three_parts():
    events = list(read("serenade_toy"))
    assert len(events) == 113_601 + 1_451 + 1_233
    assert len({event["event_id"] for event in events}) == len(events)


@pytest.mark.bench
def test_retailrocket_has_46350_events(data_dir: Path):
    events = list(read("retailrocket", data_dir=data_dir))
    assert len(events) == 46_350
    assert len({event["visitor_id"] for event in events}) == 13_118
    kinds = Counter(event["event_type"] for event in events)
    assert kinds == {"view": 43_203, "add_to_cart": 2_396, "purchase": 751}


@pytest.mark.bench
def test_trivago_counts_the_text_where_an_item_belongs(data_dir: Path):
    skipped: Counter[str] = Counter()
    events = list(read("trivago100k", data_dir=data_dir, skipped=skipped))
    assert skipped == {"text_instead_of_item": 4}
    assert len(events) == 100_003 - 4
    # interactions 68,538 + 1,829 + 1,445 + 1,159 and clickouts 13,597, less the four
    kinds = Counter(event["event_type"] for event in events)
    assert kinds["view"] + 4 == 86_568
    assert kinds["search"] == 5_303 + 3_060 + 2_948 + 1_080 + 1_044


@pytest.mark.bench
def test_yoochoose_has_training_and_test_clicks_with_categories(data_dir: Path):
    events = list(read("yoochoose64", data_dir=data_dir))
    assert len(events) == 99_943 + 7_299
    assert all("category" in event for event in events)
