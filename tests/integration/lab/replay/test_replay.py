"""A replay into a real broker: what was reported is what lies in the topic."""

import time
from collections import Counter, defaultdict
from contextlib import closing
from itertools import islice
from pathlib import Path

import msgspec
import pytest
from kafka import KafkaConsumer, TopicPartition
from typer.testing import CliRunner

from jobs.cli import app
from jobs.connect import kafka_admin, kafka_send
from jobs.connect.kafka_read import read_slice
from jobs.contract.events import HEARTBEAT, Event, parse
from jobs.errors import ServiceError
from jobs.lab.replay.produce import replay
from jobs.lab.replay.sources import read
from jobs.lab.replay.topic_time import TopicTime, look
from jobs.verify.classify import classify
from liveshelf.pseudonyms import Pseudonyms, add_key

DELAY_S = 60
PARTITIONS = 3
CLIENTS = ["kafka-python", "confluent-kafka"]


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "confluent-kafka":
        pytest.importorskip("confluent_kafka", reason="confluent-kafka is a development dependency")
    else:
        monkeypatch.setattr(
            kafka_send,
            "connect",
            lambda bootstrap, topic, fast: kafka_send.KafkaPythonSender(bootstrap, topic, kafka_send.LINGER_MS),
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


def test_both_clients_put_visitor_into_the_partition_that_java_would(bootstrap: str, client: str):
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


def views_of_one_minute() -> list[Event]:
    return [
        {
            "schema_version": 1, "event_id": f"e{number}", "event_type": "view",
            "event_time_ms": 1_000 + 15_000 * number, "visitor_id": f"v{number}", "item_id": "x",
        }
        for number in range(5)
    ]  # fmt: skip


def test_a_second_shifted_replay_makes_nothing_late(bootstrap: str):
    """The first one's last heartbeat stands 62 s ahead; the oracle judges both."""
    kafka_admin.create_topics(bootstrap, {"twice": PARTITIONS})
    events = views_of_one_minute()
    warnings: list[str] = []
    for _ in range(2):
        report = replay(bootstrap, "twice", events, shift_to_now=True, watermark_delay_s=1, tell=warnings.append)
        assert report.late == 0
    classified = classify(read_slice(bootstrap, "twice").records, 1000)
    assert Counter(entry.kind for entry in classified.entries)["counted"] == 10
    assert warnings == []


def test_the_replay_counts_as_many_late_events_as_the_oracle(bootstrap: str, client: str):
    """Thirteen days can't go behind what the topic holds: the second replay is late, but for its newest events."""
    topic = f"late-{client}"
    kafka_admin.create_topics(bootstrap, {topic: PARTITIONS})
    events = list(islice(read("eshop2008", since="2008-08-12"), 400))
    warnings: list[str] = []
    reports = [
        replay(
            bootstrap, topic, events,
            shift_to_now=True, duplicate=0.05, corrupt=0.05, watermark_delay_s=1, tell=warnings.append,
        )
        for _ in range(2)
    ]  # fmt: skip
    kinds = Counter(entry.kind for entry in classify(read_slice(bootstrap, topic).records, 1000).entries)
    assert [report.late for report in reports] == [0, kinds["late"]]
    assert kinds["late"] > 300
    (warning,) = warnings
    assert "of 400 events will be late for features" in warning


def test_beside_live_traffic_replay_leaves_its_next_minute_on_time(bootstrap: str):
    kafka_admin.create_topics(bootstrap, {"beside": PARTITIONS})
    live = {"schema_version": 1, "event_type": "view", "visitor_id": "anna", "item_id": "x"}

    def send_live(number: int) -> None:
        now_ms = time.time_ns() // 1_000_000
        value = msgspec.json.encode(live | {"event_id": f"live-{number}", "event_time_ms": now_ms})
        sender.send(b"anna", value, now_ms)
        sender.flush()

    with closing(kafka_send.connect(bootstrap, "beside", fast=False)) as sender:
        numbers = iter(range(1000))
        events = list(islice(read("eshop2008", since="2008-08-12"), 100))
        report = replay(
            bootstrap, "beside", events,
            shift_to_now=True, watermark_delay_s=1, on_event=lambda event: send_live(next(numbers)),
        )  # fmt: skip
        send_live(next(numbers))
    kinds = Counter(
        entry.kind
        for entry in classify(read_slice(bootstrap, "beside").records, 1000).entries
        if entry.record.key == b"anna" or (entry.event or {}).get("visitor_id") == "anna"
    )
    assert report.beside == 100
    assert kinds == {"counted": 101}


def test_how_far_a_topic_has_come_is_seen_by_partition(bootstrap: str):
    kafka_admin.create_topics(bootstrap, {"seen": PARTITIONS, "empty": PARTITIONS})
    report = replay(bootstrap, "seen", islice(read("otto"), 100), watermark_delay_s=1)
    seen = look(bootstrap, "seen", 1000)
    assert seen.newest_ms == dict.fromkeys(range(PARTITIONS), report.final_heartbeat_ms)
    assert look(bootstrap, "empty", 1000) == TopicTime(1000, PARTITIONS, {}, dict.fromkeys(range(PARTITIONS), 0))


def test_a_topic_that_is_not_there_is_named(bootstrap: str, client: str):
    with pytest.raises(ServiceError, match=r"doesn't take records for 'absent'"):
        replay(bootstrap, "absent", read("otto"), watermark_delay_s=DELAY_S)


def test_broker_that_is_not_there_is_named_with_a_fix(client: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
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
    again = CliRunner().invoke(app, ["replay", "otto", "--shift-to-now", "--limit", "100"])
    assert again.exit_code == 0, again.output
    assert "of 100 events will be late for features" in again.stderr
    assert " late for features" in again.stdout
    assert f"liveshelf show {report['last_visitor']}" in again.stderr


def test_with_keys_no_id_of_the_source_enters_the_topic(
    bootstrap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    kafka_admin.create_topics(bootstrap, {"pseudonymous": PARTITIONS})
    source = tmp_path / "clicks.csv"
    source.write_text(
        "visitor_id,user_id,event_type,item_id,event_time_ms\n"
        "anna@example.com,anna,view,i1,1714550401000\nZoë,,view,i2,1714550402000\nanna@example.com,anna,view,i3,1714550403000\n"
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
