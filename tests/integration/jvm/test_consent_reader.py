"""The jobs' reader of the consent topic, on a real broker: what it has read at its start, and what it hears later."""

import subprocess
from collections.abc import Callable, Iterator

import pytest
from kafka import KafkaAdminClient
from kafka.admin import NewPartitions

from jobs.connect import addresses, kafka_admin, kafka_send
from jobs.jvm.java import JAVA
from tests.support.waiting import eventually

VIEW_AGE_MS = 500  # of the topic's partitions; the jobs' own is ten seconds
Ask = Callable[[str], str]


def command(classpath: str, bootstrap: str, topic: str) -> list[str]:
    return [str(JAVA), "-cp", classpath, "liveshelf.ConsentReaderCheck", bootstrap, topic, str(VIEW_AGE_MS)]


@pytest.fixture
def reading(java_checks: str, bootstrap: str) -> Iterator[Callable[[str], Ask]]:
    """Return a function that starts a reader of a topic and returns how to ask for a visitor's newest record."""
    running: list[subprocess.Popen] = []

    def start(topic: str) -> Ask:
        process = subprocess.Popen(
            command(java_checks, bootstrap, topic), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        running.append(process)

        def ask(visitor: str) -> str:
            process.stdin.write(f"{visitor}\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        return ask

    yield start
    for process in running:
        process.stdin.close()
        process.stdout.close()
        assert process.wait(timeout=60) == 0


def say(bootstrap: str, topic: str, visitor: str, state: str, at_ms: int, partition: int = 0) -> None:
    sender = kafka_send.connect(bootstrap, topic, fast=False)
    sender.send(visitor.encode(), f'{{"state":"{state}","at_ms":{at_ms}}}'.encode(), at_ms, partition)
    sender.flush()
    sender.close()


def test_a_reader_knows_all_partitions_at_its_start(bootstrap: str, reading):
    kafka_admin.create_topics(bootstrap, {"start": 2})
    say(bootstrap, "start", "anna", "withdrawn", 10, partition=0)
    say(bootstrap, "start", "bert", "erased", 10, partition=1)
    ask = reading("start")
    assert [ask("anna"), ask("bert"), ask("cleo")] == ["withdrawn", "erased", "unknown"]


def test_a_reader_hears_what_is_said_later(bootstrap: str, reading):
    kafka_admin.create_topics(bootstrap, {"later": 1})
    ask = reading("later")
    assert ask("anna") == "unknown"
    say(bootstrap, "later", "anna", "withdrawn", 10)
    eventually(lambda: ask("anna") == "withdrawn")


def test_a_reader_hears_a_partition_that_is_added(bootstrap: str, reading):
    """And what was said before in the other one stays."""
    kafka_admin.create_topics(bootstrap, {"grows": 1})
    say(bootstrap, "grows", "anna", "withdrawn", 10)
    ask = reading("grows")
    assert ask("anna") == "withdrawn"
    admin = KafkaAdminClient(**addresses.kafka_python(bootstrap))
    admin.create_partitions({"grows": NewPartitions(2)})
    admin.close()
    say(bootstrap, "grows", "bert", "withdrawn", 20, partition=1)
    eventually(lambda: ask("bert") == "withdrawn")
    assert ask("anna") == "withdrawn"


def test_a_topic_that_is_not_there_is_refused(java_checks: str, bootstrap: str):
    failed = subprocess.run(
        command(java_checks, bootstrap, "nowhere"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert failed.returncode == 1
    assert "there is no topic nowhere; `liveshelf up` makes it" in failed.stderr
