"""A TCP proxy between a job and a service, and the faults of a network in it (Toxiproxy's toxics, by their names)."""

import asyncio
import socket
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from jobs.errors import ServiceError

CHUNK = 16_384
RESET_PEER = b"reset_peer"
RST = struct.pack("ii", 1, 0)  # SO_LINGER on with 0 s: closing sends RST, as a host that lost its state does


@dataclass
class Toxics:
    """What the proxy does to both directions; all off at first.

    `latency_ms` is added before each chunk. `rate_kbit_s` limits each direction of a connection (0: no limit).
    `timeout` swallows what comes. `down` refuses connections. `limit_data` resets a connection after so many bytes
    from the service (0: never).
    """

    latency_ms: float = 0
    rate_kbit_s: float = 0
    timeout: bool = False
    down: bool = False
    limit_data: int = 0


class FaultProxy:
    """Pass on from one loopback port to another, in a process of its own; raise ServiceError once that is gone.

    In the process of the harness it would wait for Python's lock: a ping took 26 ms (median) while `verify` worked.
    """

    def __init__(self, port: int, target_port: int) -> None:
        self.port = port
        command = [sys.executable, "-m", "jobs.lab.chaos.proxy", str(port), str(target_port)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        self._telling = threading.Lock()
        self._hear()

    def set(self, **toxics: float) -> None:
        """Set these toxics and no others. When `timeout` ends, its connections are reset: what it swallowed is gone."""
        self._tell(msgspec.json.encode(Toxics(**toxics)))

    def reset_peer(self) -> None:
        """Reset every connection."""
        self._tell(RESET_PEER)

    def close(self) -> None:
        self._process.communicate()  # it ends when nobody can tell it anything any more

    def _tell(self, command: bytes) -> None:
        with self._telling:
            with suppress(BrokenPipeError):  # then there is no answer either
                self._process.stdin.write(command + b"\n")
                self._process.stdin.flush()
            self._hear()

    def _hear(self) -> None:
        if not self._process.stdout.readline():
            raise ServiceError(
                f"the fault proxy on port {self.port} ended", "choose a free port, or see what it printed"
            )


class _Proxy:
    """The proxy in that process."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._toxics = Toxics()
        self._writers: set[asyncio.StreamWriter] = set()

    async def serve(self, port: int) -> None:
        """Serve until stdin ends; print a line when listening, and one for each command that was obeyed."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", port)
        commands = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
        print(flush=True)
        async for command in commands:
            self._obey(command.strip())
            print(flush=True)
        server.close()

    def _obey(self, command: bytes) -> None:
        swallowed = self._toxics.timeout
        if command != RESET_PEER:
            self._toxics = msgspec.json.decode(command, type=Toxics)
        if command == RESET_PEER or swallowed or self._toxics.down:
            for writer in list(self._writers):
                _reset(writer)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._toxics.down:
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
            for end in both:
                _reset(end)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, from_service: bool) -> None:
        passed = 0
        while data := await reader.read(CHUNK):
            toxics = self._toxics
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


if __name__ == "__main__":
    asyncio.run(_Proxy(int(sys.argv[2])).serve(int(sys.argv[1])))
