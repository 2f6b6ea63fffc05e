"""Fixtures that tests of several levels share: the shipped data, and a real Redis on a free port."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import redis

import models.session  # noqa: F401 - says how torch's threads wait, before a test imports torch
from jobs.cluster import processes
from jobs.cluster import redis as redis_server
from jobs.settings import REPOSITORY
from tests.support.waiting import eventually

CACHES = {".pytest_cache", ".hypothesis"}

# How long an example takes says what else the machine does.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# Torch's compiler, which nothing here uses; as it goes it prints pages about itself below pytest's last line.
sys.modules.setdefault("triton", None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Share the tests among processes, where several run, as `tests/support/sharing.py` says."""
    from tests.support.sharing import OneSystem

    return OneSystem(config, log)


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Refuse tests that leave a file in the checkout: a liveshelf.toml would be read by all that runs there later."""
    before = set(os.listdir(REPOSITORY))
    yield
    left = set(os.listdir(REPOSITORY)) - before - CACHES
    assert not left, f"tests left {sorted(left)} in {REPOSITORY}"


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


@pytest.fixture(scope="session")
def eshop_file() -> Path:
    """Return the shipped clicks of eshop2008."""
    return REPOSITORY / "jobs" / "lab" / "replay" / "datasets" / "eshop2008.csv.gz"


@pytest.fixture(scope="session")
def eshop_bundle_folder() -> Path:
    """Return the folder of the committed bundle."""
    return REPOSITORY / "models" / "artifacts" / "eshop"
