"""Keep the secret under which jobs hash ids, where strangers choose the ids and state is found by them.

Flink finds a key's state by a hash that everybody can compute. Who chooses ids of one hash makes a list of them, and
each event looks through all of it. With a secret in the hash nobody can choose. The secret is made once for a state
folder, because a savepoint's keys are made with it. It travels to workers as a file of the job, not as an argument.

Operators with such keys have the secret's mark in their names (`uid`). So Flink itself refuses a savepoint whose keys
were made with another secret, or with none.
"""

import contextlib
import hashlib
import hmac
import os
import re
import secrets
import struct
from pathlib import Path
from urllib.parse import unquote, urlsplit

from jobs.errors import SettingsError
from jobs.flow import checkpoint

FILE = "liveshelf-ids"  # the file's name where a job runs (jobs/jvm/src/liveshelf/KeyedHash.java)
NAME = "ids"  # in the folder `secret` of the state folder, or beside a job's configuration
BYTES = 32
MARKED = re.compile(r"(.+)-ids-([0-9a-f]{16})")


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


def kept(file: Path, mark: str) -> Path:
    """Return the file of a job that goes on; raise SettingsError if it is lost or another: then no state is found."""
    way_out = "put it back from a copy of the state folder, or submit without a savepoint: events are read again"
    if not file.is_file():
        raise SettingsError(f"{file} is lost: the secret that the job's state was made with", way_out)
    if mark_of(file) != mark:
        raise SettingsError(f"{file} isn't the secret that the job's state was made with", way_out)
    return file


def mark_of(file: Path) -> str:
    """Return 16 digits by which a secret is known again. They say nothing about it."""
    return hmac.new(_secret(file), b"mark", hashlib.sha256).hexdigest()[:16]


def key_of(file: Path, text: str) -> int:
    """Return the number that stands beside an id in a key of state, as `KeyOf.java` computes it."""
    value = text.encode()
    digest = hmac.new(_secret(file), struct.pack(">i", len(value)) + value, hashlib.sha256).digest()
    return int.from_bytes(digest[:8], signed=True)


def uid(operator: str, mark: str) -> str:
    """Return the name of an operator in savepoints."""
    return f"{operator}-ids-{mark}" if mark else operator


def operator_and_mark(name: str) -> tuple[str, str]:
    """Return the operator that a name in a savepoint stands for, and its secret's mark, "" without a secret."""
    marked = MARKED.fullmatch(name)
    return (marked[1], marked[2]) if marked else (name, "")


def mark_in(savepoint: str) -> str | None:
    """Return the mark of a savepoint's keys, "" if they were made without a secret; None if it can't be read from here.

    `savepoint` is a folder or its `file:` address.
    """
    address = urlsplit(savepoint)
    if address.scheme not in ("", "file"):
        return None
    try:
        operators = checkpoint.operators(Path(unquote(address.path)))
    except (OSError, checkpoint.UnknownLayoutError):
        return None
    return next((mark for _, mark in map(operator_and_mark, sorted(operators)) if mark), "")


def cached_files(file: Path) -> str:
    """Return Flink's option `pipeline.cached-files`, which takes the file to all workers."""
    quoted = f"file://{file}".replace("'", "''")
    return f"name:{FILE},path:'{quoted}'"


def _secret(file: Path) -> bytes:
    return file.read_text().strip().encode()
