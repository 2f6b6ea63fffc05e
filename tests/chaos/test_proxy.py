"""The proxy's toxics on a real Redis."""

import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import psutil
import pytest
import redis

from jobs.cluster import processes
from jobs.errors import ServiceError
from jobs.lab.chaos.proxy import FaultProxy


@pytest.fixture
def proxy(redis_url: str) -> Iterator[FaultProxy]:
    (port,) = processes.free_ports(1)
    made = FaultProxy(port, urlsplit(redis_url).port)
    yield made
    made.close()


def through(proxy: FaultProxy, timeout_s: float = 5) -> redis.Redis:
    return redis.Redis(port=proxy.port, socket_timeout=timeout_s)


def test_it_passes_everything_on_when_no_toxic_is_set(proxy: FaultProxy) -> None:
    value = bytes(range(256)) * 4096
    through(proxy).set("large", value)
    assert through(proxy).get("large") == value


def test_latency_is_added_in_both_directions(proxy: FaultProxy) -> None:
    client = through(proxy)
    client.ping()
    proxy.set(latency_ms=100)
    started = time.monotonic()
    client.ping()
    assert time.monotonic() - started >= 0.2


def test_a_megabyte_takes_two_seconds_at_four_megabits_a_second(proxy: FaultProxy) -> None:
    through(proxy).set("large", bytes(1_000_000))
    proxy.set(rate_kbit_s=4000)
    started = time.monotonic()
    through(proxy).get("large")
    assert time.monotonic() - started >= 2


def test_timeout_swallows_what_is_sent_and_ends_with_a_reset(proxy: FaultProxy) -> None:
    """Timeout swallows what is sent and the connection is reset when it ends."""
    client = through(proxy, timeout_s=0.3)
    client.ping()
    proxy.set(timeout=True)
    with pytest.raises(redis.TimeoutError):
        client.ping()
    proxy.set()
    assert through(proxy).ping()


def test_down_refuses_connections_until_it_ends(proxy: FaultProxy) -> None:
    proxy.set(down=True)
    with pytest.raises(redis.ConnectionError):
        through(proxy).ping()
    proxy.set()
    assert through(proxy).ping()


def test_limit_data_cuts_connection_in_the_middle_of_a_reply(proxy: FaultProxy) -> None:
    through(proxy).set("large", bytes(1_000_000))
    proxy.set(limit_data=50_000)
    with pytest.raises(redis.ConnectionError):
        through(proxy).get("large")


def test_a_proxy_that_died_is_named_by_its_port(proxy: FaultProxy) -> None:
    (process,) = [each for each in psutil.Process().children() if str(proxy.port) in processes.words(each)]
    process.kill()
    process.wait()
    for _ in range(2):
        with pytest.raises(ServiceError, match=f"port {proxy.port} ended"):
            proxy.set(down=True)
