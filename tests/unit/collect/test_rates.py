"""Token buckets and fair shares on a clock that tests set."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.collect import rates
from jobs.collect.networks import Network
from jobs.collect.rates import Bound, FairShares, TokenBuckets


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


def test_more_than_a_bucket_holds_never_comes():
    buckets = TokenBuckets(rate_per_s=1, burst=4)
    assert buckets.take("a", 5, 0.0) == math.inf
    assert buckets.take("a", 4, 0.0) == 0


def one(name: str, shares: int = 1) -> list[Network]:
    return [Network(name, shares)]


def brought(shares: FairShares, key: str, networks: list[Network], tokens: int, now_s: float = 0.0) -> int:
    """How much of that, a token at a time, there is room for."""
    count = 0
    while count < tokens and not shares.wait_s(key, networks, 1, now_s):
        shares.take(key, networks, 1, now_s)
        count += 1
    return count


def test_a_network_alone_has_its_part_and_more_share():
    """Of 1,000, alone 250: one may have a third of what is left. With four: 3,000 / (3 + 4) is left."""
    shares = FairShares(1000, fades_s=100, alone=250)
    assert brought(shares, "web", one("a"), 1000) in (250, 251)
    shares = FairShares(1000, fades_s=100, alone=250)
    for _ in range(1000):
        for name in "abcd":
            brought(shares, "web", one(name), 1)
    left = brought(shares, "web", [], 1000)
    assert abs(left - 3000 / 7) < 6


def test_however_many_take_what_they_may_another_finds_room():
    shares = FairShares(2_000, fades_s=20_000, alone=500)
    for _ in range(8):
        for number in range(300):
            brought(shares, "web", one(f"stranger{number}"), 1)
    assert brought(shares, "web", one("stranger0"), 1) == 0
    assert [brought(shares, "web", one(f"honest{number}"), 1) for number in range(15)] == [1] * 15
    assert brought(shares, "app", one("stranger0"), 1) == 1  # another key's


def test_a_wide_network_has_some_shares():
    shares = FairShares(1_000_000, fades_s=100, alone=1000)
    narrow = [brought(shares, "web", [Network(f"n{number}", 1), Network("wide", 3)], 2000) for number in range(4)]
    assert narrow == pytest.approx([1000, 1000, 1000, 0], abs=5)


def test_what_was_brought_fades():
    shares = FairShares(100, fades_s=10, alone=100)
    assert brought(shares, "web", [], 1000) == 100
    wait_s = shares.wait_s("web", [], 50, 0.0)
    assert wait_s == pytest.approx(10 * math.log(100 / 50.5))  # until half of it is left
    assert shares.wait_s("web", [], 50, wait_s - 0.1) > 0
    assert shares.wait_s("web", [], 50, wait_s + 0.1) == 0
    assert shares.wait_s("web", [], 100, 200.0) == 0  # all of it, although a rest never quite fades
    assert shares.wait_s("web", [], 101, 200.0) == math.inf


def test_memory_of_shares_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rates, "MAX_NAMES", 3)  # a key, and two networks of its
    shares = FairShares(1000, fades_s=100, alone=10)
    for name in ("a", "b", "a", "c"):
        shares.take("web", one(name), 20, 0.0)
    assert shares.wait_s("web", one("a"), 1, 0.0) > 0
    assert shares.wait_s("web", one("b"), 1, 0.0) == 0


def test_what_is_refused_costs_nothing_in_either_bound():
    bound = Bound(TokenBuckets(0.01, 5), FairShares(8, 800, 8))
    assert bound.take("web", one("a"), 4, 0.0) == 0
    assert bound.take("web", one("a"), 2, 0.0) == 100.0  # the network has one left
    assert bound.take("web", one("b"), 5, 0.0) > 0  # the key has four
    assert bound.take("web", one("b"), 4, 0.0) == 0
    assert bound.take("app", one("b"), 1, 0.0) == 0


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 5), st.sampled_from("abcde")), max_size=60))
def test_no_more_than_the_most_is_ever_there(steps: list[tuple[float, int, str]]):
    shares, now_s, there = FairShares(20, fades_s=10, alone=15), 0.0, 0.0
    for pause_s, tokens, name in steps:
        now_s, there = now_s + pause_s, there * math.exp(-pause_s / 10)
        if not shares.wait_s("web", one(name), tokens, now_s):
            shares.take("web", one(name), tokens, now_s)
            there += tokens
        assert there <= 20 + rates.LEAST
