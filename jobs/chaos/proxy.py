"""A TCP proxy between a job and a service, and the faults of a network in it (Toxiproxy's toxics, by their names)."""

import asyncio
import socket
import struct
import threading
from dataclasses import dataclass

CHUNK = 16_384
RST = struct.pack("ii", 1, 0)  # SO_LINGER on with 0 s: closing sends RST, as a host that lost its state does


@dataclass
class Toxics:
    """What the proxy does to both directions; all off at first.

    `latency_ms` before each chunk, `rate_kbit_s` for each direction of a connection (0: no limit), `timeout` swallows what
    comes, `down` refuses connections, `limit_data` resets a connection after so many bytes from the service (0: never).
    """

    latency_ms: float = 0
    rate_kbit_s: float = 0
    timeout: bool = False
    down: bool = False
    limit_data: int = 0


class FaultProxy:
    """Listens on a loopback port and passes on to another, on a thread of its own."""

    def __init__(self, port: int, target_port: int) -> None:
        self.port, self._target_port = port, target_port
        self.toxics = Toxics()
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, name=f"proxy {port}", daemon=True)
        self._thread.start()
        self._ready.wait(10)

    def set(self, **toxics: float) -> None:
        """Only these toxics from now on. What `timeout` swallowed is gone, so its connections are reset when it ends."""
        swallowed = self.toxics.timeout
        self.toxics = Toxics(**toxics)
        if swallowed or self.toxics.down:
            self.reset_peer()

    def reset_peer(self) -> None:
        """Reset every connection."""
        self._loop.call_soon_threadsafe(lambda: [_reset(writer) for writer in list(self._writers)])

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._accept, "127.0.0.1", self.port))
        self._ready.set()
        self._loop.run_forever()
        server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.toxics.down:
            return _reset(writer)
        try:
            service = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            return _reset(writer)
        both = {writer, service[1]}
        self._writers |= both
        try:
            await asyncio.gather(self._pass(reader, service[1], False), self._pass(service[0], writer, True))
        except OSError:
            pass  # one side is gone: the other one follows
        finally:
            self._writers -= both
            for each in both:
                _reset(each)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, from_service: bool) -> None:
        passed = 0
        while data := await reader.read(CHUNK):
            toxics = self.toxics
            if toxics.timeout:
                continue
            delay_s = toxics.latency_ms / 1000
            if toxics.rate_kbit_s:
                delay_s += len(data) * 8 / 1000 / toxics.rate_kbit_s
            if delay_s:
                await asyncio.sleep(delay_s)
            writer.write(data)
            await writer.drain()
            passed += len(data)
            if from_service and toxics.limit_data and passed > toxics.limit_data:
                break
        raise ConnectionResetError


def _reset(writer: asyncio.StreamWriter) -> None:
    if (peer := writer.get_extra_info("socket")) is not None and not writer.is_closing():
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
    writer.transport.abort()
