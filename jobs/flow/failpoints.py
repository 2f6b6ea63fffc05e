"""Places where a process dies when a test asks for it.

`jobs/lab/chaos` arms them with files. Without the environment variable they don't exist.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = "LIVESHELF_FAILPOINTS"
UNNOTICED = b"unnoticed"
_folder = os.environ.get(FOLDER)


def reached(name: str) -> None:
    """Kill this process if `name` is armed, and disarm it.

    Armed as unnoticed, it leaves a child that keeps its connections open, so that nobody learns of the death.
    """
    if _folder is None:
        return
    armed = Path(_folder) / name
    if armed.exists():
        unnoticed = armed.read_bytes() == UNNOTICED
        armed.unlink(missing_ok=True)
        if unnoticed and os.fork() == 0:
            signal.pause()
        os.kill(os.getpid(), signal.SIGKILL)


def arm(folder: Path, name: str, unnoticed: bool = False) -> None:
    """Arm `name`: the next process that reaches it dies there."""
    (folder / name).write_bytes(UNNOTICED if unnoticed else b"")


@contextmanager
def allowed(folder: Path) -> Iterator[None]:
    """Give processes that are started within failpoints, armed in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ[FOLDER] = str(folder)
    try:
        yield
    finally:
        del os.environ[FOLDER]
