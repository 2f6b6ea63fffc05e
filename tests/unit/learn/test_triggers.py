"""When the loop learns; PSI and bounds worked out by hand."""

import math

import numpy as np
import pytest

from jobs.learn.triggers import Seen, Triggers, due, item_drift, population_stability
from models.clicks.dataset import Event

QUIET = Seen(sessions=300, minutes=10.0, recall=0.50, psi=0.01)
BOUNDS = Triggers(sessions=1000, minutes=60.0, recall=0.8, psi=0.25)


def test_nothing_is_learned_without_a_reason():
    assert due(BOUNDS, QUIET, published_recall=0.55) == ""
    assert due(BOUNDS, QUIET._replace(recall=None, psi=None), published_recall=None) == ""


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (QUIET._replace(sessions=1000), "1,000 new sessions"),
        (QUIET._replace(minutes=60.0), "60 minutes, 300 new sessions"),
        (
            QUIET._replace(recall=0.43),
            "recall@20 of the last hour is 0.430, it was published with 0.550",
        ),  # 0.44 is 80 %
        (QUIET._replace(psi=0.3), "PSI of the last hour's items is 0.300"),
    ],
)
def test_each_trigger_gives_its_reason(seen, reason):
    assert due(BOUNDS, seen, published_recall=0.55) == reason


@pytest.mark.parametrize(
    "seen", [QUIET._replace(sessions=10**6), QUIET._replace(minutes=10**6), QUIET._replace(recall=0.0, psi=9.0)]
)
def test_a_trigger_of_zero_is_off(seen):
    assert due(Triggers(0, 0, 0, 0), seen, published_recall=0.55) == ""


def test_drift_alone_isnt_tried_again_before_there_is_something_new():
    assert due(BOUNDS, QUIET._replace(sessions=3, psi=9.0, recall=0.0), published_recall=0.55) == ""


def test_no_time_is_a_reason_while_nothing_is_new():
    assert due(BOUNDS, QUIET._replace(sessions=0, minutes=999.0), published_recall=None) == ""


def test_population_stability_of_two_bins():
    # (0.9 - 0.5) * ln(0.9 / 0.5) + (0.1 - 0.5) * ln(0.1 / 0.5)
    expected = 0.4 * math.log(1.8) - 0.4 * math.log(0.2)
    assert population_stability(np.array([50, 50]), np.array([9, 1])) == pytest.approx(expected)
    assert population_stability(np.array([3, 7]), np.array([30, 70])) == 0


def clicks(*items: str) -> list[list[Event]]:
    return [[Event(item, "view", 0.0)] for item in items]


def test_items_as_in_training_dont_drift_and_unknown_ones_do():
    training = {f"i{number}": 100 for number in range(20)}  # one item a bin
    usual = clicks(*training) * 50
    assert item_drift(training, usual) == pytest.approx(0)
    # A fifth of the clicks is on items that training never saw: 0.2 * ln(0.2 / 0.001), and each bin from 0.05 to 0.04.
    drifted = usual + clicks("new") * 250
    expected = (0.2 - 0.001) * math.log(0.2 / 0.001) + 20 * 0.01 * math.log(0.05 / 0.04)
    assert item_drift(training, drifted) == pytest.approx(expected, rel=0.01)


def test_a_few_clicks_tell_nothing():
    assert item_drift({"a": 5}, clicks("b") * 499) is None
