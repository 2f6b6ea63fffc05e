"""What the memory learns and what it adds, worked out by hand; items are a = 1, b = 2, …"""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch isn't installed: pip install 'liveshelf[train]'")

from models.session.choose import Memory  # noqa: E402
from models.session.gru import LATEST, ItemMemory  # noqa: E402
from models.session.memory import Followers, learn  # noqa: E402

NO_REPEATS = np.zeros(LATEST, np.float32)


def encoded(*lines: str) -> list[list[int]]:
    return [["_abcdefg".index(item) for item in line] for line in lines]


def followers_of(item: str, found: Followers) -> dict[str, float]:
    row = "_abcdefg".index(item)
    weights = found.weights[row]
    return {
        "abcdefg"[column]: float(weight) for column, weight in zip(found.columns[row], weights, strict=True) if weight
    }


def test_companions_count_both_directions_by_root_of_both_items_clicks():
    # abc: a→b 1, a→c 1/2, b→c 1. Clicks: a 2, b 1, c 1. Backward counts half: b is before c, so c has 1/2 of b.
    found = learn(encoded("abc", "a"), 3, share=0.0)
    assert followers_of("a", found) == {"b": pytest.approx(1 / math.sqrt(2)), "c": pytest.approx(0.5 / math.sqrt(2))}
    assert followers_of("b", found) == {"c": pytest.approx(1.0), "a": pytest.approx(0.5 / math.sqrt(2))}
    assert followers_of("c", found) == {"b": pytest.approx(0.5), "a": pytest.approx(0.25 / math.sqrt(2))}


def test_shares_count_what_came_after_by_the_items_own_clicks():
    # a was clicked 4 times; twice b came right after it, once c.
    with_shares, without = (followers_of("a", learn(encoded("ab", "ab", "ac", "a"), 3, share)) for share in (1.0, 0.0))
    assert {item: with_shares[item] - without[item] for item in with_shares} == {
        "b": pytest.approx(2 / 4),
        "c": pytest.approx(1 / 4),
    }


def test_no_click_follows_one_of_another_session():
    assert followers_of("b", learn(encoded("ab", "cd"), 4, share=1.0)).keys() == {"a"}


def test_the_strongest_are_kept_and_the_best_comes_first():
    found = learn(encoded("ab", "ab", "ab", "ac", "ac", "ad"), 4, share=1.0, kept=2)
    assert list(followers_of("a", found)) == ["b", "c"]
    assert found.columns.shape == found.weights.shape == (5, 2)


def test_the_memory_adds_followers_and_fades_with_each_event():
    """The memory adds the followers of the latest items and fades with each event before."""
    followers = Followers(np.array([[0, 0], [1, 2], [2, 0]]), np.array([[0, 0], [3, 1], [5, 0]], np.float32))
    memory = ItemMemory(followers, strength=2.0, fade=0.5, repeats=NO_REPEATS)
    items, lengths = torch.tensor([[1, 2, 0], [2, 0, 0]]), torch.tensor([2, 1])
    # Row 0: item 2 is the last one (5 to column 2), item 1 before it counts half (3 and 1 to columns 1 and 2): doubled.
    assert memory(torch.zeros(2, 3), items, lengths).tolist() == [[0, 3, 11], [0, 0, 10]]


def test_padding_and_an_empty_session_add_nothing():
    followers = Followers(np.array([[0], [1]]), np.array([[0], [3]], np.float32))
    memory = ItemMemory(followers, strength=1.0, fade=1.0, repeats=np.full(LATEST, 7, np.float32))
    assert memory(torch.ones(1, 2), torch.tensor([[0, 0]]), torch.tensor([1])).tolist() == [[1, 1]]


def test_sessions_own_items_get_bias_of_their_place_from_end():
    followers = Followers(np.zeros((5, 1), np.int64), np.zeros((5, 1), np.float32))
    bias = Memory(last=-24.0, earlier=4.0, earlier_fade=0.5).repeats  # -24, 4, 2, 1, 0.5, 0.25
    memory = ItemMemory(followers, strength=1.0, fade=1.0, repeats=bias)
    # Oldest first: item 3, then 1, 1, 2. The last is 2; 1 is there twice (4 and 2), 3 is three places back (1).
    items, lengths = torch.tensor([[3, 1, 1, 2]]), torch.tensor([4])
    assert memory(torch.zeros(1, 4), items, lengths).tolist() == [[6, -24, 1, 0]]
