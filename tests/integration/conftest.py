"""Share what stands in for Flink's worker, and the check programs of the Java part."""

from pathlib import Path

import pytest

from jobs.jvm import build


class Counters(dict):
    """Stands in for Flink's metric group, whose worker isn't here."""

    def get_metric_group(self) -> "Counters":
        return self

    def counter(self, name: str) -> "Counters":
        self.setdefault(name, 0)
        counter = Counters()
        counter.inc = lambda n=1: self.update({name: self[name] + n})
        return counter


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture(scope="session")
def java_checks(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the class path of the check programs of tests/integration/jvm, compiled beside the jobs' classes."""
    return build.compiled_beside(tmp_path_factory.mktemp("classes"), *Path(__file__).parent.glob("jvm/*.java"))
