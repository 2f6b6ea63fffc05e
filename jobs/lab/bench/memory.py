"""The machine, and the memory and processor time of the processes that the measurements started."""

import os
import platform
import subprocess
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil

from jobs.cluster import processes, runtime
from jobs.jvm.java import JCMD

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
THREADS = {  # how the name of a JVM's thread begins → what it does; other threads keep their names
    "C1 ": "compiler",
    "C2 ": "compiler",
    "GC ": "garbage collector",
    "G1 ": "garbage collector",
    "Source: ": "source",
    "Source Data Fet": "source",
    "ProcessTableFun": "operators",  # one chain: state, its side of the Python step, what comes behind it
    "grpc-": "exchange with Python",
    "kafka-producer-": "log's producer",
    "data-plane-kafk": "requests",
}


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


def live_heap(state_dir: Path) -> tuple[int, float]:
    """Return the bytes of all objects that live in the TaskManager, and the seconds that a full collection took.

    The seconds hold the walk over the heap that counts them, too.
    """
    (task_manager,) = (each for each in processes.owned(state_dir) if kind(each.cmdline()) == "task_manager")
    began_s = time.monotonic()
    told = [str(JCMD), str(task_manager.pid), "GC.class_histogram"]
    answer = subprocess.run(told, capture_output=True, text=True, check=True).stdout
    return int(answer.split()[-1]), time.monotonic() - began_s


class CpuClock:
    """Adds up processor time by kind of process; that of a Python worker stays when it ends with its job."""

    def __init__(self, state_dir: Path, threads: bool = False) -> None:
        """Begin to count; with `threads` also by thread of each JVM, which takes 1 % of a core itself."""
        self._state_dir = state_dir
        self._threads = threads and Path("/proc/self/task").is_dir()
        self._seen: dict[tuple[int, int], tuple[str, float]] = {}  # name and seconds of each process and thread, by ids

    def look(self) -> None:
        """See how far each process is. What one does between the last look and its end isn't counted."""
        for process in processes.owned(self._state_dir):
            with suppress(psutil.NoSuchProcess):
                times, name = process.cpu_times(), kind(process.cmdline())
                self._seen[process.pid, 0] = name, times.user + times.system
                if self._threads and name in JVMS:
                    for thread in process.threads():
                        does = thread_name(process.pid, thread.id)
                        self._seen[process.pid, thread.id] = f"{name}: {does}", thread.user_time + thread.system_time

    def seconds(self) -> dict[str, float]:
        """Return the seconds that processes of each kind have taken since they began, and "kind: thread" of threads."""
        seconds: dict[str, float] = dict.fromkeys((*KINDS.values(), "other"), 0.0)
        for name, taken in self._seen.values():
            seconds[name] = seconds.get(name, 0.0) + taken
        return seconds


def thread_name(pid: int, thread: int) -> str:
    """Return what a JVM's thread does, or the 15 letters of its name that Linux keeps; "" if it has ended."""
    with suppress(OSError):
        name = Path(f"/proc/{pid}/task/{thread}/comm").read_text().rstrip("\n")
        return next((does for begin, does in THREADS.items() if name.startswith(begin)), name)
    return ""


def kind(command_line: list[str]) -> str:
    """Return the kind of a process, by its command line."""
    text = " ".join(command_line)
    return next((name for part, name in KINDS.items() if part in text), "other")
