"""Test the script for pages in a real Chromium: a visitor's events lie in Kafka, and none of who says no."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.contract.events import parse
from jobs.lab.bench.collector_system import KEY, Broker, RunningCollector
from tests.support import chromium
from tests.support.chromium import Chromium, served
from tests.support.waiting import eventually

pytestmark = pytest.mark.skipif(
    chromium.program() is None, reason="no Chromium here: apt-get install chromium (needs no driver)"
)

PAGE = """<!doctype html><title>shop</title>
<body style="height:4000px">
<div {item}><button data-track="add_to_cart">buy</button></div>
<form data-track="search" onsubmit="return false"><input name="q"><button>find</button></form>
<script defer src="{collector}/t.js" data-key="{key}" {consent}></script>
"""
ITEM = 'data-item_id="lamp-7" data-category="lamps" data-price_minor="1299" data-currency="EUR"'
AGREED = 'data-consent="granted"'


@pytest.fixture(scope="module")
def shop(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator["Shop"]:
    """A shop's pages on a server of their own, and a collector that knows its origin."""
    folder = tmp_path_factory.mktemp("shop")
    with (
        served(folder) as origin,
        RunningCollector(broker, tmp_path_factory.mktemp("collector"), origins=origin) as collector,
    ):
        for name, item, consent in (("lamp", ITEM, AGREED), ("plain", "", AGREED), ("asking", ITEM, "")):
            text = PAGE.format(item=item, consent=consent, collector=collector.url, key=KEY)
            (folder / f"{name}.html").write_text(text)
        yield Shop(origin, collector, broker)


class Shop:
    def __init__(self, origin: str, collector: RunningCollector, broker: Broker) -> None:
        self.origin, self.collector, self.broker = origin, collector, broker

    def page(self, name: str) -> str:
        return f"{self.origin}/{name}.html"

    def events(self, visitor: str) -> list[dict[str, Any]]:
        """What lies in Kafka of a visitor, in order."""
        key = self.collector.pseudonyms.of(visitor).encode()
        return [json.loads(each.value) for each in self.broker.records("events") if each.key == key]

    def count(self) -> int:
        return len(self.broker.records("events"))


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chromium]:
    with Chromium(tmp_path / "profile") as browser:
        yield browser


def visitor_of(browser: Chromium) -> str:
    return browser.run("(/ls_id=([^;]+)/.exec(document.cookie) || [])[1] || ''")


def test_what_a_visitor_does_lies_in_kafka(shop: Shop, browser: Chromium):
    browser.open(shop.page("lamp"))
    visitor = visitor_of(browser)
    (view,) = eventually(lambda: shop.events(visitor))
    assert {name: view[name] for name in view.keys() - {"event_id", "event_time_ms"}} == {
        "schema_version": 1, "event_type": "view", "visitor_id": shop.collector.pseudonyms.of(visitor),
        "channel": "web", "item_id": "lamp-7", "category": "lamps", "price_minor": 1299,
        "currency": "EUR", "device": "Linux",
    }  # fmt: skip
    browser.run("scrollTo(0, 1000)")
    time.sleep(1)
    browser.run("document.querySelector('button').click()")
    browser.run("document.querySelector('input').value = 'green lamps'; document.forms[0].requestSubmit()")
    cart, search = eventually(lambda: shop.events(visitor)[1:] if len(shop.events(visitor)) == 3 else None)
    assert (cart["event_type"], cart["item_id"], cart["price_minor"]) == ("add_to_cart", "lamp-7", 1299)
    assert (search["event_type"], search["query"]) == ("search", "green lamps")
    assert 1000 <= cart["dwell_ms"] < 30_000
    assert 0.3 < cart["scroll_ratio"] < 0.6  # 1,000 px and a window's height of 4,000
    browser.open(shop.page("plain"))
    *_, left = eventually(lambda: shop.events(visitor) if len(shop.events(visitor)) == 4 else None)
    assert (left["event_type"], left["event_id"]) == ("view", view["event_id"])  # the same view: it counts once
    assert left["dwell_ms"] >= cart["dwell_ms"]
    assert left["scroll_ratio"] == cart["scroll_ratio"]
    assert visitor_of(browser) == visitor
    assert all(isinstance(parse(json.dumps(each).encode()), dict) for each in shop.events(visitor))
    assert shop.broker.consents(shop.collector.pseudonyms.of(visitor)) == ["granted"]


def test_before_consent_nothing_is_sent_or_stored(shop: Shop, browser: Chromium):
    """Before consent nothing is sent or stored and after it the page counts."""
    before = shop.count()
    browser.open(shop.page("asking"))
    browser.run("document.querySelector('button').click()")
    time.sleep(2)
    assert shop.count() == before
    assert browser.run("document.cookie + Object.keys(localStorage)") == ""
    browser.run("liveshelf.consent('granted')")
    assert [each["event_type"] for each in eventually(lambda: shop.events(visitor_of(browser)))] == ["view"]
    browser.open(shop.page("asking"))  # it is remembered
    eventually(lambda: len(shop.events(visitor_of(browser))) == 3)  # the view that was left, and the new one


def test_who_opts_out_is_withdrawn_forgotten_and_silent(shop: Shop, browser: Chromium):
    browser.open(shop.page("lamp"))
    visitor = visitor_of(browser)
    pseudonym = shop.collector.pseudonyms.of(visitor)
    eventually(lambda: shop.broker.consents(pseudonym) == ["granted"])
    eventually(lambda: shop.events(visitor))
    browser.run("liveshelf.optOut()")
    eventually(lambda: shop.broker.consents(pseudonym) == ["granted", "withdrawn"])
    eventually(lambda: visitor_of(browser) == "")
    before = shop.count()
    browser.run("document.querySelector('button').click()")
    browser.open(shop.page("lamp"))
    browser.run("document.querySelector('button').click()")
    time.sleep(2)
    assert shop.count() == before
    assert visitor_of(browser) == ""


def test_a_browser_that_signals_global_privacy_control_is_silent(shop: Shop, browser: Chromium):
    browser.before_each_page("Object.defineProperty(Navigator.prototype, 'globalPrivacyControl', {get: () => true})")
    before = shop.count()
    browser.open(shop.page("lamp"))
    browser.run("liveshelf.consent('granted'); document.querySelector('button').click()")
    time.sleep(2)
    assert shop.count() == before
    assert visitor_of(browser) == ""


def test_what_happens_without_network_is_delivered_later_with_its_time(shop: Shop, browser: Chromium):
    browser.open(shop.page("lamp"))
    visitor = visitor_of(browser)
    eventually(lambda: shop.events(visitor))
    browser.network(on=False)
    clicked_ms = browser.run("document.querySelector('button').click(), Date.now()")
    eventually(lambda: "add_to_cart" in browser.run("localStorage.ls_queue || ''"))
    time.sleep(2)
    assert len(shop.events(visitor)) == 1
    browser.network(on=True)
    _, cart = eventually(lambda: shop.events(visitor) if len(shop.events(visitor)) == 2 else None)
    assert cart["event_type"] == "add_to_cart"
    assert abs(cart["event_time_ms"] - clicked_ms) < 1000
    assert browser.run("localStorage.ls_queue || ''") == ""


def test_what_kafka_couldnt_take_is_sent_again_later(shop: Shop, browser: Chromium):
    """What Kafka could not take is sent again from the next page."""
    browser.open(shop.page("lamp"))
    visitor = visitor_of(browser)
    eventually(lambda: shop.events(visitor))
    shop.broker.pause()
    try:
        browser.run("document.querySelector('button').click()")
        eventually(lambda: "add_to_cart" in browser.run("localStorage.ls_queue || ''"))  # after the collector's 503
    finally:
        shop.broker.resume()
    eventually(lambda: shop.collector.metric("collector_kafka_connected") == 1, within_s=60)
    browser.open(shop.page("plain"))
    eventually(lambda: "add_to_cart" in [each["event_type"] for each in shop.events(visitor)])


def test_denial_that_found_no_network_is_sent_from_next_page(shop: Shop, browser: Chromium):
    browser.open(shop.page("lamp"))
    visitor = visitor_of(browser)
    pseudonym = shop.collector.pseudonyms.of(visitor)
    eventually(lambda: shop.broker.consents(pseudonym) == ["granted"])
    browser.network(on=False)
    browser.run("liveshelf.optOut()")
    time.sleep(1)
    assert shop.broker.consents(pseudonym) == ["granted"]
    browser.network(on=True)
    eventually(lambda: shop.broker.consents(pseudonym) == ["granted", "withdrawn"])
    eventually(lambda: visitor_of(browser) == "")
