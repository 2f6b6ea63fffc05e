"""Limit the time and the size of a request's head and body, in uvicorn's HTTP protocol.

uvicorn 0.54 waits forever for a first request, for the rest of a head, and for the rest of a body that was answered.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_LIMIT_S = 10.0
# More than `body.BODY_LIMIT_S`, which gives an answer: this ends the bodies of requests that were answered before.
BODY_LIMIT_S = 15.0
MAX_HEAD_BYTES = 16 * 1024  # httptools itself takes any
TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class GuardedProtocol(HttpToolsProtocol):
    """One connection. `on_too_slow` is called when it is closed for its slowness."""

    on_too_slow: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limit: asyncio.TimerHandle | None = None
        self._head_bytes: int | None = 0  # None while no head is under way

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._allow(HEAD_LIMIT_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._allow(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._limit is None:  # between two requests; uvicorn stops its own clock for any byte, a blank line, say
            self._head_bytes = 0
            self._allow(HEAD_LIMIT_S)
        super().data_received(data)
        if self._head_bytes is not None and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._end(TOO_LARGE)

    def on_headers_complete(self) -> None:
        self._head_bytes = None
        self._allow(BODY_LIMIT_S)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._allow(None)
        super().on_message_complete()

    def _allow(self, limit_s: float | None) -> None:
        if self._limit:
            self._limit.cancel()
        self._limit = self.loop.call_later(limit_s, self._too_slow) if limit_s else None

    def _too_slow(self) -> None:
        self.on_too_slow()
        self._end(TOO_SLOW if self._head_bytes is not None else b"")

    def _end(self, answer: bytes) -> None:
        if answer and (self.cycle is None or self.cycle.response_complete):
            self.transport.write(answer)
        self.transport.close()
