"""F: processes of the cluster die, stop, or die at the worst place."""

import signal
import time
from functools import partial
from pathlib import Path

from jobs.flow import failpoints, submissions
from jobs.lab.chaos.stage import Scenario, Stage
from jobs.operate.hung import HUNG_S
from jobs.operate.running_jobs import JOBS

TASK_MANAGER_LIMIT_S = 60
JOB_MANAGER_LIMIT_S = 60
STOP_S = 60
HUNG_LIMIT_S = 60


def kill_task_manager(stage: Stage, times: float) -> None:
    """Kill it after ten seconds of work each time, so that neither Flink nor the supervisor backs off."""
    before = stage.system.restarts()
    for number in range(int(times)):
        stage.system.wait_checkpoint(5 if number else 1)
        stage.recovered(lambda: stage.system.kill("taskmanager"), len(JOBS), TASK_MANAGER_LIMIT_S)
    stage.check("as many restarts as kills", stage.system.restarts() - before == int(times) * len(JOBS))


def kill_task_manager_often(stage: Stage, seconds: float) -> None:
    started_s = time.monotonic()
    while time.monotonic() - started_s < seconds:
        stage.system.kill("taskmanager")
        time.sleep(3)
    quiet_s = time.monotonic()
    for _ in range(5):
        stage.system.wait_working()
        time.sleep(1)
    stage.recovery_s.append(round(time.monotonic() - quiet_s, 1))
    stage.system.wait_checkpoint()
    stage.check("checkpoints go on", True)


def kill_python_worker(stage: Stage, times: float) -> None:
    stage.system.wait_working()
    workers = len(stage.system.processes("python"))
    for _ in range(int(times)):
        stage.system.wait_working()
        victim = stage.rng.choice(stage.system.processes("python"))
        stage.recovered(victim.kill, 1, TASK_MANAGER_LIMIT_S)
    deadline_s = time.monotonic() + 15
    while len(stage.system.processes("python")) != workers and time.monotonic() < deadline_s:
        time.sleep(0.2)
    stage.check("no orphan Python process", len(stage.system.processes("python")) == workers)


def die_unnoticed(stage: Stage, times: float) -> None:
    """Kill a Python worker so that its job isn't told.

    The job hangs until its TaskManager is killed, and both jobs start again.
    """
    before = stage.system.restarts()
    for _ in range(int(times)):
        stage.system.wait_checkpoint(5)  # the keeper has counted the workers by then
        _with_traffic(stage)
        die = partial(failpoints.arm, _failpoints(stage), "features.before_write", unnoticed=True)
        stage.recovered(die, len(JOBS), HUNG_LIMIT_S)
    stage.check("both jobs start again, once a hang", stage.system.restarts() - before == int(times) * len(JOBS))


def stop_python_worker(stage: Stage, times: float) -> None:
    """Stop a worker for good. Its job starts again, or hangs as in `die_unnoticed`."""
    for _ in range(int(times)):
        time.sleep(HUNG_S)  # what isn't hung is left alone
        stage.recovered(stage.rng.choice(stage.system.processes("python")).suspend, 1, HUNG_LIMIT_S)


def kill_job_manager(stage: Stage, times: float) -> None:
    for _ in range(int(times)):
        stage.system.wait_checkpoint()
        started_s = time.monotonic()
        stage.system.kill("jobmanager")
        while stage.system.works():
            time.sleep(0.05)
        stage.system.wait_working()
        stage.recovery_s.append(round(time.monotonic() - started_s, 1))
        stage.check(f"runs again within {JOB_MANAGER_LIMIT_S} s", stage.recovery_s[-1] <= JOB_MANAGER_LIMIT_S)


def lose_power(stage: Stage, times: float) -> None:
    """Kill everything at once, after the traffic: producers aren't what is tested."""
    stage.traffic.join()
    for _ in range(int(times)):
        with stage.sampler.blind():
            stage.system.kill_everything()
        started_s = time.monotonic()
        stage.system.start_services()
        stage.system.wait_repaired()
        stage.recovery_s.append(round(time.monotonic() - started_s, 1))
    stage.go_on()


def stop_task_manager(stage: Stage, seconds: float) -> None:
    """Stop a TaskManager until it is taken for dead; a minute later it goes on beside its successor."""
    stage.system.kill("taskmanager", signal.SIGSTOP)
    time.sleep(seconds)
    started_s = time.monotonic()
    stage.system.kill("taskmanager", signal.SIGCONT)
    stage.system.wait_working()
    stage.recovery_s.append(round(time.monotonic() - started_s, 1))


def _failpoints(stage: Stage) -> Path:
    return stage.system.state_dir / "failpoints"


def _with_traffic(stage: Stage) -> None:
    """Send traffic, without which no write is reached."""
    if not stage.traffic.going:
        stage.traffic = stage.go_on()


def die_at_failpoints(stage: Stage, rounds: float) -> None:
    folder = _failpoints(stage)
    for place in ("before_write", "after_write") * int(rounds):
        _with_traffic(stage)
        stage.recovered(
            lambda at=place: [failpoints.arm(folder, f"{job}.{at}") for job in JOBS], len(JOBS), TASK_MANAGER_LIMIT_S
        )
    stage.check("every failpoint was reached", not list(folder.iterdir()))


def fill_the_disk(stage: Stage, seconds: float) -> None:
    """Let neither checkpoints nor logs be written for a while; then kill the TaskManager."""
    restarts, failed = stage.system.restarts(), stage.system.checkpoints("failed")
    stage.system.limit_files(0)
    time.sleep(seconds)
    stage.check("no restart while the disk was full", stage.system.restarts() == restarts)
    stage.check("failed checkpoints are counted", stage.system.checkpoints("failed") > failed)
    stage.system.limit_files()
    kill_task_manager(stage, 1)


def damage_checkpoints(stage: Stage, times: float) -> None:
    """Damage the newest checkpoint of each job and kill the JobManager: it must take an older one."""
    stage.traffic.join()
    for _ in range(int(times)):
        stage.system.wait_checkpoint(3)
        ids = stage.system.job_ids()
        started_s = time.monotonic()
        stage.system.kill("jobmanager")
        damaged = [_damage(stage.system.state_dir / "flink" / "checkpoints" / job_id) for job_id in ids]
        stage.system.wait_working()
        stage.recovery_s.append(round(time.monotonic() - started_s, 1))
        begun = [note.restored_from for note in submissions.noted(stage.system.state_dir)]
        stage.check(
            "an older checkpoint was taken", all(begun) and not {path.as_uri() for path in damaged} & set(begun)
        )
    stage.go_on()


def _damage(checkpoints: Path) -> Path:
    """Make the newest one's metadata unreadable, from its version on; its folder."""
    newest = max(checkpoints.glob("chk-*/_metadata"), key=lambda file: int(file.parent.name.removeprefix("chk-")))
    content = bytearray(newest.read_bytes())
    for place in range(4, 40):
        content[place] ^= 0xFF
    newest.write_bytes(content)
    return newest.parent


SCENARIOS = (
    Scenario("F1", "TaskManager kill -9 after a completed checkpoint", kill_task_manager, "kills", 2, 10, 25),
    Scenario("F2", "TaskManager kill -9 every 3 s, then quiet", kill_task_manager_often, "s", 0, 60, 60),
    Scenario("F4", "JobManager kill -9", kill_job_manager, "kills", 0, 3, 40),
    Scenario("F5", "Python worker kill -9", kill_python_worker, "kills", 2, 10, 15),
    Scenario("F5b", "Python worker dead, and its job isn't told", die_unnoticed, "deaths", 0, 3, 60),
    Scenario("F5c", "Python worker SIGSTOP, for good", stop_python_worker, "stops", 0, 3, 60),
    Scenario("F6", "TaskManager SIGSTOP, then SIGCONT", stop_task_manager, "s", 0, STOP_S, 80),
    Scenario("F10", "no space for checkpoints and logs, then a TaskManager kill -9", fill_the_disk, "s", 0, 60, 70),
    Scenario("F11", "newest checkpoints damaged, JobManager kill -9", damage_checkpoints, "times", 0, 2, 10),
    Scenario("F12", "crash just before and just after a write to Redis", die_at_failpoints, "rounds", 1, 3, 24),
    Scenario("M8", "kill -9 of everything at once, started by one command", lose_power, "times", 0, 1, 10),
)
