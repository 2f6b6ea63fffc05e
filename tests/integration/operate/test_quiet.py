"""What jobs refuse without stopping is seen: with a real broker's topics, and a page as Flink's reporter serves it."""

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from jobs.cluster import runtime
from jobs.cluster.runtime import Runtime
from jobs.connect import kafka_admin
from jobs.operate import doctor, quiet
from jobs.operate.quiet import Quiet
from jobs.settings import Settings

LABELS = 'job_name="liveshelf_rankings",operator_name="{}",subtask_index="{}"'
COLLECTOR = """collector_requests_total{error="",status="200"} 96.0
collector_requests_total{error="rate",status="429"} 20.0
collector_requests_total{error="too_many_new",status="429"} 3.0
collector_requests_total{error="write_key",status="401"} 1.0
"""
PAGE = COLLECTOR + "\n".join(
    f"flink_taskmanager_job_task_operator_{name}{{{LABELS.format(name, task)},}} {value}"
    for name, values in {
        "lists_written": (150.0, 50.0),
        "lists_in_two_partitions": (2.0, 1.0),
    }.items()
    for task, value in enumerate(values)
)


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(PAGE.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def running(kafka_settings: Settings) -> Iterator[Runtime]:
    """200 events of which 2 are late and 30 refused; two of those were deleted since."""
    found = runtime.current(kafka_settings)
    topics = {kafka_settings.events_topic: 200, kafka_settings.late_topic: 2, kafka_settings.dead_topic: 32}
    kafka_admin.create_topics(found.kafka_bootstrap, dict.fromkeys(topics, 2))
    with closing(KafkaProducer(bootstrap_servers=found.kafka_bootstrap)) as producer:
        for topic, count in topics.items():
            for number in range(count):
                producer.send(topic, b"x", partition=number % 2)
    with closing(KafkaAdminClient(bootstrap_servers=found.kafka_bootstrap)) as admin:
        admin.delete_records({TopicPartition(kafka_settings.dead_topic, 1): 2})
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield replace(found, metrics_urls=[f"http://127.0.0.1:{server.server_port}/metrics"])
        server.shutdown()


def test_what_was_refused_is_counted(kafka_settings: Settings, running: Runtime):
    settings = kafka_settings.model_copy(update={"collector_admin_port": urlsplit(running.metrics_urls[0]).port})
    found = {each.name: each for each in quiet.refused(settings, running)}
    assert {name: (each.count, each.of, each.ok) for name, each in found.items()} == {
        "refused events": (30, 200, False),
        "late events": (2, 200, True),
        "visitors in two partitions": (3, 200, False),
        "collector": (23, 120, False),
    }


def test_doctor_names_the_way_out(kafka_settings: Settings, running: Runtime):
    checks = {check.name: check for check in doctor._quiet(kafka_settings, running)}
    assert checks["visitors in two partitions"].found == "3 lists found one of another partition in their place"
    assert "one partitioner" in checks["visitors in two partitions"].fix
    assert (checks["late events"].ok, checks["late events"].fix) == (True, "")


def test_nobody_to_ask_is_no_fault(kafka_settings: Settings):
    settings = kafka_settings.model_copy(update={"collector_admin_port": 1})
    found = quiet.refused(settings, Runtime())
    assert [(each.count, each.ok) for each in found] == [(None, True)] * 4


@pytest.mark.parametrize(("count", "of", "ok"), [(19, 19, True), (20, 1999, False), (20, 2000, True), (0, 0, True)])
def test_few_or_a_small_share_is_in_order(count: int, of: int, ok: bool):
    assert Quiet(name="a", count=count, of=of, what="b", fix="c").ok is ok
