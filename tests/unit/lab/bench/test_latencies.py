"""The loads that follow one another on one topic; no services."""

import numpy as np
import pytest

from jobs.cluster.runtime import Runtime
from jobs.lab.bench import clicks
from jobs.lab.bench.latencies import HISTORY, line, schedules
from jobs.lab.bench.latency import Schedule, live_clicks, live_offsets
from jobs.lab.bench.workplace import Workplace, own
from jobs.settings import Settings


@pytest.fixture(scope="module")
def loads(tmp_path_factory) -> list[Schedule]:
    settings = own(Settings(state_dir=tmp_path_factory.mktemp("state")), slots=2)
    return schedules(Workplace(settings, Runtime("kafka:1", "redis://redis:2")), (200, 1_000), seconds=10)


def test_each_job_is_warmed_before_its_rates(loads):
    """30 s at 1,000 events/s that aren't watched; then 5 s and 10 s at each rate. The same again with features."""
    assert [load.count for load in loads] == [30_000, 3_000, 15_000] * 2
    assert [len(load.watched) for load in loads] == [0, 2_000, 2_000] * 2  # 200 events a second


def test_offsets_of_the_next_load_go_on(loads):
    """A partition holds its part of the history, a heartbeat, and then every load's events without a gap."""
    partition = np.concatenate([clicks.partitions(live_clicks(load), load.partitions) for load in loads])
    offset = np.concatenate([live_offsets(load) for load in loads])
    assert loads[0].history == HISTORY
    held = {number: int((partition == number).sum()) for number in range(2)}
    for number in range(2):
        own_offsets = offset[partition == number]
        assert np.diff(own_offsets).tolist() == [1] * (held[number] - 1)
    first = sum(int(offset[partition == number][0]) for number in range(2))
    assert first == HISTORY + 2


def test_a_line_tells_causes_or_that_there_are_none():
    result = {
        "features_beside": True,
        "events_per_s": 1_000,
        "latency_ms": {"p50": 20.4, "p90": 28.0, "p99": 51.0, "max": 155.2, "events": 8_000, "lists": 7_999},
        "redis_writes_per_s": 2_100,
        "generator_behind_ms_max": 4.0,
        "cores": {"redis": 0.1, "something else": 0.03},
        "slowest": [
            {"at_s": 3.1, "latency_ms": 155.2, "causes": ["task_manager paused (GC)"], "beside_ms": {"redis": 9.0}},
            {"at_s": 9.0, "latency_ms": 90.0, "causes": [], "beside_ms": {}},
        ],
    }
    assert line(result).splitlines() == [
        "1,000 events/s, with features: p50 / p90 / p99 / max 20 / 28 / 51 / 155 ms; 7,999 lists of 8,000 events "
        "watched; 2,100 writes/s; generator at most 4 ms late; 0.03 cores taken by something else",
        "  155 ms at 3.1 s: task_manager paused (GC); beside it redis 9 ms",
        "  90 ms at 9.0 s: no cause found",
    ]
