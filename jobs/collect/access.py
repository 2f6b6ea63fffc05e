"""Decide who may send, and read what the visitor agreed to: origin, write key, consent."""

import hmac
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit

from jobs.collect.refusal import RequestRefusedError
from jobs.errors import SettingsError
from liveshelf import key_file

Consent = Literal["granted", "denied", "unknown"]
SETTING = "collector_write_keys"
FIX = (
    'echo "web $(openssl rand -hex 16)" >> write.keys; chmod 600 write.keys; LIVESHELF_COLLECTOR_WRITE_KEYS=write.keys'
)
MIN_KEY_LENGTH = 16
SERVER = "server:"
PORTS = {"http": 80, "https": 443}
HOST = r"[a-z0-9._-]+|[0-9a-f:.]+"


class WriteKeys:
    """Hold the keys that may write events and nothing else.

    A page's key is public: it tells shops apart, and says nothing about who sends. A name that begins with `server:` is
    that of a shop's server. Its key is a secret, so it isn't bounded by address, and no browser may use it.
    """

    def __init__(self, keys: Iterable[tuple[str, str]]) -> None:
        self._keys = [(name, key.encode()) for name, key in keys]

    @classmethod
    def read(cls, path: Path | None) -> "WriteKeys":
        """Read a file of lines `name key`.

        Raises SettingsError if there is no file, or a key is so short that it could be guessed.
        """
        if path is None:
            raise SettingsError("the collector has no write keys", FIX)
        keys = key_file.read(path, SETTING, FIX)
        short = [name for name, key in keys if len(key) < MIN_KEY_LENGTH]
        if short:
            raise SettingsError(f"{SETTING} {path}: {short[0]}'s key has less than {MIN_KEY_LENGTH} characters", FIX)
        return cls(keys)

    def name_of(self, given: str) -> str:
        """Return the name of a key; raises RequestRefusedError (401). Takes the same time for every key."""
        matches = self._names(given)
        if not matches:
            raise RequestRefusedError(401, "write_key")
        return matches[0]

    def is_servers(self, given: str) -> bool:
        """Return True for the key of a shop's server. Takes the same time for every key."""
        return any(name.startswith(SERVER) for name in self._names(given))

    def _names(self, given: str) -> list[str]:
        encoded = given.encode()
        return [name for name, key in self._keys if hmac.compare_digest(key, encoded)]


def origins(listed: str) -> list[str]:
    """Return the origins of a comma-separated list; raises SettingsError for anything else, `*` included."""
    found = [origin.strip() for origin in listed.split(",") if origin.strip()]
    for origin in found:
        sent = _as_browsers_send(origin)
        if origin != sent:
            example = sent or "https://shop.example"
            fix = f"scheme, host and a port that isn't the scheme's own, as browsers send them: {example}"
            raise SettingsError(f"collector_origins holds {origin!r}", fix)
    return found


def _as_browsers_send(origin: str) -> str | None:
    """Return what a browser sends for a page of that origin: in small letters, ASCII, without the scheme's own port."""
    try:
        parts = urlsplit(origin)
        host = (parts.hostname or "").encode("idna").decode()
        port = parts.port
    except ValueError:  # UnicodeError is one
        return None
    if parts.scheme not in PORTS or not re.fullmatch(HOST, host) or set(origin) & set("*?#@\\"):
        return None
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + (f":{port}" if port not in (None, PORTS[parts.scheme]) else "")


def check_origin(origin: str | None, allowed: list[str], is_servers: bool = False) -> None:
    """Raise RequestRefusedError (403) for a browser's request from elsewhere, or with the key of a server.

    Servers send no origin. A server's key that comes from a page isn't a secret any more.
    """
    if origin is not None and (is_servers or origin not in allowed):
        raise RequestRefusedError(403, "server_key" if is_servers else "origin")


def consent(headers: Mapping[str, str], query: Mapping[str, str]) -> Consent:
    """Return what the request says about consent. A browser's Global Privacy Control signal is a denial.

    sendBeacon can't send headers of its own, so the query may carry the consent. https://www.w3.org/TR/gpc/
    """
    if headers.get("sec-gpc") == "1":
        return "denied"
    stated = headers.get("x-consent") or query.get("consent") or "unknown"
    if stated not in get_args(Consent):
        raise RequestRefusedError(400, "consent")
    return stated
