"""Who may send, and what the visitor agreed to: origin, write key, consent."""

import hmac
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, get_args

from jobs.collect.refusal import RequestRefusedError
from jobs.errors import SettingsError
from jobs.sdk import key_file

Consent = Literal["granted", "denied", "unknown"]
SETTING = "collector_write_keys"
FIX = (
    'echo "web $(openssl rand -hex 16)" >> write.keys; chmod 600 write.keys; LIVESHELF_COLLECTOR_WRITE_KEYS=write.keys'
)
MIN_KEY_LENGTH = 16


class WriteKeys:
    """Keys that may write events and nothing else; a browser's is public, and tells shops and pages apart."""

    def __init__(self, keys: Iterable[tuple[str, str]]) -> None:
        self._keys = [(name, key.encode()) for name, key in keys]

    @classmethod
    def read(cls, path: Path | None) -> "WriteKeys":
        """From a file of lines `name key`; raises SettingsError if there is none or a key is too short to be guess-proof."""
        if path is None:
            raise SettingsError("the collector has no write keys", FIX)
        keys = key_file.read(path, SETTING, FIX)
        short = [name for name, key in keys if len(key) < MIN_KEY_LENGTH]
        if short:
            raise SettingsError(f"{SETTING} {path}: {short[0]}'s key has less than {MIN_KEY_LENGTH} characters", FIX)
        return cls(keys)

    def name_of(self, given: str) -> str:
        """The name of a key; raises RequestRefusedError (401). Takes the same time whichever key is given."""
        encoded = given.encode()
        matches = [name for name, key in self._keys if hmac.compare_digest(key, encoded)]
        if not matches:
            raise RequestRefusedError(401, "write_key")
        return matches[0]


def origins(listed: str) -> list[str]:
    """The allowed origins of a comma-separated list; raises SettingsError for what is none, `*` among them."""
    found = [origin.strip() for origin in listed.split(",") if origin.strip()]
    for origin in found:
        scheme, _, host = origin.partition("://")
        if scheme not in ("http", "https") or not host or set(host) & set("/*?# "):
            fix = "scheme and host as browsers send them, such as https://shop.example"
            raise SettingsError(f"collector_origins holds {origin!r}", fix)
    return found


def check_origin(origin: str | None, allowed: list[str]) -> None:
    """Raises RequestRefusedError (403) for a browser's request from elsewhere; servers send no origin."""
    if origin is not None and origin not in allowed:
        raise RequestRefusedError(403, "origin")


def consent(headers: Mapping[str, str], query: Mapping[str, str]) -> Consent:
    """What the request says of its visitors' consent; a browser's Global Privacy Control signal is a denial.

    sendBeacon sends no headers of one's own, so the query may say it too. https://www.w3.org/TR/gpc/
    """
    if headers.get("sec-gpc") == "1":
        return "denied"
    stated = headers.get("x-consent") or query.get("consent") or "unknown"
    if stated not in get_args(Consent):
        raise RequestRefusedError(400, "consent")
    return stated
