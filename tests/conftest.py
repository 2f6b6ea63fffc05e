"""What tests of several kinds share: a real Redis on a free port, emptied for each test."""

import sys
from collections.abc import Iterator

import pytest
import redis

from jobs.cluster import processes
from jobs.cluster import redis as redis_server
from tests.support.waiting import eventually

# Torch's compiler, which nothing here uses; as it goes it prints pages about itself below pytest's last line.
sys.modules.setdefault("triton", None)


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    state_dir = tmp_path_factory.mktemp("redis")
    (port,) = processes.free_ports(1)
    redis_server.start(state_dir, port)
    eventually(lambda: redis_server.answers(redis_server.url(port)))
    yield redis_server.url(port)
    processes.stop(processes.owned(state_dir))


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(redis_url)
    client.flushall()
    yield client
    client.close()
