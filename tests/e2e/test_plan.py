"""What `liveshelf plan` predicts of state and Redis, beside what both jobs took on a real cluster at two sizes."""

import time

import pytest

from jobs.lab.bench import flink_jobs, known_visitors, redis_bytes
from jobs.lab.bench.known_visitors import FILL_MS, PAUSE_MS, Part
from jobs.lab.bench.workplace import MODEL, Workplace
from jobs.operate.running_jobs import JOBS, running_job
from tests.support.waiting import eventually

SIZES = (2_000, 8_000)  # visitors with one event each
ITEMS = 200
CHECKPOINT_TOLERANCE = 0.15
REDIS_TOLERANCE = 0.15


def slices(whole: Part) -> list[Part]:
    """Cut a filling at `SIZES`, with a pause between: all events before have passed when a slice comes."""
    return [
        Part(f"slice-{number}", whole.stream.part(start, stop), whole.times_ms[start:stop] + number * PAUSE_MS)
        for number, (start, stop) in enumerate(zip((0, *SIZES), SIZES, strict=False))
    ]


def test_checkpoints_and_redis_are_as_planned(scenario):
    """At 2,000 visitors and then at 8,000: a list, a row and a history each, and rows of 200 items."""
    scenario.settings = scenario.settings.model_copy(update={"model_dir": MODEL})
    scenario.start()
    place = Workplace(scenario.settings, scenario.runtime)
    empty = redis_bytes.held(place.store)
    sent: list[Part] = []
    for part in slices(known_visitors.filling(max(SIZES), ITEMS, time.time_ns() // 1_000_000 - 2 * FILL_MS)):
        known_visitors.send(place, scenario.settings.events_topic, part)
        sent.append(part)
        of_features = known_visitors.counts(sent, "features")
        keys = of_features.items + of_features.categories + 2 * of_features.visitors
        eventually(lambda keys=keys: place.store.dbsize() >= keys, within_s=40)
        expected = [known_visitors.predicted(sent, job) for job in JOBS]
        taken = [flink_jobs.checkpoint(place.rest_url, running_job(scenario.runtime, job)).bytes for job in JOBS]
        in_redis = redis_bytes.held(place.store) - empty
        assert taken == pytest.approx([each["checkpoint"] for each in expected], rel=CHECKPOINT_TOLERANCE)
        assert in_redis == pytest.approx(sum(each["redis"] for each in expected), rel=REDIS_TOLERANCE)
