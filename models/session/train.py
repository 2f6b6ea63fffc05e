"""Train a model on clicks and write its bundle, with the table that says how good it is: `liveshelf train`.

Sessions are split by time. The oldest 70 % teach. The next 15 % choose the number of epochs and the strength of the
memory. The last 15 % test, and are looked at once. What ships has then learned from all sessions with these choices.
"""

import functools
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from models.clicks.dataset import Encoder, Session, with_support
from models.clicks.sessions import Question
from models.quality.evaluate import answers_of_model, metrics
from models.quality.measure import measure_baselines, measure_model
from models.session.choose import Memory, choose_memory, item_memory
from models.session.epochs import epochs_of, new_model, score_with
from models.session.export import write_bundle
from models.session.gru import SessionGRU
from models.session.head import Product
from models.session.recipe import TEACH, Recipe, Split, split_by_time
from models.session.search import best_recipe
from models.session.watch import NOBODY, Watch

ASKED = 5_000  # questions of the choosing part that judge an epoch; the table asks all
# Epochs without a better MRR@20 before training stops. The model isn't set back to its best epoch: what ships learns
# for as many epochs, and the memory is weighed against that. Set back, the memory was weighed against a network that is
# less certain than the one that ships.
PATIENCE = 5
PROBE = 10  # a tenth of the sessions tells how long an epoch takes
SEARCH_TIME = 0.5  # of the time for all
TRAINING_TIME = 0.9  # of the time for all; the rest chooses and tests

Tell = Callable[[str], None]


def train_bundle(
    sessions: list[Session],
    out: Path,
    name: str,
    source: dict[str, str],
    *,
    context_features: Sequence[str] = (),
    choose: list[Session] | None = None,
    test: list[Session] | None = None,
    seed: int = 1,
    minutes: float = 40.0,
    trials: int = 0,
    product: Product = "fast",
    recipe: Recipe | None = None,
    names: dict[str, str] | None = None,
    tell: Tell = print,
    watch: Watch = NOBODY,
    store: Path | None = None,
) -> dict[str, dict]:
    """Train on `sessions`, oldest first, write the bundle, and return the reports of the model and the baselines.

    Args:
        source: where the sessions came from, for the manifest.
        context_features: what the events' `context` holds, "view:feature"; the model reads them in this order.
        choose: with `test`, other sessions to choose by. Without them a part of `sessions` is used, and what ships
            learns from that part too, in a second training.
        test: later sessions to test with. Then nothing of `sessions` is held back for it, and what ships is tested.
            Without them the last 15 % test a model that has learned from the first 70 %.
        minutes: epochs are left out where the two trainings would take longer.
        trials: so many recipes are tried on the choosing part before, in half of the time at most (see `search`).
        names: readable names by item, where there are any.
        store: folder that keeps the trials (see search.best_recipe); None for the folder around the bundle.

    Raises DataError where there are too few sessions.
    """
    started = time.monotonic()
    torch.set_num_threads(1)  # sums in one order, so that the same seed gives the same weights
    parts = split_by_time(sessions, choose, test)
    once = parts.teach is sessions
    recipe = recipe or Recipe.for_sessions(sessions)
    parts = parts._replace(teach=with_support(parts.teach, recipe.min_session, recipe.min_item_support))
    sessions = parts.teach if once else with_support(sessions, recipe.min_session, recipe.min_item_support)
    facts = source | _facts(sessions) | {"seed": seed}
    tell("{sessions:,} sessions, {sessions_with_context:,} of them with context, {events:,} clicks".format_map(facts))
    tell(f"{len(parts.choose):,} questions to choose by")
    encoder = Encoder(parts.teach, context_features=context_features)
    if trials:
        study = " ".join(map(str, (name, *source.values(), seed, recipe.min_session, recipe.min_item_support)))
        limit, folder = minutes * SEARCH_TIME, store or out.parent
        recipe = search(parts, encoder, recipe, trials, seed, limit, folder, tell, study, watch)
    watch.recipe({**source, "seed": seed, **recipe._asdict()})
    recipe = _affordable(parts.teach, encoder, recipe, seed, started + 60 * minutes * TRAINING_TIME)
    model, recipe = _fit(parts, encoder, recipe, seed, tell, watch)
    memory = _choose(model, parts, encoder, seed, tell, watch)
    shipped, all_items = (
        (model, encoder) if once else _ship(sessions, context_features, recipe, memory, seed, tell, watch)
    )
    reports = _reports(*((shipped, all_items) if test else (model, encoder)), parts.test)
    reports |= measure_baselines(sessions if test else parts.teach, parts.test, tell)
    facts |= recipe._asdict() | memory._asdict() | {"torch": str(torch.__version__)}
    facts["train_s"] = round(time.monotonic() - started)
    write_bundle(out, name, shipped, all_items, sessions, names or {}, product, facts, flat(reports), tell=tell)
    tell(f"{out} holds the bundle, after {facts['train_s']} s")
    return reports


def _facts(sessions: list[Session]) -> dict[str, int]:
    """Return the counts that the manifest tells of the sessions."""
    return {
        "sessions": len(sessions),
        "sessions_with_context": sum(bool(session[0].context) for session in sessions),
        "events": sum(map(len, sessions)),
    }


def search(
    parts: Split,
    encoder: Encoder,
    recipe: Recipe,
    trials: int,
    seed: int,
    minutes: float,
    folder: Path,
    tell: Tell,
    study: str = "recipe",
    watch: Watch = NOBODY,
) -> Recipe:
    """Return the recipe with the best MRR@20 on the choosing part, `recipe` itself among them (see best_recipe)."""
    questions, number = _some(parts.choose, seed), itertools.count(1)

    def values_of(trial: Recipe) -> Iterator[float]:
        model = new_model(encoder, trial, seed)
        step = functools.partial(watch.step, f"recipe {next(number)} of {trials}")
        for _ in epochs_of(model, parts.teach, encoder, trial, seed, step):
            yield _quality(model, questions, encoder.index)["mrr@20"]

    return best_recipe(recipe, values_of, study, folder, trials=trials, minutes=minutes, seed=seed, tell=tell)


def flat(reports: dict[str, dict]) -> dict[str, dict[str, float]]:
    """Return the reports without intervals and slices."""
    return {
        scorer: {key: value for key, value in report.items() if isinstance(value, float | int)}
        for scorer, report in reports.items()
    }


def _affordable(sessions: list[Session], encoder: Encoder, recipe: Recipe, seed: int, until_s: float) -> Recipe:
    """Return the recipe with as many epochs as both trainings can have before `until_s` of the monotonic clock."""
    probe, begun = new_model(encoder, recipe, seed), 0.0
    for share in (100, PROBE):  # the first one only warms torch up, which takes as long as an epoch of a small shop
        begun = time.monotonic()
        next(epochs_of(probe, sessions[: max(1, len(sessions) // share)], encoder, recipe, seed))
    now = time.monotonic()
    epoch_s = PROBE * (now - begun)
    return recipe._replace(epochs=int(max(1, min(recipe.epochs, (until_s - now) / (epoch_s * (1 + 1 / TEACH))))))


def _fit(
    parts: Split, encoder: Encoder, recipe: Recipe, seed: int, tell: Tell, watch: Watch
) -> tuple[SessionGRU, Recipe]:
    """Return the model of the teaching part, and the recipe with the epochs after which training stopped."""
    questions, model = _some(parts.choose, seed), new_model(encoder, recipe, seed)
    best, best_epoch = -1.0, 0
    step = functools.partial(watch.step, "teaching part")
    for epoch, loss in enumerate(epochs_of(model, parts.teach, encoder, recipe, seed, step), start=1):
        quality = _quality(model, questions, encoder.index)
        recall, mrr = quality["recall@20"], quality["mrr@20"]
        tell(f"epoch {epoch} of {recipe.epochs}: loss {loss:.4f}  recall@20 {recall:.4f}  MRR@20 {mrr:.4f}")
        watch.epoch("teaching part", epoch, {"loss": loss, "recall@20": recall, "mrr@20": mrr})
        if mrr > best:
            best, best_epoch = mrr, epoch
        elif epoch - best_epoch == PATIENCE:
            recipe = recipe._replace(epochs=epoch)
            break
    return model.eval(), recipe


def _choose(model: SessionGRU, parts: Split, encoder: Encoder, seed: int, tell: Tell, watch: Watch) -> Memory:
    """Give the model the memory that answers the choosing part best, and return that memory's settings."""
    questions, numbers = _some(parts.choose, seed), encoder.numbers(parts.teach)
    best, quality_of = choose_memory(model, numbers, questions, encoder.index, watch.step)
    for memory in (Memory(), best):
        quality = quality_of[memory]
        tell(f"{memory}: recall@20 {quality['recall@20']:.4f}  MRR@20 {quality['mrr@20']:.4f}")
    return best


def _ship(
    sessions: list[Session],
    features: Sequence[str],
    recipe: Recipe,
    memory: Memory,
    seed: int,
    tell: Tell,
    watch: Watch,
) -> tuple[SessionGRU, Encoder]:
    """Return the model of all sessions, and their items."""
    encoder = Encoder(sessions, context_features=features)
    model = new_model(encoder, recipe, seed)
    step = functools.partial(watch.step, "all sessions")
    for epoch, loss in enumerate(epochs_of(model, sessions, encoder, recipe, seed, step), start=1):
        tell(f"all sessions, epoch {epoch} of {recipe.epochs}: loss {loss:.4f}")
        watch.epoch("all sessions", epoch, {"loss": loss})
    model.memory = item_memory(encoder.numbers(sessions), len(encoder.items), memory, model.item.device)
    return model.eval(), encoder


def _reports(model: SessionGRU, encoder: Encoder, questions: list[Question]) -> dict[str, dict]:
    """Return the reports of the model, and of its network without the memory."""
    reports = {"model": measure_model(score_with(model), questions, encoder.index, model.n_context)}
    memory, model.memory = model.memory, None
    reports["gru_alone"] = measure_model(score_with(model), questions, encoder.index, model.n_context)
    model.memory = memory
    return reports


def _quality(model: SessionGRU, questions: list[Question], index: dict[str, int]) -> dict[str, float]:
    """Return the metrics that an epoch is judged by."""
    return metrics(answers_of_model(score_with(model.eval()), questions, index, model.n_context).ranks)


def _some(questions: list[Question], seed: int) -> list[Question]:
    """Return a sample of `ASKED` questions, the same for each epoch."""
    if len(questions) <= ASKED:
        return questions
    return [questions[row] for row in np.random.default_rng(seed).choice(len(questions), ASKED, replace=False)]
