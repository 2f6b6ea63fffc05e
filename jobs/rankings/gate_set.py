"""The gate's set in Redis: the items that may not be shown now. It is written by differences, from several workers.

The set's version is what it holds: the sum of its members' hashes, and how many they are. So all workers that know the
same write the same version, a script that adds and removes items knows the next version, and a worker that finds
another one than it expects looks at what is there.

A state beside it says what the set was made from: a version of shelves, and the offsets of facts. What is older is
refused, so a worker that outlived its own failure changes nothing. Whoever writes confirms the state every second.
Where nobody did for `LEASE_S`, as after a topic was made anew, what seems older is taken.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

import msgspec
import redis

from jobs.connect.redis_pipeline import Command, Connection, Script
from jobs.contract.shelf import GATE, GATE_GONE, GATE_STATE, GATE_VERSION
from jobs.errors import ServiceError

LEASE_S = 10  # after that, Flink's heartbeat has found a worker that outlived its failure
Part = TypeVar("Part")
CHUNK = 1000  # items a call: Redis answers nobody else meanwhile, for about a millisecond
MODULUS = 2**48  # sums of two such numbers are exact in Lua, whose numbers are doubles

# KEYS: the set, its version, the state. ARGV: what the writer knows, the version that it expects afterwards, the
# version that it saw and the sum that belongs to it (both "" if it trusts what is stored); then for each item a hash
# (it is added) or a negative one (it is removed), and its id.
# Returns 1 if the set is as expected, 0 if not, -1 for what is older than what stands there.
SCRIPT = Script(f"""
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local confirmed = redis.call('HMGET', KEYS[3], 'known', 'at_ms')
if confirmed[1] and now_ms - tonumber(confirmed[2]) < {LEASE_S * 1000} then
  local theirs, mine = cjson.decode(confirmed[1]), cjson.decode(ARGV[1])
  if theirs.activated_at_ms > mine.activated_at_ms then return -1 end
  if theirs.activated_at_ms == mine.activated_at_ms then
    for topic, offset in pairs(theirs.facts) do
      if mine.facts[topic] and mine.facts[topic] < offset then return -1 end
    end
  end
end
local version = redis.call('GET', KEYS[2]) or ''
local sum = tonumber(string.match(version, '^%d+')) or 0
if ARGV[4] ~= '' then
  if version ~= ARGV[3] then return 0 end
  sum = tonumber(ARGV[4])
end
for place = 5, #ARGV, 2 do
  local hash = tonumber(ARGV[place])
  local command = hash < 0 and 'SREM' or 'SADD'
  if redis.call(command, KEYS[1], ARGV[place + 1]) == 1 then sum = (sum + hash) % {MODULUS} end
end
local now = string.format('%.0f-%d', sum, redis.call('SCARD', KEYS[1]))
if now ~= version then redis.call('SET', KEYS[2], now) end
redis.call('HSET', KEYS[3], 'known', ARGV[1], 'at_ms', now_ms)
return now == ARGV[2] and 1 or 0
""")
Answer = Literal["as_expected", "other", "older"]
ANSWERS: Mapping[int, Answer] = {1: "as_expected", 0: "other", -1: "older"}


class Known(msgspec.Struct, frozen=True):
    """What a set was made from."""

    activated_at_ms: int  # when the version of shelves was
    shelves: str
    facts: Mapping[str, int]  # of each topic, the offset before which it was known


class Stored(msgspec.Struct, frozen=True):
    """What Redis holds."""

    version: str
    members: Sequence[str]


class GateSet:
    """The set at one Redis. All its methods raise ServiceError where Redis is away or refuses."""

    def __init__(self, redis_url: str, patience_s: float) -> None:
        self._connection = Connection(redis_url, patience_s)

    def write(
        self, known: Known, expected: str, changes: Sequence[tuple[int, str]] = (), seen: Stored | None = None
    ) -> Answer:
        """Add the items whose hash is positive, remove those whose hash is negative, and say what is there then.

        With `seen` nothing is written if another version stands there meanwhile.
        """
        head: Command = (GATE, GATE_VERSION, GATE_STATE, msgspec.json.encode(known), expected)
        trust: Command = ("", "") if seen is None else (seen.version, sum(map(hash_of, seen.members)) % MODULUS)
        calls: list[Command] = []
        for some in _chunks(changes) or [()]:  # without a change it is asked all the same
            items = [part for change in some for part in change]
            calls.append((*head, *trust, *items))
            trust = ("", "")
        replies = self._answers(self._connection.run(SCRIPT, calls, [3] * len(calls)))
        return ANSWERS[min(replies[0], 0) or replies[-1]]

    def stored(self) -> Stored:
        """Return what is there now."""
        look = [("GET", GATE_VERSION), ("SMEMBERS", GATE), ("GET", GATE_VERSION)]
        while True:
            before, members, after = self._answers(self._connection.exchange(look))
            if before == after:
                return Stored((after or b"").decode(), [member.decode() for member in members])

    def outlived(self, gone: Sequence[str], hold_ms: int) -> list[str]:
        """Write down since when items are gone, and return those that have been gone for `hold_ms`.

        What isn't among `gone` (any more) is forgotten. Where two workers differ in it, an item's time begins again.
        """
        (seconds, _), flat = self._answers(self._connection.exchange([("TIME",), ("HGETALL", GATE_GONE)]))
        now_ms = int(seconds) * 1000
        since = {item.decode(): int(at_ms) for item, at_ms in flat.items()}
        new, back = [item for item in gone if item not in since], sorted(since.keys() - set(gone))
        commands: list[Command] = [
            *(("HSET", GATE_GONE, *(part for item in some for part in (item, now_ms))) for some in _chunks(new)),
            *(("HDEL", GATE_GONE, *some) for some in _chunks(back)),
        ]
        if commands:
            self._answers(self._connection.exchange(commands))
        return [item for item in gone if since.get(item, now_ms) + hold_ms <= now_ms]

    @staticmethod
    def _answers(replies: Sequence[Any]) -> Sequence[Any]:
        for reply in replies:
            if isinstance(reply, redis.ResponseError):
                raise ServiceError(
                    f"Redis refused the gate's set {GATE}: {reply}",
                    "let the jobs' user write it, and delete what isn't liveshelf's",
                ) from reply
        return replies

    def close(self) -> None:
        self._connection.close()


def _chunks(items: Sequence[Part]) -> list[Sequence[Part]]:
    return [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]


def hash_of(item_id: str) -> int:
    """Return an item's part of the version, from 1 to 2^48 - 1."""
    return int.from_bytes(hashlib.blake2b(item_id.encode(), digest_size=6).digest(), "little") or 1


def version_of(hashes_sum: int, count: int) -> str:
    """Return the version of a set from the sum of its members' hashes, and their number."""
    return f"{hashes_sum % MODULUS}-{count}"
