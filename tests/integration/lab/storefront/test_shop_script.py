"""What the page's script works out, run by Node as it is served."""

import json
import shutil
import subprocess
from typing import Any

import pytest

from jobs.lab.storefront.app import FOLDER, SCRIPTS

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="no node here: apt-get install nodejs")
LIST = {
    "name": "home", "of": "visitor", "place": "", "state": "fresh", "fallback": None, "about": [],
    "items": ["a", "b", "c", "d"], "why": ["session", "pinned", "popular", "together"],
    "because": ["z", "z", None, None], "event_time_ms": 1000,
}  # fmt: skip


def run(expression: str) -> Any:
    """Return the value of an expression in which `shop` is the script's module and `list` a list."""
    script = (
        f"import * as shop from {json.dumps((FOLDER / 'shop.js').as_uri())};"
        f"const list = {json.dumps(LIST)}, named = item => `the ${{item}}`;"
        f"console.log(JSON.stringify({expression}));"
    )
    argv = [str(NODE), "--no-warnings", "--input-type=module"]
    done = subprocess.run(argv, input=script, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_each_script_is_a_module_without_mistakes() -> None:
    for name in SCRIPTS:
        argv = [str(NODE), "--check", "--input-type=module"]
        done = subprocess.run(argv, input=(FOLDER / name).read_text(), capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr


def test_an_item_says_why_it_is_there() -> None:
    assert run("[0, 1, 2, 3].map(place => shop.reason(list, place, named))") == [
        "because you viewed the z", "the shop's choice", "popular with everybody", "goes with it",
    ]  # fmt: skip
    assert run("shop.reason({...list, name: 'cart'}, 0, named)") == "goes with the z"
    assert run("shop.reason({...list, why: [], because: []}, 0, named)") == ""


def test_a_list_says_what_it_is() -> None:
    lists = "[list, {...list, state: 'absent'}, {...list, state: 'fallback', fallback: 'no_consent'}]"
    assert run(f"{lists}.map(shop.state)") == ["fresh", "no list yet", "fallback: not personal, as you asked"]
    names = "[list, {...list, name: 'product', about: ['q']}, {...list, name: 'trending', place: 'skirts'}]"
    assert run(f"{names}.map(each => shop.heading(each, named))") == ["For you", "With the q", "Trending in skirts"]
    assert run("[0, 2400, 61000, 7.2e6].map(shop.age)") == ["just now", "2 s old", "1 min old", "2 h old"]


def test_a_list_answers_clicks_that_arent_later() -> None:
    assert run("[999, 1000, 1001].map(at_ms => shop.answers(list, {at_ms}))") == [True, True, False]
    assert run("[shop.answers(list, null), shop.answers({...list, event_time_ms: null}, {at_ms: 0})]") == [False] * 2


def test_prices_follow_the_currency() -> None:
    items = [(3300, "USD"), (3300, "JPY"), (5, "EUR"), (7, None), (None, "USD"), (7, "x<b>")]
    given = [{"price_minor": price, "currency": currency} for price, currency in items]
    assert run(f"{json.dumps(given)}.map(shop.price)") == ["$33.00", "¥3,300", "€0.05", "7", "", "7"]


def test_addresses_lead_to_views_and_back() -> None:
    paths = ["/", "/cart", "/item/A1", "/item/a%2Fb%20%C3%BC", "/other"]
    views = [{"name": "items"}, {"name": "cart"}, {"name": "item", "item": "A1"}, {"name": "item", "item": "a/b ü"}]
    assert run(f"{json.dumps(paths)}.map(shop.view)") == [*views, {"name": "items"}]
    assert run("shop.view(shop.path('a/b ü')).item") == "a/b ü"
    assert run("shop.view('/item/100%')") == {"name": "item", "item": "100%"}
    pairs = [("/", "/other"), ("/item/a", "/item/%61"), ("/", "/cart"), ("/item/a", "/item/b")]
    same = [run(f"shop.isSame(...{json.dumps(pair)}.map(shop.view))") for pair in pairs]
    assert same == [True, True, False, False]


def test_a_cart_adds_and_removes() -> None:
    assert run("shop.add(shop.add(shop.add({}, 'a'), 'b'), 'a')") == {"a": 2, "b": 1}
    assert run("[shop.remove({a: 2, b: 1}, 'a'), shop.pieces({a: 2, b: 1})]") == [{"b": 1}, 3]


def test_items_are_drawn_and_found() -> None:
    items = [
        {"item_id": "A1", "title": "red skirt A1", "category": "skirts", "colour": "red", "stock": 3},
        {"item_id": "B2", "category": "hats", "colour": "of many colors", "stock": 0, "status": "active"},
        {"item_id": "C3", "colour": "mauve", "status": "withdrawn"},
    ]
    assert run(f"{json.dumps(items)}.map(item => shop.picture(item).fill)")[:2] == ["#c8352e", "url(#stripes)"]
    assert run(f"{json.dumps(items)}.map(shop.soldOut)") == [False, True, True]
    queries = ["RED skirt", "b2", "", "red hat"]
    found = run(
        f"{json.dumps(queries)}.map(query => shop.matches({json.dumps(items)}, query).map(each => each.item_id))"
    )
    assert found == [["A1"], ["B2"], ["A1", "B2", "C3"], []]


def test_the_panel_waits_for_what_it_did() -> None:
    shown = "{home: {items: ['a'], shelves: 'v2'}, cart: {items: ['b'], shelves: 'v1'}}"
    asked = ["{item: 'b', wants: 'gone'}", "{item: 'c', wants: 'gone'}", "{item: 'a', wants: 'shown', version: 'v2'}"]
    waits = [*asked, "{item: 'b', wants: 'shown', version: 'v2'}", "{item: 'b', wants: 'shown'}"]
    assert run(f"[{', '.join(waits)}].map(each => shop.isDone(each, {shown}))") == [False, True, True, False, True]
