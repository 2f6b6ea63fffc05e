"""The audit log: one JSON line for each action of an operator, with the SHA-256 of the line before it.

A line that was changed, dropped or moved breaks the chain at the next line. The file `audit.head` knows the last line.
It is written before the line and after it, under a key that only its owner reads (`audit.key`), so a line that was
added or cut off is seen too. Whoever may read the key and write all three files can write another history. So keep the
head that `liveshelf audit verify` prints in another place, and compare.

Arguments hold no secrets and no personal ids. An action for one person names them by a keyed hash of their id.
"""

import fcntl
import hashlib
import hmac
import os
import pwd
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from jobs.cluster import processes
from jobs.errors import DataError, was_interrupted
from liveshelf import key_file

FILE, HEAD, KEY = "audit.jsonl", "audit.head", "audit.key"
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


class Head(NamedTuple):
    """What is known of the log: its number of lines, the hash of the last, and its size. `coming` is being written."""

    lines: int
    last: str
    size: int
    coming: str = ""  # the hash of the line after these


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
        # Without a state folder nothing was done to a system: who fails in a wrong folder leaves none there.
        if was_interrupted(error) or state_dir.is_dir():
            record(state_dir, action, arguments, result, outcome)
        raise
    record(state_dir, action, arguments, DONE, outcome)


@contextmanager
def recorded_unless(is_dry_run: bool, state_dir: Path, action: str, **arguments: Any) -> Iterator[dict[str, Any]]:
    """Record an action as `recorded` does, and nothing of a dry run."""
    if is_dry_run:
        yield {}
        return
    with recorded(state_dir, action, **arguments) as outcome:
        yield outcome


def record(state_dir: Path, action: str, arguments: dict[str, Any], result: str, outcome: dict[str, Any]) -> None:
    """Append one line. Several processes may do so at once: a lock orders them."""
    processes.private_folder(state_dir)
    descriptor = os.open(state_dir / FILE, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with open(descriptor, "r+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        head = _before(state_dir, file)
        if os.fstat(file.fileno()).st_size and not _ends_in_a_newline(file):
            file.write(b"\n")  # the machine stopped in the middle of a line: `verify` will name it
        entry = Entry(
            number=head.lines + 1,
            at_ms=time.time_ns() // 1_000_000,
            who=_user(),
            action=action,
            arguments=arguments,
            result=result,
            outcome=outcome,
            prev=head.last,
        )
        line = msgspec.json.encode(entry, enc_hook=str)
        key = key_file.made_once(state_dir / KEY)
        _keep_head(state_dir / HEAD, head._replace(coming=_hash(line)), key)
        file.write(line + b"\n")
        os.fsync(file.fileno())
        size = os.fstat(file.fileno()).st_size
        _keep_head(state_dir / HEAD, Head(entry.number, _hash(line), size), key)


def _before(state_dir: Path, file: Any) -> Head:
    """Return the head that a new line follows. A line that the head doesn't know is no part of the chain."""
    if not (state_dir / KEY).exists():  # a new log, or one of a release that had no key
        _read_head(state_dir)  # refuses a log whose key is gone: a new one would vouch for whatever stands there
        lines = file.read().splitlines()
        return Head(len(lines), _hash(lines[-1]) if lines else NOTHING, 0)
    head = _read_head(state_dir)
    if head.coming:  # the machine stopped while a line was written
        file.seek(head.size)
        if _hash(file.read().rstrip(b"\n")) == head.coming:
            return Head(head.lines + 1, head.coming, os.fstat(file.fileno()).st_size)
    return head._replace(coming="")


def _user() -> str:
    """Return the user's name as the system knows it, or its number: a container's user may have no name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _ends_in_a_newline(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _keep_head(file: Path, head: Head, key: bytes) -> None:
    text = " ".join(map(str, head))
    key_file.replace(file, f"{text}\n{_mac(key, text)}\n".encode())


def _mac(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


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
    file, lines, head = state_dir / FILE, _lines(state_dir), _read_head(state_dir)
    before, prev = NOTHING, NOTHING
    for number, line in enumerate(lines, 1):
        entry = _entry(file, number, line)
        if entry.number == number - 1 and entry.prev == before and number > 1:
            raise _broken(file, number - 1, "was added: the next line goes on from the one before it")
        if entry.number != number:
            raise _broken(file, number, f"is entry {entry.number}: lines before it are gone, new or moved")
        if entry.prev != prev:
            # Either this line was changed, and then what comes after doesn't fit it either, or the one before.
            after = _entry(file, number + 1, lines[number]).prev if number < len(lines) else head.last
            raise _broken(file, number if number == 1 or after != _hash(line) else number - 1, "was changed")
        before, prev = prev, _hash(line)
        if number == head.lines and prev != head.last:
            raise _broken(file, number, "was changed")
        if number > head.lines and prev != head.coming:
            raise _broken(file, number, f"isn't known to {HEAD}, which knows {head.lines} lines")
    if len(lines) < head.lines:
        raise _broken(file, len(lines) + 1, f"is gone: there were {head.lines} lines")
    return len(lines), prev


def _read_head(state_dir: Path) -> Head:
    """Return what was noted of the log; raise `DataError` if it is gone, or isn't what was noted."""
    file, key = state_dir / HEAD, state_dir / KEY
    fix = f"compare the log with a copy that was kept elsewhere, and move {state_dir}/audit.* away: a new log begins"
    if not file.is_file():
        if key.exists() or _lines(state_dir):
            raise DataError(f"{file} is gone, so nobody knows how long {FILE} was", fix)
        return Head(0, NOTHING, 0)
    text, _, mac = file.read_text().strip().partition("\n")
    if mac and not key.exists():
        raise DataError(f"{key} is gone, so nobody knows whether {HEAD} is true", fix)
    if key.exists() and not hmac.compare_digest(mac, _mac(key_file.made_once(key), text)):
        raise DataError(f"{file} wasn't written by this system: its code doesn't fit {KEY}", fix)
    count, known, *more = [*text.split(" "), ""][:5]
    if not count.isdecimal() or (key.exists() and not more[0].isdecimal()):
        raise DataError(f"{file} holds no number of lines", fix)
    if not key.exists():  # of a release without a key, which wrote the head after the line
        lines = _lines(state_dir)
        coming = _hash(lines[int(count)]) if len(lines) == int(count) + 1 else ""
        return Head(int(count), known, 0, coming)
    return Head(int(count), known, int(more[0]), more[1])


def _broken(file: Path, number: int, what: str) -> DataError:
    return DataError(f"{file}: line {number} {what}", "compare it with a copy that was kept elsewhere")
