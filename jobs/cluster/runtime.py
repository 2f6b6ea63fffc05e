"""Start, find and stop the services that a state folder owns: `up`, `attach`, `status`, `down`.

A service that settings name (`kafka_bootstrap`, `redis_url`, `flink_rest_url`) is the user's own: used as it is, never
started, never stopped, and its address is never written to `runtime.json` (it may hold a password).
"""

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import psutil
import requests

from jobs.cluster import flink, kafka, processes, redis, secure
from jobs.connect import flink_rest
from jobs.errors import ServiceError
from jobs.flow import submissions
from jobs.settings import Settings

SERVICES = ("kafka", "redis", "flink")
BESIDE = "storefront"  # what the demo starts beside them; it ends first
START_LIMIT_S = 180.0  # 8 s on two idle cores, 68 s on the same at a load of 35


@dataclass(frozen=True)
class Runtime:
    """Where the services answer, and which of them this state folder started (`pids`)."""

    kafka_bootstrap: str = ""
    redis_url: str = field(default="", repr=False)  # a user's own may hold a password
    flink_rest_url: str = ""
    pids: dict[str, int] = field(default_factory=dict)
    metrics_urls: list[str] = field(default_factory=list)

    def address(self, service: str) -> str:
        """Return the address of one of `SERVICES`, "" if it isn't known."""
        return {"kafka": self.kafka_bootstrap, "redis": self.redis_url, "flink": self.flink_rest_url}[service]


def up(settings: Settings, what: Sequence[str] = SERVICES) -> Runtime:
    """Start the services of `what` that don't run yet, and wait until they answer.

    Raise `ServiceError` if a port is taken, or a service ends or doesn't answer. After an error or an interruption, the
    services that it started are stopped again.
    """
    processes.private_folder(settings.state_dir)
    settings.state_dir.chmod(0o700)  # one that an earlier release made
    processes.hide_from_git(settings.state_dir)
    with _locked(settings.state_dir):
        runtime = _without_dead(_read(settings.state_dir), settings.state_dir)
        secure.prepare(settings)
        missing = [service for service in what if not users_own(settings, service) and service not in runtime.pids]
        try:
            for service in missing:
                processes.stop(processes.owned(settings.state_dir, service))  # left by a supervisor that was killed
                runtime = _start(settings, runtime, service)
            for service in missing:
                _wait(settings, runtime, service)
        except BaseException:  # Ctrl-C too
            for service in missing:
                _stop(settings.state_dir, service)
            raise
        _write(settings.state_dir, runtime)
    return _with_users_own(settings, runtime)


def attach(settings: Settings, what: Sequence[str] = SERVICES) -> Runtime:
    """Return the services that run; raise `ServiceError` if one of `what` doesn't."""
    runtime = current(settings)
    missing = [service for service in what if not runtime.address(service)]
    if missing:
        who = "nothing" if set(missing) == set(SERVICES) else f"no {' and no '.join(missing)}"
        raise ServiceError(
            f"{who} is running in {settings.state_dir}",
            "liveshelf up; or, if the system runs in another folder: LIVESHELF_STATE_DIR=FOLDER",
        )
    return runtime


def current(settings: Settings) -> Runtime:
    """Return the services that run now. The address of a service that doesn't run is empty."""
    return _with_users_own(settings, _without_dead(_read(settings.state_dir), settings.state_dir))


def down(settings: Settings) -> int:
    """Stop all processes that this state folder started, check that none is left, and return their number."""
    if not settings.state_dir.is_dir():
        return 0
    with _locked(settings.state_dir):
        stopped = len(processes.owned(settings.state_dir))
        submissions.forget(settings.state_dir)
        for service in (BESIDE, *reversed(SERVICES)):
            _stop(settings.state_dir, service)
        left = processes.owned(settings.state_dir)
        if left:
            raise ServiceError(f"still there: {[process.pid for process in left]}", "kill -9 these processes")
        _file(settings.state_dir).unlink(missing_ok=True)
    return stopped


def status(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return each service's state, address, pid and memory; for Flink also its jobs, slots and TaskManagers."""
    runtime = current(settings)
    return {service: _status(settings, runtime, service) for service in SERVICES}


def unread_consents(settings: Settings) -> int:
    """Return how many consent records the running jobs didn't understand; 0 if none runs here."""
    try:
        return flink_rest.operator_gauge(current(settings).metrics_urls, "consents_unread")
    except requests.RequestException:
        return 0


def _status(settings: Settings, runtime: Runtime, service: str) -> dict[str, Any]:
    address = runtime.address(service)
    own = [] if users_own(settings, service) else processes.owned(settings.state_dir, service)
    running = bool(address) and _answers(service, address, slots=0)
    report: dict[str, Any] = {
        "state": "running" if running else "not answering" if address else "stopped",
        "embedded": not users_own(settings, service),
        "address": without_password(address),
        "pid": runtime.pids.get(service),
        "rss_mb": sum(rss_mb(process) for process in own),
    }
    if service == "flink" and running:
        report |= _flink_status(address)
    return report


def _flink_status(rest_url: str) -> dict[str, Any]:
    overview = flink_rest.ask(rest_url, "/overview")
    return {
        "task_managers": overview["taskmanagers"],
        "slots_total": overview["slots-total"],
        "slots_free": overview["slots-available"],
        "jobs": _jobs(rest_url),
    }


def jobs(runtime: Runtime) -> list[dict[str, str]]:
    """Return id, name and state of each job that Flink knows; none where no cluster answers."""
    try:
        return _jobs(runtime.flink_rest_url) if runtime.flink_rest_url else []
    except requests.RequestException:
        return []


def _jobs(rest_url: str) -> list[dict[str, str]]:
    listed = flink_rest.ask(rest_url, "/jobs/overview")["jobs"]
    return [{"id": job["jid"], "name": job["name"], "state": job["state"]} for job in listed]


def rss_mb(process: psutil.Process) -> int:
    """Return a process' resident memory in MiB, 0 if it has ended since it was listed."""
    try:
        return process.memory_info().rss >> 20
    except psutil.NoSuchProcess:
        return 0


def without_password(url: str) -> str:
    """Return a URL as it may be printed."""
    password = urlsplit(url).password if "://" in url else None
    return url.replace(f":{password}@", ":***@", 1) if password else url


def _start(settings: Settings, runtime: Runtime, service: str) -> Runtime:
    state_dir, pids, secrets = settings.state_dir, dict(runtime.pids), secure.secrets(settings)
    if service == "kafka":
        port = processes.claim_port(settings.kafka_port, "Kafka", "kafka_port")
        pids[service] = kafka.start(state_dir, port, settings.topic_partitions, secrets)
        return replace(runtime, kafka_bootstrap=kafka.address(port, secrets), pids=pids)
    if service == "redis":
        port = processes.claim_port(settings.redis_port, "Redis", "redis_port")
        pids[service] = redis.start(state_dir, port, secrets)
        return replace(runtime, redis_url=redis.url(port, secrets), pids=pids)
    port = processes.claim_port(settings.flink_port, "Flink's REST interface", "flink_port")
    metrics_ports = _metrics_ports(settings)
    pids[service] = flink.start(settings, port, metrics_ports, secrets)
    metrics_urls = [f"http://127.0.0.1:{metrics_port}/metrics" for metrics_port in metrics_ports]
    return replace(runtime, flink_rest_url=flink.rest_url(port, secrets), pids=pids, metrics_urls=metrics_urls)


def _metrics_ports(settings: Settings) -> list[int]:
    count = 1 + settings.task_managers
    if settings.metrics_port == 0:
        return processes.free_ports(count)
    ports = range(settings.metrics_port, settings.metrics_port + count)
    return [processes.claim_port(port, "Flink's metrics", "metrics_port") for port in ports]


def _wait(settings: Settings, runtime: Runtime, service: str) -> None:
    log = {"kafka": kafka.log, "redis": redis.log, "flink": flink.log}[service](settings.state_dir)
    slots = settings.task_managers * settings.slots_per_task_manager
    processes.wait_until(
        lambda: _answers(service, runtime.address(service), slots),
        service=service,
        pid=runtime.pids[service],
        owner=settings.state_dir,
        log=log,
        limit_s=START_LIMIT_S,
    )


def _answers(service: str, address: str, slots: int) -> bool:
    if service == "kafka":
        return kafka.answers(address)
    return redis.answers(address) if service == "redis" else flink_rest.answers(address, slots)


def _stop(state_dir: Path, service: str) -> None:
    """Stop one service. Flink's supervisor goes first, because it would start its children again."""
    own = processes.owned(state_dir, service)
    processes.stop([process for process in own if process.ppid() not in {other.pid for other in own}])
    processes.stop(processes.owned(state_dir, service))


def users_own(settings: Settings, service: str) -> bool:
    """Return True if settings name a service of the user's own."""
    return bool(_users_addresses(settings)[service])


def _users_addresses(settings: Settings) -> dict[str, str]:
    return {
        "kafka": settings.kafka_bootstrap,
        "redis": settings.redis_url.get_secret_value(),
        "flink": settings.flink_rest_url,
    }


def _with_users_own(settings: Settings, runtime: Runtime) -> Runtime:
    users = _users_addresses(settings)
    return replace(
        runtime,
        kafka_bootstrap=users["kafka"] or runtime.kafka_bootstrap,
        redis_url=users["redis"] or runtime.redis_url,
        flink_rest_url=users["flink"] or runtime.flink_rest_url,
    )


def _without_dead(runtime: Runtime, state_dir: Path) -> Runtime:
    """Return the runtime without the services whose process is gone."""
    pids = {service: pid for service, pid in runtime.pids.items() if processes.is_owned(pid, state_dir)}
    return Runtime(
        kafka_bootstrap=runtime.kafka_bootstrap if "kafka" in pids else "",
        redis_url=runtime.redis_url if "redis" in pids else "",
        flink_rest_url=runtime.flink_rest_url if "flink" in pids else "",
        pids=pids,
        metrics_urls=runtime.metrics_urls if "flink" in pids else [],
    )


def _file(state_dir: Path) -> Path:
    return state_dir / "runtime.json"


def _read(state_dir: Path) -> Runtime:
    file = _file(state_dir)
    return msgspec.json.decode(file.read_bytes(), type=Runtime) if file.is_file() else Runtime()


def _write(state_dir: Path, runtime: Runtime) -> None:
    partial = _file(state_dir).with_suffix(".partial")
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(runtime)))
    partial.replace(_file(state_dir))


@contextmanager
def _locked(state_dir: Path) -> Iterator[None]:
    """Hold the state folder's lock, so that one `up` or `down` runs at a time."""
    with (state_dir / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
