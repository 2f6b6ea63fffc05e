"""New visitors, items and categories of a source, on a clock that tests set."""

import math
from pathlib import Path

import pytest

from jobs.collect.admit import Rejected
from jobs.collect.items import LOOK_AGAIN_S, Items
from jobs.collect.networks import Network
from jobs.collect.newcomers import Familiar, Newcomers
from jobs.collect.rates import Bound, FairShares, TokenBuckets
from jobs.collect.refusal import RequestRefusedError
from jobs.collect.source import Source
from jobs.errors import SettingsError

SERVER = Source("server:orders", ())


def newcomers(of_address: float = 10, of_key: float = 100, items: Items | None = None) -> Newcomers:
    """One that takes so many of each kind at once, and of an address one more in a hundred seconds."""

    def bound() -> Bound:
        return Bound(TokenBuckets(0.01, of_address), FairShares(of_key, 10_000, of_key))

    return Newcomers({"visitors": bound(), "things": bound()}, items or Items(list, 0.0), 0.0)


def source(address: str, key: str = "web") -> Source:
    return Source(key, (Network(address, 1),))


def event(visitor: str, item: str = "lamp", category: str = "lamps") -> dict[str, str]:
    return {"visitor_id": visitor, "item_id": item, "category": category}


def brought(bound: Newcomers, who: Source, *events: dict[str, str], now_s: float = 0.0) -> int:
    """Return 200, or the status with which a request of these events is refused."""
    arrivals = bound.arrivals(who, now_s)
    assert [arrivals.refuse(each) for each in events] == [None] * len(events)
    try:
        arrivals.settle(now_s)
    except RequestRefusedError as refusal:
        says_when = 0 < refusal.retry_after_s < math.inf
        return refusal.status if refusal.code == "too_many_new" and says_when == (refusal.status == 429) else 0
    return 200


def test_an_address_brings_no_more_new_entities_than_its_bound():
    bound = newcomers(of_address=4)
    assert brought(bound, source("a"), event("anna"), event("berta", "chair")) == 200  # three things
    assert brought(bound, source("a"), event("carla", "desk", "desks")) == 429  # two more, and one is left
    assert brought(bound, source("a"), event("carla", "desk", "lamps")) == 200
    assert brought(bound, source("b"), event("dora", "bed", "beds")) == 200


def test_a_request_is_taken_as_a_whole_or_not():
    """So that a page keeps what it sent, and all of it comes once there is room."""
    bound = newcomers(of_address=4)
    queue = [event("anna", f"item-{number}") for number in range(3)]
    assert brought(bound, source("a"), event("anna", "old")) == 200
    assert brought(bound, source("a"), *queue) == 429
    assert brought(bound, source("a"), *queue, now_s=99.0) == 429
    assert brought(bound, source("a"), *queue, now_s=100.0) == 200
    assert brought(bound, source("a"), *queue, now_s=100.0) == 200  # known now


def test_more_than_may_ever_come_is_refused_for_good():
    bound = newcomers(of_address=4)
    assert brought(bound, source("a"), *(event("anna", f"item-{number}") for number in range(5))) == 413


def test_made_up_items_keep_no_visitor_out():
    bound = newcomers(of_address=1000, of_key=20)
    for number in range(40):
        brought(bound, source("a"), event("anna", f"made-up-{number}" if number else "lamp"))
    assert brought(bound, source("b"), event("berta", "one-more")) == 429
    assert [brought(bound, source("b"), event(f"visitor-{number}")) for number in range(19)] == [200] * 19
    assert brought(bound, source("b"), event("one-more")) == 429


def test_known_entities_cost_nothing_whoever_brought_them():
    bound = newcomers(of_address=2)
    assert brought(bound, source("a"), event("anna")) == 200
    for address in ("a", "b"):
        assert {brought(bound, source(address), event("anna")) for _ in range(50)} == {200}


def test_other_addresses_of_a_page_share_its_keys_bound():
    bound = newcomers(of_key=4)
    for address in ("a", "b"):
        assert brought(bound, source(address), event(address, address, address)) == 200
    assert brought(bound, source("c"), event("c", "c", "c")) == 429
    assert brought(bound, source("c", "app"), event("c", "c", "c")) == 200


def test_a_stranger_who_brings_much_leaves_room():
    """The stranger has 100 addresses, and each stays within its own bound."""
    things = Bound(TokenBuckets(1, 100), FairShares(2_000, 20_000, 500))
    bound = Newcomers({"visitors": things, "things": things}, Items(list, 0.0), 0.0)
    for batch in range(10):
        for number in range(100):
            name = f"{number}-{batch}"
            brought(bound, source(f"stranger{number}"), event(name, name, name))
    honest = [brought(bound, source(f"honest{number}"), event(f"v{number}", f"i{number}")) for number in range(20)]
    assert honest == [200] * 20


def test_what_one_bound_refuses_costs_nothing_in_another():
    bound = newcomers(of_address=3, of_key=2)
    assert brought(bound, source("a"), event("anna")) == 200
    assert brought(bound, source("a"), event("berta", "chair")) == 429  # the key has no thing left, but a visitor
    assert brought(bound, source("b"), event("berta")) == 200
    assert brought(bound, source("a", "app"), event("carla", "desk")) == 200  # nor did it cost the address anything


def test_bound_refills_with_time():
    bound = newcomers(of_address=2)
    assert brought(bound, source("a"), event("anna")) == 200
    assert brought(bound, source("a"), event("anna", "chair"), now_s=99.0) == 429
    assert brought(bound, source("a"), event("anna", "chair"), now_s=100.0) == 200


def test_a_shops_server_brings_as_many_as_it_likes():
    bound = newcomers(of_address=3, of_key=3)
    assert {brought(bound, SERVER, event(f"v{n}", f"i{n}")) for n in range(1000)} == {200}


def test_one_name_in_two_fields_is_two_entities():
    bound = newcomers(of_address=2)
    assert brought(bound, source("a"), {"visitor_id": "x", "item_id": "x", "category": "x"}) == 200
    assert brought(bound, source("a"), event("x", "y", "x")) == 429


def test_an_entity_is_forgotten_after_two_silent_days():
    familiar, day_s = Familiar(0.0), Familiar.LIFETIME_S
    familiar.add("lamp", 0.0)
    familiar.add("chair", 0.0)
    assert familiar.knows("lamp", day_s)  # and so it stays known for another day
    assert not familiar.knows("chair", 2 * day_s)
    assert familiar.knows("lamp", 2 * day_s)


def test_few_new_names_are_taken_for_known(monkeypatch: pytest.MonkeyPatch):
    """With four bits set for each of n names in b bits, about (1 - exp(-4n/b))^4 are: 1.1 % here."""
    monkeypatch.setattr(Familiar, "BITS", 1 << 17)
    familiar = Familiar(0.0)
    for number in range(12_500):
        familiar.add(f"v{number}", 0.0)
    assert all(familiar.knows(f"v{number}", 0.0) for number in range(12_500))
    assert sum(familiar.knows(f"w{number}", 0.0) for number in range(10_000)) < 250


def test_memory_for_names_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Familiar, "MOST", 100)
    familiar = Familiar(0.0)
    for number in range(301):
        familiar.add(f"v{number}", 0.0)
    assert familiar.knows("v300", 0.0)
    assert not familiar.knows("v0", 0.0)


def test_where_items_are_listed_no_other_is_taken(tmp_path: Path):
    catalogue, model = tmp_path / "items.txt", tmp_path / "vocabulary.json"
    catalogue.write_text("\ufefflamp\r\n\nchair \n")
    model.write_text('{"items":["learned"]}')
    bound = newcomers(items=Items(lambda: [catalogue, model], 0.0))
    arrivals = bound.arrivals(source("a"), 0.0)
    refused = {item: arrivals.refuse(event("anna", item)) for item in ("lamp", "chair", "learned", "mop")}
    assert refused == {"lamp": None, "chair": None, "learned": None, "mop": Rejected("unknown_item", "item_id")}
    assert arrivals.refuse({"visitor_id": "anna", "event_type": "search"}) is None
    servers = bound.arrivals(SERVER, 0.0)
    assert servers.refuse(event("anna", "mop")) == Rejected("unknown_item", "item_id")


def test_changed_list_of_items_is_read_again(tmp_path: Path):
    catalogue = tmp_path / "items.txt"
    catalogue.write_text("lamp")
    items = Items(lambda: [catalogue], 0.0)
    catalogue.write_text("chair")
    assert not items.know("chair", LOOK_AGAIN_S - 1)
    assert items.know("chair", LOOK_AGAIN_S)
    catalogue.unlink()
    assert items.know("chair", 3 * LOOK_AGAIN_S)  # a lost file refuses nobody
    with pytest.raises(SettingsError, match=r"items\.txt"):
        Items(lambda: [catalogue], 0.0)
