"""What a reader shows of stored lists: reasons as words, reserves, the gate, and no item twice over a page."""

import json
from typing import Any

import pytest

from jobs.contract import shelf as contract
from liveshelf import gate, shelf
from liveshelf.gate import Copy, is_large
from liveshelf.page import Asked
from liveshelf.shelf import Shelf, ShelfError

NOW_MS = 1_000_000


def value(items: str, **fields: Any) -> bytes:
    """Return a list as Redis holds it. Its items are letters."""
    stored = contract.ShelfValue(
        version="0" * 20,
        items=list(items),
        scores=[float(-place) for place in range(len(items))],
        model="m",
        event_time_ms=NOW_MS,
        computed_at_ms=NOW_MS,
        session_events=1,
        fallback=None,
        list_id="0-1",
    )
    return json.dumps({name: getattr(stored, name) for name in stored.__struct_fields__} | fields).encode()


def read(stored: bytes, held: str = "") -> Shelf:
    asked = Asked("v", ["home"], 1800)
    return asked.shown(asked.lists([stored], NOW_MS), set(held))["home"]


def page(values: dict[str, bytes], held: str = "", item: str | None = None) -> dict[str, str]:
    """Return the items of product and home, where Redis holds these values."""
    asked = Asked("v", ["product", "home"], 1800, item, {"product": "similar"})
    lists = asked.lists([values.get(key) for key in asked.keys], NOW_MS)
    return {name: "".join(one.items) for name, one in asked.shown(lists, set(held)).items()}


def test_keys_and_words_are_the_contracts() -> None:
    assert (shelf.WHYS, shelf.WHY_INSTEAD) == (contract.WHYS, contract.WHY_INSTEAD)
    assert (gate.GATE, gate.GATE_VERSION) == (contract.GATE, contract.GATE_VERSION)
    assert shelf.shelf_key("v", "home") == contract.shelf_key("v", "home") == "shelf:{v}:home"
    assert shelf.item_key("7", "similar") == contract.shared_key("item", "7", "similar") == "shelf:{item/7}:similar"


def test_reasons_are_words_beside_each_item() -> None:
    stored = value("abcd", why=[0, 1, 19, 42], seen=["x", "y"], because=[1, 0, -1, -1], about=["x"], shelves="s-1")

    one = read(stored)

    assert (one.why, one.instead) == (("session", "together", "popular", "other"), (0, 0, 1, 2))
    assert one.because == ("y", "x", None, None)
    assert (one.about, one.shelves) == (("x",), "s-1")


def test_a_list_that_no_shelves_made_has_no_reasons() -> None:
    fields = json.loads(value("ab"))
    old = {name: fields[name] for name in list(fields) if name not in ("shelves", "about", "why", "seen", "because")}
    del old["spare"]

    one = read(json.dumps(old).encode(), held="z")

    assert (one.items, one.why, one.because, one.about, one.shelves) == (("a", "b"), (), (), (), None)


@pytest.mark.parametrize(
    ("held", "shown", "why", "scores"),
    [
        ("", "abc", ("session", "pinned", "trend"), (0.0, -1.0, -2.0)),
        ("b", "acd", ("session", "trend", "list"), (0.0, -2.0, -3.0)),
        ("abc", "de", ("list", "explored"), (-3.0, -4.0)),
        ("abcde", "", (), ()),
    ],
)
def test_the_reserve_takes_the_places_of_what_is_held(
    held: str, shown: str, why: tuple[str, ...], scores: tuple[float, ...]
) -> None:
    one = read(value("abcde", spare=2, why=[0, 6, 2, 4, 5]), held)
    assert ("".join(one.items), one.why, one.scores, one.spare) == (shown, why, scores, 0)


def test_no_item_comes_twice_over_a_page() -> None:
    lists = {"shelf:{v}:product": value("abcd", spare=2), "shelf:{v}:home": value("bxaycz", spare=2)}
    assert page(lists) == {"product": "ab", "home": "xycz"}


def test_what_is_held_is_on_no_list_of_a_page() -> None:
    lists = {"shelf:{v}:product": value("abcd", spare=2), "shelf:{v}:home": value("bxaycz", spare=2)}
    assert page(lists, held="ay") == {"product": "bc", "home": "xz"}


def test_the_item_in_view_is_on_no_list() -> None:
    assert page({"shelf:{v}:home": value("abc", spare=1)}, item="a") == {"product": "", "home": "bc"}


@pytest.mark.parametrize(
    ("own", "product"),
    [
        (None, "mn"),
        (value("ab", about=["8"]), "mn"),
        (value("ab", about=["7"]), "ab"),
        (value("", fallback="erased"), "mn"),
    ],
)
def test_an_items_list_stands_in_for_ones_own(own: bytes | None, product: str) -> None:
    lists = {"shelf:{v}:home": value("xa"), "shelf:{item/7}:similar": value("mn")}
    lists |= {"shelf:{v}:product": own} if own else {}
    assert page(lists, item="7") == {"product": product, "home": "xa" if product == "mn" else "x"}


def test_without_an_items_list_ones_own_stays() -> None:
    assert page({"shelf:{v}:product": value("ab", about=["8"])}, item="7") == {"product": "ab", "home": ""}


def test_a_list_that_stands_in_is_a_fallback() -> None:
    asked = Asked("v", ["product"], 1800, "7", {"product": "similar"})
    lists = asked.lists([None, value("mn", computed_at_ms=0)], 10**10)
    one = lists["product"]
    assert (one.visitor_id, one.state, one.fallback, one.about) == ("v", "fallback", "item", ("7",))


@pytest.mark.parametrize("fields", [{"why": ["a", "b"]}, {"because": [3, 0], "seen": ["x"]}, {"spare": "x"}])
def test_a_reason_that_cant_be_read_is_an_error(fields: dict[str, Any]) -> None:
    with pytest.raises(ShelfError):
        read(value("ab", **fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"scores": [1.0]},
        {"why": [0]},
        {"seen": ["x"], "because": [0]},
        {"items": [["a"], "b"]},
        {"items": [1, 2]},
        {"spare": 3},
        {"spare": -1},
        {"spare": float("inf")},
    ],
)
def test_a_list_whose_fields_disagree_is_an_error(fields: dict[str, Any]) -> None:
    with pytest.raises(ShelfError):
        read(json.dumps(json.loads(value("ab")) | fields).encode(), held="b")


def test_a_value_of_brackets_is_an_error() -> None:
    with pytest.raises(ShelfError):
        read(b"[" * 100_000)


def test_a_copy_serves_while_it_is_new_or_nothing_changed() -> None:
    copy = Copy.of([b"9-1", {b"a"}, b"9-1"], fetched_s=100.0)
    assert (copy.version, copy.held) == ("9-1", {"a"})
    assert copy.serves("9-1", 500.0)
    assert copy.serves("8-2", 100.1)
    assert not copy.serves("8-2", 100.3)


def test_a_copy_made_during_a_change_has_no_version() -> None:
    assert Copy.of(["9-1", {"a"}, "8-0"], 0.0).version == ""


def test_a_gate_that_cant_be_read_is_an_error() -> None:
    with pytest.raises(ShelfError, match="SMISMEMBER"):
        Copy.of([b"9-1", RuntimeError("NOPERM"), b"9-1"], 0.0)


@pytest.mark.parametrize(("version", "large"), [("5-20000", False), ("5-20001", True), ("another's", False)])
def test_a_set_of_many_items_isnt_copied(version: str, large: bool) -> None:
    assert is_large(version) == large
