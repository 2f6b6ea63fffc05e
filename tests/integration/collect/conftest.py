"""A real broker and a real collector process for the tests of this folder."""

from collections.abc import Iterator

import pytest

from jobs.lab.bench.collector_system import Broker, RunningCollector


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture(scope="session")
def collector(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    """One that is never in its tests' way with its rates."""
    with RunningCollector(
        broker,
        tmp_path_factory.mktemp("collector"),
        key_events_per_s=1e6,
        address_requests_per_s=1e6,
        address_events_per_s=1e6,
        address_new_per_s=1e6,
    ) as running:
        yield running
