"""The follower on a real broker: everything before the first batch, what is new at once, refusals and tombstones."""

import threading
import time
from collections.abc import Iterator

import pytest

from jobs.catalogue.follower import Follower
from jobs.connect import fact_topics, kafka_admin, kafka_send
from jobs.connect.fact_topics import Change
from jobs.contract.items import contracts
from jobs.errors import ServiceError
from tests.support.waiting import eventually

CONTRACTS = contracts("items", "offers")


def say(bootstrap: str, *changes: Change) -> None:
    fact_topics.send(bootstrap, ["items", "offers"], changes, time.time_ns() // 1_000_000)


def stock(follower: Follower, item_id: str) -> object:
    (row,) = follower.snapshot.places([item_id])
    return follower.snapshot.columns["stock"].value(row) if row >= 0 else "unknown"


@pytest.fixture(scope="module")
def followed(bootstrap: str) -> Iterator[Follower]:
    fact_topics.create(bootstrap, ("items", "offers"))
    say(bootstrap, *(Change("offers", str(number), {"stock": number}) for number in range(5000)))
    follower = Follower(bootstrap, CONTRACTS).start()
    yield follower
    follower.close()


def test_everything_is_known_before_the_first_batch(followed: Follower):
    assert (followed.snapshot.items, stock(followed, "4999")) == (5000, 4999)
    assert followed.snapshot.offsets == {"items": 0, "offers": 5000}


def test_what_is_said_removed_or_refused_is_heard(followed: Follower, bootstrap: str):
    before = followed.snapshot
    sender = kafka_send.connect(bootstrap, "offers", fast=False)
    sender.send(b"2", b'{"stock": "7"}', 1)
    sender.flush()
    sender.close()
    say(bootstrap, Change("offers", "1", {"stock": 0}), Change("offers", "3", None), Change("items", "new", {}))
    eventually(lambda: followed.snapshot.items == 5000 and stock(followed, "3") is None)
    assert [stock(followed, item) for item in "123"] == [0, 2, None]
    assert (followed.refused, followed.read) == (1, 5004)
    (row,) = before.places(["1"])
    assert before.columns["stock"].value(row) == 1


def test_its_age_is_told_though_nothing_changes(followed: Follower):
    eventually(lambda: followed.age_ms() < 1000)


def test_it_ends_when_it_is_closed(bootstrap: str):
    fact_topics.create(bootstrap, ("items", "offers"))
    follower = Follower(bootstrap, CONTRACTS).start()
    (thread,) = (each for each in threading.enumerate() if each is follower._thread)
    follower.close()
    assert not thread.is_alive()


@pytest.mark.parametrize(("topic", "reason"), [("absent", "no topic 'absent'"), ("wide", "2 partitions")])
def test_a_topic_that_cant_be_followed_is_named(bootstrap: str, topic: str, reason: str):
    kafka_admin.create_topics(bootstrap, {"wide": 2})
    with pytest.raises(ServiceError, match=reason):
        Follower(bootstrap, contracts(topic, "wide")).start()
