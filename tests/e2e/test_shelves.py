"""Shelves on a real cluster: an event answers all of a shop's places, versions come and go, and no list is lost."""

import json
import shutil
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from typer.testing import CliRunner

from jobs.cli import app
from jobs.connect import kafka_send
from jobs.connect.kafka_read import read_slice
from jobs.contract.shelf import WHYS, shared_key, shelf_key
from jobs.lab.replay.sources import read
from jobs.verify.run import verify
from tests.support import storefront
from tests.support.waiting import eventually

LIFTED = (
    '"home",\n    when=Event("view", "search", "add_to_cart", "remove_from_cart", "purchase"),\n    take=Session(),'
)
PINNED = LIFTED + '\n    pins=(Pin("P82", at=1),),'


class Shop:
    """A scenario with the demo's catalogue and shelves, and commands that are run as a shop's people run them."""

    def __init__(self, scenario: Any, monkeypatch: Any) -> None:
        self.scenario, self.settings = scenario, scenario.settings
        self.redis = redis.Redis.from_url(scenario.runtime.redis_url)
        for name in ("state_dir", "feature_repo", "shelves_dir", *self._topics()):
            monkeypatch.setenv(f"LIVESHELF_{name.upper()}", str(getattr(self.settings, name)))
        for port in ("kafka_port", "redis_port", "flink_port"):
            monkeypatch.setenv(f"LIVESHELF_{port.upper()}", "0")

    def _topics(self) -> list[str]:
        return [name for name in type(self.settings).model_fields if name.endswith("_topic")]

    def run(self, *command: str) -> str:
        result = CliRunner().invoke(app, list(command), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout.strip()

    def stored(self, visitor: str, shelf: str) -> dict[str, Any]:
        value = self.redis.get(shelf_key(visitor, shelf))
        return json.loads(value) if value else {}

    def click(self, visitor: str, kind: str, item: str) -> None:
        event = next(read("eshop2008")) | {
            "event_id": f"{visitor}-{time.time_ns()}",
            "event_time_ms": time.time_ns() // 1_000_000,
            "event_type": kind,
            "visitor_id": visitor,
            "item_id": item,
        }
        if kind in ("add_to_cart", "purchase"):
            event |= {"price": 10.0, "currency": "USD", "quantity": 1}
        place = self.scenario.runtime.kafka_bootstrap, self.settings.events_topic
        with closing(kafka_send.connect(*place, fast=False)) as sender:
            sender.send(visitor.encode(), msgspec.json.encode(event), event["event_time_ms"])
            sender.flush()

    def lists_of(self, visitor: str, kind: str, item: str, *shelves: str) -> list[dict[str, Any]]:
        """What stands on these shelves once they have answered a click."""
        before = {shelf: self.stored(visitor, shelf).get("version") for shelf in shelves}
        self.click(visitor, kind, item)
        eventually(
            lambda: all(self.stored(visitor, shelf).get("version") != before[shelf] for shelf in shelves), within_s=60
        )
        return [self.stored(visitor, shelf) for shelf in shelves]

    def edit(self, old: str, new: str) -> None:
        file = Path(self.settings.feature_repo) / "shelves.py"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))

    def publish(self) -> str:
        return self.run("shelves", "publish", "--activate").splitlines()[-1]


def test_an_event_answers_all_places_of_a_shop(scenario, monkeypatch, tmp_path) -> None:
    shop = Shop(scenario, monkeypatch)
    scenario.start("rankings")
    shop.run("items", "load", "eshop2008")
    (plain,) = shop.lists_of("v", "view", "A13", "home")
    assert "shelves" not in plain  # nothing is active yet

    first = shop.publish()
    eventually(lambda: shop.lists_of("v", "view", "A13", "home")[0].get("shelves") == first, within_s=60)
    home, product, recent = shop.lists_of("v", "view", "A16", "home", "product", "recent")
    assert (product["about"], recent["items"]) == (["A16"], ["A16", "A13"])
    assert home["items"] != product["items"]
    assert "A16" not in product["items"]
    assert len(home["items"]) == 28
    assert home["spare"] == 8
    (cart,) = shop.lists_of("v", "add_to_cart", "A13", "cart")
    assert cart["about"] == ["A13"]
    assert not {"A13"} & set(cart["items"])
    similar = eventually(lambda: shop.redis.get(shared_key("item", "A16", "similar")), within_s=60)
    assert len(json.loads(similar)["items"]) == 28
    assert json.loads(eventually(lambda: shop.redis.get(shared_key("place", "", "popular")), within_s=60))["items"]

    a_new_item_stands_in_a_list_seconds_after_its_record(shop)
    shop.edit("    Mmr,\n", "    Mmr,\n    Pin,\n")
    shop.edit(LIFTED, PINNED)
    second = shop.publish()
    eventually(lambda: shop.lists_of("v", "view", "A13", "home")[0]["shelves"] == second, within_s=60)
    assert shop.stored("v", "home")["items"][0] == "P82"
    assert shop.stored("v", "home")["why"][0] == WHYS.index("pinned")
    assert shop.run("shelves", "rollback") == first
    eventually(lambda: shop.lists_of("v", "view", "A13", "home")[0]["shelves"] == first, within_s=60)

    eventually(lambda: the_log_holds_what_redis_does(shop, "v"))
    assert_the_oracle_agrees(shop)
    assert_why_names_the_record_that_took_an_item_away(shop)
    with storefront.running(tmp_path / "storefront.log") as url:
        keys = shop.settings.state_dir / "storefront" / "pseudonym.keys"
        storefront.show_what_happens(url, keys, shop.stored)
        storefront.show_in_chromium(url, tmp_path / "profile", clicks=5)
    assert not scenario.failures()
    shutil.rmtree(scenario.settings.shelves_dir)


def the_log_holds_what_redis_does(shop: Shop, visitor: str) -> bool:
    """Look for each shelf's list in the log; there it comes a moment after Redis has it (`linger.ms`)."""
    log = read_slice(shop.scenario.runtime.kafka_bootstrap, shop.settings.rankings_topic, must_exist=True)
    logged = [json.loads(record.value or b"") for record in log.records]
    newest = {record["shelf"]: record for record in logged if record["visitor_id"] == visitor}
    assert set(newest) == {"home", "product", "recent", "cart", "checkout"}
    return all(record.items() >= shop.stored(visitor, shelf).items() for shelf, record in newest.items())


def a_new_item_stands_in_a_list_seconds_after_its_record(shop: Shop) -> None:
    """No training saw it: its category, colour and price say that it belongs to what the visitor looks at.

    Five seconds are wanted, and mostly it takes one; the limit is for a machine with other work.
    """
    facts = {"category": "skirts", "colour": "navy blue", "price-minor": "4300", "stock": "5", "status": "active"}
    shop.run("items", "set", "NEW-1", *(part for name, value in facts.items() for part in (f"--{name}", value)))
    eventually(lambda: "NEW-1" in shop.lists_of("w", "view", "B20", "home")[0]["items"], within_s=60)
    home = shop.stored("w", "home")
    said = read_slice(shop.scenario.runtime.kafka_bootstrap, shop.settings.offers_topic).records[-1]
    print(f"a new item stood in a list {home['computed_at_ms'] - said.timestamp_ms} ms after its record")
    assert home["why"][home["items"].index("NEW-1")] == WHYS.index("session")
    told = json.loads(shop.run("why", "w", "home", str(home["items"].index("NEW-1") + 1), "--json"))
    assert told["item"] == "NEW-1"


def assert_the_oracle_agrees(shop: Shop) -> None:
    """Each list of each shelf is what the oracle makes, and so is the gate's set; features don't run here."""
    report = verify(shop.settings, shop.scenario.runtime)
    counted = report.by_shelf()
    assert counted.keys() >= {"home", "product", "recent", "cart", "checkout", "similar", "popular"}
    assert sum(each["mismatched"] for each in counted.values()) == 0, report.to_json()
    assert counted["similar"]["equal"] > 200
    assert report.by_name["gate:items"].mismatched == 0
    assert report.by_name["gate:items"].compared > 200


def assert_why_names_the_record_that_took_an_item_away(shop: Shop) -> None:
    item = shop.stored("v", "home")["items"][2]
    before = json.loads(shop.run("why", "v", "home", "3", "--json"))
    assert (before["item"], before["place"], before["dropped_by"]) == (item, 3, None)
    assert before["score"] == pytest.approx(sum(part["value"] for part in before["parts"]), abs=1e-3)
    reasons = [each["because"] for each in json.loads(shop.run("why", "v", "home", "--json"))]
    assert len(reasons) == 28
    assert {each["item"] for each in reasons if each} <= {"A13", "A16"}
    assert any(reasons)
    shop.run("items", "set", item, "--stock", "0")
    offers = shop.settings.offers_topic
    newest = read_slice(shop.scenario.runtime.kafka_bootstrap, offers).records[-1]
    found = json.loads(shop.run("why", "v", "home", "--not", item, "--json"))["dropped_by"]
    assert found == {
        "rule": "gate", "condition": "item.stock > 0", "feature": "item.stock", "value": 0, "topic": offers,
        "partition": 0, "offset": newest.offset, "time_ms": newest.timestamp_ms,
    }  # fmt: skip
    difference = json.loads(shop.run("shelves", "diff", "--json"))  # the file still has the pin
    assert 0 < difference["unchanged"] < difference["lists"]
    assert difference["not_compared"] == {}
