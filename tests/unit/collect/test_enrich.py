"""Devices from user agents, countries from cut addresses; the database is made by another program, mmdb-writer."""

from pathlib import Path

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from jobs.collect import enrich
from jobs.collect.enrich import Countries
from jobs.collect.networks import address_of
from jobs.contract.events import FIELD
from jobs.errors import SettingsError

IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) "
    "AppleWebKit/605.1.15 Version/17.0 Mobile/15E148 Safari/604.1"
)
ANDROID = (
    "Mozilla/5.0 (Linux; Android 13; SM-S911B) "
    "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/112.0.0.0 Mobile Safari/537.36"
)
WINDOWS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"
)
BOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


@pytest.mark.parametrize(
    ("agent", "family"),
    [
        (IPHONE, "iOS"),
        (ANDROID, "Android"),
        (WINDOWS, "Windows"),
        (BOT, "Spider"),
        ("curl/8", None),
        ("", None),
        ("é" * 9999, None),
    ],
)
def test_device_is_family_and_never_a_model_or_a_version(agent: str, family: str | None):
    assert enrich.device(agent) == family
    assert len(family or "") <= FIELD["device"].max_length


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True)
    writer.insert_network(IPSet(["203.0.113.0/25"]), {"country": {"iso_code": "DE"}})
    writer.insert_network(IPSet(["203.0.113.128/25"]), {"country": {"iso_code": "FR"}})
    writer.insert_network(IPSet(["2001:db8:1::/49"]), {"country": {"iso_code": "SE"}})
    writer.insert_network(IPSet(["198.51.100.0/24"]), {"continent": "none of ours"})
    path = tmp_path_factory.mktemp("countries") / "countries.mmdb"
    writer.to_db_file(str(path))
    return path


@pytest.mark.parametrize(
    ("address", "country"),
    [
        ("203.0.113.7", "DE"),
        ("203.0.113.200", "DE"),  # lies in the French half: only the first 24 bits were looked up
        ("::ffff:203.0.113.7", "DE"),
        ("2001:db8:1:ffff::1", "SE"),  # the second half of the /48 has no country: the first 48 bits were looked up
        ("198.51.100.1", None),
        ("192.0.2.1", None),
        ("testclient", None),
    ],
)
def test_a_country_is_that_of_the_cut_address(database: Path, address: str, country: str | None):
    assert Countries(database).of(address_of(address)) == country


def test_an_ipv6_address_has_no_country_in_an_older_database(tmp_path: Path):
    """An address of the newer kind has no country in a database of the older."""
    writer = MMDBWriter(ip_version=4)
    writer.insert_network(IPSet(["203.0.113.0/24"]), {"country": {"iso_code": "DE"}})
    writer.to_db_file(str(tmp_path / "v4.mmdb"))
    countries = Countries(tmp_path / "v4.mmdb")
    assert countries.of(address_of("203.0.113.7")) == "DE"
    assert countries.of(address_of("2001:db8::1")) is None


def test_without_a_database_there_is_no_country(tmp_path: Path):
    """Without a database there is no country and a wrong one is named."""
    assert Countries(None).of(address_of("203.0.113.7")) is None
    (tmp_path / "wrong.mmdb").write_bytes(b"nothing")
    for name in ("wrong.mmdb", "absent.mmdb"):
        with pytest.raises(SettingsError, match=f"collector_country_database .*{name}"):
            Countries(tmp_path / name)
