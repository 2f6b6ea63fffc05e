"""The machine, and the memory and processor time of the processes that the measurements started."""

import os
import platform
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil

from jobs.cluster import processes, runtime

KINDS = {  # a part of the command line → what the process is
    "kafka.Kafka": "broker",
    "StandaloneSessionClusterEntrypoint": "job_manager",
    "TaskManagerRunner": "task_manager",
    "redis-server": "redis",
    "jobs.cluster.supervise": "supervisor",
    "jobs.operate.keep": "keeper",
    "pyflink.fn_execution": "python_worker",
}
JVMS = {"broker", "job_manager", "task_manager"}


def machine() -> dict[str, str | int | float]:
    """Return where and when it was measured; `load_1m` tells what else ran when it began."""
    info = Path("/proc/cpuinfo")
    names = (
        [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.is_file()
        else []
    )
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "load_1m": round(os.getloadavg()[0], 2),
    }


def memory_mb(state_dir: Path) -> dict[str, int]:
    """Return resident memory in MiB by process; several of a kind are numbered, the largest first."""
    rss_by_kind: dict[str, list[int]] = {}
    for process in processes.owned(state_dir):
        rss_by_kind.setdefault(kind(process.cmdline()), []).append(runtime.rss_mb(process))
    return {
        name if number == 1 else f"{name}_{number}": mb
        for name, sizes in sorted(rss_by_kind.items())
        for number, mb in enumerate(sorted(sizes, reverse=True), 1)
    }


class CpuClock:
    """Adds up processor time by kind of process; that of a Python worker stays when it ends with its job."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._seen: dict[int, tuple[str, float]] = {}  # kind and seconds of each process, by its pid

    def look(self) -> None:
        """See how far each process is. What one does between the last look and its end isn't counted."""
        for process in processes.owned(self._state_dir):
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                self._seen[process.pid] = kind(process.cmdline()), times.user + times.system

    def seconds(self) -> dict[str, float]:
        """Return the seconds that processes of each kind have taken since they began."""
        seconds: dict[str, float] = dict.fromkeys((*KINDS.values(), "other"), 0.0)
        for name, taken in self._seen.values():
            seconds[name] += taken
        return seconds


def kind(command_line: list[str]) -> str:
    """Return the kind of a process, by its command line."""
    text = " ".join(command_line)
    return next((name for part, name in KINDS.items() if part in text), "other")
