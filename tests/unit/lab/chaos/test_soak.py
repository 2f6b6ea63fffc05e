"""What the soak says of growth, and the events that it sends."""

from itertools import islice

import pytest

from jobs.lab.chaos.soak import EVENTS_PER_S, SPEED, VISITORS, Look, events, growth


def life(pid: int, begin_s: int, seconds: int, level_mb: float, mb_per_hour: float, files: int = 50) -> list[Look]:
    """A look each 10 s."""
    mb = [(at_s, level_mb + mb_per_hour * at_s / 3600) for at_s in range(0, seconds + 1, 10)]
    return [Look(pid, begin_s + at_s, resident, level_mb / 2, files) for at_s, resident in mb]


def test_growth_is_slope_within_lives_and_not_step_between_them():
    found = growth(life(1, 0, 1000, 90, 0) + life(2, 1000, 1000, 110, 0), warm_up_s=0)
    assert (found.rss_per_hour, found.lives) == (0, 2)
    assert found.rss_mb == (110, 110)


def test_growth_is_a_share_of_the_mean_an_hour():
    # From 99 to 101 MB within an hour: 2 of 100.
    found = growth(life(1, 0, 3600, 99, 2), warm_up_s=0)
    assert found.rss_per_hour == pytest.approx(0.02, abs=1e-4)
    assert found.rss_mb == (99, 101)
    assert found.anonymous_per_hour == 0  # only mapped files grew


def test_what_fills_in_warm_up_of_process_is_no_growth():
    filling, steady = life(1, 0, 590, 50, 360), life(1, 600, 3000, 110, 0)
    assert growth(filling + steady, warm_up_s=600).rss_per_hour == 0
    assert growth(filling + steady, warm_up_s=0).rss_per_hour > 0.01


@pytest.mark.parametrize(
    ("files", "peaks"),
    [([50, 50, 50, 64, 50, 50, 50, 55, 50], (50, 55)), ([64, 50, 50, 50, 50, 50, 50, 50, 64], (64, 64))],
)
def test_files_are_compared_at_their_peaks(files: list[int], peaks: tuple[int, int]):
    """Files are compared at their peaks in the first and in the last third."""
    looks = [look._replace(files=count) for look, count in zip(life(1, 0, 80, 50, 0), files, strict=True)]
    assert growth(looks, warm_up_s=0).files == peaks


def test_a_life_that_is_too_short_says_nothing():
    assert growth(life(1, 0, 590, 50, 360), warm_up_s=600) is None


def test_events_come_in_order_at_the_rate_of_the_speed():
    """Events come in the order of their times at the rate that speed asks for."""
    made = list(islice(events(1, 1_000_000), 5000))
    times_ms = [each["event_time_ms"] for each in made]
    assert times_ms == sorted(times_ms)
    assert times_ms[-1] - times_ms[0] == pytest.approx(5000 * SPEED * 1000 / EVENTS_PER_S, rel=0.001)
    assert len({each["event_id"] for each in made}) == 5000
    assert len({each["visitor_id"] for each in made}) < VISITORS
