"""Which step of a worker's job a stack belongs to. The stacks are as py-spy 0.4.3 wrote them, cut short."""

import pytest

from jobs.features.online_store import RowEncoder
from jobs.lab.bench import steps
from jobs.rankings.context import ContextReader
from jobs.rankings.publish import Encoder, Publisher
from jobs.settings import REPOSITORY

BUNDLE = "thread (7): Thread-12;BundleProcessor.process_bundle (apache_beam/runners/worker/bundle_processor.py:1131)"
EVAL = f"{BUNDLE};RankSessions.eval (jobs/rankings/operator.py:148)"
WRITE = f"{EVAL};Publisher.publish (jobs/rankings/publish.py:226);Connection.run (jobs/connect/redis_pipeline.py:120)"


@pytest.mark.parametrize(
    ("stack", "step"),
    [
        (BUNDLE, "Beam, Arrow and pandas"),
        (EVAL, "rest of the operator"),
        (WRITE, "write lists"),
        (
            f"{EVAL};RankSessions._rank (jobs/rankings/operator.py:204);current_sessions (jobs/rankings/session.py:66)",
            "cut sessions",
        ),
        (f"{EVAL};encode (jobs/rankings/candidates/session_model.py:116)", "encode sessions"),
        (f"{EVAL};SessionModel.candidates (jobs/rankings/candidates/session_model.py:80)", "model"),
        ("thread (9): redis;Connection._exchange (jobs/connect/redis_pipeline.py:80)", "write rows"),
        ("thread (1): MainThread;main (pyflink/fn_execution/beam/beam_sdk_worker_main.py:5)", "other threads"),
    ],
)
def test_a_stack_belongs_to_the_step_that_its_frames_name(stack: str, step: str) -> None:
    assert steps.step(stack) == step


@pytest.mark.parametrize("part", [part for part in steps.STEPS if "(jobs/" in part or "(models/" in part])
def test_a_step_names_a_place_that_there_is(part: str) -> None:
    assert (REPOSITORY / part.partition("(")[2]).exists()


@pytest.mark.parametrize("part", [part for part in steps.STEPS if "(" not in part and "." in part])
def test_a_step_names_code_that_there_is(part: str) -> None:
    name, _, method = part.partition(".")
    found = [kind for kind in (ContextReader, Publisher, Encoder, RowEncoder) if kind.__name__ == name]
    assert len(found) == 1
    assert not method or hasattr(found[0], method)


def test_a_share_counts_no_thread_that_waits() -> None:
    """Three quarters of the samples that did something were the model's."""
    waiting = "thread (3): read_state;Condition.wait (threading.py:327) 900"
    redis = f"{WRITE};_HiredisParser.read_from_socket (redis/_parsers/hiredis.py:60) 500"
    model = f"{EVAL};SessionModel.candidates (jobs/rankings/candidates/session_model.py:80) 30"

    assert steps.shares([waiting, redis, model, f"{EVAL} 10"]) == {"model": 0.75, "rest of the operator": 0.25}
    assert steps.shares([waiting]) == {}
