"""The words of shelves.py: trees instead of truth, and nothing heavy behind them."""

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.settings import REPOSITORY
from liveshelf.shelves import Session, Shelf, Together, WordError, anchor, days, item, now, percent, visitor
from liveshelf.shelves.expressions import All, Compare, Feature, Not

WORDS = REPOSITORY / "jobs" / "sdk" / "liveshelf" / "shelves"


@pytest.mark.parametrize(
    "sentence",
    [
        lambda: item.stock > 0 and item.on_offer,
        lambda: item.stock > 0 or item.on_offer,
        lambda: not item.on_offer,
        lambda: 0 < item.stock < 5,
        lambda: item.category in ("shoes", "hats"),
        lambda: item.id in visitor.session_items,
        lambda: [value for value in visitor.session_items],
        lambda: item.stock + 1,
        lambda: now - 14,
    ],
)
def test_a_sentence_that_python_would_decide_is_an_error(sentence: Callable[[], object]) -> None:
    with pytest.raises(WordError, match=r"write|compare"):
        sentence()


def test_a_condition_is_a_tree() -> None:
    condition = ~((item.stock > 0) & (item.price_minor <= 1.5 * anchor.price_minor))
    assert isinstance(condition, Not)
    assert isinstance(condition.part, All)
    first = condition.part.parts[0]
    assert isinstance(first, Compare)
    assert isinstance(first.left, Feature)
    assert (first.op, first.left.of, first.left.name, first.right) == (">", "item", "stock", 0)


def test_a_comparison_may_begin_with_the_number() -> None:
    condition = 5 < item.stock  # noqa: SIM300
    assert isinstance(condition, Compare)
    assert (condition.op, condition.right) == (">", 5)


def test_now_is_moved_by_lengths_of_time() -> None:
    assert (now - days(2)).offset_ms == -172_800_000


def test_sources_are_weighed_and_added() -> None:
    mix = Together(anchor) + 0.5 * Session()
    assert [(weight, type(source)) for weight, source in mix.parts] == [(1.0, Together), (0.5, Session)]


def test_a_shelf_that_differs_leaves_the_first_as_it_was() -> None:
    cart = Shelf("cart", size=6)
    checkout = cart.but(name="checkout", size=3)
    assert (cart.name, cart.size, checkout.name, checkout.size) == ("cart", 6, "checkout", 3)


def test_percent_is_a_share() -> None:
    assert percent(5) == 0.05


@pytest.mark.parametrize("file", sorted(WORDS.glob("*.py")), ids=lambda file: file.name)
def test_the_words_need_nothing_but_python(file: Path) -> None:
    modules = [
        name
        for node in ast.walk(ast.parse(file.read_text()))
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in getattr(node, "names", [])]
        )
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert [name for name in modules if not re.match(r"(liveshelf|collections|dataclasses|typing)\b", str(name))] == []
