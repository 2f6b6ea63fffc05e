"""One contract of item facts, two checks: Python's and the JVM's say the same of every record."""

import base64
import json
import random
from pathlib import Path

import pytest

from jobs.contract import items
from jobs.contract.items import Refusal, parse
from jobs.jvm import build
from tests.support.item_corpus import CONTRACTS, Case, cases

CASES = cases()
BY_TOPIC = {contract.topic: contract for contract in CONTRACTS}
PAYLOADS = {contract.topic: [field.name for field in contract.fields][::-1] for contract in CONTRACTS}
Record = tuple[str, bytes | None, bytes | None]


def mutations(count: int, seed: int = 7) -> list[Record]:
    """Records that were taken, with some bytes changed, cut, doubled or swapped for others that JSON is made of."""
    chooser = random.Random(seed)
    good = [case for case in CASES if not case.reason and case.value and len(case.value) < 2000]
    tokens = rb'" \ { } [ ] : , null true false - . e 0 9 \u \ud83d 1e309 12345678901234567890 "stock": "x"'.split()
    tokens += [b" ", b"\x00", b"\x1f", b"\xc3", b"\xa9", b"\xed\xa0\x80"]
    made = []
    for _ in range(count):
        case = chooser.choice(good)
        value = bytearray(case.value or b"")
        for _ in range(chooser.choice((1, 1, 2, 5))):
            at = chooser.randrange(len(value) + 1)
            until = min(len(value), at + chooser.choice((0, 0, 1, 1, 3, 20)))
            value[at:until] = chooser.choice((chooser.choice(tokens), chooser.randbytes(1), bytes(value[at:until]) * 2))
        made.append((case.topic, case.key, bytes(value)))
    return made


def verdict(record: Record) -> tuple:
    """(reason, field, item, values in the payload's order) of Python's check."""
    topic, key, value = record
    found = parse(BY_TOPIC[topic], key, value)
    if isinstance(found, Refusal):
        return (*found, None, None)
    fields = found.fields
    return None, None, found.item_id, None if fields is None else [fields.get(name) for name in PAYLOADS[topic]]


@pytest.fixture(scope="module")
def jvm(tmp_path_factory: pytest.TempPathFactory) -> dict[Record, tuple]:
    """The same of the JVM's check, for every record."""
    records = [*dict.fromkeys([*((case.topic, case.key, case.value) for case in CASES), *mutations(2000)])]
    sources = Path(__file__).parent / "FactCheck.java"
    classpath = build.compiled_beside(tmp_path_factory.mktemp("classes"), sources)
    lines = [in_base64(items.as_json(CONTRACTS, PAYLOADS).encode())]
    lines += [f"{topic} {in_base64(key)} {in_base64(value)}" for topic, key, value in records]
    told = build.run_beside(classpath, "FactCheck", told="\n".join(lines) + "\n").splitlines()
    return {record: judged(line.split()) for record, line in zip(records, told, strict=True)}


def in_base64(value: bytes | None) -> str:
    return "-" if value is None else "=" + base64.b64encode(value).decode()


def judged(parts: list[str]) -> tuple:
    texts = [None if part == "-" else base64.b64decode(part[1:]).decode() for part in parts]
    payload = None if texts[3] is None else json.loads(texts[3])
    return (*texts[:3], payload)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_jvm_says_the_same(case: Case, jvm: dict[Record, tuple]):
    record = (case.topic, case.key, case.value)
    assert jvm[record] == verdict(record)


def test_both_checks_agree_on_two_thousand_mutated_records(jvm: dict[Record, tuple]):
    assert [
        (record, jvm[record], verdict(record)) for record in mutations(2000) if jvm[record] != verdict(record)
    ] == []


def test_the_mutations_reach_both_sides_of_the_contract():
    reasons = [verdict(record)[0] for record in mutations(2000)]
    assert reasons.count(None) > 100
    assert {"not_json", "not_utf8", "wrong_type", "out_of_range"} <= set(reasons)
