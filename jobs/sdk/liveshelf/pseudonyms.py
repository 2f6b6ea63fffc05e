"""Keyed pseudonyms of visitors and users, for topics, state, Redis and logs.

A plain hash of an e-mail address can be guessed; a keyed one only by who holds the key. A pseudonym is still personal
data. Producers of events and readers of lists use the same key file: lines `kid key`. The first key is current. A
second one is valid while a rotation lasts. This module needs only the standard library, so that apps can import it.
"""

import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from liveshelf import key_file
from liveshelf.errors import SettingsError

VISITOR, USER = "visitor_id", "user_id"  # namespaces: the same raw id gets two pseudonyms that nobody can join
KEY_BYTES = 32
PSEUDONYM_BYTES = 16  # of the HMAC's 32: among 1e9 visitors two meet with a chance of 1.5e-21
MAX_KEYS = 2
KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,16}")  # no dot, which ends it, and no braces, which Redis' keys put around it
PSEUDONYM = re.compile(rf"{KEY_ID.pattern}\.[0-9a-f]{{{2 * PSEUDONYM_BYTES}}}")
HEX_KEY = re.compile(rf"[0-9a-f]{{{2 * KEY_BYTES}}}")
SETTING = "pseudonym_keys"
FIX = "liveshelf keys new"


class Pseudonyms:
    """Make pseudonyms with the keys of one file.

    `keys` are (kid, 32 bytes), the current one first. RFC 2104 with SHA-256, of which the first 16 bytes are kept.
    """

    def __init__(self, keys: Sequence[tuple[str, bytes]]) -> None:
        self._keys = tuple(keys)

    @classmethod
    def read(cls, path: Path) -> "Pseudonyms":
        """Read a key file; raises SettingsError if it can't be read, others may read it, or it holds no such keys."""
        return cls([(kid, bytes.fromhex(key)) for kid, key in _read(path)])

    def of(self, raw_id: str, namespace: str = VISITOR) -> str:
        """Return the pseudonym under the current key: `kid.` and 32 hex digits."""
        return _pseudonym(*self._keys[0], raw_id, namespace)

    def all_of(self, raw_id: str, namespace: str = VISITOR) -> list[str]:
        """Return the pseudonyms under each valid key, the current one first.

        A visitor may be found under any of them, and must be erased under all.
        """
        return [_pseudonym(kid, key, raw_id, namespace) for kid, key in self._keys]

    def event(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Return a copy of an accepted event whose visitor and user are pseudonyms."""
        return {**event, **{name: self.of(event[name], name) for name in (VISITOR, USER) if name in event}}


def is_pseudonym(text: str) -> bool:
    """Return True for what has the form of a pseudonym, of whatever key."""
    return PSEUDONYM.fullmatch(text) is not None


def _pseudonym(kid: str, key: bytes, raw_id: str, namespace: str) -> str:
    message = namespace.encode() + b"\0" + raw_id.encode()
    return f"{kid}.{hmac.digest(key, message, 'sha256')[:PSEUDONYM_BYTES].hex()}"


def add_key(path: Path) -> str:
    """Make the file with a first key, or put a new current key before the existing one; return the new key's id.

    Raises SettingsError if two keys are valid already: the older one's visitors could no longer be found.
    """
    keys = _read(path) if path.exists() else []
    if len(keys) >= MAX_KEYS:
        what = f"{path} holds two keys, and what was stored under {keys[-1][0]} would no longer be found"
        raise SettingsError(what, "once nothing under it is kept any more: liveshelf keys retire")
    numbers = [int(kid[1:]) for kid, _ in keys if re.fullmatch(r"k\d+", kid)]
    kid = f"k{max(numbers, default=0) + 1}"
    key_file.write(path, [(kid, secrets.token_hex(KEY_BYTES)), *keys])
    return kid


def retire_key(path: Path) -> str:
    """Remove the older of two keys from the file; return its id. Raises SettingsError if there is only one."""
    keys = _read(path)
    if len(keys) < MAX_KEYS:
        raise SettingsError(f"{path} holds one key, {keys[0][0]}, which is in use", f"first: {FIX}")
    key_file.write(path, keys[:-1])
    return keys[-1][0]


def _read(path: Path) -> list[tuple[str, str]]:
    keys = key_file.read(path, SETTING, FIX)
    for kid, key in keys:
        if not KEY_ID.fullmatch(kid) or not HEX_KEY.fullmatch(key):
            raise SettingsError(f"{SETTING} {path}: a line isn't an id of letters and digits and 64 hex digits", FIX)
    if len(keys) > MAX_KEYS or len({key for _, key in keys}) < len(keys):
        raise SettingsError(f"{SETTING} {path} holds more than two keys, or one twice", "keep the two newest lines")
    return keys
