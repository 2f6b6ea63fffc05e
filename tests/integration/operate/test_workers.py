"""Test the report of the Python that runs, which has everything."""

import sys

import msgspec

from jobs.operate import workers
from jobs.operate.workers import Worker


def test_the_expression_that_travels_gives_the_same_report() -> None:
    """`eval` alone runs it, as a TaskManager's Python does that has nothing of liveshelf."""
    worker = msgspec.json.decode(eval(workers._expression()), type=Worker)
    assert worker.executable == sys.executable
    assert worker.problems() == []
