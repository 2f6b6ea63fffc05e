"""By which networks an address is counted, and whose word on a client's address is believed."""

import pytest

from jobs.collect.networks import NetworkNames, Proxies, address_of
from jobs.errors import SettingsError


def shared(one: str, other: str) -> list[int]:
    """The shares of the networks that two addresses have in common."""
    names = NetworkNames()
    others = names.of(address_of(other))
    return [network.shares for network in names.of(address_of(one)) if network in others]


@pytest.mark.parametrize(
    ("one", "other", "shares"),
    [
        ("203.0.113.7", "203.0.113.7", [1]),
        ("203.0.113.7", "203.0.113.8", []),
        ("203.0.113.7", "::ffff:203.0.113.7", [1]),
        ("203.0.113.7", "64:ff9b::203.0.113.7", [1]),  # as a translator shows it
        ("64:ff9b::203.0.113.7", "64:ff9b::203.0.113.8", []),
        ("2001:db8::1", "2001:db8::ffff:1", [1, 2, 3]),  # one /64
        ("2001:db8::1", "2001:db8:0:ff::1", [2, 3]),  # one /56
        ("2001:db8::1", "2001:db8:0:ffff::1", [3]),  # one /48
        ("2001:db8::1", "2001:db8:1::1", []),
    ],
)
def test_an_address_counts_for_each_network_it_is_in(one: str, other: str, shares: list[int]):
    assert shared(one, other) == shares


def test_names_of_networks_mean_nothing_elsewhere():
    address = address_of("203.0.113.7")
    assert NetworkNames().of(address) != NetworkNames().of(address)
    assert len(NetworkNames().of(None)) == 1  # a unix socket's peer


@pytest.mark.parametrize(
    ("peer", "lines", "client"),
    [
        ("10.1.2.3", ["203.0.113.7"], "203.0.113.7"),
        ("::ffff:10.1.2.3", ["203.0.113.7"], "203.0.113.7"),
        ("2001:db8::7", ["203.0.113.7"], "203.0.113.7"),
        ("198.51.100.1", ["203.0.113.7"], "198.51.100.1"),  # no proxy: nobody believes it
        ("10.1.2.3", [], "10.1.2.3"),
        ("10.1.2.3", ["1.1.1.1, 203.0.113.7, 192.0.2.1"], "203.0.113.7"),  # two proxies; the first hop is made up
        ("10.1.2.3", ["1.1.1.1", "203.0.113.7", "192.0.2.1"], "203.0.113.7"),  # each wrote a line of its own
        ("10.1.2.3", ["203.0.113.7, ::ffff:10.9.9.9"], "203.0.113.7"),
        ("10.1.2.3", ["10.0.0.1, 192.0.2.1"], "10.0.0.1"),  # the shop's own people
        ("10.1.2.3", ["203.0.113.7:5000"], "203.0.113.7"),
        ("10.1.2.3", ["[2001:db8:1::1]:5000"], "2001:db8:1::1"),
        ("10.1.2.3", ["1.1.1.1, unknown, 192.0.2.1"], "192.0.2.1"),  # what stands before it, anybody may have written
        ("10.1.2.3", [""], "10.1.2.3"),
    ],
)
def test_the_client_is_the_last_that_is_no_proxy(peer: str, lines: list[str], client: str):
    proxies = Proxies("10.0.0.0/8, 192.0.2.1,2001:db8::/64")
    assert proxies.client(peer, lines) == address_of(client)


def test_a_proxys_network_may_be_written_as_ipv6():
    assert Proxies("::ffff:10.0.0.0/104").hold(address_of("10.255.0.1"))
    assert not Proxies("").hold(address_of("10.255.0.1"))
    assert not Proxies("10.0.0.0/8").hold(address_of("unix socket"))


@pytest.mark.parametrize(
    ("listed", "named"),
    [
        ("*", "anybody"),
        ("0.0.0.0/0", "anybody"),
        ("10.0.0.1,::/0", "'::/0'"),
        ("::ffff:0:0/96", "anybody"),
        ("proxy.internal", "'proxy.internal'"),
        ("10.0.0.1/8", "host bits"),
        ("10.0.0.0/33", "10.0.0.0/33"),
        ("10.0.0.1 10.0.0.2", "10.0.0.1 10.0.0.2"),
    ],
)
def test_what_is_no_address_of_a_proxy_is_an_error(listed: str, named: str):
    with pytest.raises(SettingsError, match="collector_proxies holds") as error:
        Proxies(listed)
    assert named in error.value.what
