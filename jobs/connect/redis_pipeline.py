"""Send pipelines of idempotent commands to Redis, and wait out an outage.

A batch that waits holds its job back, and Kafka keeps the events. So the job neither restarts nor skips anything.
"""

import hashlib
import logging
import re
import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import redis
from redis.backoff import ExponentialBackoff
from redis.sentinel import SentinelConnectionPool

from jobs.connect import addresses
from jobs.errors import ServiceError

SOCKET_TIMEOUT_S = 5.0  # a batch takes milliseconds; a server that hangs this long is treated as one that is gone
# After this time Flink restarts the job, which costs the start of a Python worker each time. Ten minutes of outage need
# no restart. A checkpoint that waits with the batch is given up after ten minutes, and 100 of those are tolerated.
PATIENCE_S = 900.0
# Refusals that pass: memory is full, a replica was asked, a disk can't be written, a script runs, a cluster votes.
# A refusal inside a script is quoted in the script's own, behind a dash.
PASSING = re.compile(r"(^|-)(OOM|READONLY|MISCONF|BUSY|MASTERDOWN|NOREPLICAS|CLUSTERDOWN|TRYAGAIN)\b")
PASSING_KINDS = (redis.exceptions.OutOfMemoryError, redis.exceptions.ReadOnlyError)  # redis-py takes their word off
LONGEST_PAUSE_S = 1.0
TOLD_AFTER = 5  # tries; fewer aren't worth a line in the log
# Calls of a script that travel as one command. Redis answers nobody else meanwhile: 50 lists take it 0.3 ms.
CALLS_AT_ONCE = 50

_log = logging.getLogger(__name__)

Command = tuple[bytes | str | int, ...]
Reply = bytes | int | list[bytes | None] | None


# Runs a script many times in one command. KEYS are those of all calls, one after the other. ARGV: the number of calls,
# then of each call its numbers of keys and of arguments, and the arguments.
MANY = """
local function one(KEYS, ARGV)
{text}
end
local replies, key, place = {{}}, 0, 1
for call = 1, tonumber(ARGV[1]) do
  local keys, arguments = {{}}, {{}}
  for number = 1, tonumber(ARGV[place + 1]) do keys[number] = KEYS[key + number] end
  for number = 1, tonumber(ARGV[place + 2]) do arguments[number] = ARGV[place + 2 + number] end
  key, place = key + #keys, place + 2 + #arguments
  replies[call] = one(keys, arguments) or false
end
return replies
"""


class Script:
    """A Lua script, and the hash by which a server remembers it. `many` is the script that runs it many times."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    @cached_property
    def many(self) -> "Script":
        return Script(MANY.format(text=self.text))


class Connection:
    """Exchange pipelines. When the connection breaks, the whole batch is sent again.

    It uses redis-py's pipeline. Commands packed by hand took 10 µs a list instead of 14 (200 lists a batch, AOF on), of
    which the client's CPU is 2.9 instead of 6.9. That isn't worth a second protocol encoder.
    """

    def __init__(self, redis_url: str, patience_s: float = PATIENCE_S) -> None:
        # redis-py's own retries are counted, not timed, and nest (connect inside execute), so they stay off.
        self._client = addresses.redis_client(
            redis_url,
            socket_timeout=SOCKET_TIMEOUT_S,
            socket_connect_timeout=SOCKET_TIMEOUT_S,
            socket_keepalive=True,
        )
        self._patience_s = patience_s

    def exchange(self, commands: Sequence[Command]) -> list[Reply | redis.ResponseError]:
        """Send commands and return the replies in order. An error reply is returned in its place.

        After a broken connection, a timeout or a refusal that passes (`PASSING`), everything is sent again, for
        `patience_s` at most. Then raise `ServiceError`.
        """
        return self._exchange(commands)

    def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        deadline = time.monotonic() + self._patience_s
        backoff = ExponentialBackoff(cap=LONGEST_PAUSE_S, base=0.02)
        failures = 0
        while True:
            try:
                replies = self._exchange_once(commands)
                refused = next((reply for reply in replies if _passes(reply)), None)
                if refused is None:
                    return self._answered(replies, failures)
                error: Exception = refused
            except (redis.ConnectionError, redis.TimeoutError) as broken:
                error = broken
            failures += 1
            pause_s = backoff.compute(failures)
            if time.monotonic() + pause_s > deadline:
                raise self._gave_up(error, failures) from error
            if failures == TOLD_AFTER:
                _log.warning("Redis at %s: %s; waiting for up to %g s", self._place, error, self._patience_s)
            time.sleep(pause_s)

    def run(self, script: Script, calls: Sequence[Command], keys: Sequence[int] = ()) -> list[Any]:
        """Return the script's answer to each call, or an error reply. A call is its keys, then arguments.

        `keys` says how many keys each has, one if it isn't given. A repeated call must do no harm.
        """
        counts = keys or [1] * len(calls)
        groups = [slice(start, start + CALLS_AT_ONCE) for start in range(0, len(calls), CALLS_AT_ONCE)]
        answers = self._run(script.many, [_joined(calls[group], counts[group]) for group in groups])
        replies: list[Any] = []
        for group, answer in zip(groups, answers, strict=True):
            if isinstance(answer, redis.ResponseError):  # one call's, and the group ended with it
                answer = self._run(script, list(zip(counts[group], calls[group], strict=True)))
            replies += answer
        return replies

    def _run(self, script: Script, calls: Sequence[tuple[int, Command]]) -> list[Any]:
        """Return the script's answer to each call, which is the number of its keys, then keys and arguments."""
        replies = self._exchange([("EVALSHA", script.sha, count, *call) for count, call in calls])
        forgotten = [place for place, reply in enumerate(replies) if isinstance(reply, redis.exceptions.NoScriptError)]
        if forgotten:
            # A new server, a failover or SCRIPT FLUSH may come between two commands of one pipeline. EVAL brings the
            # script's text, and the server remembers it from then on.
            again = [("EVAL", script.text, count, *call) for count, call in (calls[place] for place in forgotten)]
            for place, reply in zip(forgotten, self._exchange(again), strict=True):
                replies[place] = reply
        return replies

    def close(self) -> None:
        self._client.close()

    def _exchange_once(self, commands: Sequence[Command]) -> list[Any]:
        with self._client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            return pipeline.execute(raise_on_error=False)

    def _answered(self, replies: list[Any], failures: int) -> list[Any]:
        if failures >= TOLD_AFTER:
            _log.warning("Redis at %s answers again, after %d tries", self._place, failures)
        return replies

    @property
    def _place(self) -> str:
        pool = self._client.connection_pool
        if isinstance(pool, SentinelConnectionPool):
            return f"the Sentinels' {pool.service_name}"
        options = pool.connection_kwargs
        return options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"

    def _gave_up(self, error: Exception, failures: int) -> ServiceError:
        return ServiceError(
            f"Redis at {self._place} didn't answer for {self._patience_s:g} s ({failures} tries): {error}",
            "check that it runs and that LIVESHELF_REDIS_URL names it; the job goes on from its last checkpoint",
        )


def _joined(calls: Sequence[Command], counts: Sequence[int]) -> tuple[int, Command]:
    """Return calls of a script, each with so many keys, as one call of its `many`."""
    keys = [key for call, count in zip(calls, counts, strict=True) for key in call[:count]]
    arguments: list[bytes | str | int] = [len(calls)]
    for call, count in zip(calls, counts, strict=True):
        arguments += (count, len(call) - count, *call[count:])
    return len(keys), (*keys, *arguments)


def _passes(reply: object) -> bool:
    refused = isinstance(reply, redis.ResponseError)
    return refused and (isinstance(reply, PASSING_KINDS) or PASSING.search(str(reply)) is not None)
