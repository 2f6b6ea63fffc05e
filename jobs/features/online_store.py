"""Encode feature rows in Feast's own Redis layout, versioned: an older row never replaces a newer one.

Layout (Feast 0.67, `entity_key_serialization_version: 3`): one hash an entity, named by the serialized entity key and
the project. One field a feature, named by murmur3 of "view:feature", holding a `feast.types.Value`. `_ts:{view}` holds
the event time. `_v:{operator}` is ours: event time and sequence as digits, compared before a write. Of item facts it is
the record's offset, because a broker's clock may step back. Feast's own writer reads, then writes, and drops a row
whose event time equals the stored one.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import mmh3
import msgspec

from jobs.features.plan import Operator

STRING_TYPE = 2  # feast.ValueType.STRING in a serialized key
KEY_VERSION = 3


def entity_key(project: str, keys: dict[str, str]) -> bytes:
    """Return the name of an entity's hash. `keys` maps join keys to string values."""
    parts = [struct.pack("<I", len(keys))]
    for name in sorted(keys):
        parts.append(struct.pack("<II", STRING_TYPE, len(name.encode())) + name.encode())
    for name in sorted(keys):
        value = keys[name].encode()
        parts.append(struct.pack("<II", STRING_TYPE, len(value)) + value)
    return b"".join(parts) + project.encode()


def feature_field(view: str, feature: str) -> bytes:
    """Return the name of a feature's field in the hash."""
    return struct.pack("<I", mmh3.hash(f"{view}:{feature}", signed=False))


def version(event_time_ms: int, seq: int) -> bytes:
    """Return digits whose order as text is their order in time."""
    return b"%016d%010d" % (event_time_ms, seq)


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _sized(tag: int, content: bytes) -> bytes:
    return _varint(tag << 3 | 2) + _varint(len(content)) + content


def timestamp(event_time_ms: int) -> bytes:
    """Return a serialized `google.protobuf.Timestamp`."""
    seconds, ms = divmod(event_time_ms, 1000)
    return (b"\x08" + _varint(seconds) if seconds else b"") + (b"\x10" + _varint(ms * 1_000_000) if ms else b"")


def _strings(values: Iterable[str | None]) -> bytes:
    """Encode a list of strings without its nulls, because Feast's lists can't hold them."""
    return _sized(12, b"".join(_sized(1, value.encode()) for value in values if value is not None))


def _packed(tag: int, numbers: list[bytes]) -> bytes:
    """Encode a list of numbers. protobuf leaves the field out if there is none."""
    return _sized(tag, _sized(1, b"".join(numbers)) if numbers else b"")


SMALL = [b"\x20" + _varint(number) for number in range(65_536)]  # counts are small; encoding them was half of a row


def _int64(value: int) -> bytes:
    return SMALL[value] if 0 <= value < len(SMALL) else b"\x20" + _varint(value)


# feast.types.Value by the name of the field's dtype; `None` is an empty value for all of them.
ENCODERS: dict[str, Callable[[Any], bytes]] = {
    "Int64": _int64,
    "Int32": lambda value: b"\x18" + _varint(int(value)),
    "Float64": lambda value: b"\x29" + struct.pack("<d", value),
    "Float32": lambda value: b"\x35" + struct.pack("<f", value),
    "Bool": lambda value: b"\x38" + (b"\x01" if value else b"\x00"),
    "String": lambda value: _sized(2, str(value).encode()),
    "Array(String)": _strings,
    "Array(Int64)": lambda values: _packed(14, [_varint(v) for v in values if v is not None]),
    "Array(Float64)": lambda values: _packed(15, [struct.pack("<d", v) for v in values if v is not None]),
}


class Row(msgspec.Struct, frozen=True):
    """One entity's values of one operator's views, in the plan's order. `seq` of an item fact is its offset."""

    entity: str
    event_time_ms: int
    seq: int
    payload: str


def _raw(content: bytes) -> bytes:
    """Encode a msgpack string by hand. Redis 6's `cmsgpack` knows the format of 2009, without `bin` and `str 8`."""
    size = len(content)
    return (bytes((0xA0 | size,)) if size < 32 else b"\xda" + struct.pack(">H", size)) + content


REMEMBERED = (None, *range(1_024))  # of a number; of a word the first ones, as many


class _Cell:
    """Encode a feature's field and value. Small numbers and the first words are `remembered`, and looked up first.

    Numbers are remembered from the start, so that a worker's memory doesn't grow: remembering 4,096 as they came, for
    each of 52 features, a worker grew by 12 MB in half an hour.
    """

    def __init__(self, field: bytes, dtype: str) -> None:
        self.field = _raw(field)
        self._encode = ENCODERS[dtype]
        known = {"Int64": REMEMBERED, "String": (None,)}.get(dtype)
        self._known = {value: self._encoded(value) for value in known} if known else None
        self.remembered: Callable[[Any], bytes | None] = _nothing if self._known is None else self._known.get
        if dtype == "Float64":  # its encoding has one length, so it is as quick as a look
            before, pack = self.field + b"\xa9\x29", struct.Struct("<d").pack
            self.remembered = lambda value: None if value is None else before + pack(value)

    def __call__(self, value: object) -> bytes:
        found = self._encoded(value)
        if self._known is not None and len(self._known) < len(REMEMBERED):
            self._known[value] = found
        return found

    def _encoded(self, value: object) -> bytes:
        return self.field + (_raw(self._encode(value)) if value is not None else b"\xa0")


def _nothing(value: object) -> None:
    """Remember nothing of a value: numbers with fractions hardly repeat, and lists can't be looked up."""


class RowEncoder:
    """Encode the rows of one operator as arguments of `WRITE_LUA`. What is the same in all rows is encoded once."""

    def __init__(self, project: str, operator: Operator, every: Sequence[Operator] = ()) -> None:
        """Encode for an operator; `every` are the plan's, of which those of one entity share its hash."""
        self._of_facts = operator.of_facts
        others = [each for each in every if each.entity == operator.entity and each.key != operator.key]
        ttls_ms = [each.ttl_ms for each in others if not each.of_facts]
        self._events_ttl_ms = max(ttls_ms, default=0) if all(ttls_ms) else 0
        facts = [f"_ts:{view.name}".encode() for each in others if each.of_facts for view in each.views]
        self._other_facts = b"\xdc" + struct.pack(">H", len(facts)) + b"".join(map(_raw, facts))
        # Feast's key of one entity, but for the value and its length.
        self._before = entity_key("", {operator.entity: ""})[:-4]
        self._project = project.encode()
        self._ttl_ms = operator.ttl_ms
        self._cells = [
            None if output.dropped else _Cell(feature_field(view.name, output.name), output.dtype)
            for view in operator.views
            for output in view.outputs
        ]
        self._version_field = f"_v:{operator.key}".encode()
        self._time_fields = [_raw(f"_ts:{view.name}".encode()) for view in operator.views]
        self._remembered = [_nothing if cell is None else cell.remembered for cell in self._cells]
        fields = len(self._time_fields) + sum(cell is not None for cell in self._cells)
        self._head = b"\xdc" + struct.pack(">H", 2 * fields)  # a msgpack array
        self._decoder = msgspec.json.Decoder()
        self._names = b"".join([*self._time_fields, *(cell.field for cell in self._cells if cell is not None)])
        self._names = b"\xdc" + struct.pack(">H", fields) + self._names

    def arguments(self, row: Row) -> tuple[bytes, bytes, bytes, bytes, bytes]:
        """Return (key, version field, version, expiry in epoch ms, fields and values as one msgpack array).

        All fields are one argument, because redis-py takes 0.4 µs for each argument: 31 of a row's 46 µs.
        """
        entity, time = row.entity.encode(), _raw(timestamp(row.event_time_ms))
        parts = [self._head]
        for field in self._time_fields:
            parts += (field, time)
        values = self._decoder.decode(row.payload)
        for remembered, cell, value in zip(self._remembered, self._cells, values, strict=True):
            if (found := remembered(value)) is not None:
                parts.append(found)
            elif cell is not None:
                parts.append(cell(value))
        return (
            self._key(entity),
            self._version_field,
            self._version(row.event_time_ms, row.seq),
            b"%d" % (row.event_time_ms + self._ttl_ms if self._ttl_ms else 0),
            b"".join(parts),
        )

    def erasure(self, entity: str, before_ms: int) -> tuple[bytes, bytes, bytes, bytes, int]:
        """Return the arguments of `ERASE_LUA`, which deletes what stands for events before a time in ms."""
        key = self._key(entity.encode())
        return key, self._version_field, version(before_ms, 0), self._names, TOMBSTONE_S * 1000

    def removal(self, entity: str, time_ms: int, offset: int) -> tuple[bytes, bytes, bytes, bytes, int, int, bytes]:
        """Return the arguments of `REMOVE_LUA`, which deletes an item's facts that were said before an offset."""
        key, own = self._key(entity.encode()), self._version(time_ms, offset)
        expiry_ms = time_ms + self._events_ttl_ms if self._events_ttl_ms else 0
        return key, self._version_field, own, self._names, TOMBSTONE_S * 1000, expiry_ms, self._other_facts

    def _version(self, time_ms: int, seq: int) -> bytes:
        return version(seq, 0) if self._of_facts else version(time_ms, seq)

    def _key(self, entity: bytes) -> bytes:
        return self._before + struct.pack("<I", len(entity)) + entity + self._project


# A row's version stays for a while with a sign behind it that makes it the greater of two that are equal: a worker that
# outlived its own failure (Flink's heartbeat timeout is 10 s) can't put the row back. The entity's next row is newer.
# Then nothing is left. Nothing needs to stand against a replay, which knows who was erased before it reads an event.
TOMBSTONE_S = 20
ERASE_LUA = """
local stored = redis.call('HGET', KEYS[1], ARGV[1])
if not stored or stored >= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], unpack(cmsgpack.unpack(ARGV[3])))
redis.call('HSET', KEYS[1], ARGV[1], string.sub(stored, 1, 26) .. '~')
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, 3) ~= '_v:' then return 1 end
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
"""

# Takes an item's facts away. The version stays, so that no older record can come back: for a while if nothing else is
# in the hash. If only rows of the item's events are, they expire as they would without facts, which had prolonged that
# by years.
REMOVE_LUA = """
local stored = redis.call('HGET', KEYS[1], ARGV[1])
if stored and stored >= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], unpack(cmsgpack.unpack(ARGV[3])))
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
local facts, empty = {}, true
for _, field in ipairs(cmsgpack.unpack(ARGV[6])) do facts[field] = true end
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if facts[field] then return 1 end
  if string.sub(field, 1, 3) ~= '_v:' then empty = false end
end
if empty then redis.call('PEXPIRE', KEYS[1], ARGV[4])
elseif tonumber(ARGV[5]) > 0 then redis.call('PEXPIREAT', KEYS[1], ARGV[5]) end
return 1
"""

# The hash expires with the view that lives longest: Feast keeps all views of an entity in one hash.
# A row that never expires may find a hash that is about to go, because it was emptied: that one stands until 2286 then.
# (PTTL and TIME, because PEXPIRETIME came with Redis 7 and the server that pip brings is 6.2.)
WRITE_LUA = """
local stored = redis.call('HGET', KEYS[1], ARGV[1])
if stored and stored > ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2], unpack(cmsgpack.unpack(ARGV[4])))
local expiry = tonumber(ARGV[3])
local left = redis.call('PTTL', KEYS[1])
if expiry == 0 and left >= 0 then redis.call('PEXPIREAT', KEYS[1], 9999999999999) end
if expiry > 0 then
  local now = redis.call('TIME')
  local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
  if left < 0 or now_ms + left < expiry then redis.call('PEXPIREAT', KEYS[1], ARGV[3]) end
end
return 1
"""
