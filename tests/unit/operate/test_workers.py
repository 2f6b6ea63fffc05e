"""The Python on the TaskManagers: what a report of it means, and what Flink's words mean when there is none."""

import json
import sys
from importlib.metadata import version

import msgspec
import pytest

from jobs.operate import worker_report, workers
from jobs.operate.workers import Worker
from jobs.settings import Settings

WHOLE = Worker("/venv/bin/python", "3.11.9", "tm-1", {}, {"apache-flink": version("apache-flink")})


def test_a_report_names_what_is_missing_and_which_python_looked() -> None:
    packages, modules = ["json", "no_such_package"], ["no_such_module"]
    report = json.loads(worker_report.report(packages, modules, ["msgspec", "no-such-package"]))
    assert report["executable"] == sys.executable
    assert report["missing"] == {"no_such_package": "not installed"}
    assert report["versions"] == {"msgspec": version("msgspec"), "no-such-package": ""}


def test_a_report_says_why_a_module_cant_be_imported() -> None:
    report = json.loads(worker_report.report(["json"], ["no_such_module", "json"], []))
    assert report["missing"] == {"no_such_module": "ModuleNotFoundError: No module named 'no_such_module'"}


def test_a_worker_with_everything_has_no_problem() -> None:
    assert WHOLE.problems() == []


def test_each_missing_module_is_a_problem() -> None:
    reasons = {"feast": "No module named 'feast'", "redis": "broken"}
    assert msgspec.structs.replace(WHOLE, missing=reasons).problems() == [
        "feast can't be imported (No module named 'feast')",
        "redis can't be imported (broken)",
    ]


def test_a_pyflink_of_another_version_is_a_problem() -> None:
    (problem,) = msgspec.structs.replace(WHOLE, versions={"apache-flink": "1.20.0"}).problems()
    assert problem == f"apache-flink is 1.20.0, and {version('apache-flink')} submits"


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("Caused by: x\n/usr/bin/python3: No module named 'pyflink'\n", "has no module pyflink"),
        (
            'Caused by: java.io.IOException: Cannot run program "/no/python": error=2, No such file or directory',
            "can't be run: there is no program /no/python",
        ),
        (
            "Caused by: java.io.IOException: first\nCaused by: java.io.IOException: last",
            "can't run a small Python job: Caused by: java.io.IOException: last",
        ),
        ("", "can't run a small Python job: it says nothing"),
    ],
)
def test_flinks_words_are_told_as_the_reason(output: str, reason: str) -> None:
    assert workers.cause(output) == reason


def test_only_python_that_may_be_another_one_is_looked_at() -> None:
    assert not workers.needs_probe(Settings())
    assert workers.needs_probe(Settings(worker_python="/other/python"))
    assert workers.needs_probe(Settings(flink_rest_url="http://flink:8081"))
