"""Consent records that a reader must not stumble over, each with what is to become of it; and histories at random."""

import json
import random
from typing import NamedTuple

NOW_MS = 1_785_000_000_000  # 2026-07: when these records were written, by Kafka's timestamp
YEAR_MS = 365 * 86_400_000
BIG = "2003764205206896636892"  # 22 digits: more than a long holds


class Case(NamedTuple):
    """A record and its verdict: `reason` "" when it is understood. A record without a value says nothing: None."""

    name: str
    key: bytes | None
    value: bytes | None
    reason: str | None = ""
    field: str = ""


class Written(NamedTuple):
    """A record as it lies in the topic."""

    key: bytes | None
    value: bytes | None
    recorded_ms: int


def said(**fields: object) -> bytes:
    """A withdrawal of this moment with fields changed, or left out where the change is `...`."""
    record = {"state": "withdrawn", "at_ms": NOW_MS} | fields
    return json.dumps({name: value for name, value in record.items() if value is not ...}).encode()


def raw(field: str, text: str) -> bytes:
    """A withdrawal with a field's JSON written as it is."""
    return said(**{field: ...})[:-1] + f', "{field}": {text}}}'.encode()


KEYS = [
    Case("an id", b"c-1", said()),
    Case("no key", None, said(), "no_key"),
    Case("an empty key", b"", said(), "no_key"),
    Case("an id in quotes, as a JSON serializer writes it", b'"c-2"', said(), "quoted", "key"),
    Case("a quote within an id", b'c"2', said()),
    Case("one quote", b'"', said()),
    Case("a schema registry's frame", b"\0\0\0\0\1c-3", said(), "control_character", "key"),
    Case("an id of 128 characters", b"x" * 128, said()),
    Case("an id of 129 characters", b"x" * 129, said(), "too_long", "key"),
    Case("an id of 64 emojis", "😀".encode() * 64, said()),
    Case("an id of 65 emojis", "😀".encode() * 65, said(), "too_long", "key"),
    Case("a key in Latin-1", b"zo\xe9", said(), "not_utf8", "key"),
    Case("a key with half a surrogate pair", b"\xed\xa0\x80", said(), "not_utf8", "key"),
    Case("an id with accents", "zoé".encode(), said()),
    Case("a blank key", b" ", said(), "out_of_range", "key"),
    Case("undefined", b"undefined", said(), "out_of_range", "key"),
    Case("an item's list", b"item/4711", said(), "out_of_range", "key"),
    Case("a place's list", b"place/PL", said(), "out_of_range", "key"),
    Case("an id with a stroke", b"items/4711", said()),
]

WHOLE = [
    Case("no value", b"v", None, None),
    Case("an empty value", b"v", b"", "empty"),
    Case("a question mark", b"v", b"?", "not_json"),
    Case("trailing garbage", b"v", said() + b" x", "not_json"),
    Case("a second record", b"v", said() + said(), "not_json"),
    Case("blanks around", b"v", b" \n" + said() + b"\t", ""),
    Case("a schema registry's frame before the value", b"v", b"\0\0\0\0\1" + said(), "not_json"),
    Case("a byte order mark", b"v", b"\xef\xbb\xbf" + said(), "not_json"),
    Case("UTF-16", b"v", said().decode().encode("utf-16"), "not_utf8"),
    Case("an array", b"v", b"[" + said() + b"]", "not_an_object"),
    Case("a string", b"v", b'"withdrawn"', "not_an_object"),
    Case("an empty object", b"v", b"{}", "missing_field", "state"),
    Case("a field that isn't known", b"v", said(reason="asked"), ""),
    Case("an unknown field that is no JSON", b"v", raw("reason", "NaN"), "not_json"),
    Case("an unknown field 101 deep", b"v", raw("reason", "[" * 100 + "]" * 100), "not_json"),
    Case("as large as may be", b"v", said().ljust(65_536), ""),
    Case("a byte larger", b"v", said().ljust(65_537), "too_large"),
]

STATES = [
    Case("a grant", b"v", said(state="granted")),
    Case("an erasure", b"v", said(state="erased")),
    Case("the collector's word", b"v", said(state="denied"), "unknown_value", "state"),
    Case("capitals", b"v", said(state="WITHDRAWN"), "unknown_value", "state"),
    Case("a blank behind the state", b"v", said(state="withdrawn "), "unknown_value", "state"),
    Case("no state", b"v", said(state=...), "missing_field", "state"),
    Case("a state that is null", b"v", said(state=None), "missing_field", "state"),
    Case("a state that is true", b"v", said(state=True), "wrong_type", "state"),
    Case("a list of states", b"v", said(state=["withdrawn"]), "wrong_type", "state"),
    Case("a state twice: the last counts", b"v", raw("state", '"maybe", "state": "granted"'), ""),
    Case("a state twice, the last wrong", b"v", raw("state", '"granted", "state": "maybe"'), "unknown_value", "state"),
    Case("a state, then null", b"v", raw("state", '"granted", "state": null'), "missing_field", "state"),
]

TIMES = [
    Case("no time", b"v", said(at_ms=...), "missing_field", "at_ms"),
    Case("a time that is null", b"v", said(at_ms=None), "missing_field", "at_ms"),
    Case("a time as text", b"v", said(at_ms=str(NOW_MS)), "wrong_type", "at_ms"),
    Case("an ISO time", b"v", said(at_ms="2026-07-25T17:20:00Z"), "wrong_type", "at_ms"),
    Case("a time with a fraction", b"v", raw("at_ms", f"{NOW_MS}.0"), "wrong_type", "at_ms"),
    Case("a time with an exponent", b"v", raw("at_ms", "1785e9"), "wrong_type", "at_ms"),
    Case("true as a time", b"v", said(at_ms=True), "wrong_type", "at_ms"),
    Case("an object as a time", b"v", said(at_ms={"ms": 1}), "wrong_type", "at_ms"),
    Case("time 0", b"v", said(at_ms=0), "out_of_range", "at_ms"),
    Case("a time below 0", b"v", said(at_ms=-NOW_MS), "out_of_range", "at_ms"),
    Case("a time of 22 digits", b"v", raw("at_ms", BIG), "out_of_range", "at_ms"),
    Case("a time in microseconds", b"v", said(at_ms=NOW_MS * 1000), "out_of_range", "at_ms"),
    Case("a time in seconds", b"v", said(at_ms=NOW_MS // 1000), "behind", "at_ms"),
    Case("ten years old", b"v", said(at_ms=NOW_MS - 10 * YEAR_MS), ""),
    Case("a millisecond older", b"v", said(at_ms=NOW_MS - 10 * YEAR_MS - 1), "behind", "at_ms"),
    Case("ahead by the skew", b"v", said(at_ms=NOW_MS + 300_000), ""),
    Case("ahead by a millisecond more", b"v", said(at_ms=NOW_MS + 300_001), "ahead", "at_ms"),
    Case("a time twice: the last counts", b"v", raw("at_ms", f'"x", "at_ms": {NOW_MS}'), ""),
]

MORE = [
    Case("before is null", b"v", said(before=None)),
    Case("before is empty", b"v", said(before={})),
    Case("before", b"v", said(before={"0": 0, "12": 9_007_199_254_740_991})),
    Case("before in a list", b"v", said(before=[1]), "wrong_type", "before"),
    Case("before as a number", b"v", said(before=5), "wrong_type", "before"),
    Case("an offset with a fraction", b"v", said(before={"0": 1.5}), "wrong_type", "before"),
    Case("an offset as text", b"v", said(before={"0": "5"}), "wrong_type", "before"),
    Case("an offset that is null", b"v", said(before={"0": None}), "wrong_type", "before"),
    Case("an offset that is true", b"v", said(before={"0": True}), "wrong_type", "before"),
    Case("an offset below 0", b"v", said(before={"0": -1}), "out_of_range", "before"),
    Case("an offset above 2^53", b"v", said(before={"0": 2**53}), "out_of_range", "before"),
    Case("an offset of 22 digits", b"v", raw("before", '{"0": ' + BIG + "}"), "out_of_range", "before"),
    Case("a partition's name", b"v", said(before={"a": 1}), "out_of_range", "before"),
    Case("a partition below 0", b"v", said(before={"-1": 1}), "out_of_range", "before"),
    Case("a partition with a zero in front", b"v", said(before={"01": 1}), "out_of_range", "before"),
    Case("a partition in Arabic digits", b"v", said(before={"\u0663": 1}), "out_of_range", "before"),
    Case("a partition of ten digits", b"v", said(before={"1234567890": 1}), "out_of_range", "before"),
    Case("a partition twice: the last counts", b"v", raw("before", '{"0": -1, "0": 1}')),
    Case("a partition twice, the last wrong", b"v", raw("before", '{"0": 1, "0": -1}'), "out_of_range", "before"),
    Case("before twice, the last null", b"v", raw("before", '{"a": 1}, "before": null')),
    Case("since", b"v", said(state="granted", since_ms=NOW_MS - 1)),
    Case("since the same moment", b"v", said(state="granted", since_ms=NOW_MS)),
    Case("since is null", b"v", said(since_ms=None)),
    Case("since a time to come", b"v", said(state="granted", since_ms=NOW_MS + 1), "out_of_range", "since_ms"),
    Case("since 0", b"v", said(state="granted", since_ms=0), "out_of_range", "since_ms"),
    Case("since a fraction", b"v", said(state="granted", since_ms=1.5), "wrong_type", "since_ms"),
    Case("since as text", b"v", said(state="granted", since_ms="1"), "wrong_type", "since_ms"),
    Case("withdrawn since", b"v", said(since_ms=1), "contradiction", "since_ms"),
    Case("withdrawn is null", b"v", said(withdrawn=None)),
    Case("withdrawn is true", b"v", said(state="erased", withdrawn=True)),
    Case("withdrawn as text", b"v", said(withdrawn="true"), "wrong_type", "withdrawn"),
    Case("withdrawn as a number", b"v", said(withdrawn=1), "wrong_type", "withdrawn"),
    Case("withdrawn in a list", b"v", said(withdrawn=[True]), "wrong_type", "withdrawn"),
    Case("granted and withdrawn", b"v", said(state="granted", withdrawn=True), "contradiction", "withdrawn"),
    Case("granted and not withdrawn", b"v", said(state="granted", withdrawn=False)),
]

CASES = [*KEYS, *WHOLE, *STATES, *TIMES, *MORE]


def history(chance: random.Random) -> list[Written]:
    """Return up to 12 records about visitor v, in some histories up to 40.

    Times are few, so that many are equal. One record in twelve is broken in some way.
    """
    most = 40 if chance.random() < 0.1 else 12
    return [_record(chance, most) for _ in range(chance.randrange(most + 1))]


def _record(chance: random.Random, most: int) -> Written:
    at_ms = chance.randrange(1, most)
    recorded_ms = at_ms + chance.choice((-2, -1, 0, 0, 0, 0, 1, 2, 5))
    if chance.random() < 0.02:
        return Written(b"v", None, recorded_ms)
    state = chance.choice(("granted", "granted", "withdrawn", "erased"))
    ahead_ms = chance.choice((300_000, 300_001)) if chance.random() < 0.02 else 0
    record: dict[str, object] = {"state": state, "at_ms": recorded_ms + ahead_ms if ahead_ms else at_ms}
    if chance.random() < (0.6 if state == "erased" else 0.05):
        record["before"] = {str(place): chance.randrange(6) for place in range(chance.randrange(3))}
    if chance.random() < (0.3 if state == "erased" else 0.05):
        record["withdrawn"] = chance.random() < 0.8
    if state == "granted" and chance.random() < 0.4:
        record["since_ms"] = chance.randrange(1, most)
    value = json.dumps(record).encode()
    return Written(b"v", broken(chance, value) if chance.random() < 0.08 else value, recorded_ms)


TOKENS = rb'" \ { } [ ] : , null true false - . e 0 9 \u \ud83d 1e309 12345678901234567890 NaN "state" "at_ms":'.split()


def broken(chance: random.Random, value: bytes) -> bytes:
    """Return a record with some bytes changed, cut, doubled or swapped for others that JSON is made of."""
    changed = bytearray(value)
    for _ in range(chance.choice((1, 1, 2))):
        at = chance.randrange(len(changed) + 1)
        until = min(len(changed), at + chance.choice((0, 0, 1, 1, 3, 20)))
        changed[at:until] = chance.choice((chance.choice(TOKENS), chance.randbytes(1), bytes(changed[at:until]) * 2))
    return bytes(changed)
