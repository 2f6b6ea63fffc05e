"""Rules that let too few items through, counted with facts."""

import pytest

from jobs.catalogue.columns import Table
from jobs.contract.items import Fact, contracts
from jobs.contract.shelf_plan import Class
from jobs.shelves.compile import compiled
from jobs.shelves.explain import explain
from jobs.shelves.items import Items
from jobs.shelves.known import known
from jobs.shelves.load import from_text
from jobs.shelves.problems import Problems
from jobs.shelves.selective import check, with_classes

CONTRACTS = contracts("items", "offers")
HEAD = "from liveshelf.shelves import *\n"
POPULAR = 'popular = Shelf("popular", of=place(), when=Tick(), take=Popular())\n'


@pytest.fixture(scope="module")
def items() -> Items:
    """200 items at 0 to 199; two of them on offer, none without stock."""
    table = Table(CONTRACTS)
    for number in range(200):
        table.take("offers", Fact(str(number), {"price_minor": number, "stock": 1, "on_offer": number < 2}))
    return Items([str(number) for number in range(200)], table.snapshot())


def problems_of(text: str, items: Items) -> tuple[list[str], list[Class | None]]:
    plan = compiled(from_text(HEAD + text), known(CONTRACTS)).plan
    problems = Problems()
    check(plan, items, 0.0, problems)
    classes = [shelf.where.cost if shelf.where else None for shelf in with_classes(plan, problems).shelves]
    return [str(problem) for problem in problems.found], classes


def test_a_rule_for_two_in_two_hundred_is_an_error(items: Items) -> None:
    found, _ = problems_of('sale = Shelf("sale", when=Event("view"), take=Session(), where=item.on_offer)', items)
    assert found == ["sale.where: 2 of 200 items pass\n  fix: a wider rule, or `instead`"]


def test_where_another_shelf_stands_in_it_is_class_s(items: Items) -> None:
    text = POPULAR + (
        'sale = Shelf("sale", when=Event("view"), take=Session(), where=item.on_offer, least=4, instead=("popular",))'
    )
    found, classes = problems_of(text, items)
    assert found == ["warning: sale.where: 2 of 200 items pass\n  fix: a wider rule, or `instead` (has: popular)"]
    assert classes == [None, "S"]


def test_a_gate_that_nothing_passes_is_an_error(items: Items) -> None:
    found, _ = problems_of("SHOP = Shop(gate=item.stock > 1)\n" + POPULAR, items)
    assert found == [
        "SHOP.gate: 0 of 200 items pass\n  fix: correct the gate, or the facts: `liveshelf items show ITEM`"
    ]


def test_a_rule_of_the_item_in_view_is_sampled(items: Items) -> None:
    """Items are looked at in steps of three; 0, and 1 to 6 pass for the first three: fewer than 3 % of 200."""
    text = (
        'similar = Shelf("similar", of=item, when=Tick(), take=Together(anchor), '
        "where=item.price_minor < 0.05 * anchor.price_minor)"
    )
    found, _ = problems_of(text, items)
    assert found == [
        "similar.where: for half of the items in view fewer than 6 of 200 items pass (least: 0, for 1 of 64 sampled)"
        "\n  fix: a wider rule, or `instead`"
    ]


def test_wide_rules_are_no_problem(items: Items) -> None:
    text = 'home = Shelf("home", when=Event("view"), take=Session(), where=item.price_minor > 100)'
    assert problems_of(text, items)[0] == []


def test_a_shelf_is_explained_with_class_and_cost() -> None:
    text = (
        'home = Shelf("home", when=Event("view"), about="viewed", take=Together(anchor) + 0.5 * Session(), '
        "where=item.price_minor <= 1.5 * anchor.price_minor, lift=(Lift(item.on_offer, 1.3),))"
    )
    page = explain(compiled(from_text(HEAD + text), known(CONTRACTS)).plan, "home").splitlines()
    assert page[0] == "home: a list for each visitor, about the item in view, at each view; 20 items and 8 in reserve"
    assert "take   together with the anchor as view + 0.5 × session" in page[2]
    assert page[3] == "V  where  item.price_minor <= 1.5 * anchor.price_minor"
    assert page[4] == "N  lift   odds × 1.3 if item.on_offer"


def test_a_rule_of_the_cart_is_counted_for_sampled_carts(items: Items) -> None:
    """Carts hold items at n, n + 3 and n + 6: half of them are worth 300 and more, so 31 items and more pass."""
    shelf = POPULAR + (
        'cart = Shelf("cart", when=Event("add_to_cart"), about="cart", take=Together(basket), '
        'where=item.price_minor <= {share} * basket.value_minor, least=1, instead=("popular",))'
    )
    assert problems_of(shelf.format(share=0.1), items)[0] == []
    (found,) = problems_of(shelf.format(share=0.01), items)[0]
    assert found.startswith("warning: cart.where: for half of the carts of three items fewer than 4 of 200 items pass")
