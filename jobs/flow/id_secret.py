"""Keep the secret under which jobs hash ids, where strangers choose the ids and state is found by them.

Flink finds a key's state by a hash that everybody can compute. Who chooses ids of one hash makes a list of them, and
each event looks through all of it. With a secret in the hash nobody can choose. The secret is made once for a state
folder, because a savepoint's keys are made with it. It travels to workers as a file of the job, not as an argument.
"""

import contextlib
import os
import secrets
from pathlib import Path

from jobs.errors import SettingsError

FILE = "liveshelf-ids"  # the file's name where a job runs (jobs/jvm/src/liveshelf/KeyedHash.java)
NAME = "ids"  # in the folder `secret` of the state folder, or beside a job's configuration
BYTES = 32


def path(state_dir: Path) -> Path:
    return state_dir.resolve() / "secret" / NAME


def made(state_dir: Path) -> Path:
    """Return the secret's file, made if it isn't there. Two that make it at once get the same one."""
    file = path(state_dir)
    if file.is_file():
        return file
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(secrets.token_hex(BYTES))
        out.flush()
        os.fsync(out.fileno())
    with contextlib.suppress(FileExistsError):
        os.link(partial, file)
    partial.unlink()
    return file


def kept(file: Path) -> Path:
    """Return the file of a job that goes on; raise SettingsError if it is lost: without it no state is found."""
    if not file.is_file():
        raise SettingsError(
            f"{file} is lost: the secret that the job's state was made with",
            "put it back from a copy of the state folder, or submit without a savepoint: events are read again",
        )
    return file


def cached_files(file: Path) -> str:
    """Return Flink's option `pipeline.cached-files`, which takes the file to all workers."""
    quoted = f"file://{file}".replace("'", "''")
    return f"name:{FILE},path:'{quoted}'"
