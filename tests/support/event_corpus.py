"""Records that a check of the event contract must not stumble over, each with what is to become of it."""

import itertools
import json
import random
from typing import NamedTuple

from jobs.contract.events import EVENT_TYPES, FIELDS, HEARTBEAT, MAX_EVENT_BYTES, REQUIRED_BY_TYPE

NOW_MS = 1_785_000_000_000  # 2026-07: in the past of any clock that runs this


class Case(NamedTuple):
    """A record and its verdict: `reason` "" when it is accepted."""

    name: str
    value: bytes | None
    reason: str
    field: str = ""


FULL: dict[str, object] = {
    "schema_version": 1,
    "event_id": "e-1",
    "event_type": "rating",
    "event_time_ms": NOW_MS,
    "visitor_id": "v-1",
    "user_id": "u-1",
    "session_id": "s-1",
    "item_id": "i-1",
    "category": "shoes",
    "price_minor": 1999,
    "currency": "EUR",
    "quantity": 2,
    "query": "red\nshoes",
    "rating": 4.5,
    "dwell_ms": 1200,
    "scroll_ratio": 0.25,
    "channel": "web",
    "device": "phone",
    "country": "DE",
    "list_id": "0-17",
    "position": 3,
}


def event(**changes: object) -> bytes:
    """A full event with fields changed, or left out where the change is `...`."""
    return json.dumps({name: value for name, value in (FULL | changes).items() if value is not ...}).encode()


def raw(field: str, text: str | bytes) -> bytes:
    """A full event with a field's JSON written as it is; a field of no name takes a value that isn't looked at."""
    text = text.encode() if isinstance(text, str) else text
    return event(**{field: ...})[:-1] + b', "' + field.encode() + b'": ' + text + b"}"


def cases() -> list[Case]:
    written = [*WHOLE, *JSON_SYNTAX, *UTF8, *NUMBERS, *TEXTS]
    return [*written, *_missing(), *_wrong_types(), *_ranges(), *_lengths(), *_nothing(), *_attacks()]


WHOLE = [
    Case("a full event", event(), ""),
    Case("a tombstone", None, "empty"),
    Case("no bytes", b"", "empty"),
    Case("2 MB", b'{"a": "' + b"x" * 2_000_000 + b'"}', "too_large"),
    Case("a byte too many", event().ljust(MAX_EVENT_BYTES + 1), "too_large"),
    Case("as many bytes as may be", event().ljust(MAX_EVENT_BYTES), ""),
    Case("an array", b"[" + event() + b"]", "not_an_object"),
    Case("a string", b'"view"', "not_an_object"),
    Case("a number", b"1", "not_an_object"),
    Case("a number no double holds", b"1e400", "not_json"),
    Case("null", b"null", "not_an_object"),
    Case("true", b" true ", "not_an_object"),
    Case("half a surrogate pair in an array", rb'["\ud800"]', "not_json"),
    Case("an array that isn't closed", b"[1, [2]", "not_json"),
    Case("an empty object", b"{}", "missing_field", "schema_version"),
    Case("nothing but blanks", b" \n\t", "not_json"),
    Case("a null byte", b"\0", "not_json"),
    Case("a future event", event(event_time_ms=4_102_444_800_000), "future_event_time", "event_time_ms"),
]

JSON_SYNTAX = [
    Case(name, value, reason)
    for name, value, reason in [
        ("blanks around", b" \r\n\t" + event() + b"\n", ""),
        ("trailing garbage", event() + b"x", "not_json"),
        ("a second event", event() + event(), "not_json"),
        ("a trailing null byte", event() + b"\0", "not_json"),
        ("a trailing form feed", event() + b"\f", "not_json"),
        ("cut short", event()[:-1], "not_json"),
        ("a trailing comma", event()[:-1] + b",}", "not_json"),
        ("a missing comma", b'{"a": 1 "b": 2}', "not_json"),
        ("single quotes", event().replace(b'"', b"'"), "not_json"),
        ("a name without quotes", b"{event_type: 1}", "not_json"),
        ("a comment", b"/* */" + event(), "not_json"),
        ("NaN", raw("rating", "NaN"), "not_json"),
        ("Infinity", raw("rating", "Infinity"), "not_json"),
        ("-Infinity", raw("x", "-Infinity"), "not_json"),
        ("a wrong literal", raw("x", "tru"), "not_json"),
        ("a literal in capitals", raw("x", "True"), "not_json"),
        ("a wrong escape", raw("x", r'"\x41"'), "not_json"),
        ("a short escape", raw("x", r'"\u12"'), "not_json"),
        ("an escaped slash", raw("x", r'"\/"'), ""),
        ("a raw line break in a string", raw("query", '"a\nb"'), "not_json"),
        ("a raw line break in an unknown string", raw("x", '"a\nb"'), "not_json"),
        ("unknown fields of any kind", raw("x", '{"a": [1, {"b": null}, true, "é", 1.5e3], "": {}}'), ""),
        ("an unknown field with a bracket missing", raw("x", "[{]}"), "not_json"),
        ("100 deep", raw("x", "[" * 99 + "]" * 99), ""),
        ("101 deep", raw("x", "[" * 100 + "]" * 100), "not_json"),
        ("10,000 deep", raw("x", "[" * 10_000 + "]" * 10_000), "not_json"),
        ("a top-level array 10,000 deep", b"[" * 10_000 + b"]" * 10_000, "not_json"),
        ("10,000 brackets opened", b"[" * 10_000, "not_json"),
        ("many brackets, none deep", raw("x", "[" + ",".join(["[]"] * 500) + "]"), ""),
        ("brackets in a string", raw("x", '"' + r"[{\"[" * 300 + '"'), ""),
        ("101 deep, then overwritten", raw("x", "[" * 100 + "]" * 100)[:-1] + b', "x": 1}', "not_json"),
    ]
]

UTF8 = [
    Case(name, raw("query", b'"a' + value + b'"'), "not_utf8")
    for name, value in [
        ("a lone byte", b"\xff"),
        ("a continuation without a start", b"\x80"),
        ("a sequence cut short", b"\xe2\x82"),
        ("overlong null", b"\xc0\x80"),
        ("overlong, two bytes", b"\xc0\xaf"),
        ("overlong, three bytes", b"\xe0\x80\xaf"),
        ("overlong, four bytes", b"\xf0\x80\x80\xaf"),
        ("a surrogate", b"\xed\xa0\x80"),
        ("a pair of surrogates", b"\xed\xa0\xbd\xed\xb8\x80"),
        ("past U+10FFFF", b"\xf4\x90\x80\x80"),
        ("five bytes", b"\xf8\x88\x80\x80\x80"),
        ("Latin-1", b"caf\xe9"),
    ]
] + [
    Case("invalid UTF-8 after the end", event() + b"\xff", "not_utf8"),
    Case("UTF-16", '{"a": 1}'.encode("utf-16"), "not_utf8"),
    Case("UTF-16 without a mark", '{"a": 1}'.encode("utf-16-le"), "not_json"),
    Case("a byte order mark", b"\xef\xbb\xbf" + event(), "not_json"),
    Case("a byte order mark in a string", raw("query", b'"\xef\xbb\xbf"'), ""),
    Case("a character of four bytes", raw("query", '"😀"'), ""),
    Case("U+10FFFF, a noncharacter", raw("query", '"\U0010ffff"'), ""),
]

NUMBERS = [
    Case("1e3 for a whole number", raw("dwell_ms", "1e3"), "wrong_type", "dwell_ms"),
    Case("1.0 for a whole number", raw("schema_version", "1.0"), "wrong_type", "schema_version"),
    Case("a whole number for a fraction", raw("rating", "4"), ""),
    Case("an exponent", raw("scroll_ratio", "2.5E-1"), ""),
    Case("a fraction of 20 digits", raw("rating", "4.00000000000000000001"), ""),
    Case("a fraction above its limit by less than a double's step", raw("rating", "5.00000000000000000001"), ""),
    Case("-0.0", raw("rating", "-0.0"), ""),
    Case("-0", raw("dwell_ms", "-0"), ""),
    Case("the smallest double", raw("rating", "5e-324"), ""),
    Case("less than the smallest double", raw("rating", "1e-400"), ""),
    Case("2^63 - 1", raw("price_minor", str(2**63 - 1)), "out_of_range", "price_minor"),
    Case("2^63", raw("price_minor", str(2**63)), "out_of_range", "price_minor"),
    Case("2^64 + 1", raw("position", str(2**64 + 1)), "out_of_range", "position"),
    Case("-2^63 - 1", raw("quantity", str(-(2**63) - 1)), "out_of_range", "quantity"),
    Case("2^63 for a fraction", raw("rating", str(2**63)), "out_of_range", "rating"),
    Case("400 digits for a fraction", raw("rating", "1" * 400), "out_of_range", "rating"),
    Case("4,300 digits, not looked at", raw("x", "1" * 4300), ""),
    Case("4,301 digits, not looked at", raw("x", "1" * 4301), "not_json"),
    Case("4,301 digits", raw("price_minor", "1" * 4301), "not_json"),
    Case("4,300 digits", raw("price_minor", "1" * 4300), "out_of_range", "price_minor"),
    Case("60,000 decimals", raw("rating", "0." + "1" * 60_000), ""),
    Case("1e400 for a fraction", raw("rating", "1e400"), "not_json"),
    Case("1e400 for a whole number", raw("quantity", "1e400"), "not_json"),
    Case("-1e400, not looked at", raw("x", "[-1e400]"), "not_json"),
    Case("an exponent beyond 32 bits", raw("x", "1e99999999999"), "not_json"),
    Case("a tiny exponent beyond 32 bits", raw("x", "1e-99999999999"), ""),
    *(
        Case(f"{text} as a number", raw("rating", text), "not_json")
        for text in ("01", "1.", ".5", "+1", "-", "1e", "1e+", "0x1", "1_0", "--1")
    ),
]

TEXTS = [
    Case("half a surrogate pair, escaped", raw("query", r'"\ud800"'), "not_json"),
    Case("the other half", raw("item_id", r'"a\udc00"'), "not_json"),
    Case("halves in the wrong order", raw("x", r'"\udc00\ud800"'), "not_json"),
    Case("half a pair, then a letter", raw("x", r'{"a": ["\ud83d\u0041"]}'), "not_json"),
    Case("half a pair in a name", raw("x", r'{"\ud83d": 1}'), "not_json"),
    Case("half a pair in a field's name", event()[:-1] + rb', "\ud83d": 1}', "not_json"),
    Case("an escaped pair", raw("query", r'"\ud83d\ude00"'), ""),
    Case("a field's name with an escape", event(item_id=...)[:-1] + rb', "item\u005fid": "i-2"}', ""),
    Case("a null character", raw("query", r'"a\u0000"'), "control_character", "query"),
    Case("a null character in an id", raw("item_id", r'"\u0000"'), "control_character", "item_id"),
    Case("a tab in free text", raw("query", r'"a\tb"'), ""),
    Case("a tab in an id", raw("visitor_id", r'"a\tb"'), "control_character", "visitor_id"),
    Case("a unit separator in an id", raw("item_id", r'"a\u001fb"'), "control_character", "item_id"),
    Case("DEL in an id", raw("item_id", '"a\x7fb"'), "control_character", "item_id"),
    Case("DEL as an escape", raw("visitor_id", r'"a\u007f"'), "control_character", "visitor_id"),
    Case("the first of C1 in an id", raw("visitor_id", '"\x80"'), "control_character", "visitor_id"),
    Case("a terminal's CSI in an id", raw("item_id", r'"\u009b31m"'), "control_character", "item_id"),
    Case("the last of C1 in a category", raw("category", '"a\x9f"'), "control_character", "category"),
    Case("C1 in free text", raw("query", '"a\x9fb\x7f"'), ""),
    Case("just below DEL and just above C1", raw("item_id", '"~\xa0a"'), ""),
    Case("a line separator in an id", raw("item_id", '"a\u2028b"'), ""),
    Case("an empty id", event(visitor_id=""), "out_of_range", "visitor_id"),
    Case("an empty event id", event(event_id=""), "out_of_range", "event_id"),
    Case("a visitor named like an item's list", event(visitor_id="item/4711"), "out_of_range", "visitor_id"),
    Case("a visitor named like a place's list", event(visitor_id="place/"), "out_of_range", "visitor_id"),
    Case("an item's list in capitals, or behind a blank", event(visitor_id="Item/1", event_id=" item/1"), ""),
    Case("items and places elsewhere", event(visitor_id="v/item/1", item_id="item/1", user_id="place/x"), ""),
    Case("an unknown type", event(event_type="buy"), "unknown_value", "event_type"),
    Case("a type in capitals", event(event_type="VIEW"), "unknown_value", "event_type"),
    Case("an empty type", event(event_type=""), "unknown_value", "event_type"),
    Case("a name that comes twice: the last counts", event()[:-1] + b', "item_id": "other"}', ""),
    Case("a wrong value, then a right one", b'{"rating": "x", ' + event()[1:], ""),
    Case("a right value, then a wrong one", event()[:-1] + b', "rating": "x"}', "wrong_type", "rating"),
    Case("a right value, then null", event()[:-1] + b', "visitor_id": null}', "missing_field", "visitor_id"),
    Case("a wrong value, then null", b'{"user_id": 1, ' + event(user_id=None)[1:], ""),
    Case("two faults: the contract's order decides", event(rating="x", event_id=5), "wrong_type", "event_id"),
    Case("a wrong type and a missing field", event(schema_version=..., position="1"), "wrong_type", "position"),
    Case("future and missing", event(event_time_ms=4_102_444_800_000, item_id=...), "missing_field", "item_id"),
]

NOTHING = ("", " ", " \u3000", "\ufeff", "undefined", " undefined\u00a0", "null", "NULL", "None", "NaN", "nan")
NOTHING += ("[object Object]", "[object HTMLDivElement]", "[object ]")
SOMETHING = (
    "a b",
    " a",
    "undefined2",
    "Undefined",
    "none",
    "Nan",
    "nil",
    "[object",
    "object Object]",
    "0",
    "-",
    "false",
)


def _nothing():
    """Ids that name nothing: refused where every event needs them, else as if they weren't there."""
    for text in NOTHING:
        for name in ("event_id", "visitor_id"):
            yield Case(f"{text!r} for {name}", event(**{name: text}), "out_of_range", name)
        yield Case(f"{text!r} for item_id", event(item_id=text), "missing_field", "item_id")
        yield Case(f"{text!r} for a search's item_id", event(event_type="search", item_id=text), "")
        for name in ("user_id", "session_id", "category"):
            yield Case(f"{text!r} for {name}", event(**{name: text}), "")
        yield Case(f"{text!r} for query", event(event_type="search", query=text), "")
        if text:
            yield Case(f"{text!r} for list_id", event(event_type="click", list_id=text), "missing_field", "list_id")
    for text in SOMETHING:
        yield Case(f"{text!r} for every id", event(event_id=text, visitor_id=text, item_id=text), "")
    yield Case("no text for list_id", event(event_type="click", list_id=""), "")
    yield Case("a word for nothing of a wrong type", event(category=["undefined"]), "wrong_type", "category")
    yield Case("an item, then nothing", event()[:-1] + b', "item_id": ""}', "missing_field", "item_id")
    yield Case("nothing, then an item", b'{"item_id": "", ' + event()[1:], "")
    yield Case("blanks longer than an id may be", event(category=" " * 129), "too_long", "category")


SKIPPED_BY_HEARTBEATS = ("event_id", "visitor_id")


def _missing():
    required = [field.name for field in FIELDS if field.required]
    for kind in (*EVENT_TYPES, HEARTBEAT):
        fields = dict.fromkeys(required, ...) | dict.fromkeys(REQUIRED_BY_TYPE[kind])
        least = {name: FULL[name] for name in fields} | {"event_type": kind}
        yield Case(f"the least of a {kind}", json.dumps(least).encode(), "")
        for name in fields:
            if kind == HEARTBEAT and name in SKIPPED_BY_HEARTBEATS:
                reason, about = "", ""
            else:
                reason, about = "missing_field", name
            if name != "event_type":
                without = {key: value for key, value in least.items() if key != name}
                yield Case(f"a {kind} without {name}", json.dumps(without).encode(), reason, about)
            yield Case(f"a {kind} whose {name} is null", json.dumps(least | {name: None}).encode(), reason, about)


def _wrong_types():
    for field in FIELDS:
        wrong = ["true", "[]", '{"a": 1}', "5" if field.kind == "string" else '"5"']
        for text in wrong:
            yield Case(f"{field.name} is {text}", raw(field.name, text), "wrong_type", field.name)
        if not field.required and field.name not in REQUIRED_BY_TYPE["rating"]:
            yield Case(f"{field.name} is null", raw(field.name, "null"), "")


def _ranges():
    for field in FIELDS:
        if field.kind == "string":
            continue
        step = 1 if field.kind == "int" else 2**-40
        future = ("future_event_time", "event_time_ms") if field.name == "event_time_ms" else ("", "")
        yield Case(f"the least {field.name}", event(**{field.name: field.minimum}), "")
        yield Case(f"the greatest {field.name}", event(**{field.name: field.maximum}), *future)
        for name, value in (("below the least", field.minimum - step), ("above the greatest", field.maximum + step)):
            yield Case(f"{name} {field.name}", event(**{field.name: value}), "out_of_range", field.name)


def _lengths():
    for field in FIELDS:
        if field.kind != "string" or field.choices:
            continue
        for letter, units in (("a", 1), ("é", 1), ("€", 1), ("😀", 2)):
            full = letter * (field.max_length // units)
            full += "x" * (field.max_length - units * len(full))
            yield Case(f"{field.name} full of {letter}", event(**{field.name: full}), "")
            longer = event(**{field.name: full + "x"})
            yield Case(f"{field.name} full of {letter}, and one", longer, "too_long", field.name)


def _attacks():
    """What is meant to bring a parser down: each of these once would fail the job for good if it threw."""
    blocks = ("AB", "B!")  # the same under Jackson's hash (33 a + b), so these 512 names all share one bucket
    names = ("".join(parts) for parts in itertools.product(blocks, repeat=9))
    same_hash = ", ".join(f'"{name}": 0' for name in names)
    yield Case("512 names of one hash", b"{" + same_hash.encode() + b", " + event()[1:], "")
    yield Case("a name of 60,000 characters", b'{"' + b"n" * 60_000 + b'": 0, ' + event()[1:], "")
    yield Case("5,000 names", b"{" + b"".join(b'"n%d": 0, ' % n for n in range(5000)) + event()[1:], "")
    yield Case("a string of 60,000 escapes' bytes", raw("x", '"' + r"\u00e9" * 10_000 + '"'), "")


def mutations(count: int, seed: int = 7) -> list[bytes]:
    """Records that were accepted, with some bytes changed, cut, doubled or swapped for others that JSON is made of."""
    chooser = random.Random(seed)
    good = [case.value for case in cases() if not case.reason and case.value and len(case.value) < 2000]
    tokens = rb'" \ { } [ ] : , null true - . e 0 9 \u \ud83d 1e309 12345678901234567890 NaN "item_id":'.split()
    tokens += [b" ", b"\x00", b"\x1f", b"\xc3", b"\xa9", b"\xed\xa0\x80", b"\xef\xbb\xbf"]
    made = []
    for _ in range(count):
        value = bytearray(chooser.choice(good))
        for _ in range(chooser.choice((1, 1, 1, 2, 5))):
            at = chooser.randrange(len(value) + 1)
            until = min(len(value), at + chooser.choice((0, 0, 1, 1, 3, 20)))
            value[at:until] = chooser.choice((chooser.choice(tokens), chooser.randbytes(1), bytes(value[at:until]) * 2))
        made.append(bytes(value))
    return made
