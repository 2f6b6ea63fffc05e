"""Share what stands in for Flink's worker, and the check programs of the Java part."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.cluster import runtime
from jobs.jvm import build
from jobs.settings import Settings


class Counters(dict):
    """Stands in for Flink's metric group, whose worker isn't here."""

    def get_metric_group(self) -> "Counters":
        return self

    def counter(self, name: str) -> "Counter":
        self.setdefault(name, 0)
        return Counter(self, name)


class Counter:
    """One of `Counters`, which adds to the dictionary."""

    def __init__(self, counters: Counters, name: str) -> None:
        self._counters, self._name = counters, name

    def inc(self, n: int = 1) -> None:
        self._counters[self._name] += n


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture(scope="module")
def kafka_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Yield the settings of a system in which a broker runs, and nothing else."""
    settings = Settings(state_dir=tmp_path_factory.mktemp("kafka"), kafka_port=0)
    try:
        runtime.up(settings, ["kafka"])
        yield settings
    finally:
        runtime.down(settings)


@pytest.fixture(scope="module")
def bootstrap(kafka_settings: Settings) -> str:
    return runtime.current(kafka_settings).kafka_bootstrap


@pytest.fixture(scope="session")
def java_checks(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the class path of the check programs of tests/integration/jvm, compiled beside the jobs' classes."""
    return build.compiled_beside(tmp_path_factory.mktemp("classes"), *Path(__file__).parent.glob("jvm/*.java"))
