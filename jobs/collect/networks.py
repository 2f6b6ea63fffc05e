"""Know addresses: whose proxy one is, and to which networks it belongs. Rates are counted by network."""

import hashlib
import ipaddress
import secrets
from collections.abc import Sequence
from typing import NamedTuple

from jobs.errors import SettingsError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

SETTING = "collector_proxies"
FIX = "their addresses and networks with commas, such as LIVESHELF_COLLECTOR_PROXIES=10.0.0.0/8,2001:db8::7"
# Under this prefix a translator shows IPv4 addresses to servers that have IPv6 only. RFC 6052.
TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
# The networks by which an address is counted: bits, and how many addresses' allowances the network has. A provider
# gives a customer a /64 (a phone), a /56 or a /48 (a house, a company), so one customer has 1 to 65,536 networks of 64
# bits. A carrier's or a university's /48 holds thousands of people, as one IPv4 address of theirs does, so three are
# enough.
SHARES = {4: {32: 1}, 6: {64: 1, 56: 2, 48: 3}}


class Network(NamedTuple):
    """A network by which rates are counted, and how many addresses' allowances it has.

    Its name means nothing outside this process.
    """

    name: str
    shares: int


def address_of(text: str) -> Address | None:
    """Return an address, an IPv4 address inside IPv6 as IPv4. None for anything else (a unix socket's name)."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if address.version == 6 and address in TRANSLATED:
        return ipaddress.IPv4Address(address.packed[-4:])
    return getattr(address, "ipv4_mapped", None) or address


class NetworkNames:
    """Name the networks that an address belongs to, the narrowest first."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def of(self, address: Address | None) -> tuple[Network, ...]:
        if address is None:
            return (Network(self._name(b""), 1),)
        number, bits = int(address), address.max_prefixlen
        return tuple(
            Network(self._name(b"%d %d/%d" % (address.version, number >> (bits - prefix), prefix)), shares)
            for prefix, shares in SHARES[address.version].items()
        )

    def _name(self, network: bytes) -> str:
        return hashlib.blake2b(network, key=self._key, digest_size=16).hexdigest()


class Proxies:
    """Know the proxies whose word on a client's address is believed.

    `listed` are their addresses and networks. Raises SettingsError for anything else: a name, a network whose address
    has bits beyond its prefix, or one that holds everybody. Then anybody could choose the address that counts.
    """

    def __init__(self, listed: str) -> None:
        self._networks = [_network(each.strip()) for each in listed.split(",") if each.strip()]

    def hold(self, address: Address | None) -> bool:
        return any(address in network for network in self._networks) if address else False

    def client(self, peer: str, forwarded: Sequence[str]) -> Address | None:
        """Return the client's address: the right-most that isn't a proxy's, of `forwarded` and then the peer.

        `forwarded` are the lines of X-Forwarded-For. Each proxy adds who sent to it, to the last line or as a line of
        its own. What stands left of an address that isn't a proxy's, or of what is no address, anybody may have
        written.
        """
        address = address_of(peer)
        hops = [hop for line in forwarded for hop in line.split(",")]
        while hops and self.hold(address):
            before = address_of(_without_port(hops.pop().strip()))
            if before is None:
                break
            address = before
        return address


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        why = "* would let anybody choose the address that counts" if text == "*" else str(error)
        raise SettingsError(f"{SETTING} holds {text!r}: {why}", FIX) from error
    if network.version == 6 and network.subnet_of(MAPPED):
        network = ipaddress.IPv4Network((network.network_address.packed[-4:], network.prefixlen - 96))
    if network.prefixlen == 0:
        raise SettingsError(f"{SETTING} holds {text!r}: anybody could choose the address that counts", FIX)
    return network


def _without_port(hop: str) -> str:
    """Return an address without a port, which some proxies add: 192.0.2.1:5000, [2001:db8::1]:5000."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
