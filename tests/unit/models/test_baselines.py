"""The baselines on three sessions that fit in the head."""

import numpy as np

from models.baselines import Markov, Popularity
from models.dataset import EVENT_TYPES, Event, pad

ITEMS = {"a": 1, "b": 2, "c": 3}
TYPES = {name: index for index, name in enumerate(EVENT_TYPES, start=1)}


def sessions(*lines: str) -> list[list[Event]]:
    return [[Event(item, "view", float(position)) for position, item in enumerate(line)] for line in lines]


def ranking(scores: np.ndarray, listed: np.ndarray) -> list[int]:
    return listed[0][np.argsort(-scores[0])].tolist()


def test_popularity_counts_events():
    popularity = Popularity(sessions("ab", "b", "bca"), ITEMS)
    scores, listed = popularity.score(np.array([[3]]))
    assert scores.tolist() == [[2, 3, 1]]  # a twice, b three times, c once
    assert listed.tolist() == [[1, 2, 3]]


def test_markov_ranks_by_what_followed_the_last_item_then_by_popularity():
    # After a: c twice. a comes 3 times and b 4 times, neither ever after a, so b before a.
    markov = Markov(sessions("ac", "ac", "bbbba"), ITEMS)
    assert ranking(*markov.score(*pad(sessions("ba"), ITEMS, TYPES))) == [3, 2, 1]


def test_markov_looks_at_the_last_real_event_and_not_at_the_padding():
    # After a comes b, after c comes c, and c is the most popular.
    markov = Markov(sessions("ab", "ccc"), ITEMS)
    batch = pad(sessions("a", "aac"), ITEMS, TYPES)
    scores, listed = markov.score(*batch)
    assert [listed[row][scores[row].argmax()] for row in (0, 1)] == [2, 3]
