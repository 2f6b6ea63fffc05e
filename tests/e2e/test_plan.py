"""What `liveshelf plan` predicts of state and Redis, beside what both jobs took on a real cluster at two sizes."""

import time

import pytest

from jobs.lab.bench import flink_jobs, known_visitors, redis_bytes
from jobs.lab.bench.known_visitors import Part
from jobs.lab.bench.workplace import MODEL, Workplace
from jobs.operate.running_jobs import JOBS, running_job
from tests.support.waiting import eventually

SIZES = (2_000, 8_000)  # visitors with one event each
ITEMS = 200
CHECKPOINT_TOLERANCE = 0.15
REDIS_TOLERANCE = 0.15


def first(part: Part, count: int) -> Part:
    return Part(part.name, part.stream.part(0, count), part.times_ms[:count])


def rest(part: Part, start: int) -> Part:
    return Part(f"{part.name}-{start}", part.stream.part(start, len(part.stream)), part.times_ms[start:])


def test_checkpoints_and_redis_are_as_planned(scenario):
    """At 2,000 visitors and then at 8,000: a list, a row and a history each, and rows of 200 items."""
    scenario.settings = scenario.settings.model_copy(update={"model_dir": MODEL})
    scenario.start()
    place = Workplace(scenario.settings, scenario.runtime)
    empty = redis_bytes.held(place.store)
    whole = known_visitors.filling(max(SIZES), ITEMS, time.time_ns() // 1_000_000 - 2 * known_visitors.FILL_MS)
    sent = 0
    for visitors in SIZES:
        known_visitors.send(place, scenario.settings.events_topic, first(rest(whole, sent), visitors - sent))
        sent, now = visitors, first(whole, visitors)
        entities = known_visitors.counts(now, "features")
        keys = entities.items + entities.categories + 2 * visitors
        eventually(lambda keys=keys: place.store.dbsize() >= keys, within_s=60)
        expected = [known_visitors.predicted(now, job) for job in JOBS]
        taken = [flink_jobs.checkpoint(place.rest_url, running_job(scenario.runtime, job)).bytes for job in JOBS]
        assert taken == pytest.approx([each["checkpoint"] for each in expected], rel=CHECKPOINT_TOLERANCE)
        in_redis = redis_bytes.held(place.store) - empty
        assert in_redis == pytest.approx(sum(each["redis"] for each in expected), rel=REDIS_TOLERANCE)
