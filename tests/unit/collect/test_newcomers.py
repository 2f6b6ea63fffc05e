"""New visitors, items and categories of a source, on a clock that tests set."""

from pathlib import Path

import pytest

from jobs.collect.admit import Rejected
from jobs.collect.items import LOOK_AGAIN_S, Items
from jobs.collect.newcomers import Familiar, Newcomers
from jobs.collect.rates import TokenBuckets
from jobs.errors import SettingsError

TOO_MANY = Rejected("too_many_new", "visitor_id")


def newcomers(of_address: float = 10, of_key: float = 100, items: Items | None = None) -> Newcomers:
    """One whose buckets hold so many tokens; one more comes in a hundred seconds."""
    every = items or Items(list, 0.0)
    return Newcomers(TokenBuckets(0.01, of_address), TokenBuckets(0.01, of_key), every, 0.0)


def event(visitor: str, item: str = "lamp", category: str = "lamps") -> dict[str, str]:
    return {"visitor_id": visitor, "item_id": item, "category": category}


def test_an_address_brings_no_more_new_entities_than_its_bound():
    bound = newcomers(of_address=5)
    assert bound.refuse(event("anna"), "web", "a", 0.0) is None  # three new ones
    assert bound.refuse(event("berta"), "web", "a", 0.0) is None  # one
    assert bound.refuse(event("carla", item="chair"), "web", "a", 0.0) == TOO_MANY  # two, and one is left
    assert bound.refuse(event("carla"), "web", "a", 0.0) is None


def test_known_entities_cost_nothing_whoever_brought_them():
    bound = newcomers(of_address=3)
    assert bound.refuse(event("anna"), "web", "a", 0.0) is None
    for address in ("a", "b"):
        assert [bound.refuse(event("anna"), "web", address, 0.0) for _ in range(50)] == [None] * 50


def test_other_addresses_of_a_page_share_its_keys_bound():
    bound = newcomers(of_key=6)
    for address in ("a", "b"):
        assert bound.refuse(event(address, address, address), "web", address, 0.0) is None
    assert bound.refuse(event("c"), "web", "c", 0.0) == TOO_MANY
    assert bound.refuse(event("c"), "app", "c", 0.0) is None


def test_what_one_bucket_refuses_costs_nothing_in_the_other():
    bound = newcomers(of_address=5, of_key=3)
    assert bound.refuse(event("anna"), "web", "a", 0.0) is None
    assert bound.refuse(event("berta"), "web", "a", 0.0) == TOO_MANY  # the key has none left
    assert bound.refuse(event("berta"), "app", "a", 0.0) is None  # the address has two


def test_bound_refills_with_time():
    bound = newcomers(of_address=3)
    assert bound.refuse(event("anna"), "web", "a", 0.0) is None
    assert bound.refuse(event("berta"), "web", "a", 99.0) == TOO_MANY
    assert bound.refuse(event("berta"), "web", "a", 100.0) is None


def test_a_shops_server_brings_as_many_as_it_likes():
    bound = newcomers(of_address=3, of_key=3)
    assert {bound.refuse(event(f"v{n}", f"i{n}"), "server:orders", None, 0.0) for n in range(1000)} == {None}


def test_one_name_in_two_fields_is_two_entities():
    bound = newcomers(of_address=3)
    assert bound.refuse({"visitor_id": "x", "item_id": "x", "category": "x"}, "web", "a", 0.0) is None
    assert bound.refuse(event("y", "x", "x"), "web", "a", 0.0) == TOO_MANY


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
    refused = {item: bound.refuse(event("anna", item), "web", "a", 0.0) for item in ("lamp", "chair", "learned", "mop")}
    assert refused == {"lamp": None, "chair": None, "learned": None, "mop": Rejected("unknown_item", "item_id")}
    assert bound.refuse({"visitor_id": "anna", "event_type": "search"}, "web", "a", 0.0) is None
    assert bound.refuse(event("anna", "mop"), "server:orders", None, 0.0) == Rejected("unknown_item", "item_id")


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
