"""What one source may do: connections, requests and events of an address and of a key."""

import pytest

from jobs.collect.guard import Shares
from jobs.collect.items import Items
from jobs.collect.limits import Limits, Source
from jobs.collect.newcomers import Newcomers
from jobs.collect.rates import TokenBuckets
from jobs.collect.refusal import RequestRefusedError

SLOW = 1e-6  # tokens a second: none in a test


def limits(of_address: int = 500, of_key: int = 4000) -> Limits:
    new = Newcomers(TokenBuckets(1, 10), TokenBuckets(1, 10), Items(list, 0.0), 0.0)
    return Limits(
        TokenBuckets(SLOW, 10), TokenBuckets(SLOW, of_address), TokenBuckets(SLOW, of_key), new, TokenBuckets(SLOW, 150)
    )


def taken(bounds: Limits, source: Source, events: int, size: int = 0) -> bool:
    try:
        bounds.spend_events(source, events, bounds.spend_body(source, size))
    except RequestRefusedError:
        return False
    return True


def test_one_address_leaves_a_keys_events_to_others():
    bounds = limits()
    flood = [taken(bounds, Source("web", "a"), 60) for _ in range(100)]
    assert flood.count(True) == 8  # 8 times 60 of 500
    assert [taken(bounds, Source("web", f"honest{n}"), 99) for n in range(15)] == [True] * 15


def test_a_server_is_bounded_by_its_key_alone():
    bounds = limits()
    assert [taken(bounds, Source("server:orders", None), 500) for _ in range(8)] == [True] * 8
    assert not taken(bounds, Source("server:orders", None), 500)
    assert taken(bounds, Source("web", "a"), 500)


def test_what_a_key_refuses_costs_its_address_nothing():
    bounds = limits(of_key=50)
    assert not taken(bounds, Source("web", "a"), 99)
    assert taken(bounds, Source("app", "a"), 50)
    assert not taken(bounds, Source("web", "b"), 99)


def test_a_large_body_costs_its_size_whatever_it_holds():
    bounds = limits()
    assert bounds.spend_body(Source("web", "a"), 4 * 1024 * 1024) == 500  # all that a bucket holds, so it may pass
    assert not taken(bounds, Source("web", "a"), 1)
    assert taken(bounds, Source("web", "b"), 300, 40_000)  # 10 for the body, 290 more
    assert taken(bounds, Source("web", "b"), 200)
    assert not taken(bounds, Source("web", "b"), 1)


def test_requests_are_counted_by_address():
    bounds = limits()
    for _ in range(10):
        bounds.spend_request("a")
    with pytest.raises(RequestRefusedError) as refused:
        bounds.spend_request("a")
    assert (refused.value.status, refused.value.code) == (429, "rate")
    bounds.spend_request("b")


def test_connections_of_an_address_are_bounded_and_freed():
    shares = Shares(2, lambda host: "" if host == "proxy" else host)
    assert [shares.enter("a") for _ in range(3)] == ["a", "a", None]
    assert shares.enter("b") == "b"
    shares.leave("a")
    assert [shares.enter("a") for _ in range(2)] == ["a", None]
    assert [shares.enter("proxy") for _ in range(100)] == [""] * 100


def denied(bounds: Limits, source: Source, denials: int) -> int:
    """Return 200, or the status with which denials are refused."""
    try:
        bounds.spend_denials(source, denials)
    except RequestRefusedError as refusal:
        return refusal.status
    return 200


def test_an_address_may_make_so_many_denials_durable():
    """A shop's server may send any number, as its address is that of all its visitors."""
    bounds = limits()
    assert [denied(bounds, Source("web", "a"), 60) for _ in range(3)] == [200, 200, 429]
    assert denied(bounds, Source("web", "b"), 60) == 200
    assert denied(bounds, Source("web", "c"), 101) == 400
    assert [denied(bounds, Source("server:orders", None), 500) for _ in range(3)] == [200] * 3
