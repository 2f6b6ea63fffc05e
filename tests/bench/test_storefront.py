"""How long a click takes until the page in a real Chromium shows the list that answers it, and what the panel takes."""

import json
import statistics
from pathlib import Path

import pytest

from tests.e2e.conftest import scenario, system  # noqa: F401
from tests.e2e.test_shelves import Shop
from tests.support import chromium, storefront
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.bench,
    pytest.mark.skipif(chromium.program() is None, reason="no Chromium here: apt-get install chromium"),
]
CLICKS = 200


def test_clicks_and_the_panel_reach_the_screen(scenario, monkeypatch, tmp_path: Path) -> None:  # noqa: F811
    """Run it with -s: it prints the p50 and p99 of 200 clicks, and the ms from the panel's buttons to the screen."""
    shop = Shop(scenario, monkeypatch)
    scenario.start("rankings")
    shop.run("items", "load", "eshop2008")
    version = shop.publish()
    eventually(lambda: shop.lists_of("v", "view", "A13", "home")[0].get("shelves") == version, within_s=60)
    with storefront.running(tmp_path / "storefront.log") as url:
        found = storefront.show_in_chromium(url, tmp_path / "profile", CLICKS)
    clicks = sorted(found.pop("click to home"))
    assert len(clicks) > CLICKS
    shown = {"p50": statistics.median(clicks), "p99": clicks[int(len(clicks) * 0.99)], "clicks": len(clicks)}
    print(json.dumps({"click to screen, ms": shown} | found))
    assert not scenario.failures()
