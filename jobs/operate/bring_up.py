"""Bring up a system that takes jobs: services, topics and the Feast registry."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from jobs.cluster import runtime
from jobs.cluster.runtime import Runtime
from jobs.operate import apply as applying
from jobs.operate import facts
from jobs.settings import Settings


def bring_up(settings: Settings, meanwhile: Callable[[Runtime], None] = lambda _: None) -> Runtime:
    """Start the services that don't run, make the topics, apply the definitions; return where the services answer.

    `feast apply` takes 10 to 20 s of processor time, nearly all of it imports. It needs only Redis' address. So it runs
    beside Kafka's and Flink's start, and beside `meanwhile`, which is called when the services answer. Raise
    `ServiceError`, and `DefinitionError` if Feast refuses the definitions.
    """
    with_redis = runtime.up(settings, ("redis",))
    with ThreadPoolExecutor(1) as beside:
        applied = beside.submit(applying.apply, settings, with_redis.redis_url)
        running = runtime.up(settings)
        known = {contract.topic for contract in facts.contracts_of(settings)}
        applying.create_topics(settings, running)
        meanwhile(running)
        applied.result()
    if any(contract.topic not in known for contract in facts.contracts_of(settings)):
        applying.create_topics(settings, running)  # of topics of the shop's own, `apply` says that there are any
    return running
