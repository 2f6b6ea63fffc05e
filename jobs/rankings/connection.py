"""Whole pipelines of idempotent commands to Redis, waiting out a short outage."""

import hashlib
import time
from collections.abc import Sequence

import redis
from redis.backoff import ExponentialBackoff

from jobs import connections
from jobs.errors import ServiceError

SOCKET_TIMEOUT_S = 5.0  # a batch takes milliseconds; a server that hangs this long is treated as one that is gone
PATIENCE_S = 30.0  # a restart or a failover takes seconds; Flink's own restart strategy begins where this ends

Command = tuple[bytes | str | int, ...]
Reply = bytes | int | list[bytes | None] | None


class Script:
    """A Lua script of one key, and the name by which a server remembers it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Connection:
    """Exchanges pipelines; when the connection breaks, the whole batch is sent again.

    redis-py's pipeline, on purpose: commands packed by hand took 10 µs a list instead of 14 (200 lists a batch, AOF on,
    2.9 µs of client CPU instead of 6.9), which isn't worth a second protocol encoder. The server's script is the rest.
    """

    def __init__(self, redis_url: str, patience_s: float = PATIENCE_S) -> None:
        # redis-py's own retries are counted, not timed, and nest (connect inside execute), so they stay off.
        self._client = connections.redis_client(
            redis_url,
            socket_timeout=SOCKET_TIMEOUT_S,
            socket_connect_timeout=SOCKET_TIMEOUT_S,
            socket_keepalive=True,
        )
        self._patience_s = patience_s

    def exchange(self, commands: Sequence[Command]) -> list[Reply | redis.ResponseError]:
        """The replies in order; an error reply is returned in its place.

        A connection that breaks, times out or finds the server loading is opened again and everything is sent again,
        for `patience_s` at most; then ServiceError.
        """
        deadline = time.monotonic() + self._patience_s
        backoff = ExponentialBackoff(cap=1.0, base=0.02)
        failures = 0
        while True:
            try:
                return self._exchange_once(commands)
            except (redis.ConnectionError, redis.TimeoutError) as error:
                failures += 1
                pause_s = backoff.compute(failures)
                if time.monotonic() + pause_s > deadline:
                    raise self._gave_up(error, failures) from error
                time.sleep(pause_s)

    def run(self, script: Script, calls: Sequence[Command]) -> list[Reply | redis.ResponseError]:
        """The replies of `script` to each call (one key, then arguments); a call must do no harm when it comes twice."""
        commands = [("EVALSHA", script.sha, 1, *call) for call in calls]
        replies = self.exchange(commands)
        if any(isinstance(reply, redis.exceptions.NoScriptError) for reply in replies):
            # A new server, a failover or SCRIPT FLUSH forgot it. Equal versions overwrite, so all may go again.
            replies = self.exchange([("SCRIPT LOAD", script.text), *commands])[1:]
        return replies

    def close(self) -> None:
        self._client.close()

    def _exchange_once(self, commands: Sequence[Command]) -> list[Reply | redis.ResponseError]:
        with self._client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            return pipeline.execute(raise_on_error=False)

    def _gave_up(self, error: Exception, failures: int) -> ServiceError:
        options = self._client.connection_pool.connection_kwargs
        where = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
        return ServiceError(
            f"Redis at {where} didn't answer for {self._patience_s:g} s ({failures} tries): {error}",
            "check that it runs and that LIVESHELF_REDIS_URL names it; the job goes on from its last checkpoint",
        )
