"""K and R: Kafka and Redis are down, slow, full, forgetful or emptied, or their network is bad."""

import os
import time
from pathlib import Path

from kafka import KafkaAdminClient

from jobs.connect import kafka_admin
from jobs.lab.chaos import traffic
from jobs.lab.chaos.stage import Scenario, Stage

DISCOVERED_S = 15
TAIL_BYTES = 40_000  # some 40 rows and lists: what a second of this traffic writes


def _without_restart(stage: Stage, fault_s: float) -> None:
    """Let the fault last; no job may restart during it."""
    before = stage.system.restarts()
    time.sleep(fault_s)
    stage.check("no restart", stage.system.restarts() == before)


def restart_kafka(stage: Stage, times: float) -> None:
    for _ in range(int(times)):
        stage.system.kill("kafka")
        time.sleep(2)
        started_s = time.monotonic()
        stage.system.start_kafka()
        stage.system.wait_working()
        stage.system.wait_checkpoint()
        stage.recovery_s.append(round(time.monotonic() - started_s, 1))


def slow_kafka(stage: Stage, seconds: float) -> None:
    stage.system.kafka_proxy.set(latency_ms=100, rate_kbit_s=3000)
    _without_restart(stage, seconds)
    stage.system.kafka_proxy.set()


def broken_kafka_network(stage: Stage, seconds: float) -> None:
    proxy = stage.system.kafka_proxy
    proxy.set(timeout=True)
    time.sleep(seconds)
    proxy.set()
    for _ in range(5):
        time.sleep(2)
        proxy.reset_peer()
    proxy.set(limit_data=50_000)
    time.sleep(10)
    proxy.set()
    stage.recovery_s.append(round(stage.system.wait_working(), 1))


def add_partitions(stage: Stage, factor: float) -> None:
    """Add partitions while the jobs run.

    Most visitors of the traffic that follows are in other partitions than before.
    """
    stage.traffic.join()
    bootstrap, topic = stage.system.direct.kafka_bootstrap, stage.system.settings.events_topic
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        admin.create_partitions({topic: int(factor) * len(kafka_admin.end_offsets(bootstrap, topic))})
    finally:
        admin.close()
    # Producers see new partitions after minutes by default, later than the jobs, which look every 10 s. An event in a
    # partition that the features job doesn't read yet is late for it: the others move event time on meanwhile.
    time.sleep(DISCOVERED_S)
    stage.go_on()


def take_back_transactions(stage: Stage, times: float) -> None:
    """Send events in transactions that are taken back.

    They are of yesterday, weeks ahead of the stream: a job that counted one would take all other events for late.
    """
    place = stage.system.direct.kafka_bootstrap, stage.system.settings.events_topic
    for number in range(int(times)):
        events = traffic.clicks(stage.rng.randrange(1000), number, 100, time.time_ns() // 1_000_000 - traffic.DAY_MS)
        traffic.take_back(*place, events, abort=number % 2 == 0)
        time.sleep(3)


def redis_down(stage: Stage, seconds: float) -> None:
    with stage.sampler.blind():
        stage.system.kill("redis")
    _without_restart(stage, seconds)
    _restart_redis(stage)


def redis_loses_its_tail(stage: Stage, times: float) -> None:
    """Kill Redis in the middle of a write, and cut off the end of its append-only file."""
    for _ in range(int(times)):
        stage.system.wait_checkpoint(2)
        with stage.sampler.blind():
            stage.system.kill("redis")
            stage.check("something was lost", _cut_tail(stage.system.state_dir / "redis") > 0)
        _restart_redis(stage)


def redis_emptied(stage: Stage, times: float) -> None:
    for _ in range(int(times)):
        stage.system.wait_checkpoint(2)
        with stage.sampler.blind(), stage.system.redis() as client:
            client.flushall()
        stage.recovery_s.append(round(stage.system.wait_repaired(), 1))


def _restart_redis(stage: Stage) -> None:
    started_s = time.monotonic()
    stage.system.start_redis()
    stage.system.wait_repaired()
    stage.recovery_s.append(round(time.monotonic() - started_s, 1))


def _cut_tail(folder: Path) -> int:
    """Cut the append-only file (before Redis 7 one file, then one in a folder); return the number of bytes cut."""
    file = max((file for file in folder.rglob("*.aof*") if file.is_file()), key=lambda file: file.stat().st_mtime_ns)
    size = file.stat().st_size
    os.truncate(file, max(0, size - TAIL_BYTES))
    return min(size, TAIL_BYTES)


def redis_full(stage: Stage, seconds: float) -> None:
    with stage.system.redis() as client:
        client.config_set("maxmemory", 1)
        _without_restart(stage, seconds)
        client.config_set("maxmemory", 0)


def script_flush(stage: Stage, times: float) -> None:
    before = stage.system.restarts()
    with stage.system.redis() as client:
        for _ in range(int(times)):
            client.script_flush()
            time.sleep(5)
    stage.check("no restart", stage.system.restarts() == before)


def slow_redis(stage: Stage, seconds: float) -> None:
    stage.system.redis_proxy.set(latency_ms=200)
    _without_restart(stage, seconds)
    stage.system.redis_proxy.set()
    stage.system.wait_checkpoint()


SCENARIOS = (
    Scenario("K1", "broker kill -9 and restart", restart_kafka, "kills", 0, 5, 60),
    Scenario("K2", "100 ms and 3 Mbit/s between Flink and Kafka", slow_kafka, "s", 20, 60, 20),
    Scenario("K3", "Kafka's data swallowed, connections reset, cut after 50 kB", broken_kafka_network, "s", 0, 60, 80),
    Scenario("K4", "twice the partitions while running", add_partitions, "times", 0, 2, 15),
    Scenario("K8", "transactions aborted, and left unfinished", take_back_transactions, "times", 0, 4, 20),
    Scenario("R1", "Redis kill -9 in mid-write, the end of its file lost", redis_loses_its_tail, "kills", 0, 5, 60),
    Scenario("R2", "Redis down", redis_down, "s", 60, 60, 60),
    Scenario("R4", "Redis' memory is full", redis_full, "s", 5, 60, 8),
    Scenario("R5", "SCRIPT FLUSH every 5 s", script_flush, "times", 2, 12, 10),
    Scenario("R6", "200 ms more for each exchange with Redis", slow_redis, "s", 0, 30, 40),
    Scenario("R10", "FLUSHALL", redis_emptied, "times", 0, 1, 30),
)
