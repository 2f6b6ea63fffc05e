"""Key files: lines of a name and a secret. A secret in a variable or an argument shows in process lists and dumps."""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from liveshelf.errors import SettingsError

OWNERS_ONLY = 0o600
KEY_BYTES = 32
# A group may read: Kubernetes mounts secrets for a user that isn't root with 440.
FORBIDDEN_MODE = stat.S_IWGRP | stat.S_IRWXO


def read(path: Path, setting: str, fix: str) -> list[tuple[str, str]]:
    """Return the (name, secret) of each line, in order. Blank lines and lines that begin with # are skipped.

    Raises SettingsError for a file that isn't there, that others may read, or that holds anything else. No message
    holds a secret. `setting` names the file in messages; `fix` says how to make it.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        lines = path.read_text(encoding="ascii").splitlines()
    except UnicodeDecodeError as error:
        raise SettingsError(f"{setting} {path} holds other than ASCII", fix) from error
    except OSError as error:
        raise SettingsError(f"{setting} {path} can't be read: {error.strerror}", fix) from error
    if mode & FORBIDDEN_MODE:
        raise SettingsError(f"{setting} {path} is open to others: its mode is {mode:o}", f"chmod 600 {path}")
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, secret = line.strip().partition(" ")
        if not secret or " " in secret:
            raise SettingsError(f"{setting} {path}, line {number}, isn't a name, a space and a key", fix)
        found.append((name, secret))
    if not found or len({name for name, _ in found}) < len(found):
        raise SettingsError(f"{setting} {path} holds no key, or two of one name", fix)
    return found


def made_once(path: Path) -> bytes:
    """Return the 32 random bytes of a file, which is made if it isn't there; only its owner can read it.

    The file appears with its content or not at all, and of two processes that make it at once both get the same.
    Raises SettingsError for a file that holds anything else.
    """
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        _write_new(partial, secrets.token_bytes(KEY_BYTES))
        with suppress(FileExistsError):  # another process was first
            os.link(partial, path)
        partial.unlink()
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise SettingsError(f"{path} holds {len(key)} bytes and not a key", "put it back from a copy")
    return key


def write(path: Path, keys: list[tuple[str, str]]) -> None:
    """Replace the file of keys. A key that is used and then lost makes its pseudonyms strangers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, "".join(f"{name} {secret}\n" for name, secret in keys).encode())


def replace(path: Path, content: bytes) -> None:
    """Replace a file as a whole, on the disk too. Only its owner can read it, also while it is being written."""
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    _write_new(partial, content)
    partial.replace(path)


def _write_new(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNERS_ONLY), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
