"""Measure a bundle, baselines, or lists of another program on a file of questions: `liveshelf evaluate`."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jobs.errors import DataError
from models.clicks.dataset import Encoder, Session
from models.clicks.sessions import Counts, Question, every, read_lists, read_prefixes, read_sessions
from models.quality.evaluate import Score, answers_of_baseline, answers_of_lists, answers_of_model, report
from models.serving.bundle import Bundle, load_bundle


def measure(
    prefixes: Path,
    model: Path | None,
    lists: Path | None,
    sessions: Path | None,
    tell: Callable[[str], None],
    counts: Counts = every,
) -> dict[str, dict]:
    """Return the reports by name: `model`, `lists`, and each baseline where `sessions` are given.

    Of the sessions' events, baselines learn from those that `counts` says yes to.

    Raises DataError for a file that can't be read or doesn't fit, ModelError for a bundle that is refused.
    """
    questions = read_prefixes(prefixes)
    reports: dict[str, dict] = {}
    if model is not None:
        bundle = load_bundle(model)
        reports["model"] = measure_bundle(bundle, questions)
    if lists is not None:
        started = time.perf_counter()
        rows = read_lists(lists)
        if len(rows) != len(questions):
            raise DataError(
                f"{lists} has {len(rows):,} lists, {prefixes} has {len(questions):,} questions",
                "write one list a line, in the order of the questions",
            )
        ids = Encoder([question.prefix for question in questions]).items
        index = {
            item: number
            for number, item in enumerate(dict.fromkeys([*ids, *(item for row in rows for item in row)]), 1)
        }
        reports["lists"] = report(answers_of_lists(rows, questions, index), questions, index) | _seconds(started)
    if sessions is not None:
        reports |= measure_baselines(read_sessions(sessions, counts=counts), questions, tell)
    return reports


def measure_bundle(bundle: Bundle, questions: list[Question]) -> dict:
    """Return the report of a bundle."""
    n_context = len(bundle.context_features)
    return measure_model(bundle.score, questions, bundle.item_index, n_context, bundle.offered())


def measure_model(
    score: Score, questions: list[Question], index: dict[str, int], n_context: int, offered: np.ndarray | None = None
) -> dict:
    """Return the report of a model; `offered` as in `answers_of_model`."""
    started = time.perf_counter()
    return report(answers_of_model(score, questions, index, n_context, offered), questions, index) | _seconds(started)


def measure_baselines(
    sessions: list[Session], questions: list[Question], tell: Callable[[str], None]
) -> dict[str, dict]:
    """Return the report of each baseline after learning from `sessions`."""
    from models.quality.baselines import BASELINES  # needs scipy; lists and models are measured without it

    encoder = Encoder(sessions)
    encoded, index = encoder.numbers(sessions), encoder.index
    reports = {}
    for name, make in BASELINES.items():
        started = time.perf_counter()
        tell(f"{name} …")
        answers = answers_of_baseline(make(encoded, len(index)), questions, index)
        reports[name] = report(answers, questions, index) | _seconds(started)
    return reports


def _seconds(started: float) -> dict[str, float]:
    return {"seconds": round(time.perf_counter() - started, 2)}


def table(reports: dict[str, dict]) -> str:
    """Return the reports as text, a line for each scorer."""
    columns = [f"{metric}@{cutoff}" for metric in ("recall", "mrr", "ndcg") for cutoff in (5, 10, 20)]
    width = max(map(len, reports))
    lines = [" ".join([" " * width, *(f"{column:>9}" for column in columns), "    pairs  seconds"])]
    for name, values in reports.items():
        numbers = [f"{values[column]:9.4f}" for column in columns]
        lines.append(" ".join([f"{name:{width}}", *numbers, f"{values['pairs']:9,}", f"{values['seconds']:8.1f}"]))
    return "\n".join(lines)
