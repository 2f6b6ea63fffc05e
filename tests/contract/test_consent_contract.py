"""The jobs' rule about consent, in the JVM, and everyone else's, in Python, decide alike; many histories at random."""

import json
import random
from operator import itemgetter
from pathlib import Path

import pytest

from jobs.contract.consent import gathered
from jobs.jvm import build

BROKEN = ("?", '{"state":"granted"}', '{"state":"maybe","at_ms":1}', '{"state":"withdrawn","at_ms":"1"}', "")


def history(chance: random.Random, partitions: int = 1) -> list[tuple[int, str]]:
    """Return up to five records and their partitions. Times are few, so that many are equal, and not in order."""
    records = []
    for _ in range(chance.randrange(6)):
        state = chance.choice(("granted", "granted", "withdrawn", "erased"))
        record: dict[str, object] = {"state": state, "at_ms": chance.randrange(8)}
        if state == "erased":
            record |= {"before": {str(place): chance.randrange(6) for place in range(chance.randrange(3))}}
            record |= {"withdrawn": True} if chance.random() < 0.3 else {}
        value = (
            chance.choice(BROKEN[:-1] if partitions > 1 else BROKEN) if chance.random() < 0.1 else json.dumps(record)
        )
        records.append((chance.randrange(partitions), value))
    return records


@pytest.fixture(scope="module")
def classpath(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a class path of the check beside the jobs' own classes."""
    return build.compiled_beside(tmp_path_factory.mktemp("classes"), Path(__file__).with_name("PersonCheck.java"))


def test_the_jvm_and_python_decide_alike_about_every_event(classpath: str) -> None:
    """And what counts is kept."""
    chance = random.Random(5)
    cases = [{"required": chance.random() < 0.5, "records": history(chance), "events": EVENTS} for _ in range(2000)]
    decide_alike(classpath, cases)


def test_both_decide_alike_where_a_visitor_has_two_partitions(classpath: str) -> None:
    """In whichever order partitions are read: here a record at a time from either, there one partition after the other.

    Where consent is assumed, the JVM doesn't remember a grant of whom it knows nothing, so here consent is required.
    """
    chance = random.Random(6)
    cases = [{"required": True, "records": history(chance, 2), "events": EVENTS} for _ in range(2000)]
    decide_alike(classpath, cases)


EVENTS = [(partition, offset, time_ms) for partition in (0, 1) for offset in (0, 3, 5) for time_ms in range(9)]


def decide_alike(classpath: str, cases: list[dict]) -> None:
    asked = "".join(json.dumps(case) + "\n" for case in cases)
    told = build.run_beside(classpath, "PersonCheck", told=asked).splitlines()
    seen = set()
    for case, line in zip(cases, told, strict=True):
        consents = gathered(
            ((partition, b"v", value.encode()) for partition, value in sorted(case["records"], key=itemgetter(0))),
            "required" if case["required"] else "assumed",
        )
        expected = [consents.verdict("v", *event) for event in EVENTS]
        *verdicts, gone_before_ms = line.split()
        assert verdicts == expected, case
        counts_ms = [time_ms for (_, _, time_ms), verdict in zip(EVENTS, expected, strict=True) if verdict == "counts"]
        assert all(time_ms >= int(gone_before_ms) for time_ms in counts_ms), case
        seen |= set(expected)
    assert seen == {"counts", "forgotten", "suppressed"}
