"""Keep Flink's processes alive: `python -m jobs.cluster.supervise processes.json`.

A TaskManager that dies is started again within a second. Each child leads a process group of its own, which is killed
before the child is started again, so that no Python worker outlives its TaskManager. SIGTERM ends the children first.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import msgspec

LOOK_EVERY_S = 0.2
LIVED_S = 10.0  # a child that lived this long gets the shortest pause again
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
# A TaskManager with a Python operator takes 5 s to end and gains nothing by it: checkpoints are already on disk.
GRACE_S = 2.0


class Child(msgspec.Struct, frozen=True):
    """A process to keep alive: its name, command line, additional environment and the file for its output."""

    name: str
    argv: list[str]
    environment: dict[str, str]
    output: str


class Kept:
    """A child with its current process, and when it may be started again."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.pause_s = FIRST_PAUSE_S
        self.start_at_s = 0.0
        self.started_s = 0.0
        self.process: subprocess.Popen[bytes] | None = None

    def look(self, now_s: float) -> None:
        """Start the child if it is due. If it has ended, decide when it is due again."""
        if self.process is None:
            if now_s >= self.start_at_s:
                self._start(now_s)
        elif self.process.poll() is not None:
            _say(f"{self.child.name} (pid {self.process.pid}) ended with {self.process.returncode}")
            self.kill_group()
            lived = now_s - self.started_s >= LIVED_S
            self.pause_s = FIRST_PAUSE_S if lived else min(self.pause_s * 2, LONGEST_PAUSE_S)
            self.start_at_s = now_s + self.pause_s
            self.process = None

    def _start(self, now_s: float) -> None:
        with Path(self.child.output).open("ab") as output:
            self.process = subprocess.Popen(
                self.child.argv,
                env={**os.environ, **self.child.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        self.started_s = now_s
        _say(f"{self.child.name} started, pid {self.process.pid}")

    def ask_to_end(self) -> None:
        if self.process is not None:
            self.process.terminate()

    def kill_group(self) -> None:
        """Kill the child and everything it started; the group outlives its leader."""
        if self.process is not None:
            with suppress(ProcessLookupError):  # nothing of it is left
                os.killpg(self.process.pid, signal.SIGKILL)


def supervise(children: list[Child]) -> None:
    """Keep the children alive until SIGTERM or SIGINT, then end them, TaskManagers before the JobManager."""
    kept = [Kept(child) for child in children]
    ending: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: ending.append(received))
    while not ending:
        for child in kept:
            child.look(time.monotonic())
        time.sleep(LOOK_EVERY_S)
    for child in reversed(kept):
        child.ask_to_end()
    deadline = time.monotonic() + GRACE_S
    while any(child.process and child.process.poll() is None for child in kept) and time.monotonic() < deadline:
        time.sleep(0.05)
    for child in kept:
        child.kill_group()
    _say("ended")


def _say(what: str) -> None:
    print(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {what}", flush=True)


if __name__ == "__main__":
    supervise(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=list[Child]))
