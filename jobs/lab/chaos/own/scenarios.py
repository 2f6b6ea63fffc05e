"""C: what happens to a cluster of an operator's own. A broker, a primary, a JobManager or a whole machine is lost."""

import signal
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

from jobs.lab.chaos.own.system import OwnSystem
from jobs.lab.chaos.own.three_brokers import BROKERS
from jobs.lab.chaos.stage import Scenario, Stage
from jobs.lab.repeating import repeating
from jobs.lab.waiting import wait

LIMIT_S = 120  # two cores that other work shares: JVMs and workers take their time
APART_S = 10
BEHIND_S = 3


def kill_broker(stage: Stage[OwnSystem], times: float) -> None:
    """Kill a broker; the jobs must go on reading and writing without it. It comes back later."""
    system, before = stage.system, stage.system.restarts()
    for _ in range(int(times)):
        node = stage.rng.randrange(BROKERS)
        started_s = time.monotonic()
        system.kafka.kill(node)
        system.wait_checkpoint(2, LIMIT_S)
        stage.recovery_s.append(round(time.monotonic() - started_s, 1))
        time.sleep(APART_S)
        system.kafka.start(node)
        wait(system.kafka.in_sync, "a replica in sync", limit_s=LIMIT_S)
    stage.check("no restart", system.restarts() == before)


def kill_primary(stage: Stage[OwnSystem], times: float) -> None:
    """Kill a primary whose replica is some seconds behind, and that after Redis' own rules may be the next primary."""
    servers = stage.system.servers
    for _ in range(int(times)):
        stage.system.wait_checkpoint(2, LIMIT_S)
        primary = servers.primary
        with stage.sampler.blind():
            servers.hold_back(primary)
            time.sleep(BEHIND_S)
            said = servers.replication(primary)["master_repl_offset"]
            started_s = time.monotonic()
            successor = servers.kill_primary()
            heard = servers.replication(successor)["second_repl_offset"] - 1
            stage.check("the replica lacked something", heard < said)
        stage.system.wait_repaired()
        stage.recovery_s.append(round(time.monotonic() - started_s, 1))
        servers.start_again(primary)
        wait(servers.has_replica, "a replica in sync", limit_s=LIMIT_S)


def kill_job_manager(stage: Stage[OwnSystem], times: float) -> None:
    """Kill the JobManager and start another one. Flink itself must bring the jobs back, from the newest checkpoints."""
    system = stage.system
    for _ in range(int(times)):
        system.wait_checkpoint(1, LIMIT_S)
        newest = {job_id: system.newest_checkpoint(job_id)["id"] for job_id in system.job_ids()}
        started_s = time.monotonic()
        system.kill_job_manager()
        system.start_job_manager()
        system.wait_working()
        stage.recovery_s.append(round(time.monotonic() - started_s, 1))
        stage.check(f"runs again within {LIMIT_S} s", stage.recovery_s[-1] <= LIMIT_S)
        stage.check("the same jobs", set(system.job_ids()) == newest.keys())
        begun = {job_id: system.restored_checkpoint(job_id) for job_id in newest}
        stage.check("from the newest checkpoint", all(begun[job_id] >= newest[job_id] for job_id in newest))


def freeze_machine(stage: Stage[OwnSystem], seconds: float) -> None:
    """Stop a TaskManager and its Python workers. They go on beside their successors, and finish what they began."""
    name, _ = stage.system.busiest()
    stopped = stage.system.task_manager(name)

    def freeze() -> None:
        for process in stopped:
            process.suspend()

    def thaw() -> None:
        for process in reversed(stopped):  # workers first: their TaskManager ends them
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)

    _without_machine(stage, freeze, thaw, seconds)


def cut_machine(stage: Stage[OwnSystem], seconds: float) -> None:
    """Pull a TaskManager's cable. Its tasks run on for some seconds and reach nobody."""
    machine = _machine(stage.system.busiest()[0])
    machines = stage.system.machines
    _without_machine(stage, lambda: machines.cut(machine), lambda: machines.join(machine), seconds)


def _without_machine(
    stage: Stage[OwnSystem], lose: Callable[[], None], give_back: Callable[[], None], seconds: float
) -> None:
    stage.system.wait_checkpoint(1, LIMIT_S)
    _, jobs = stage.system.busiest()
    started_s = time.monotonic()
    try:
        stage.recovered(lose, jobs, LIMIT_S)
        restarts = stage.system.restarts()
        time.sleep(max(0, seconds - (time.monotonic() - started_s)))
    finally:
        give_back()
    stage.system.wait_slots()
    time.sleep(APART_S)
    stage.check("no restart when it came back", stage.system.restarts() == restarts)


def kill_task_manager(stage: Stage[OwnSystem], times: float) -> None:
    for _ in range(int(times)):
        stage.system.wait_checkpoint(3, LIMIT_S)
        name, jobs = stage.system.busiest()
        stage.recovered(stage.system.task_manager(name)[0].kill, jobs, LIMIT_S)
        stage.system.start_task_manager(_machine(name))
        stage.system.wait_slots()


def state_on_disk(stage: Stage[OwnSystem], times: float) -> None:
    """Let both jobs go on with RocksDB and incremental checkpoints in an object store, and kill TaskManagers there."""
    store = stage.system.start_object_store()
    stage.system.restart_flink(
        **store, **{"state.backend.type": "rocksdb", "execution.checkpointing.incremental": True}
    )
    stage.traffic = stage.go_on()
    kill_task_manager(stage, times)
    newest = [stage.system.newest_checkpoint(job_id) for job_id in stage.system.job_ids()]
    stage.check("checkpoints are in the object store", all(each["external_path"].startswith("s3:") for each in newest))


def overtake(stage: Stage[OwnSystem], times: float) -> None:
    """Let checkpoints overtake events that wait for a slow Redis, and kill TaskManagers meanwhile."""
    stage.system.restart_flink(**{"execution.checkpointing.unaligned.enabled": True})
    stage.traffic = stage.go_on()
    with repeating(stage.system.slow_redis, 0.1, "slow Redis"):
        kill_task_manager(stage, times)
        overtaken = sum(map(stage.system.overtaken_bytes, stage.system.job_ids()))
    stage.check("checkpoints overtook events", overtaken > 0)


def _machine(name: str) -> int:
    return int(name.split("-")[0])


SCENARIOS = (
    Scenario("C1", "one broker of three kill -9, back later", kill_broker, "kills", cluster=2, traffic_s=40),
    Scenario("C2", "primary Redis kill -9, its replica 3 s behind", kill_primary, "kills", cluster=2, traffic_s=60),
    Scenario("C3", "JobManager kill -9, Flink's high availability", kill_job_manager, "kills", cluster=2, traffic_s=60),
    Scenario("C4", "a TaskManager's machine frozen, then back", freeze_machine, "s", cluster=60, traffic_s=80),
    Scenario("C5", "a TaskManager's network cut, then back", cut_machine, "s", cluster=60, traffic_s=80),
    Scenario("C6", "RocksDB on S3, TaskManager kill -9", state_on_disk, "kills", cluster=2, traffic_s=60),
    Scenario("C7", "unaligned checkpoints, slow Redis, TaskManager kill", overtake, "kills", cluster=2, traffic_s=60),
)
