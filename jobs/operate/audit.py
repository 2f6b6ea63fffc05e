"""The audit log: one JSON line for each action of an operator, with the SHA-256 of the line before it.

A line that was changed, dropped or moved breaks the chain at the next line. The file `audit.head` shows if the last
lines are gone. Whoever may write both files can write another history. So keep the head that `liveshelf audit verify`
prints in another place, and compare.

Arguments hold no secrets and no personal ids. An action for one person names them by a keyed hash of their id.
"""

import fcntl
import hashlib
import os
import pwd
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from jobs.errors import DataError, was_interrupted

FILE, HEAD = "audit.jsonl", "audit.head"
NOTHING = "0" * 64  # what the first line names as the one before
DONE, INTERRUPTED = "done", "interrupted"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One action. `result` is "done", "interrupted", or the kind of error that ended it; `outcome` is what it did."""

    number: int
    at_ms: int
    who: str  # the operating system's user
    action: str
    arguments: dict[str, Any]
    result: str
    outcome: dict[str, Any]
    prev: str


@contextmanager
def recorded(state_dir: Path, action: str, **arguments: Any) -> Iterator[dict[str, Any]]:
    """Record an action when it ends, however it ends; the dictionary takes its outcome.

    The command line turns the signals that end a process into KeyboardInterrupt, so they leave a line as Ctrl-C does.
    """
    outcome: dict[str, Any] = {}
    try:
        yield outcome
    except BaseException as error:  # an interruption too: an action that was half done must be seen
        result = INTERRUPTED if was_interrupted(error) else type(error).__name__
        record(state_dir, action, arguments, result, outcome)
        raise
    record(state_dir, action, arguments, DONE, outcome)


def record(state_dir: Path, action: str, arguments: dict[str, Any], result: str, outcome: dict[str, Any]) -> None:
    """Append one line. Several processes may do so at once: a lock orders them."""
    state_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(state_dir / FILE, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with open(descriptor, "r+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        lines = file.read().splitlines()
        if lines and not _ends_in_a_newline(file):
            file.write(b"\n")  # the machine stopped in the middle of a line: `verify` will name it
        entry = Entry(
            number=len(lines) + 1,
            at_ms=time.time_ns() // 1_000_000,
            who=_user(),
            action=action,
            arguments=arguments,
            result=result,
            outcome=outcome,
            prev=_hash(lines[-1]) if lines else NOTHING,
        )
        line = msgspec.json.encode(entry, enc_hook=str)
        file.write(line + b"\n")
        os.fsync(file.fileno())
        _keep_head(state_dir / HEAD, entry.number, line)


def _user() -> str:
    """Return the user's name as the system knows it, or its number: a container's user may have no name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _ends_in_a_newline(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _keep_head(file: Path, number: int, line: bytes) -> None:
    partial = file.with_suffix(".head.partial")
    partial.write_text(f"{number} {_hash(line)}\n")
    partial.replace(file)


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def entries(state_dir: Path) -> list[Entry]:
    """Return all entries, oldest first; raise `DataError` for a line that is none."""
    return [_entry(state_dir / FILE, number, line) for number, line in enumerate(_lines(state_dir), 1)]


def _lines(state_dir: Path) -> list[bytes]:
    file = state_dir / FILE
    return file.read_bytes().splitlines() if file.is_file() else []


def _entry(file: Path, number: int, line: bytes) -> Entry:
    try:
        return msgspec.json.decode(line, type=Entry)
    except msgspec.DecodeError as error:
        raise _broken(file, number, f"is no entry: {error}") from error


def verify(state_dir: Path) -> tuple[int, str]:
    """Return the number of lines and the hash of the last; raise `DataError` that names the first wrong line."""
    file, lines = state_dir / FILE, _lines(state_dir)
    count, head = _read_head(state_dir)
    prev = NOTHING
    for number, line in enumerate(lines, 1):
        entry = _entry(file, number, line)
        if entry.number != number:
            raise _broken(file, number, f"is entry {entry.number}: lines before it are gone, new or moved")
        if entry.prev != prev:
            # Either this line was changed, and then what comes after doesn't fit it either, or the one before.
            after = _entry(file, number + 1, lines[number]).prev if number < len(lines) else head
            raise _broken(file, number if number == 1 or after != _hash(line) else number - 1, "was changed")
        prev = _hash(line)
        if number == count and prev != head:
            raise _broken(file, number, "was changed")
    if len(lines) < count:
        raise _broken(file, len(lines) + 1, f"is gone: there were {count} lines")
    if len(lines) > count + 1:  # one more may be: the head is written after the line
        raise _broken(file, count + 2, f"isn't known to {HEAD}, which knows {count} lines")
    return len(lines), prev


def _read_head(state_dir: Path) -> tuple[int, str]:
    """Return the number of lines and the hash of the last, as they were noted when it was written."""
    file = state_dir / HEAD
    if not file.is_file():
        return 0, NOTHING
    count, _, head = file.read_text().strip().partition(" ")
    if not count.isdecimal():
        raise DataError(f"{file} holds no number of lines", "compare it with a copy that was kept elsewhere")
    return int(count), head


def _broken(file: Path, number: int, what: str) -> DataError:
    return DataError(f"{file}: line {number} {what}", "compare it with a copy that was kept elsewhere")
