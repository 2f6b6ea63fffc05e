"""From nothing to a system that takes jobs: services, topics and the Feast registry."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from jobs.cluster import runtime
from jobs.cluster.runtime import Runtime
from jobs.operate import submit
from jobs.settings import Settings


def bring_up(settings: Settings, meanwhile: Callable[[Runtime], None] = lambda _: None) -> Runtime:
    """Start what doesn't run, make the topics and apply the Feast definitions; where the services answer.

    `feast apply` takes 10 to 20 s of processor time, nearly all of it imports, and needs Redis' address only: it runs
    beside Kafka's and Flink's start, and beside `meanwhile`, which is called as soon as the services answer. Raises
    ServiceError, and DefinitionError if Feast refuses the definitions.
    """
    with_redis = runtime.up(settings, ("redis",))
    with ThreadPoolExecutor(1) as beside:
        applied = beside.submit(submit.apply, settings, with_redis.redis_url)
        running = runtime.up(settings)
        submit.create_topics(settings, running)
        meanwhile(running)
        applied.result()
    return running
