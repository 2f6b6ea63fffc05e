"""A real broker's topic that lost events before a job had read them: nobody goes on behind them without a word."""

from contextlib import closing

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata

from jobs.cluster import runtime
from jobs.connect import kafka_admin
from jobs.connect.users import GROUPS
from jobs.errors import ServiceError
from jobs.operate import doctor, refuse
from jobs.settings import Settings

TOPIC = "events"


@pytest.fixture(scope="module")
def settings(kafka_settings: Settings) -> Settings:
    """Ten events in each of two partitions; the features job had read three of the first, and all of the other."""
    bootstrap = runtime.current(kafka_settings).kafka_bootstrap
    kafka_admin.create_topics(bootstrap, {TOPIC: 2})
    with closing(KafkaProducer(bootstrap_servers=bootstrap)) as producer:
        for number in range(20):
            producer.send(TOPIC, b"event", partition=number % 2)
    with closing(KafkaConsumer(bootstrap_servers=bootstrap, group_id=GROUPS["features"])) as consumer:
        read = {TopicPartition(TOPIC, 0): 3, TopicPartition(TOPIC, 1): 10}
        consumer.assign(list(read))
        consumer.commit({place: OffsetAndMetadata(offset, "", -1) for place, offset in read.items()})
    return kafka_settings


@pytest.fixture(scope="module")
def bootstrap(settings: Settings) -> str:
    return runtime.current(settings).kafka_bootstrap


def delete(bootstrap: str, before: dict[int, int]) -> None:
    """As retention does."""
    with closing(KafkaAdminClient(bootstrap_servers=bootstrap)) as admin:
        admin.delete_records({TopicPartition(TOPIC, partition): offset for partition, offset in before.items()})


def unread_check(settings: Settings) -> doctor.Check:
    return next(check for check in doctor.checks(settings) if check.name == "events for features")


def test_a_broker_without_offsets_yet_is_asked_again(kafka_settings: Settings) -> None:
    """A broker that keeps no offsets yet is asked again until it does."""
    assert kafka_admin.committed(runtime.current(kafka_settings).kafka_bootstrap, GROUPS["features"], TOPIC) == {}


def test_events_that_were_read_may_be_deleted(settings: Settings, bootstrap: str) -> None:
    delete(bootstrap, {0: 3, 1: 4})
    assert kafka_admin.deleted_unread(bootstrap, GROUPS["features"], TOPIC) == {}
    refuse.refuse_gap(settings, runtime.current(settings), "features")
    assert unread_check(settings).ok


def test_events_deleted_unread_are_named(settings: Settings, bootstrap: str) -> None:
    """Events deleted unread are named and a savepoint from before is refused."""
    delete(bootstrap, {0: 6})
    assert kafka_admin.deleted_unread(bootstrap, GROUPS["features"], TOPIC) == {0: (3, 6)}
    with pytest.raises(
        ServiceError, match=r"before the features job read them: partition 0: offsets 3 to 5[\s\S]*--accept-gap"
    ):
        refuse.refuse_gap(settings, runtime.current(settings), "features")
    assert (unread_check(settings).ok, unread_check(settings).found) == (
        False,
        "lost before they were read: partition 0: offsets 3 to 5",
    )


def test_a_job_that_never_read_the_topic_has_lost_nothing(settings: Settings, bootstrap: str) -> None:
    assert kafka_admin.deleted_unread(bootstrap, GROUPS["rankings"], TOPIC) == {}
    refuse.refuse_gap(settings, runtime.current(settings), "rankings")
