"""From nothing to a system that takes jobs: services, topics and the Feast registry."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from jobs.cluster import runtime, topics
from jobs.cluster.runtime import Runtime
from jobs.settings import Settings

# A dead letter holds the refused record as text: 2 MB of quotes and newlines are twice as long once they are escaped.
MAX_RECORD_BYTES = 8 * 1024 * 1024


def bring_up(settings: Settings, meanwhile: Callable[[Runtime], None] = lambda _: None) -> Runtime:
    """Start what doesn't run, make the topics and apply the Feast definitions; where the services answer.

    `feast apply` takes 20 s of processor time, nearly all of it imports, and needs Redis' address only: it runs beside
    Kafka's and Flink's start, and beside `meanwhile`, which is called as soon as topics stand. Raises ServiceError,
    and DefinitionError if Feast refuses the definitions.
    """
    from jobs.submit import apply

    with_redis = runtime.up(settings, ("redis",))
    with ThreadPoolExecutor(1) as beside:
        applied = beside.submit(apply, settings, with_redis)
        running = runtime.up(settings)
        make_topics(settings, running)
        meanwhile(running)
        applied.result()
    return running


def make_topics(settings: Settings, running: Runtime) -> None:
    """The topics that the jobs read and write, where they don't exist yet."""
    partitions = dict.fromkeys(topics_of(settings), settings.topic_partitions)
    topics.create_topics(running.kafka_bootstrap, partitions, {"max.message.bytes": str(MAX_RECORD_BYTES)})


def topics_of(settings: Settings) -> tuple[str, ...]:
    """Names of all topics that a system reads and writes."""
    return settings.events_topic, settings.dead_topic, settings.late_topic, settings.rankings_topic
