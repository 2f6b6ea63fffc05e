"""Limit the time and the size of a request's head and body, and an address' connections, in uvicorn's HTTP protocol.

uvicorn 0.54 waits forever for a first request, for the rest of a head, and for the rest of a body that was answered.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from jobs.collect.networks import Network

HEAD_LIMIT_S = 10.0
# More than `body.BODY_LIMIT_S`, which gives an answer: this ends the bodies of requests that were answered before.
BODY_LIMIT_S = 15.0
MAX_HEAD_BYTES = 16 * 1024  # httptools itself takes any
TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Shares:
    """Count the open connections of each network.

    `networks_of` gives those of a host, none for one without a limit: a proxy has everybody's connections.
    """

    def __init__(self, most: int, networks_of: Callable[[str], tuple[Network, ...]]) -> None:
        self._most, self._networks_of = most, networks_of
        self._open: Counter[str] = Counter()

    def enter(self, host: str) -> tuple[Network, ...] | None:
        """Count a connection and return its networks for `leave`; None if one of them has as many as it may."""
        networks = self._networks_of(host)
        if any(self._open[name] >= self._most * shares for name, shares in networks):
            return None
        self._open.update(name for name, _ in networks)
        return networks

    def leave(self, networks: tuple[Network, ...]) -> None:
        for name, _ in networks:
            self._open[name] -= 1
            if not self._open[name]:
                del self._open[name]


class GuardedProtocol(HttpToolsProtocol):
    """One connection. `on_too_slow` is called when it is closed for its slowness, `on_too_many` for its address."""

    on_too_slow: Callable[[], None] = staticmethod(lambda: None)
    on_too_many: Callable[[], None] = staticmethod(lambda: None)
    shares: Shares

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limit: asyncio.TimerHandle | None = None
        self._head_bytes: int | None = 0  # None while no head is under way
        self._share: tuple[Network, ...] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self._share = self.shares.enter(peer[0] if isinstance(peer, tuple) else "")
        if self._share is None:
            self.on_too_many()
            transport.abort()  # without an answer: it costs nothing to write one and nothing to wait for it
            return
        self._allow(HEAD_LIMIT_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._allow(None)
        if self._share is not None:
            self.shares.leave(self._share)
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
