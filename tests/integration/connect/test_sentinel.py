"""A Redis that Sentinels watch: clients follow the primary, and a batch waits out a failover."""

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from jobs.cluster import processes
from jobs.cluster.redis import answers, fitness, server_binary
from jobs.cluster.runtime import Runtime
from jobs.connect import addresses
from jobs.connect.redis_pipeline import Connection
from jobs.errors import ServiceError
from jobs.lab.chaos.own.watched_redis import WatchedRedis, watched_redis
from jobs.operate.refuse import refuse_unfit
from tests.support.waiting import eventually


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[WatchedRedis]:
    with watched_redis(tmp_path) as running:
        yield running


def test_a_batch_waits_until_another_server_is_the_primary(watched: WatchedRedis) -> None:
    """The primary dies between two batches; the second one is sent until the replica takes it."""
    connection = Connection(watched.address, patience_s=60)
    assert connection.exchange([("SET", "before", 1)]) == [True]
    after = watched.kill_primary()
    assert connection.exchange([("SET", "after", 2), ("GET", "after")]) == [True, b"2"]
    connection.close()
    assert watched.client(after).get("after") == "2"


def test_a_primary_that_was_held_back_leaves_a_gap(watched: WatchedRedis) -> None:
    """Chaos loses writes that way. On a busy machine Sentinel may make the server that comes back the primary again."""
    connection = Connection(watched.address, patience_s=60)
    before = watched.primary
    connection.exchange([("SET", "early", 1), ("WAIT", 1, 0)])
    assert watched.has_replica()
    watched.hold_back(before)
    connection.exchange([("SET", "late", 1)])
    watched.kill_primary()
    assert connection.exchange([("MGET", "early", "late")]) == [[b"1", None]]
    connection.close()
    assert not watched.has_replica()
    watched.start_again(before)
    eventually(watched.has_replica, within_s=60)


def test_a_frozen_primary_is_left_and_not_written_to_again(watched: WatchedRedis) -> None:
    """A machine that hangs and comes back still takes itself for the primary. Sentinel makes it a replica."""
    connection = Connection(watched.address, patience_s=60)
    connection.exchange([("SET", "key", "old")])
    frozen = watched.primary
    watched.signal(frozen, signal.SIGSTOP)
    assert connection.exchange([("SET", "key", "new")]) == [True]
    assert watched.primary != frozen
    watched.signal(frozen, signal.SIGCONT)
    eventually(lambda: watched.is_replica(frozen), within_s=30)
    eventually(lambda: watched.client(frozen).get("key") == "new", within_s=30)
    assert connection.exchange([("GET", "key")]) == [b"new"]
    connection.close()


def test_a_demoted_primary_refuses_and_its_client_moves(watched: WatchedRedis) -> None:
    """An operator's failover leaves the connection open, to a server that is read-only from now on."""
    connection = Connection(watched.address, patience_s=60)
    connection.exchange([("SET", "key", 1)])
    before = watched.primary
    watched.client(watched.sentinels[0]).sentinel_failover("shop")
    eventually(lambda: watched.primary != before, within_s=30)
    eventually(lambda: watched.is_replica(before), within_s=30)
    assert connection.exchange([("SET", "key", 2)]) == [True]
    assert watched.client(watched.primary).get("key") == "2"
    connection.close()


def test_one_sentinel_is_enough_to_find_the_primary(watched: WatchedRedis) -> None:
    for port in watched.sentinels[:2]:
        watched.signal(port, signal.SIGKILL)
    assert answers(watched.address)
    assert fitness(watched.address) == ("has maxmemory-policy noeviction", "")


def test_without_a_sentinel_a_batch_gives_up_in_time(watched: WatchedRedis) -> None:
    for port in watched.sentinels:
        watched.signal(port, signal.SIGKILL)
    assert not answers(watched.address)
    begun = time.monotonic()
    with pytest.raises(ServiceError, match="the Sentinels' shop didn't answer for 2 s"):
        Connection(watched.address, patience_s=2).exchange([("PING",)])
    assert time.monotonic() - begun < 30


def test_a_closed_client_leaves_no_connection_open(watched: WatchedRedis) -> None:
    """Commands make clients all the time, and each has connections to Sentinels too."""

    def connections() -> int:
        """Those of this process: Sentinels have others of their own."""
        found = psutil.Process().net_connections("tcp")
        return sum(each.status == psutil.CONN_ESTABLISHED and each.raddr.port in watched.ports for each in found)

    before = connections()
    for _ in range(5):
        addresses.redis_client(watched.address).ping()
        client = addresses.redis_client(watched.address)
        client.ping()
        client.close()
    kept = addresses.redis_client(watched.address)
    kept.ping()
    kept.close()
    eventually(lambda: connections() == before, within_s=10)


def test_feast_reads_from_the_primary(watched: WatchedRedis) -> None:
    from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig

    config = RedisOnlineStoreConfig(type="redis", **addresses.feast_store(watched.address))
    client = RedisOnlineStore()._get_client(config)
    client.set("key", 1)
    assert watched.client(watched.primary).get("key") == "1"


def test_a_part_of_a_redis_cluster_is_refused(tmp_path: Path) -> None:
    (port,) = processes.free_ports(1)
    options = ["--port", str(port), "--dir", str(tmp_path), "--save", "", "--cluster-enabled", "yes"]
    with subprocess.Popen([server_binary(), *options], stdout=subprocess.DEVNULL) as server:
        eventually(lambda: processes.listens(f"127.0.0.1:{port}"), within_s=20)
        with pytest.raises(ServiceError, match="is a part of a Redis Cluster"):
            refuse_unfit(Runtime(redis_url=f"redis://127.0.0.1:{port}/0"))
        server.kill()


def test_a_name_that_no_sentinel_knows_is_an_error(watched: WatchedRedis) -> None:
    client = addresses.redis_client(watched.address.replace("/shop/", "/store/"))
    with pytest.raises(redis.sentinel.MasterNotFoundError, match="store"):
        client.ping()
