"""A real Redis; makes `small_views` importable: pytest's importlib mode puts no test folder on the path."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from jobs.cluster import processes
from jobs.cluster import redis as redis_server

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    state_dir = tmp_path_factory.mktemp("redis")
    (port,) = processes.free_ports(1)
    redis_server.start(state_dir, port)
    deadline = time.monotonic() + 30
    while not redis_server.answers(redis_server.url(port)):
        assert time.monotonic() < deadline, "Redis doesn't answer"
        time.sleep(0.02)
    yield redis_server.url(port)
    processes.stop(processes.owned(state_dir))


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(redis_url)
    client.flushall()
    yield client
    client.close()
