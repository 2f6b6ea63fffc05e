"""The jobs' rule about consent, in the JVM, and everyone else's, in Python, decide alike; many histories at random."""

import json
import random
from pathlib import Path

import pytest

from jobs.contract.consent import gathered
from jobs.jvm import build

BROKEN = ("?", '{"state":"granted"}', '{"state":"maybe","at_ms":1}', '{"state":"withdrawn","at_ms":"1"}', "")


def history(chance: random.Random) -> list[str]:
    """Up to five records; times are few, so that many are equal, and not always in order."""
    records = []
    for _ in range(chance.randrange(6)):
        state = chance.choice(("granted", "granted", "withdrawn", "erased"))
        record: dict[str, object] = {"state": state, "at_ms": chance.randrange(8)}
        if state == "erased":
            record |= {"before": {str(place): chance.randrange(6) for place in range(chance.randrange(3))}}
            record |= {"withdrawn": True} if chance.random() < 0.3 else {}
        records.append(chance.choice(BROKEN) if chance.random() < 0.1 else json.dumps(record))
    return records


@pytest.fixture(scope="module")
def classpath(tmp_path_factory: pytest.TempPathFactory) -> str:
    """With the check beside the jobs' own classes."""
    return build.compiled_beside(Path(__file__).with_name("PersonCheck.java"), tmp_path_factory.mktemp("classes"))


def test_the_jvm_and_python_say_the_same_of_every_event_and_what_counts_is_kept(classpath: str) -> None:
    chance = random.Random(5)
    events = [(partition, offset, time_ms) for partition in (0, 1) for offset in (0, 3, 5) for time_ms in range(9)]
    cases = [{"required": chance.random() < 0.5, "records": history(chance), "events": events} for _ in range(2000)]
    asked = "".join(json.dumps(case) + "\n" for case in cases)
    told = build.run_beside(classpath, "PersonCheck", told=asked).splitlines()
    seen = set()
    for case, line in zip(cases, told, strict=True):
        consents = gathered(
            ((b"v", value.encode()) for value in case["records"]), "required" if case["required"] else "assumed"
        )
        expected = [consents.verdict("v", *event) for event in events]
        *verdicts, gone_before_ms = line.split()
        assert verdicts == expected, case
        counts_ms = [time_ms for (_, _, time_ms), verdict in zip(events, expected, strict=True) if verdict == "counts"]
        assert all(time_ms >= int(gone_before_ms) for time_ms in counts_ms), case
        seen |= set(expected)
    assert seen == {"counts", "forgotten", "suppressed"}
