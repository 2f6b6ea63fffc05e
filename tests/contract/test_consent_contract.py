"""One contract for consent, two readers: the jobs', in the JVM, and everyone else's, in Python.

`LIVESHELF_CONSENT_HISTORIES=100000 pytest tests/contract/test_consent_contract.py` compares as many as that.
"""

import base64
import json
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pytest

from jobs.contract.consent import Consents, gathered
from jobs.contract.consent_record import Reason, Refusal, parse, visitor_of
from jobs.jvm import build
from tests.support.consent_corpus import CASES, NOW_MS, Case, Written, history

HISTORIES = int(os.environ.get("LIVESHELF_CONSENT_HISTORIES", "2000"))
EVENTS = [(*place, time_ms) for place in ((0, 0), (0, 3), (1, 5)) for time_ms in range(-3, 44)]
NOW_EVENTS = [(0, 0, NOW_MS + hour * 3_600_000) for hour in (-1, 0, 1)]


@pytest.fixture(scope="module")
def classpath(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a class path of the check beside the jobs' own classes."""
    return build.compiled_beside(tmp_path_factory.mktemp("classes"), Path(__file__).with_name("PersonCheck.java"))


def text(content: bytes | None) -> str | None:
    return None if content is None else base64.b64encode(content).decode()


def told_by_the_jvm(classpath: str, cases: Sequence[tuple[bool, list[Written]]], events: list) -> list[str]:
    lines = [json.dumps(events)]
    for required, records in cases:
        written = [(text(each.key), text(each.value), each.recorded_ms) for each in records]
        lines.append(json.dumps({"required": required, "records": written}))
    return build.run_beside(classpath, "PersonCheck", told="\n".join(lines)).splitlines()


def told_by_python(required: bool, records: list[Written], events: list) -> tuple[str, str]:
    """Return the verdicts, and what the newest record says, since when, and how many records weren't understood."""
    mode = "required" if required else "assumed"
    consents = gathered(
        ((0, place, each.recorded_ms, each.key, each.value) for place, each in enumerate(records)), mode
    )
    verdicts = "".join(consents.verdict("v", *event)[0] for event in events)
    latest = consents.latest("v")
    return verdicts, f"{latest.state if latest else 'unknown'} {consents.since_ms('v')} {consents.unread_count}"


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_record_is_understood_or_refused_with_its_reason(case: Case):
    visitor = visitor_of(case.key)
    found = visitor if isinstance(visitor, Refusal) else parse(case.value or b"", NOW_MS)
    if case.reason is not None:
        assert (found if isinstance(found, Refusal) else ("", "")) == (case.reason, case.field)


def test_every_reason_of_its_own_is_in_the_corpus():
    own = get_args(get_args(Reason)[1])
    assert len(own) == 5
    assert set(own) <= {case.reason for case in CASES}


def test_both_readers_do_the_same_with_each_record(classpath: str):
    """Each after a grant, whatever its key: what is about v may deny, and what isn't understood is counted."""
    grant = Written(b"v", json.dumps({"state": "granted", "at_ms": NOW_MS - 10_000}).encode(), NOW_MS - 10_000)
    names = [case.name for case in CASES for _ in range(2)]
    asked = [(required, [grant, Written(case.key, case.value, NOW_MS)]) for case in CASES for required in (False, True)]
    for name, case, line in zip(names, asked, told_by_the_jvm(classpath, asked, NOW_EVENTS), strict=True):
        verdicts, _, rest = line.split(" ", 2)
        assert (verdicts, rest) == told_by_python(*case, NOW_EVENTS), name


def test_what_is_not_understood_counts_as_a_denial():
    """From its Kafka timestamp on, where its key names a visitor."""
    for case in CASES:
        consents = Consents("assumed")
        consents.take((3, 7), case.key, case.value, NOW_MS)
        if case.key == b"v" and case.reason:
            assert consents.verdict("v", 0, 0, NOW_MS) == "suppressed", case.name
            assert consents.verdict("v", 0, 0, NOW_MS - 1) == "forgotten", case.name
        assert [each[:2] for each in consents.unread] == ([(3, 7)] if case.reason else []), case.name


def test_the_jvm_and_python_decide_alike_about_histories(classpath: str):
    """In whatever order the records come: each side hears them in an order of its own. What counts is kept."""
    chance, seen, unread = random.Random(5), set(), 0
    for begin in range(0, HISTORIES, 10_000):
        cases = [(chance.random() < 0.5, history(chance)) for _ in range(min(10_000, HISTORIES - begin))]
        told = told_by_the_jvm(classpath, cases, EVENTS)
        for (required, records), line in zip(cases, told, strict=True):
            verdicts, gone_before_ms, rest = line.split(" ", 2)
            found = told_by_python(required, chance.sample(records, len(records)), EVENTS)
            assert (verdicts, rest) == found, (required, records)
            counting = [time_ms for (*_, time_ms), each in zip(EVENTS, verdicts, strict=True) if each == "c"]
            assert all(time_ms >= int(gone_before_ms) for time_ms in counting), (required, records)
            seen |= set(verdicts)
            unread += int(rest.rsplit(" ", 1)[1])
    assert seen == set("cfs")
    assert unread > HISTORIES / 10


def test_the_jvm_hears_records_in_any_order(classpath: str):
    chance = random.Random(6)
    cases = [(chance.random() < 0.5, history(chance)) for _ in range(500)]
    shuffled = [(required, chance.sample(records, len(records))) for required, records in cases]
    assert told_by_the_jvm(classpath, cases, EVENTS) == told_by_the_jvm(classpath, shuffled, EVENTS)
