"""What one source may do: connections, requests, events and denials of a network and of a key."""

import math

import pytest

from jobs.collect import serve
from jobs.collect.guard import Shares
from jobs.collect.limits import Limits
from jobs.collect.networks import Network, NetworkNames, address_of
from jobs.collect.rates import Bound, FairShares, TokenBuckets
from jobs.collect.refusal import RequestRefusedError
from jobs.collect.source import Source
from jobs.settings import Settings

SLOW = 1e-6  # tokens a second: none in a test


def limits(of_address: int = 500, of_key: int = 4000, **settings: float) -> Limits:
    """The limits as they are served, but for those of events and requests."""
    served = serve._limits(Settings(**settings), list)
    events = Bound(TokenBuckets(SLOW, of_address), FairShares(of_key, of_key / SLOW, of_address))
    return Limits(TokenBuckets(SLOW, 10), events, served.newcomers, served.denials)


def source(key: str, address: str) -> Source:
    return Source(key, (Network(address, 1),))


SERVER = Source("server:orders", ())


def taken(bounds: Limits, who: Source, events: int, size: int = 0) -> bool:
    try:
        bounds.spend_events(who, events, bounds.spend_body(who, size))
    except RequestRefusedError:
        return False
    return True


def test_one_address_leaves_a_keys_events_to_others():
    bounds = limits()
    flood = [taken(bounds, source("web", "a"), 60) for _ in range(100)]
    assert flood.count(True) == 8  # 8 times 60 of 500
    assert [taken(bounds, source("web", f"honest{n}"), 99) for n in range(15)] == [True] * 15


def test_a_server_is_bounded_by_its_key_alone():
    bounds = limits()
    assert [taken(bounds, SERVER, 500) for _ in range(8)] == [True] * 8
    assert not taken(bounds, SERVER, 500)
    assert taken(bounds, source("web", "a"), 500)


def test_what_a_key_refuses_costs_its_address_nothing():
    bounds = limits(of_key=50)
    assert not taken(bounds, source("web", "a"), 99)
    assert taken(bounds, source("app", "a"), 50)
    assert not taken(bounds, source("web", "b"), 99)


def test_a_large_body_costs_its_size_whatever_it_holds():
    bounds = limits(of_key=1_000_000)
    assert bounds.spend_body(source("web", "a"), 4 * 1024 * 1024) == 500  # all that a bucket holds, so it may pass
    assert not taken(bounds, source("web", "a"), 1)
    assert taken(bounds, source("web", "b"), 300, 40_000)  # 10 for the body, 290 more
    assert taken(bounds, source("web", "b"), 200)
    assert not taken(bounds, source("web", "b"), 1)


def test_requests_are_counted_by_network():
    bounds = limits()
    for _ in range(10):
        bounds.spend_request([Network("a", 1)])
    with pytest.raises(RequestRefusedError) as refused:
        bounds.spend_request([Network("a", 1)])
    assert (refused.value.status, refused.value.code) == (429, "rate")
    bounds.spend_request([Network("b", 1)])


def hosts(number: int, of: str) -> list[Source]:
    """Sources of one customer: each has a /64 of its own in the customer's network."""
    names = NetworkNames()
    return [Source("web", names.of(address_of(of.format(each)))) for each in range(number)]


# A customer's network, and how many addresses' allowances it has.
CUSTOMERS = [("2001:db8::{:x}", 1), ("2001:db8:0:{:x}::1", 2), ("2001:db8:0:{:x}00::1", 3)]


@pytest.mark.parametrize(("customer", "allowances"), CUSTOMERS, ids=["/64", "/56", "/48"])
def test_a_customers_ipv6_network_is_no_more_than_three_addresses(customer: str, allowances: int):
    """Whichever bound it is. With 256 networks of 64 bits a customer was 256 addresses."""
    served, people = limits(of_key=1_000_000), hosts(256, customer)
    requests = 0
    for who in people:
        for _ in range(10):
            try:
                served.spend_request(who.networks)
                requests += 1
            except RequestRefusedError:
                break
    assert requests == 10 * allowances
    assert [taken(served, who, 50) for who in people * 2].count(True) == 10 * allowances
    assert [denied(served, who, 100) for who in people * 4].count(200) == 10 * allowances
    shares = Shares(20, lambda host: people[int(host)].networks)
    assert sum(shares.enter(str(number % 256)) is not None for number in range(2560)) == 20 * allowances


def test_an_honest_network_goes_on_beside_a_customers_flood():
    served, people = limits(), hosts(256, "2001:db8:0:{:x}00::1")
    for who in people:
        taken(served, who, 400)
        denied(served, who, 100)
    (carrier,) = hosts(1, "2001:db8:77::1")
    assert taken(served, carrier, 99)
    assert denied(served, carrier, 2) == 200


def test_a_flood_from_many_networks_leaves_a_key_its_events():
    """The flood comes from more addresses than fill the key's events, each within its own bound."""
    served = limits(of_address=500, of_key=4000)
    for _ in range(20):
        for number in range(20):
            taken(served, source("web", f"stranger{number}"), 20)
    assert [taken(served, source("web", f"honest{number}"), 1) for number in range(50)] == [True] * 50


def test_connections_of_an_address_are_bounded_and_freed():
    shares = Shares(2, lambda host: () if host == "proxy" else (Network(host, 1),))
    a, b = ((Network(name, 1),) for name in "ab")
    assert [shares.enter("a") for _ in range(3)] == [a, a, None]
    assert shares.enter("b") == b
    shares.leave(a)
    assert [shares.enter("a") for _ in range(2)] == [a, None]
    assert [shares.enter("proxy") for _ in range(100)] == [()] * 100


def denied(bounds: Limits, who: Source, denials: int) -> int:
    """Return 200, or the status with which denials are refused."""
    try:
        bounds.spend_denials(who, denials)
    except RequestRefusedError as refusal:
        return refusal.status if refusal.status == 400 or 0 < refusal.retry_after_s < math.inf else 0
    return 200


def test_an_address_may_make_so_many_denials_durable():
    """A shop's server may send any number, as its address is that of all its visitors."""
    bounds = limits()
    assert [denied(bounds, source("web", "a"), 100) for _ in range(11)] == [200] * 10 + [429]
    assert denied(bounds, source("web", "b"), 60) == 200
    assert denied(bounds, source("web", "c"), 101) == 400
    assert [denied(bounds, SERVER, 500) for _ in range(3)] == [200] * 3


def test_a_keys_denials_are_bounded_and_each_visitor_is_heard():
    """300 addresses make some 20,000 durable instead of 300,000. Who comes with one more finds room."""
    bounds, written = limits(), 0
    for _ in range(100):
        for number in range(300):
            written += 10 * (denied(bounds, source("web", f"stranger{number}"), 10) == 200)
    assert 18_000 < written < 20_000
    assert [denied(bounds, source("web", f"honest{number}"), 1) for number in range(100)] == [200] * 100
    assert denied(bounds, source("app", "stranger0"), 1) == 200
