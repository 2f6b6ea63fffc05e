"""Sample, 50 times a second, which process has a processor and which thread waits for one (Linux only)."""

import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from jobs.lab.bench.causes import Span

EVERY_S = 0.02
PROCESS_CLOCK = 2  # CPUCLOCK_SCHED of linux/posix-timers.h: what a process has taken, in ns
ELSE, STEAL = "something else", "the hypervisor took a processor"
JIFFY_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def threads(pid: int) -> dict[int, str]:
    """Return the threads of a process by id, with the 15 letters of their names that Linux keeps."""
    names = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            names[int(task.name)] = (task / "comm").read_text().rstrip("\n")
    return names


class Machine(NamedTuple):
    """What all cores together have done since the start, in ns; Linux counts it in steps of 10 ms."""

    busy_ns: int
    stolen_ns: int  # a hypervisor gave it to other machines

    @classmethod
    def now(cls) -> "Machine":
        with open("/proc/stat") as file:
            user, nice, system, _, _, irq, soft_irq, steal = map(int, file.readline().split()[1:9])
        return cls((user + nice + system + irq + soft_irq) * JIFFY_NS, steal * JIFFY_NS)


class Samples:
    """Keeps what processes took and threads waited at each look."""

    def __init__(
        self, processes: Mapping[str, int], running: Mapping[str, Iterable[int]], waiting: Mapping[str, Iterable[int]]
    ) -> None:
        """Begin with `processes` (pids by name), and threads by name: of `running` their time, of `waiting` the wait.

        Threads that begin later aren't seen. `ELSE` is what none of the processes took.
        """
        self._clocks = [(~pid << 3) | PROCESS_CLOCK for pid in processes.values()]
        self._files = [(_open(group), field) for kind, field in ((running, 0), (waiting, 1)) for group in kind.values()]
        self._holds = [False] * (len(processes) + len(running)) + [True] * len(waiting) + [False, True]
        self._names = [*processes, *running, *(f"{name} waited for a processor" for name in waiting), ELSE, STEAL]
        self._looks: list[tuple[int, list[int]]] = []
        self._taken = [0] * len(processes)  # what has ended keeps what it had at the last look
        self._of_threads: dict[int, int] = {}

    def look(self) -> None:
        """Keep how far each is now."""
        now_ns = time.monotonic_ns()
        for place, clock in enumerate(self._clocks):
            with suppress(OSError):
                self._taken[place] = time.clock_gettime_ns(clock)
        groups = []
        for files, field in self._files:
            for file in files:
                with suppress(OSError):
                    self._of_threads[file] = int(os.pread(file, 100, 0).split()[field])
            groups.append(sum(self._of_threads.get(file, 0) for file in files))
        machine = Machine.now()
        others_ns = machine.busy_ns - sum(self._taken)
        self._looks.append((now_ns, [*self._taken, *groups, others_ns, machine.stolen_ns]))

    def close(self) -> None:
        """Close the files of the threads."""
        for files, _ in self._files:
            for file in files:
                os.close(file)

    def spans(self) -> list[Span]:
        """Return what each took between two looks. Threads of one name that wait at once count no longer than that."""
        spans = []
        for (begin_ns, before), (end_ns, after) in zip(self._looks, self._looks[1:], strict=False):
            for name, holds, one, other in zip(self._names, self._holds, before, after, strict=True):
                taken_ns = min(other - one, end_ns - begin_ns) if holds else other - one
                if taken_ns:  # that of `ELSE` is less than 0 in turn, as Linux counts it in steps
                    spans.append(Span(name, begin_ns, end_ns, taken_ns, holds))
        return spans

    def cores(self, begin_ns: int, end_ns: int) -> dict[str, float]:
        """Return how many cores each took on average between two times, and of how many threads stood waiting."""
        looks = [look for look in self._looks if begin_ns <= look[0] <= end_ns]
        (first_ns, first), (last_ns, last) = looks[0], looks[-1]
        shares = ((after - before) / (last_ns - first_ns) for before, after in zip(first, last, strict=True))
        return {name: round(share, 3) for name, share in zip(self._names, shares, strict=True)}


def _open(tids: Iterable[int]) -> list[int]:
    files = []
    for tid in tids:
        with suppress(OSError):  # it has ended
            files.append(os.open(f"/proc/{tid}/schedstat", os.O_RDONLY))
    return files
