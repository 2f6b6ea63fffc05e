"""The operator's lists of random shops against the oracle's, from events to reasons."""

import os
import random

from jobs.catalogue import columns
from models.serving.newcomers import Words
from tests.support.random_shop import NEW, Shop

SHOPS = int(os.environ.get("LIVESHELF_RANDOM_SHELVES", "100")) // 5  # five shelves of visitors each


def test_lists_of_random_shops_are_what_the_oracle_says() -> None:
    """`LIVESHELF_RANDOM_SHELVES=10000` asks more of them."""
    compared: dict[str, int] = {}
    for seed in range(SHOPS):
        shop = Shop(random.Random(seed))
        for _ in range(12):
            shop.batch()
        report = shop.verified()
        assert report.mismatches == [], (seed, report.mismatches[0])
        for name, count in report.by_shelf().items():
            compared[name] = compared.get(name, 0) + count["equal"]
    assert min(compared.values()) > SHOPS
    assert compared.keys() == {"home", "product", "cart", "plain", "recent"}


def test_items_that_a_worker_has_dropped_do_not_count_among_the_new_ones(monkeypatch) -> None:
    """It drops those that are gone sooner or later, and the oracle never does. One new item may be listed here.

    A list that explores is left out: the oracle also explores items that are gone.
    """
    monkeypatch.setattr(Words, "MOST", 1)
    monkeypatch.setattr(columns, "SPARE", -93)  # rows are counted anew when any item is gone
    for seed in range(SHOPS):
        shop = Shop(random.Random(seed))
        if shop.plan.shelf("home").explore:
            continue
        for _ in range(12):
            shop.remove(NEW[0])
            shop.batch()
        wrong = [each for each in shop.verified().mismatches if each.name.startswith("home")]
        assert wrong == [], (seed, wrong[0])


def test_lists_without_consent_are_what_the_oracle_says() -> None:
    compared = 0
    for seed in range(SHOPS // 2):
        shop = Shop(random.Random(seed))
        shop.batch()
        report = shop.without_consent()
        assert report.mismatches == [], (seed, report.mismatches[0])
        compared += report.compared
    assert compared > 12 * SHOPS
