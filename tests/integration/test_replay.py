"""A replay into a real broker: what was reported is what lies in the topic."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec
import pytest
from kafka import KafkaConsumer, TopicPartition
from typer.testing import CliRunner

from jobs.cli import app
from jobs.cluster import runtime
from jobs.connect import kafka_admin, kafka_send
from jobs.contract.events import HEARTBEAT, parse
from jobs.errors import ServiceError
from jobs.lab.replay.produce import replay
from jobs.lab.replay.sources import read
from jobs.settings import Settings
from liveshelf.pseudonyms import Pseudonyms, add_key

DELAY_S = 60
PARTITIONS = 3
CLIENTS = ["kafka-python", "confluent-kafka"]


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = Settings(state_dir=tmp_path_factory.mktemp("replay"), kafka_port=0)
    try:
        yield runtime.up(settings, ["kafka"]).kafka_bootstrap
    finally:
        runtime.down(settings)


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "confluent-kafka":
        pytest.importorskip("confluent_kafka", reason="confluent-kafka is a development dependency")
    else:
        monkeypatch.setattr(
            kafka_send, "connect", lambda bootstrap, topic, fast: kafka_send.KafkaPythonSender(bootstrap, topic)
        )
    return request.param


def slice_of(bootstrap: str, topic: str) -> list:
    """All records of a topic, each partition's in offset order."""
    ends = kafka_admin.end_offsets(bootstrap, topic)
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", fetch_max_bytes=8 << 20)
    consumer.assign([TopicPartition(topic, partition) for partition in ends])
    records = []
    while len(records) < sum(ends.values()):
        for batch in consumer.poll(timeout_ms=5000).values():
            records.extend(batch)
    consumer.close()
    return records


def test_a_hard_replay_lies_in_the_topic_as_reported(bootstrap: str, client: str):
    topic = f"hard-{client}"
    kafka_admin.create_topics(bootstrap, {topic: PARTITIONS})
    events = read("eshop2008", since="2008-08-01", until="2008-09-01")
    report = replay(
        bootstrap, topic, events,
        limit=3000, shuffle_within_s=59, duplicate=0.02, corrupt=0.02, seed=7, watermark_delay_s=DELAY_S,
    )  # fmt: skip
    outcomes = Counter()
    partitions_of = defaultdict(set)
    newest_ms = Counter()
    for record in slice_of(bootstrap, topic):
        event = parse(record.value)
        if not isinstance(event, dict):
            outcomes["refused"] += 1
        elif event["event_type"] == HEARTBEAT:
            outcomes["heartbeat"] += 1
        else:
            outcomes["accepted"] += 1
            partitions_of[event["visitor_id"]].add(record.partition)
            assert record.key == event["visitor_id"].encode()
        if isinstance(event, dict):
            assert record.timestamp == event["event_time_ms"]
            newest_ms[record.partition] = max(newest_ms[record.partition], event["event_time_ms"])
            assert event["event_time_ms"] > newest_ms[record.partition] - DELAY_S * 1000  # nothing is late
    assert report.events == 3000
    assert report.duplicates > 0
    assert report.corrupted["too_large"] == 1
    assert outcomes == {
        "refused": report.corrupted.total(),
        "heartbeat": report.heartbeats,
        "accepted": report.produced - report.corrupted.total(),
    }
    assert all(len(partitions) == 1 for partitions in partitions_of.values())
    assert set(newest_ms.values()) == {report.final_heartbeat_ms}  # every partition stands at the same time
    assert report.final_heartbeat_ms == report.last_event_time_ms + (DELAY_S + 61) * 1000


def test_both_clients_put_a_visitor_into_the_partition_that_java_would(bootstrap: str, client: str):
    # murmur2 of "s455" etc. as Kafka's Java producer computes it: both clients must agree, or a visitor has two homes
    topic = f"homes-{client}"
    kafka_admin.create_topics(bootstrap, {topic: PARTITIONS})
    replay(bootstrap, topic, islice(read("otto"), 400), watermark_delay_s=DELAY_S)
    homes = {record.key: record.partition for record in slice_of(bootstrap, topic) if record.key}
    assert homes == {key: _java_partition(key) for key in homes}


def _java_partition(key: bytes) -> int:
    """Kafka's `Utils.toPositive(Utils.murmur2(key)) % partitions`, written out from its definition (32-bit murmur2)."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = 0x9747B28C ^ len(key)
    whole = len(key) // 4 * 4
    for at in range(0, whole, 4):
        k = int.from_bytes(key[at : at + 4], "little") * m & mask
        h = (h * m & mask) ^ ((k ^ k >> 24) * m & mask)
    if key[whole:]:
        h = (h ^ int.from_bytes(key[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return ((h ^ h >> 15) & 0x7FFFFFFF) % PARTITIONS


def test_a_topic_that_is_not_there_is_named(bootstrap: str, client: str):
    with pytest.raises(ServiceError, match=r"doesn't take records for 'absent'"):
        replay(bootstrap, "absent", read("otto"), watermark_delay_s=DELAY_S)


def test_a_broker_that_is_not_there_is_named_with_a_fix(client: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(kafka_send, "CONNECT_LIMIT_MS", 1000)
    with pytest.raises(ServiceError, match=r"(?s)Kafka at 127\.0\.0\.1:1 .*fix: liveshelf up"):
        replay("127.0.0.1:1", "events", read("otto"), watermark_delay_s=DELAY_S)


def test_the_command_sends_what_it_says(bootstrap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    kafka_admin.create_topics(bootstrap, {"by-command": PARTITIONS})
    monkeypatch.setenv("LIVESHELF_KAFKA_BOOTSTRAP", bootstrap)
    monkeypatch.setenv("LIVESHELF_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("LIVESHELF_EVENTS_TOPIC", "by-command")
    said = CliRunner().invoke(app, ["replay", "otto", "--shift-to-now", "--limit", "100", "--json"])
    assert said.exit_code == 0, said.output
    report = msgspec.json.decode(said.stdout)
    assert (report["events"], report["produced"]) == (100, 100)
    types = Counter(parse(record.value)["event_type"] for record in slice_of(bootstrap, "by-command"))
    assert types.pop(HEARTBEAT) == report["heartbeats"]
    assert types.total() == 100


def test_with_keys_no_id_of_the_source_enters_the_topic(
    bootstrap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    kafka_admin.create_topics(bootstrap, {"pseudonymous": PARTITIONS})
    source = tmp_path / "clicks.csv"
    source.write_text(
        "visitor_id,user_id,event_type,item_id,event_time_ms\n"
        "anna@example.com,anna,view,i1,1000\nZoë,,view,i2,2000\nanna@example.com,anna,view,i3,3000\n"
    )
    keys = tmp_path / "pseudonym.keys"
    add_key(keys)
    monkeypatch.setenv("LIVESHELF_KAFKA_BOOTSTRAP", bootstrap)
    monkeypatch.setenv("LIVESHELF_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("LIVESHELF_EVENTS_TOPIC", "pseudonymous")
    monkeypatch.setenv("LIVESHELF_PSEUDONYM_KEYS", str(keys))
    said = CliRunner().invoke(app, ["replay", str(source)])
    assert said.exit_code == 0, said.output
    records = [record for record in slice_of(bootstrap, "pseudonymous") if record.key]
    expected = Pseudonyms.read(keys)
    assert Counter(record.key.decode() for record in records) == {
        expected.of("anna@example.com"): 2,
        expected.of("Zoë"): 1,
    }
    assert all(parse(record.value)["visitor_id"] == record.key.decode() for record in records)
    assert not any(raw in record.value for record in records for raw in (b"anna", "Zoë".encode(), b"Zo\\u"))
