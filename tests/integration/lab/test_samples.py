"""Samples of real processes: what Linux says of one that works beside another on one processor."""

import os
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from jobs.lab.bench.samples import ELSE, Samples, threads

SPIN = "import time\nend = time.monotonic() + 20\nwhile time.monotonic() < end: pass"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")


@pytest.fixture
def spin():
    """Start processes that only compute, on one processor; end them after the test."""
    started = []

    def start() -> int:
        started.append(subprocess.Popen([sys.executable, "-c", SPIN]))
        os.sched_setaffinity(started[-1].pid, {min(os.sched_getaffinity(0))})
        return started[-1].pid

    yield start
    for process in started:
        process.kill()
        process.wait()


def watched(samples: Samples, seconds: float) -> None:
    for _ in range(5):
        samples.look()
        time.sleep(seconds / 5)
    samples.look()
    samples.close()


def test_two_on_one_processor_take_it_in_turn(spin: Callable[[], int]) -> None:
    """Each has it for at most half of the time, and waits for the rest. Others of the machine may have it too."""
    pids = spin(), spin()
    time.sleep(0.5)
    samples = Samples({"one": pids[0]}, {"its thread": threads(pids[0])}, {"one": threads(pids[0])})
    begin_ns = time.monotonic_ns()
    watched(samples, seconds=2.0)
    cores = samples.cores(begin_ns, time.monotonic_ns())

    assert 0.01 < cores["one"] < 0.65
    assert cores["its thread"] == pytest.approx(cores["one"], abs=0.05)
    assert cores["one waited for a processor"] == pytest.approx(1 - cores["one"], abs=0.1)


def test_spans_hold_what_the_share_is_of(spin: Callable[[], int]) -> None:
    """The spans of a process add up to its cores times the time; only a wait holds an event up."""
    pid = spin()
    time.sleep(0.5)
    samples = Samples({"one": pid}, {}, {"one": threads(pid)})
    begin_ns = time.monotonic_ns()
    watched(samples, seconds=1.0)
    spans, cores = samples.spans(), samples.cores(begin_ns, time.monotonic_ns())

    of_one = [span for span in spans if span.name == "one"]
    taken_ns, lasted_ns = sum(span.taken_ns for span in of_one), of_one[-1].end_ns - of_one[0].begin_ns
    assert taken_ns / lasted_ns == pytest.approx(cores["one"], abs=0.001)
    assert cores["one"] > 0.01
    assert {span.holds for span in spans if span.name == "one"} == {False}
    assert {span.holds for span in spans if span.name == "one waited for a processor"} <= {True}


def test_work_of_other_processes_is_told_apart(spin: Callable[[], int]) -> None:
    """One that isn't sampled takes most of its processor, unless more than three others want it too."""
    spin()
    time.sleep(0.5)
    samples = Samples({"this test": os.getpid()}, {}, {})
    begin_ns = time.monotonic_ns()
    watched(samples, seconds=1.0)

    assert samples.cores(begin_ns, time.monotonic_ns())[ELSE] > 0.2


def test_a_process_that_ended_takes_no_more(spin: Callable[[], int]) -> None:
    pid = spin()
    time.sleep(0.5)
    samples = Samples({"one": pid}, {}, {})
    samples.look()
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    samples.look()
    samples.look()

    assert [span for span in samples.spans() if span.name == "one"] == []
