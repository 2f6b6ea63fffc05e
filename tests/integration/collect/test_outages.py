"""Test the collector without Kafka, while it stops, and where it can't start. No id of a client's gets anywhere."""

import json
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from jobs.cli import app
from jobs.collect.deliver import DELIVERY_LIMIT_S
from jobs.lab.bench.collector_system import KEY, Broker, RunningCollector, event
from liveshelf.pseudonyms import add_key


def test_without_kafka_nothing_is_acknowledged_and_with_it_everything_again(broker: Broker, tmp_path: Path):
    with RunningCollector(broker, tmp_path) as collector:
        assert collector.post(event()).status_code == 200
        broker.pause()
        try:
            began_s = time.monotonic()
            with ThreadPoolExecutor(5) as clients:
                answers = list(clients.map(collector.post, [event() for _ in range(5)]))
            assert {(each.status_code, each.headers["retry-after"]) for each in answers} == {(503, "5")}
            assert time.monotonic() - began_s > DELIVERY_LIMIT_S - 1
            at_once = collector.post(event())
            assert (at_once.status_code, at_once.json()) == (503, {"error": "kafka"})
            assert at_once.elapsed.total_seconds() < DELIVERY_LIMIT_S  # nobody waits for what is known to be away
            assert collector.post([event()], consent="unknown").status_code == 200
            assert collector.metric("collector_kafka_connected") == 0
            assert collector.metric('collector_events_total{outcome="accepted",write_key="web"}') == 1
        finally:
            broker.resume()
        again, deadline = event(), time.monotonic() + 40
        while collector.post(again).status_code == 503 and time.monotonic() < deadline:
            time.sleep(0.5)
        assert collector.post(again).json()["accepted"] == 1
        assert again["event_id"] in broker.stored([again])
        assert collector.metric("collector_kafka_connected") == 1
        assert collector.metric("collector_waiting_records") == 0
    log = collector.log.read_text()
    assert log.count("doesn't confirm") == log.count("confirms again") == 1
    assert len(log.splitlines()) == 4  # collecting, away, back, stopped


def test_a_short_pause_of_kafka_is_waited_for(broker: Broker, collector: RunningCollector):
    broker.pause()
    try:
        with ThreadPoolExecutor(1) as client:
            waiting, sent = None, event()
            waiting = client.submit(collector.post, sent)
            time.sleep(2)
            assert not waiting.done()
            broker.resume()
            assert waiting.result().json()["accepted"] == 1
    finally:
        broker.resume()
    assert sent["event_id"] in broker.stored([sent])


def test_a_collector_that_is_stopped_answers_what_is_under_way(broker: Broker, tmp_path: Path):
    with RunningCollector(broker, tmp_path) as collector:
        collector.post(event())
        broker.pause()
        try:
            with ThreadPoolExecutor(1) as client:
                sent = event()
                under_way = client.submit(collector.post, sent)
                time.sleep(1)
                collector.process.send_signal(signal.SIGTERM)
                time.sleep(1)
                with pytest.raises(OSError):  # noqa: PT011 - no new connection
                    socket.create_connection(collector.place, timeout=2).close()
                broker.resume()
                assert under_way.result().json()["accepted"] == 1
        finally:
            broker.resume()
        assert collector.process.wait(20) == 0
    assert sent["event_id"] in broker.stored([sent])
    assert "stopped: what was acknowledged is in Kafka" in collector.log.read_text()


def test_a_collector_is_stopped_while_kafka_is_away(broker: Broker, tmp_path: Path):
    with RunningCollector(broker, tmp_path) as collector:
        broker.pause()
        try:
            assert collector.post(event()).status_code == 503
            collector.process.send_signal(signal.SIGTERM)
            assert collector.process.wait(30) == 0
        finally:
            broker.resume()


def test_slow_clients_do_not_keep_a_stopped_collector_alive(broker: Broker, tmp_path: Path):
    begin = b"POST /events HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n"
    body = f"content-type: text/plain\r\nx-write-key: {KEY}\r\n\r\n".encode()
    with RunningCollector(broker, tmp_path) as collector:
        clients = [socket.create_connection(collector.place) for _ in range(2)]
        for client, start in zip(clients, (begin, begin + body), strict=True):
            client.sendall(start)
        time.sleep(0.5)
        collector.process.send_signal(signal.SIGTERM)
        assert collector.process.wait(20) == 0
        for client in clients:
            client.close()


def test_no_id_of_client_s_gets_into_kafka_or_log(broker: Broker, tmp_path: Path):
    raw = [f"raw-{number}@example.com" for number in range(200)]
    with RunningCollector(broker, tmp_path) as collector:
        good = [event(visitor_id=each, user_id=f"user-{each}", email=each) for each in raw]
        bad = [event(visitor_id=each, price_minor=each, item_id=["x", each], email=each) for each in raw]
        answers = [
            collector.post([*good, *bad]),
            collector.post(bad, consent="denied"),
            collector.post(bad, key=raw[0]),
        ]
        answers += [collector.post(f"[{each}".encode()) for each in raw[:5]]
        with socket.create_connection(collector.place) as client:
            client.sendall(f"{raw[0]} / {raw[1]}\r\n\r\n".encode())
            client.recv(1000)
    assert answers[0].json()["accepted"] == 200
    topics = [record for topic in ("events", "consent") for record in broker.records(topic)]
    everything = b"".join((record.key or b"") + (record.value or b"") for record in topics)
    everything += collector.log.read_bytes() + b"".join(answer.content for answer in answers)
    assert [each for each in raw if each.encode() in everything] == []
    assert collector.pseudonyms.of(raw[0]).encode() in everything


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
fields = st.dictionaries(st.sampled_from(sorted(event() | {"event_time_ms": 1, "user_id": 1, "query": 1})), json_values)
bodies = st.one_of(
    st.binary(max_size=200),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.lists(fields.map(lambda changes: event(**changes)), max_size=5).map(lambda value: json.dumps(value).encode()),
    st.tuples(st.integers(0, 120), st.binary(max_size=3)).map(
        lambda cut: json.dumps([event()]).encode()[: cut[0]] + cut[1]
    ),
)


@hypothesis_settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(
    bodies,
    st.sampled_from(["granted", "denied", "unknown", "?"]),
    st.dictionaries(
        st.sampled_from(["content_encoding", "origin", "x_forwarded_for", "user_agent", "sec_gpc"]),
        st.sampled_from(["gzip", "1", "%", "é", "https://shop.example", "::1"]),
    ),
)
def test_no_body_makes_the_collector_fail(collector: RunningCollector, body: bytes, consent: str, headers: dict):
    answer = collector.post(body, consent=consent, **{name: value.encode() for name, value in headers.items()})
    assert answer.status_code in (200, 400, 403, 413, 415)
    assert "Traceback" not in collector.log.read_text()


heads = st.lists(st.binary(max_size=40), max_size=6).map(b"\r\n".join)


@hypothesis_settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from([b"", b"POST /events HTTP/1.1\r\n", b"POST /events?key=%ff&consent= HTTP/1.1\r\nhost: x\r\n"]),
    heads,
)
def test_no_bytes_on_the_wire_make_the_collector_fail(collector: RunningCollector, start: bytes, rest: bytes):
    with socket.create_connection(collector.place, timeout=15) as client:
        client.sendall(start + rest + b"\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        received = b""
        while part := client.recv(65_536):
            received += part
    assert b" 500 " not in received
    assert "Traceback" not in collector.log.read_text()


@pytest.mark.parametrize(
    ("without", "named"),
    [
        ("PSEUDONYM_KEYS", "liveshelf keys new"),
        ("COLLECTOR_WRITE_KEYS", "openssl rand"),
        ("KAFKA_BOOTSTRAP", "liveshelf up"),
    ],
)
def test_collector_that_lacks_something_does_not_start_and_says_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without: str, named: str
):
    keys, write_keys = tmp_path / "pseudonym.keys", tmp_path / "write.keys"
    add_key(keys)
    write_keys.write_text(f"web {KEY}\n")
    write_keys.chmod(0o600)
    values = {"PSEUDONYM_KEYS": keys, "COLLECTOR_WRITE_KEYS": write_keys, "KAFKA_BOOTSTRAP": "127.0.0.1:1"}
    for name, value in (values | {"STATE_DIR": tmp_path}).items():
        monkeypatch.setenv(f"LIVESHELF_{name}", str(value))
    monkeypatch.delenv(f"LIVESHELF_{without}")
    refused = CliRunner().invoke(app, ["collect"])
    assert refused.exit_code == (4 if without == "KAFKA_BOOTSTRAP" else 2)
    assert named in refused.stderr


def test_a_taken_port_is_named(broker: Broker, collector: RunningCollector, tmp_path: Path):
    with pytest.raises(AssertionError, match=r"(?s)nothing can listen on .*LIVESHELF_COLLECTOR_PORT"):
        RunningCollector(broker, tmp_path, port=collector.place[1]).__enter__()
