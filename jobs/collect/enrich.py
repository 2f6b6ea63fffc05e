"""Derive the kind of device and the country from a browser's request. Neither address nor user agent is kept."""

import ipaddress
from pathlib import Path

import maxminddb
import ua_parser
from maxminddb.errors import InvalidDatabaseError

from jobs.collect.networks import Address
from jobs.errors import SettingsError

MAX_USER_AGENT = 512  # longer ones are made up; the rules' cost grows with the length
SPIDER = "Spider"
COUNTRY_PREFIX = {4: 24, 6: 48}  # bits of an address that are looked up: a network, not a person


def device(user_agent: str) -> str | None:
    """Return the family of the operating system, `Spider` for a crawler, None if it is unknown.

    ua-parser's family of the device doesn't help: it is None for PCs, "K" for each Android since Chrome shortened its
    user agent, and a single model ("Samsung SM-S911B") for older ones.
    """
    cut = user_agent[:MAX_USER_AGENT]
    found = ua_parser.parse_device(cut)
    if found and found.family == SPIDER:
        return SPIDER
    system = ua_parser.parse_os(cut)
    return system.family if system else None


class Countries:
    """Look countries up by network in a database of MaxMind's format. Without one every country is unknown.

    Raises SettingsError for a file that isn't such a database.
    """

    def __init__(self, path: Path | None) -> None:
        try:
            self._reader = maxminddb.open_database(path) if path else None
        except (OSError, InvalidDatabaseError) as error:
            fix = "a .mmdb file with countries, such as DB-IP Lite's or GeoLite2's"
            raise SettingsError(f"collector_country_database {path} can't be read: {error}", fix) from error

    def of(self, address: Address | None) -> str | None:
        """Return the ISO 3166 code of the network's country, None if it is unknown."""
        if self._reader is None or address is None or address.version > self._reader.metadata().ip_version:
            return None
        match self._reader.get(_network(address)):
            case {"country": {"iso_code": str(code)}}:
                return code
        return None


def _network(address: Address) -> Address:
    """Return the first address of the network that is looked up."""
    return ipaddress.ip_network((address, COUNTRY_PREFIX[address.version]), strict=False).network_address
