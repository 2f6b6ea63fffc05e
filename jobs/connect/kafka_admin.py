"""Make topics, give rights to use them, and ask where they end and how far a group has read."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ConfigResource,
    ConfigResourceType,
    OffsetSpec,
    ResourcePattern,
    ResourceType,
)
from kafka.errors import KafkaError, TopicAlreadyExistsError

from jobs.connect import addresses
from jobs.connect.kafka_patience import patiently
from jobs.connect.users import Right
from jobs.errors import ServiceError


def create_topics(bootstrap: str, partitions: Mapping[str, int], configs: Mapping[str, str] | None = None) -> None:
    """Make the topics that don't exist yet, and wait until each partition has a leader. An existing one stays.

    `partitions` maps a topic's name to its number of partitions. `configs` are topic settings for all of them.
    """
    admin = _admin(bootstrap)
    try:
        missing = set(partitions) - set(patiently(admin.list_topics))
        specs = {name: {"num_partitions": partitions[name], "configs": dict(configs or {})} for name in missing}
        if specs:
            patiently(admin.create_topics, specs, wait_for_metadata=True)
    except TopicAlreadyExistsError:
        pass  # another process made it between the two requests
    except KafkaError as error:
        raise ServiceError(f"the topics {sorted(partitions)} can't be made on {bootstrap}: {error}") from error
    finally:
        admin.close()


def grant(bootstrap: str, rights: Iterable[Right]) -> None:
    """Give the rights. Rights that were given before stay. Raise `ServiceError` if the broker refuses."""
    rules = [
        ACL(
            f"User:{right.user}",
            "*",
            ACLOperation[operation],
            ACLPermissionType.ALLOW,
            ResourcePattern(ResourceType[right.kind.upper()], name),
        )
        for right in rights
        for name in right.names
        for operation in right.operations
    ]
    with closing(_admin(bootstrap)) as admin:
        try:
            failed = patiently(admin.create_acls, rules)["failed"]
        except KafkaError as error:
            raise ServiceError(
                f"rights can't be given on {bootstrap}: {error}", "give them by hand: jobs/connect/README.md"
            ) from error
    if failed:
        raise ServiceError(
            f"rights can't be given on {bootstrap}: {failed}", "give them by hand: jobs/connect/README.md"
        )


def topics(bootstrap: str) -> set[str]:
    """Return the topics that there are; raise `ServiceError` if the broker doesn't tell."""
    with closing(_admin(bootstrap)) as admin:
        try:
            return set(patiently(admin.list_topics))
        except KafkaError as error:
            raise ServiceError(f"the topics can't be listed on {bootstrap}: {error}") from error


def partitions(bootstrap: str, topics: Sequence[str]) -> dict[str, int]:
    """Return how many partitions topics have; raise `ServiceError` if the broker doesn't tell, or one isn't there."""
    with closing(_admin(bootstrap)) as admin:
        try:
            return {each["name"]: len(each["partitions"]) for each in patiently(admin.describe_topics, list(topics))}
        except KafkaError as error:
            raise ServiceError(f"the topics {', '.join(topics)} can't be described on {bootstrap}: {error}") from error


def configs(bootstrap: str, topics: Sequence[str]) -> list[dict[str, str]]:
    """Return each topic's settings, the broker's defaults included; raise `ServiceError` if the broker doesn't tell."""
    with closing(_admin(bootstrap)) as admin:
        try:
            described = patiently(admin.describe_configs, list(map(_config, topics)), config_filter="all")["topic"]
        except KafkaError as error:
            raise ServiceError(f"the settings of {', '.join(topics)} can't be read on {bootstrap}: {error}") from error
    for topic in topics:
        if not described[topic]:  # a refusal has no settings, and raises nothing
            raise ServiceError(
                f"{bootstrap} doesn't tell the settings of {topic!r}", f"let the user describe the configs of {topic}"
            )
    return [{name: setting["value"] for name, setting in described[topic].items()} for topic in topics]


def set_configs(bootstrap: str, topic: str, values: Mapping[str, str]) -> None:
    """Set some of a topic's settings and leave the others; raise `ServiceError` if the broker refuses."""
    with closing(_admin(bootstrap)) as admin:
        try:
            done = patiently(admin.alter_configs, [_config(topic, values)])["topic"][topic]
        except (KafkaError, ValueError) as error:
            raise ServiceError(f"the settings of {topic!r} can't be changed on {bootstrap}: {error}") from error
    if done != "OK":
        raise ServiceError(f"the settings of {topic!r} can't be changed on {bootstrap}: {done}")


def _config(topic: str, values: Mapping[str, str] | None = None) -> ConfigResource:
    return ConfigResource(ConfigResourceType.TOPIC, topic, configs=dict(values) if values else None)


def end_offsets(bootstrap: str, topic: str) -> dict[int, int]:
    """Return the offset after the last record by partition; raise `ServiceError` if there is no such topic."""
    (ends,) = _offsets(bootstrap, topic, OffsetSpec.LATEST)
    return ends


def bounds(bootstrap: str, topic: str) -> dict[int, tuple[int, int]]:
    """Return the first offset and the one after the last by partition.

    Raise `ServiceError` if there is no such topic.
    """
    begins, ends = _offsets(bootstrap, topic, OffsetSpec.EARLIEST, OffsetSpec.LATEST)
    return {partition: (begin, ends[partition]) for partition, begin in begins.items()}


def offsets_at(bootstrap: str, topic: str, time_ms: int) -> dict[int, int]:
    """Return the first offset by partition whose record is at least as young; the end where there is none.

    Raise `ServiceError` if there is no such topic.
    """
    found, ends = _offsets(bootstrap, topic, time_ms, OffsetSpec.LATEST)
    return {partition: offset if offset >= 0 else ends[partition] for partition, offset in found.items()}


def held(bootstrap: str, topic: str) -> int:
    """Return how many offsets a topic holds; raise `ServiceError` if there is no such topic."""
    return sum(end - begin for begin, end in bounds(bootstrap, topic).values())


def _offsets(bootstrap: str, topic: str, *specs: OffsetSpec | int) -> list[dict[int, int]]:
    """Return what a topic's partitions have for each specification; raise `ServiceError` if there is no such topic."""
    with closing(_admin(bootstrap)) as admin:
        try:
            numbers = sorted(
                each["partition_index"] for each in patiently(admin.describe_topics, [topic])[0]["partitions"]
            )
            places = [TopicPartition(topic, number) for number in numbers]
            found = [patiently(admin.list_partition_offsets, dict.fromkeys(places, spec)) for spec in specs if places]
        except KafkaError as error:
            raise ServiceError(f"topic {topic!r} can't be read on {bootstrap}: {error}") from error
    if not found:
        raise ServiceError(f"there is no topic {topic!r} on {bootstrap}", "liveshelf up")
    return [{place.partition: offsets[place].offset for place in places} for offsets in found]


def committed(bootstrap: str, group: str, topic: str) -> dict[int, int]:
    """Return the offsets that a consumer group has committed with its checkpoints: the next one by partition."""
    with closing(_admin(bootstrap)) as admin:
        try:
            offsets = patiently(admin.list_group_offsets, group)[group]
        except KafkaError as error:
            raise ServiceError(f"the offsets of {group!r} can't be read on {bootstrap}: {error}") from error
    return {place.partition: offset.offset for place, offset in offsets.items() if place.topic == topic}


def has_read(bootstrap: str, group: str, topic: str, ends: Mapping[int, int]) -> bool:
    """Return True if a consumer group has committed these ends."""
    return reaches(committed(bootstrap, group, topic), ends)


def reaches(read: Mapping[int, int], ends: Mapping[int, int]) -> bool:
    """Return True if committed offsets reach these ends. A partition that is empty needn't be read."""
    return all(read.get(partition, 0) >= end for partition, end in ends.items())


def deleted_unread(bootstrap: str, group: str, topic: str) -> dict[int, tuple[int, int]]:
    """Return where the topic's retention deleted records that a consumer group hadn't read.

    The answer is by partition: the group's next offset, and the offset at which the topic begins now. Flink's source
    goes on at that beginning and says so only in its log.
    """
    read = committed(bootstrap, group, topic)
    admin = _admin(bootstrap)
    try:
        asked = {TopicPartition(topic, partition): OffsetSpec.EARLIEST for partition in read}
        begins = patiently(admin.list_partition_offsets, asked) if asked else {}
    except KafkaError as error:
        raise ServiceError(f"topic {topic!r} can't be read on {bootstrap}: {error}") from error
    finally:
        admin.close()
    gaps = {place.partition: (read[place.partition], begin.offset) for place, begin in begins.items()}
    return {partition: gap for partition, gap in sorted(gaps.items()) if gap[0] < gap[1]}


def told(gaps: Mapping[int, tuple[int, int]]) -> str:
    """Return such gaps as text for a person."""
    return "; ".join(f"partition {number}: offsets {read:,} to {begin - 1:,}" for number, (read, begin) in gaps.items())


def _admin(bootstrap: str) -> KafkaAdminClient:
    try:
        return KafkaAdminClient(**addresses.kafka_python(bootstrap), bootstrap_timeout_ms=10_000)
    except (KafkaError, ValueError) as error:
        raise ServiceError(f"Kafka at {bootstrap} doesn't answer: {error}", "liveshelf up") from error
