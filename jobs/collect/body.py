"""Read a request's body within its limits: in time, unpacked, and cut into events."""

import asyncio
import zlib
from collections import Counter
from collections.abc import Sequence

import msgspec
from starlette.requests import ClientDisconnect, Request

from jobs.collect.networks import Network
from jobs.collect.refusal import RequestRefusedError

MAX_BODY_BYTES = 1024 * 1024
MAX_UNPACKED_BYTES = 4 * 1024 * 1024
# So much more is read and thrown away: a client that is cut off in the middle sees a broken connection, not its 413.
MAX_DISCARDED_BYTES = 4 * 1024 * 1024
SMALL_BODY_BYTES = 64 * 1024  # what uvicorn holds of a body anyway
MAX_LARGE_BYTES = 64 * 1024 * 1024
MAX_LARGE_BYTES_OF_ADDRESS = 16 * 1024 * 1024  # else one address could have all of it; a network has its shares
BODY_LIMIT_S = 10.0
MAX_EVENTS = 500
# 500 events of all 21 fields hold 10,500. Without this, 4 MiB of `1,1,…` took 150 MB and 0.8 s to be refused.
MAX_COMMAS = 100_000
GZIP = 31  # zlib's name for "with a gzip header"
# A page's sendBeacon sends text/plain, which needs no preflight.
CONTENT_TYPES = ("application/json", "text/plain")

_array = msgspec.json.Decoder(list[msgspec.Raw])
_one = msgspec.json.Decoder(msgspec.Raw)


def check_type(request: Request) -> None:
    """Raise RequestRefusedError (415) for a content type or an encoding that isn't supported."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in CONTENT_TYPES:
        raise RequestRefusedError(415, "content_type")
    if request.headers.get("content-encoding", "identity").lower() not in ("identity", "gzip"):
        raise RequestRefusedError(415, "content_encoding")


class Bodies:
    """Read bodies. Large ones share `MAX_LARGE_BYTES`: otherwise 900 slow ones would hold 900 MiB."""

    def __init__(self) -> None:
        self._large_bytes = 0
        self._large_of: Counter[str] = Counter()

    async def read(self, request: Request, networks: Sequence[Network]) -> bytes:
        """Return the unpacked body. `networks` are the client's.

        Raises RequestRefusedError: 408 if it doesn't come in time, 413 if it is too large, 400 if it isn't gzip, 503 if
        too many large ones are being read.
        """
        try:
            async with asyncio.timeout(BODY_LIMIT_S):
                body = await self._received(request, networks)
        except (TimeoutError, ClientDisconnect) as error:
            raise RequestRefusedError(408, "body_incomplete") from error
        return _unpacked(body) if request.headers.get("content-encoding", "").lower() == "gzip" else body

    async def _received(self, request: Request, networks: Sequence[Network]) -> bytes:
        parts, size, large_bytes = [], 0, 0
        try:
            async for part in request.stream():
                size += len(part)
                if size > MAX_DISCARDED_BYTES:
                    break
                if size > MAX_BODY_BYTES:
                    parts.clear()
                    continue
                parts.append(part)
                if size > SMALL_BODY_BYTES:
                    large_bytes += len(part)
                    self._hold(len(part), networks)
                if large_bytes and self._is_full(networks):
                    raise RequestRefusedError(503, "bodies", BODY_LIMIT_S)
        finally:
            self._hold(-large_bytes, networks)
        if size > MAX_BODY_BYTES:
            raise RequestRefusedError(413, "body_too_large")
        return b"".join(parts)

    def _hold(self, size: int, networks: Sequence[Network]) -> None:
        self._large_bytes += size
        for name, _ in networks:
            self._large_of[name] += size
            if not self._large_of[name]:
                del self._large_of[name]

    def _is_full(self, networks: Sequence[Network]) -> bool:
        return self._large_bytes > MAX_LARGE_BYTES or any(
            self._large_of[name] > MAX_LARGE_BYTES_OF_ADDRESS * shares for name, shares in networks
        )


def _unpacked(packed: bytes) -> bytes:
    unpacker = zlib.decompressobj(GZIP)
    try:
        body = unpacker.decompress(packed, MAX_UNPACKED_BYTES + 1)
    except zlib.error as error:
        raise RequestRefusedError(400, "not_gzip") from error
    if len(body) > MAX_UNPACKED_BYTES:
        raise RequestRefusedError(413, "body_too_large")
    if not unpacker.eof or unpacker.unused_data:
        raise RequestRefusedError(400, "not_gzip")
    return body


def split(body: bytes) -> list[bytes]:
    """Return the JSON of each event: of an array's elements, or of the one event that the body is.

    Raises RequestRefusedError: 400 for a body that isn't JSON, 413 for too many events. An event with a wrong number or
    wrong UTF-8 passes here and is rejected alone.
    """
    if body.count(b",") > MAX_COMMAS:
        raise RequestRefusedError(413, "too_many_values")
    try:
        events = _array.decode(body) if body.lstrip()[:1] == b"[" else [_one.decode(body)]
    except (msgspec.DecodeError, RecursionError) as error:
        raise RequestRefusedError(400, "not_json") from error
    if len(events) > MAX_EVENTS:
        raise RequestRefusedError(413, "too_many_events")
    return [bytes(event) for event in events]
