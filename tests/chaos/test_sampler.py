"""The sampler sees a version fall, and nothing else."""

import time

import redis

from jobs.features.online_store import entity_key
from jobs.features.plan import FeaturePlan, Output, ViewPlan
from jobs.lab.chaos.sampler import Sampler

PLAN = FeaturePlan(
    "liveshelf", "events", 0, [ViewPlan("v", "visitor_id", "range", [Output("n", "count", "event_id", "Int64")], 0)]
)
KEY = entity_key("liveshelf", {"visitor_id": "a"})
OPERATOR = PLAN.operators()[0].key


def put(client: redis.Redis, list_version: int, feature_version: int) -> None:
    client.set("shelf:{a}:home", f'{{"version":"{list_version:020d}","items":[]}}')
    client.hset(KEY, f"_v:{OPERATOR}", f"{feature_version:026d}")
    time.sleep(0.3)


def test_it_sees_versions_fall_and_forgets_what_redis_lost(redis_url: str, client: redis.Redis) -> None:
    """It sees a list and a feature whose versions fall and forgets what Redis lost."""
    sampler = Sampler(redis_url, PLAN, "home")
    sampler.watch(["a"])
    put(client, 5, 5)
    put(client, 6, 5)
    assert sampler.falls == []
    put(client, 4, 5)
    assert {fall.key for fall in sampler.falls} == {"a:list"}
    put(client, 4, 3)
    assert {fall.key for fall in sampler.falls} == {"a:list", f"a:_v:{OPERATOR}"}
    seen = len(sampler.falls)
    with sampler.blind():
        client.flushall()
    put(client, 1, 1)
    sampler.close()
    assert len(sampler.falls) == seen
    assert sampler.reads > 500
