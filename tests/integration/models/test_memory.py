"""What the memory learns and what it adds, worked out by hand; items are a = 1, b = 2, …"""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch isn't installed: pip install 'liveshelf[train]'")

from models.session.choose import Memory, with_weights  # noqa: E402
from models.session.gru import LATEST, PLACES, SESSION_FACTS, ItemMemory  # noqa: E402
from models.session.memory import Rows, followers, none, strongest, successors, weigh  # noqa: E402


def encoded(*lines: str) -> list[list[int]]:
    return [["_abcdefg".index(item) for item in line] for line in lines]


def followers_of(item: str, found: Rows) -> dict[str, float]:
    row = "_abcdefg".index(item)
    weights = found.weights[row]
    return {
        "abcdefg"[column]: float(weight) for column, weight in zip(found.columns[row], weights, strict=True) if weight
    }


def test_followers_are_the_sum_of_companions_and_of_shares():
    # abc: a→b 1, a→c 1/2, b→c 1. Clicks: a 2, b 1, c 1.
    # Companions, by the root of both items' clicks; backward counts half: b is before c, so c has 1/2 of b.
    # Shares of an item's own clicks: b came right after one of a's two, c two places after it.
    found = followers(encoded("abc", "a"), 3)
    root = math.sqrt(2)
    assert followers_of("a", found) == {"b": pytest.approx(1 / root + 1 / 2), "c": pytest.approx(0.5 / root + 0.5 / 2)}
    assert followers_of("b", found) == {"c": pytest.approx(1.0 + 1.0), "a": pytest.approx(0.5 / root)}
    assert followers_of("c", found) == {"b": pytest.approx(0.5), "a": pytest.approx(0.25 / root)}


def test_no_click_follows_one_of_another_session():
    assert followers_of("b", followers(encoded("ab", "cd"), 4)).keys() == {"a"}


def test_the_strongest_are_kept_and_the_best_comes_first():
    found = strongest(weigh(encoded("ab", "ab", "ab", "ac", "ac", "ad"), 4), 2)
    assert list(followers_of("a", found)) == ["b", "c"]
    assert found.columns.shape == found.weights.shape == (5, 2)


def test_successors_came_right_after_and_count_as_logarithms():
    # a→b twice, a→c once, b→c once; c ends a session of two twice, and nothing came after it.
    found = successors(encoded("abc", "ab", "ac"), 3)
    assert followers_of("a", found) == {"b": pytest.approx(math.log(3)), "c": pytest.approx(math.log(2))}
    assert followers_of("b", found) == {"c": pytest.approx(math.log(2))}
    assert followers_of("c", found) == {}


def memory_of(followers: Rows, **weights: object) -> "ItemMemory":
    return with_weights(ItemMemory(followers), Memory("sessions", weights))


def added(memory: "ItemMemory", items: list[list[int]], lengths: list[int], types=None, gaps=None) -> list[list[float]]:
    """What is added to scores of zero, for as many items as the memory has."""
    numbers = torch.tensor(items)
    types = torch.ones_like(numbers) if types is None else torch.tensor(types)
    gaps = torch.zeros(numbers.shape) if gaps is None else torch.tensor(gaps)
    scores = torch.zeros(len(items), len(memory.columns) - 1)
    with torch.no_grad():
        return memory(scores, numbers, types, gaps, torch.tensor(lengths)).tolist()


def test_the_memory_adds_followers_of_each_event_with_its_weight():
    followers = Rows(np.array([[0, 0], [1, 2], [2, 0], [0, 0]]), np.array([[0, 0], [3, 1], [5, 0], [0, 0]], np.float32))
    memory = memory_of(followers, followed=[[2.0], [1.0], [0.0], [0.0], [0.0], [0.0]])
    # Row 0: item 2 is the last one (5 to column 2), twice; item 1 before it counts once (3 and 1 to columns 1 and 2).
    assert added(memory, [[1, 2, 0], [2, 0, 0]], [2, 1]) == [[0, 3, 11], [0, 0, 10]]


def test_the_memory_adds_successors_of_the_last_item_only():
    successors = Rows(np.array([[0], [1], [2], [0]]), np.array([[0], [3], [5], [0]], np.float32))
    memory = with_weights(ItemMemory(none(3), successors), Memory("successors", {"succeeded": [2.0]}))
    # Row 0: item 2 is the last one (twice 5 to column 2). Row 1: no item is known.
    assert added(memory, [[1, 2, 0], [0, 0, 0]], [2, 1]) == [[0, 0, 10], [0, 0, 0]]


def test_padding_and_a_session_without_a_known_item_add_nothing():
    followers = Rows(np.array([[0], [1], [0]]), np.array([[0], [3], [0]], np.float32))
    every = {"followed": [[1.0]] * LATEST, "places": [7.0] * PLACES, "types": [7.0] * 8, "dwell": [7.0]}
    memory = memory_of(followers, **every, by_session=[[7.0, 7.0]] * SESSION_FACTS)
    assert added(memory, [[0, 0]], [1], gaps=[[2.0, 2.0]]) == [[0, 0]]


def test_sessions_own_items_get_bias_of_their_place_from_end():
    memory = memory_of(none(4), places=[-24.0, 4.0, 2.0, 1.0, 0.5, 0.0, 0.0, 0.0, 0.25])
    # Oldest first: item 3, then 1, 1, 2. The last is 2; 1 is there twice (4 and 2), 3 is three places back (1).
    assert added(memory, [[3, 1, 1, 2]], [4]) == [[6, -24, 1, 0]]
    # Twelve events: the first four, items 4, lie in the ninth place from the end or before it.
    assert added(memory, [[4, 4, 4, 4, 3, 3, 3, 3, 3, 3, 3, 2]], [12]) == [[0, -24, 7.5, 1]]


def test_weights_of_an_older_bundle_mean_what_they_meant():
    """Until 29 November 2026 a memory had a bias for the last six items, and one fade for all followers."""
    older = {
        "repeats": np.array([-24, 4, 2, 1, 0.5, 0.25], np.float32),
        "decay": 0.5 ** np.arange(6, dtype=np.float32),
    }
    rows = Rows(np.array([[0], [0], [0], [1], [0]]), np.array([[0], [0], [0], [8], [0]], np.float32))
    memory = ItemMemory.of_arrays(older | rows._asdict())
    # The last is 2; 1 is there twice (4 and 2). 3 is three places back (1), and its follower 2 counts 8 / 2^3 times.
    assert added(memory, [[4, 4, 4, 3, 1, 1, 2]], [7]) == [[6, -23, 1, 0.75]]


def test_own_items_get_bias_of_type_and_of_time_spent():
    memory = memory_of(none(3), types=[0.0, 0.0, 0.0, 5.0, 0.0, 0.0, 0.0, 0.0], dwell=[10.0])
    # Item 1 was seen, item 2 put into the cart (type 3) 0.4 later, item 3 seen 0.2 later. Nobody knows how long.
    assert added(memory, [[1, 2, 3]], [3], types=[[1, 3, 1]], gaps=[[0.0, 0.4, 0.2]]) == [
        pytest.approx([4.0, 7.0, 0.0])
    ]


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([[1, 2, 1]], [math.log(3), 1 / 3, 1, 0, 0.3, 1, 2 / 3]),  # back at the first item
        ([[1, 2, 2]], [math.log(3), 1 / 3, 1, 1, 0.3, 1, 2 / 3]),  # twice running
        ([[1, 2, 3]], [math.log(3), 0, 0, 0, 0.3, 1, 1 / 3]),
    ],
)
def test_the_memory_knows_how_a_session_repeats_its_items(items, expected):
    memory = ItemMemory(none(3))
    gaps = torch.tensor([[0.0, 9.0, 1.5]])  # the last gap counts, by 5
    facts = memory.facts(torch.tensor(items), torch.ones(1, 3, dtype=torch.int64), gaps, torch.tensor([3]))
    assert facts.session[0].tolist() == pytest.approx(expected)
    untimed = memory.facts(torch.tensor(items), torch.ones(1, 3, dtype=torch.int64), gaps * 0, torch.tensor([3]))
    assert untimed.session[0].tolist() == pytest.approx([*expected[:4], 0, 0, expected[6]])


def test_sessions_facts_weigh_last_item_and_others_differently():
    by_session = [[0.0, 0.0]] * SESSION_FACTS
    by_session[-1] = [3.0, 30.0]  # times the share of events on the last item, 1/3
    assert added(memory_of(none(3), by_session=by_session), [[1, 2, 3]], [3]) == [pytest.approx([10.0, 10.0, 1.0])]
