"""One of three brokers dies: commands go on, though a partition has no leader for some seconds."""

import importlib.util
from collections.abc import Iterator
from contextlib import closing

import pytest

from jobs.connect import consent_topic, kafka_admin, kafka_send
from jobs.connect.kafka_read import read_slice
from jobs.contract.consent_record import Record
from jobs.lab.chaos.own.three_brokers import ThreeBrokers, three_brokers
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreeBrokers]:
    with three_brokers(tmp_path_factory.mktemp("kafka"), partitions=4) as running:
        yield running


def test_commands_go_on_without_one_of_three_brokers(brokers: ThreeBrokers, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker that is named first is the one that dies; each partition has lost a replica, or its leader."""
    bootstrap = brokers.bootstrap
    kafka_admin.create_topics(bootstrap, {"events": 4})
    send(bootstrap, range(8))
    brokers.kill(0)
    assert sum(kafka_admin.end_offsets(bootstrap, "events").values()) == 8
    assert kafka_admin.topics(bootstrap) >= {"events"}
    assert kafka_admin.partitions(bootstrap, ["events"]) == {"events": 4}
    assert kafka_admin.committed(bootstrap, "nobody", "events") == {}
    send(bootstrap, range(8, 16))
    assert {record.value for record in read_slice(bootstrap, "events").records} == {b"%d" % n for n in range(16)}
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "confluent_kafka" else found(name))
    assert len(read_slice(bootstrap, "events").records) == 16
    kafka_admin.create_topics(bootstrap, {"consent": 4}, consent_topic.TOPIC)
    consent_topic.send(bootstrap, "consent", {"v": Record("withdrawn", 1)})
    assert not brokers.in_sync()
    brokers.start(0)
    eventually(brokers.in_sync, within_s=120)


def send(bootstrap: str, numbers: range) -> None:
    with closing(kafka_send.connect(bootstrap, "events", fast=False)) as sender:
        for number in numbers:
            sender.send(b"%d" % number, b"%d" % number, 1)
        sender.flush()
