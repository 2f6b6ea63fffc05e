"""Token buckets on a clock that tests set."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.collect import rates
from jobs.collect.rates import TokenBuckets


def test_full_bucket_gives_its_burst_and_then_what_flows_in():
    buckets = TokenBuckets(rate_per_s=2, burst=5)
    assert [buckets.take("a", 1, 0.0) for _ in range(5)] == [0, 0, 0, 0, 0]
    assert buckets.take("a", 1, 0.0) == 0.5  # 2 a second
    assert buckets.take("a", 1, 0.5) == 0
    assert buckets.take("a", 3, 1.0) == 1.0  # 1 is there, 2 are missing


def test_what_is_refused_costs_nothing():
    buckets = TokenBuckets(rate_per_s=1, burst=4)
    assert buckets.take("a", 3, 0.0) == 0
    assert buckets.take("a", 3, 0.0) == 2
    assert buckets.take("a", 1, 0.0) == 0


def test_names_have_buckets_of_their_own():
    buckets = TokenBuckets(rate_per_s=1, burst=1)
    assert buckets.take("a", 1, 0.0) == 0
    assert buckets.take("b", 1, 0.0) == 0
    assert buckets.take("a", 1, 0.0) == 1


def test_a_pause_fills_no_more_than_the_burst():
    buckets = TokenBuckets(rate_per_s=10, burst=3)
    buckets.take("a", 3, 0.0)
    assert buckets.take("a", 3, 1000.0) == 0
    assert buckets.take("a", 1, 1000.0) == pytest.approx(0.1)


def test_asking_how_long_to_wait_takes_nothing():
    buckets = TokenBuckets(rate_per_s=4, burst=1)
    assert [buckets.wait_s("a", 0.0) for _ in range(3)] == [0, 0, 0]
    assert buckets.take("a", 1, 0.0) == 0
    assert buckets.wait_s("a", 0.0) == 0.25
    assert buckets.wait_s("a", 0.25) == 0


def test_memory_is_bounded_and_the_longest_silent_name_is_forgotten(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rates, "MAX_NAMES", 2)
    buckets = TokenBuckets(rate_per_s=1, burst=10)
    for name in ("a", "b", "a", "c"):
        buckets.take(name, 10, 0.0)
    assert buckets.take("a", 1, 0.0) == 1  # still known, and empty
    assert buckets.take("b", 10, 0.0) == 0


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 5)), max_size=60))
def test_never_more_than_the_burst_and_the_flow_are_given(steps: list[tuple[float, int]]):
    buckets, now_s, given_tokens = TokenBuckets(rate_per_s=2, burst=5), 0.0, 0
    for pause_s, tokens in steps:
        now_s += pause_s
        given_tokens += tokens if buckets.take("a", tokens, now_s) == 0 else 0
        assert given_tokens <= 5 + 2 * now_s + 1e-6
