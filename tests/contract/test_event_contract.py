"""One contract, two checks: Python's and the JVM's say the same of every record; and what derives from it agrees."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import jsonschema
import pytest

from jobs.contract import events
from jobs.contract.events import FIELDS, Refusal, parse
from tests.support.event_corpus import FULL, NOW_MS, Case, cases, event, mutations

REPOSITORY = Path(__file__).resolve().parents[2]
SKEW_MS = 300_000
CASES = cases()
MUTATIONS = mutations(2000)


def verdict(value: bytes | None) -> tuple[str, str, dict]:
    """(reason, field, the values) of Python's check."""
    found = parse(value, max_skew_ms=SKEW_MS)
    return (*found, {}) if isinstance(found, Refusal) else ("", "", found)


@pytest.fixture(scope="module")
def jvm(tmp_path_factory: pytest.TempPathFactory) -> dict[bytes | None, tuple[str, str, dict]]:
    """(reason, field, the values) of the JVM's check for every record of the corpus, from one job."""
    folder = tmp_path_factory.mktemp("jvm")
    values = [*dict.fromkeys([*(case.value for case in CASES), *MUTATIONS])]
    lines = [{"place": place, "value": in_base64(value)} for place, value in enumerate(values)]
    (folder / "records.jsonl").write_text("\n".join(map(json.dumps, lines)))
    verdicts = {}
    for row in rows_from_flink(folder):
        place, refusal, about = row.pop("place"), row.pop("refusal") or "", row.pop("refusal_field") or ""
        if refusal:
            assert row.pop("event_time_ms") == 0, "a refused record must not move the watermark"
        verdicts[values[place]] = (refusal, about, {name: value for name, value in row.items() if value is not None})
    assert len(verdicts) == len(values)
    return verdicts


def in_base64(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def rows_from_flink(folder: Path) -> list[dict]:
    arguments = ["-m", "tests.support.jvm_check", str(folder / "records.jsonl"), str(folder / "verdicts"), str(SKEW_MS)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    text = "".join(part.read_text(encoding="utf-8") for part in (folder / "verdicts").glob("*"))
    return [json.loads(line) for line in text.split("\n") if line]  # not splitlines: an event may hold U+2028


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_record_is_taken_or_refused_with_its_reason(case: Case):
    assert verdict(case.value)[:2] == (case.reason, case.field)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_jvm_says_the_same(case: Case, jvm):
    assert jvm[case.value] == verdict(case.value)


def test_both_checks_agree_on_two_thousand_mutated_records(jvm):
    differing = [(value, jvm[value], verdict(value)) for value in MUTATIONS if jvm[value] != verdict(value)]
    assert differing == []


def test_the_mutations_reach_both_sides_of_the_contract():
    reasons = [verdict(value)[0] for value in MUTATIONS]
    assert reasons.count("") > 200
    assert {"not_json", "not_utf8", "too_long", "out_of_range", "missing_field", "unknown_value"} <= set(reasons)


def test_every_reason_is_in_the_corpus():
    assert {case.reason for case in CASES} == {"", *get_args(events.Reason)}


def test_an_accepted_event_keeps_its_known_values_only():
    """An accepted event keeps its values and drops what the contract does not know."""
    assert parse(event(x=[1], user_id=None)) == {name: value for name, value in FULL.items() if name != "user_id"}


def test_a_field_that_names_nothing_counts_as_absent():
    assert parse(event(category=" ", user_id="undefined", country="null")) == {
        name: value for name, value in FULL.items() if name not in ("category", "user_id", "country")
    }


def test_an_event_may_be_ahead_by_the_skew_at_most():
    """An event may lie as far in the future as the skew and no further."""
    assert isinstance(parse(event(), now_ms=NOW_MS - 5000, max_skew_ms=5000), dict)
    assert parse(event(), now_ms=NOW_MS - 5001, max_skew_ms=5000) == Refusal("future_event_time", "event_time_ms")


SCHEMA = jsonschema.Draft202012Validator(events.json_schema())
# What is wrong before there is a document, and what depends on the clock.
BEYOND_SCHEMA = ("too_large", "not_utf8", "not_json", "empty", "future_event_time")


def test_the_schema_is_a_json_schema():
    jsonschema.Draft202012Validator.check_schema(events.json_schema())


def test_the_schema_takes_what_the_check_takes():
    # Producers of events send no heartbeats.
    accepted = [case for case in CASES if not case.reason and "heartbeat" not in case.name and len(case.value) < 10_000]
    assert len(accepted) > 100
    assert [case.name for case in accepted if not SCHEMA.is_valid(json.loads(case.value))] == []


def test_the_schema_refuses_what_is_wrong_in_structure():
    refused = [case for case in CASES if case.reason and case.reason not in BEYOND_SCHEMA and len(case.value) < 10_000]
    taken = [case.name for case in refused if SCHEMA.is_valid(json.loads(case.value))]
    # 1e3 and 1.0 are whole numbers to JSON Schema, and its lengths are in code points: an emoji is one, not two.
    assert [name for name in taken if "😀" not in name] == ["1e3 for a whole number", "1.0 for a whole number"]


def test_the_docs_table_lists_every_field_once():
    names = [line.split("`")[1] for line in events.docs_table().splitlines()[2:]]
    assert names == [field.name for field in FIELDS]


def test_the_docs_table_says_what_a_type_needs():
    line = next(line for line in events.docs_table().splitlines() if "`position`" in line)
    assert line == "| `position` | int | impression, click | 0 to 10000 | place in that list, from 0 |"
