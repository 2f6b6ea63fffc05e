"""Records of item facts that a check must not stumble over, each with what is to become of it."""

import json
from typing import NamedTuple

from jobs.contract.items import contracts

CONTRACTS = contracts(
    "items", "offers", {"margins": {"margin": "float", "sku": "string", "rank": "int", "new": "bool"}}
)
FULL: dict[str, dict[str, object]] = {
    "items": {
        "title": "linen\tdress",
        "category": "dresses",
        "brand": "ours",
        "colour": "red",
        "group_id": "g1",
        "created": 1_785_000_000_000,
        "url": "https://shop.example/88",
        "image_url": "https://shop.example/88.jpg",
    },
    "offers": {"price_minor": 3990, "currency": "EUR", "stock": 5, "status": "active", "on_offer": True},
    "margins": {"margin": 0.25, "rank": -3, "sku": "s-1", "new": False},
}


class Case(NamedTuple):
    """A record and its verdict. `reason` is "" when it is taken, and then `fields` is what it says."""

    name: str
    topic: str
    key: bytes | None
    value: bytes | None
    reason: str = ""
    field: str = ""
    fields: dict[str, object] | None = None


def record(topic: str, **changes: object) -> bytes:
    """A full record with fields changed."""
    return json.dumps(FULL[topic] | changes).encode()


def raw(topic: str, field: str, text: str) -> bytes:
    """A full record with a field's JSON written as it is."""
    others = {name: value for name, value in FULL[topic].items() if name != field}
    return json.dumps(others).encode()[:-1] + f', "{field}": {text}}}'.encode()


def cases() -> list[Case]:
    return [*WHOLE, *KEYS, *TEXTS, *NUMBERS, *_wrong_types()]


def _taken(name: str, topic: str, value: bytes, **changes: object) -> Case:
    """A record that says what a full one does but for some fields; `...` for one that isn't there."""
    fields = {each: given for each, given in (FULL[topic] | changes).items() if given is not ...}
    return Case(name, topic, b"4711", value, fields=fields)


WHOLE = [
    *(_taken(f"a full record of {topic}", topic, record(topic)) for topic in FULL),
    Case("a tombstone", "offers", b"4711", None),
    Case("no bytes", "offers", b"4711", b"", "empty"),
    Case("an empty object says nothing", "offers", b"4711", b"{}", fields={}),
    Case("2 MB", "items", b"4711", b'{"a": "' + b"x" * 2_000_000 + b'"}', "too_large"),
    Case("no JSON", "items", b"4711", b"stock=5", "not_json"),
    Case("not UTF-8", "items", b"4711", b'{"title": "caf\xe9"}', "not_utf8"),
    Case("an array", "items", b"4711", b"[]", "not_an_object"),
    _taken("an unknown field", "offers", raw("offers", "x", "[1, {}]")),
    _taken("the id repeated", "offers", raw("offers", "item_id", '"4711"')),
    _taken("the id as null", "offers", raw("offers", "item_id", "null")),
    Case("another id", "offers", b"4711", raw("offers", "item_id", '"4712"'), "contradiction", "item_id"),
    Case("the id as a number", "offers", b"4711", raw("offers", "item_id", "4711"), "contradiction", "item_id"),
    Case("a tombstone without a key", "offers", None, None, "no_key"),
    Case("two faults: the contract's order decides", "offers", b"4711", record("offers", status=1, stock="5"),
         "wrong_type", "stock"),
    _taken("a wrong value, then a right one", "offers", b'{"stock": "x", ' + record("offers")[1:]),
    _taken("a right value, then null", "offers", record("offers")[:-1] + b', "stock": null}', stock=...),
]  # fmt: skip

KEYS = [
    Case("no key", "items", None, record("items"), "no_key"),
    Case("an empty key", "items", b"", record("items"), "no_key"),
    Case("a key that isn't UTF-8", "items", b"\xff", record("items"), "not_utf8", "key"),
    Case("a key in quotes", "items", b'"4711"', record("items"), "quoted", "key"),
    Case("a quote alone", "items", b'"', record("items"), fields=FULL["items"]),
    Case("a key with a tab", "items", b"a\tb", record("items"), "control_character", "key"),
    Case("a key too long", "items", b"a" * 129, record("items"), "too_long", "key"),
    Case("as long as a key may be", "items", b"a" * 128, record("items"), fields=FULL["items"]),
    Case("a word for nothing as a key", "items", b"undefined", record("items"), "out_of_range", "key"),
    Case("blanks as a key", "items", "\u3000".encode(), record("items"), "out_of_range", "key"),
]

TEXTS = [
    _taken("an empty text", "items", record("items", brand=""), brand=...),
    _taken("a word for nothing", "items", record("items", brand=" undefined"), brand=...),
    _taken("a title that is a word for nothing elsewhere", "items", record("items", title="None"), title="None"),
    _taken("an empty title", "items", record("items", title=""), title=...),
    Case("a line break in a brand", "items", b"4711", record("items", brand="a\nb"), "control_character", "brand"),
    Case("a null character in a title", "items", b"4711", record("items", title="a\0"), "control_character", "title"),
    _taken("a brand of 128 characters", "items", record("items", brand="é" * 128), brand="é" * 128),
    Case("a brand of 129", "items", b"4711", record("items", brand="😀" * 64 + "x"), "too_long", "brand"),
    Case("an own text of 513", "margins", b"4711", record("margins", sku="s" * 513), "too_long", "sku"),
    _taken("an escape", "items", raw("items", "brand", r'"\u00e9"'), brand="é"),
]

NUMBERS = [
    _taken("nothing in stock", "offers", record("offers", stock=0), stock=0),
    _taken("more ordered than there are", "offers", record("offers", stock=-2), stock=-2),
    Case("a price below 0", "offers", b"4711", record("offers", price_minor=-1), "out_of_range", "price_minor"),
    Case("a price of 2^63", "offers", b"4711", record("offers", price_minor=2**63), "out_of_range", "price_minor"),
    Case("a price with a fraction", "offers", b"4711", record("offers", price_minor=1.0), "wrong_type", "price_minor"),
    _taken("a whole number for a fraction", "margins", record("margins", margin=1), margin=1.0),
    _taken("the greatest whole number", "margins", record("margins", rank=2**53 - 1), rank=2**53 - 1),
    Case("a greater one", "margins", b"4711", record("margins", rank=2**53), "out_of_range", "rank"),
    Case("-2^53", "margins", b"4711", record("margins", rank=-(2**53)), "out_of_range", "rank"),
    Case("400 digits", "margins", b"4711", raw("margins", "margin", "1" * 400), "out_of_range", "margin"),
    Case("more than a double holds", "margins", b"4711", raw("margins", "margin", "1e400"), "not_json"),
    Case("NaN", "margins", b"4711", raw("margins", "margin", "NaN"), "not_json"),
]


def _wrong_types() -> list[Case]:
    fitting = {"string": '"5"', "int": "5", "float": "5.5", "bool": "true"}
    taken_too = {("float", "5")}
    return [
        Case(f"{field.name} is {text}", contract.topic, b"4711", raw(contract.topic, field.name, text),
             "wrong_type", field.name)
        for contract in CONTRACTS
        for field in contract.fields
        for kind, text in (fitting | {"list": "[]", "object": '{"a": 1}'}).items()
        if kind != field.kind and (field.kind, text) not in taken_too
    ]  # fmt: skip
