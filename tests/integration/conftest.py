"""What stands in where Flink's worker isn't: its metric group."""

import pytest


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
