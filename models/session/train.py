"""Train a model on clicks and write its bundle, with the table that says how good it is: `liveshelf train`.

Sessions are split by time. The oldest 70 % teach. The next 15 % choose the number of epochs and the strength of the
memory. The last 15 % test, and are looked at once. What ships has then learned from all sessions with these choices.
"""

import functools
import itertools
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from models.clicks.dataset import Encoder, Session, with_support
from models.clicks.sessions import Question
from models.quality.evaluate import answers_of_model, metrics
from models.quality.measure import measure_baselines, measure_model
from models.serving.bundle import check_name
from models.serving.newcomers import Words
from models.session.choose import Memory, choose_memory, item_memory
from models.session.epochs import Training, new_model, score_with
from models.session.export import check_size, write_bundle
from models.session.gru import SessionGRU
from models.session.head import MORE_CANDIDATES, Product
from models.session.newcomers import choose_newcomers
from models.session.newcomers import learn as learn_newcomers
from models.session.recipe import TEACH, Recipe, Split, split_by_time
from models.session.saved import TRIAL, Progress, Saved, fingerprint_of, fingerprint_of_facts, opened
from models.session.search import best_recipe
from models.session.segments import SEGMENTS, divide
from models.session.watch import NOBODY, Watch
from models.session.words import ItemFacts

ASKED = 5_000  # questions of the choosing part that judge an epoch
TESTED = 20_000  # questions of the test part at most that the table is made of, for the model and each baseline
MOST_THREADS = 8  # more wait for each other
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
    threads: int = 0,
    product: Product = "indexed",
    recipe: Recipe | None = None,
    names: dict[str, str] | None = None,
    facts_of: ItemFacts | None = None,
    segments: int = SEGMENTS,
    tell: Tell = print,
    watch: Watch = NOBODY,
    store: Path | None = None,
    resume: bool = False,
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
        threads: of the processor; 0 for one a core. The same seed gives the same weights with as many threads.
        names: readable names by item, where there are any.
        facts_of: facts by item. By them the bundle lists items that training never saw, if that answers better.
        segments: into which visitors are divided at most; 0 for a bundle without any.
        store: folder that keeps the trials (see search.best_recipe); None for the folder around the bundle.
        resume: go on from the last epoch of a training that was interrupted (see saved.py). The same arguments and
            sessions then give the same bundle as without the interruption.

    What can refuse the bundle is tried before the last training, with the model of the teaching part.
    Raises DataError where there are too few sessions, or too many items for a bundle.
    """
    started = time.monotonic()
    threads = threads or min(MOST_THREADS, len(os.sched_getaffinity(0)))
    torch.set_num_threads(threads)  # sums are split among them, each always in the same way
    check_name(name, "the training")
    settings = {"name": name, "minutes": minutes, "seed": seed, "trials": trials, "product": product}
    settings |= {"threads": threads, "segments": segments}
    settings["context features"] = list(context_features)
    settings["sessions"] = fingerprint_of(sessions, choose, test)
    if facts_of:
        settings["items"] = fingerprint_of_facts(facts_of)
    parts = split_by_time(sessions, choose, test)
    once = parts.teach is sessions
    recipe = recipe or Recipe.for_sessions(sessions)
    settings |= {f"recipe's {setting}": value for setting, value in recipe._asdict().items()}
    parts = parts._replace(test=_some(parts.test, seed, TESTED))
    parts = parts._replace(teach=with_support(parts.teach, recipe.min_session, recipe.min_item_support))
    sessions = parts.teach if once else with_support(sessions, recipe.min_session, recipe.min_item_support)
    facts: dict[str, str | int | float] = {**source, **_facts(sessions), "seed": seed, "threads": threads}
    tell("{sessions:,} sessions, {sessions_with_context:,} of them with context, {events:,} clicks".format_map(facts))
    tell(f"{len(parts.choose):,} questions to choose by")
    encoder = Encoder(parts.teach, context_features=context_features)
    largest = encoder if once else Encoder(sessions, context_features=context_features)
    needed = check_size(largest, names or {}, recipe.hidden)
    progress = Progress(name, settings, list(context_features), names or {}, dict(source))
    saved = opened(out, progress, resume, tell, needed)
    with _named_at_the_end(saved, tell):
        if saved.progress.recipe:
            recipe = Recipe(**saved.progress.recipe)
        else:
            if trials:
                study = " ".join(map(str, (name, *source.values(), seed, recipe.min_session, recipe.min_item_support)))
                limit, folder = minutes * SEARCH_TIME, store or out.parent
                recipe = search(parts, encoder, recipe, trials, seed, limit, folder, tell, study, watch)
            whole = recipe
            recipe = _affordable(parts.teach, encoder, recipe, seed, started, minutes, tell)
            saved.decide(recipe=recipe._asdict(), whole=whole.epochs)
        watch.recipe({**source, "seed": seed, **recipe._asdict(), "epochs": saved.progress.whole or recipe.epochs})
        model, recipe = _fit(parts, encoder, recipe, seed, tell, watch, saved, once)
        memory = _choose(model, parts, encoder, seed, tell, watch, saved)
        shift = _choose_newcomers(model, encoder, facts_of or {}, parts, seed, tell, watch, saved)
        if shift is not None:
            model.newcomers = learn_newcomers(model, encoder, facts_of or {}, shift)
            facts |= saved.progress.newcomers or {}
        model.segments = divide(model, parts.teach, encoder.index, seed, segments)
        reports = _measured(
            None if test else (model, encoder), sessions if test else parts.teach, parts.test, saved, tell
        )
        facts |= recipe._asdict() | memory.facts() | {"torch": str(torch.__version__)}
        if not saved.progress.product:
            prefixes = [question.prefix for question in _some(parts.choose, seed)]
            trial = saved.folder / TRIAL  # what would refuse the bundle refuses it now
            content = parts.teach, names or {}, product, facts, flat(reports)
            spare = write_bundle(trial, name, model, encoder, *content, prefixes=prefixes, tell=tell)
            shutil.rmtree(trial)
            saved.decide(product=spare.product, more=spare.more)
        shipped, all_items = (
            (model, encoder) if once else _ship(sessions, context_features, recipe, memory, seed, tell, watch, saved)
        )
        if shift is not None:
            shipped.newcomers = learn_newcomers(shipped, all_items, facts_of or {}, shift)
        shipped.segments = model.segments if once else divide(shipped, sessions, all_items.index, seed, segments)
        if shipped.segments is not None:
            tell(shipped.segments.told())
        if test:
            reports = _reports(shipped, all_items, parts.test) | reports
        facts["train_s"] = round(saved.seconds)
        least = saved.progress.more or MORE_CANDIDATES
        content = sessions, names or {}, saved.progress.product or product, facts, flat(reports)
        write_bundle(out, name, shipped, all_items, *content, least=least, tell=tell)
    saved.remove()
    tell(f"{out} holds the bundle, after {facts['train_s']} s")
    return reports


@contextmanager
def _named_at_the_end(saved: Saved, tell: Tell) -> Iterator[None]:
    """Say where the weights are if the training doesn't come to its end."""
    try:
        yield
    except BaseException:
        if latest := saved.latest():
            tell(
                f"{saved.folder} holds the weights of {latest}: go on with --resume, or make a bundle of them with: "
                f"liveshelf models export {saved.folder}"
            )
        raise


def _measured(
    made: tuple[SessionGRU, Encoder] | None, taught: list[Session], test: list[Question], saved: Saved, tell: Tell
) -> dict[str, dict]:
    """Return the reports of a model, if it is the one to test, and of the baselines; they are measured once."""
    if saved.progress.reports is None:
        reports = _reports(*made, test) if made else {}
        saved.decide(reports=reports | measure_baselines(taught, test, tell))
    return saved.progress.reports or {}


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
        for _ in Training(model, parts.teach, encoder, trial, seed, step):
            yield _quality(model, questions, encoder.index)["mrr@20"]

    return best_recipe(recipe, values_of, study, folder, trials=trials, minutes=minutes, seed=seed, tell=tell)


def flat(reports: dict[str, dict]) -> dict[str, dict[str, float]]:
    """Return the reports without intervals and slices."""
    return {
        scorer: {key: value for key, value in report.items() if isinstance(value, float | int)}
        for scorer, report in reports.items()
    }


def _affordable(
    sessions: list[Session],
    encoder: Encoder,
    recipe: Recipe,
    seed: int,
    started_s: float,
    minutes: float,
    tell: Tell = print,
) -> Recipe:
    """Return the recipe with as many epochs as both trainings can have; tell if some of its epochs are left out.

    `started_s` is of the monotonic clock, `minutes` the time for all.
    """
    several = [session for session in sessions if len(session) > 1]  # the others take no time
    probe, begun = new_model(encoder, recipe, seed), 0.0
    for share in (100, PROBE):  # the first one only warms torch up, which takes as long as an epoch of a small shop
        begun = time.monotonic()
        Training(probe, several[: max(1, len(several) // share)], encoder, recipe, seed).next()
    now = time.monotonic()
    both_s = PROBE * (now - begun) * (1 + 1 / TEACH)  # an epoch of each training
    until_s = started_s + 60 * minutes * TRAINING_TIME
    epochs = int(max(1, min(recipe.epochs, (until_s - now) / both_s)))
    if epochs < recipe.epochs:
        wanted = math.ceil((now - started_s + recipe.epochs * both_s) / 60 / TRAINING_TIME)
        tell(
            f"{minutes:g} minutes are enough for {epochs} of {recipe.epochs} epochs; --minutes {wanted} for all of them"
        )
    return recipe._replace(epochs=epochs)


def _fit(
    parts: Split, encoder: Encoder, recipe: Recipe, seed: int, tell: Tell, watch: Watch, saved: Saved, once: bool
) -> tuple[SessionGRU, Recipe]:
    """Return the model of the teaching part, and the recipe with the epochs after which training stopped.

    The time left that it tells is that of the epochs, also of those of all sessions unless there is `once` a training.
    """
    questions, model = _some(parts.choose, seed), new_model(encoder, recipe, seed)
    step = functools.partial(watch.step, "teaching part")
    training = Training(model, parts.teach, encoder, recipe, seed, step)
    values = saved.resume("teaching", training)
    for epoch, measured in enumerate(values, start=1):
        watch.epoch("teaching part", epoch, measured)
    saved.begin("teaching", encoder, parts.teach)
    left = time_left(training, 0 if once else recipe.epochs / TEACH)
    while not _is_stalled(values) and (loss := training.next()) is not None:
        quality = _quality(model, questions, encoder.index)
        recall, mrr = quality["recall@20"], quality["mrr@20"]
        tell(
            f"epoch {training.epoch} of {recipe.epochs}: loss {loss:.4f}  recall@20 {recall:.4f}  MRR@20 {mrr:.4f}  "
            f"{left()} left"
        )
        values.append({"loss": loss, "recall@20": recall, "mrr@20": mrr})
        saved.epoch("teaching", training, values)
        watch.epoch("teaching part", training.epoch, values[-1])
    training.tell_of_divergence(tell)
    return model.eval(), recipe._replace(epochs=max(1, training.epoch))


def time_left(training: Training, more: float = 0.0) -> Callable[[], str]:
    """Return what tells, after each epoch from now on, how long the epochs that are left and `more` will take."""
    begun, known = time.monotonic(), training.epoch

    def told() -> str:
        epoch_s = (time.monotonic() - begun) / (training.epoch - known)
        seconds = epoch_s * (training.epochs - training.epoch + more)
        return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"

    return told


def _is_stalled(values: list[dict[str, float]]) -> bool:
    """Return True if `PATIENCE` epochs have passed since the first of the best ones."""
    quality = [epoch["mrr@20"] for epoch in values]
    return bool(quality) and len(quality) - (quality.index(max(quality)) + 1) >= PATIENCE


def _choose(
    model: SessionGRU, parts: Split, encoder: Encoder, seed: int, tell: Tell, watch: Watch, saved: Saved
) -> Memory:
    """Give the model the memory that answers the choosing part best, and return that memory's settings."""
    numbers = encoder.numbers(parts.teach)
    if saved.progress.memory:
        memory = Memory(**saved.progress.memory)
        model.memory = item_memory(numbers, len(encoder.items), memory, model.item.device)
        return memory
    best, quality_of = choose_memory(model, numbers, parts.choose, encoder.index, watch.step)
    for uses, quality in quality_of.items():
        is_chosen = "  (chosen)" if uses == best.uses else ""
        tell(f"memory, {uses}: recall@20 {quality['recall@20']:.4f}  MRR@20 {quality['mrr@20']:.4f}{is_chosen}")
    saved.memory("teaching", model.memory)
    saved.decide(memory=best._asdict())
    return best


def _choose_newcomers(
    model: SessionGRU,
    encoder: Encoder,
    facts: ItemFacts,
    parts: Split,
    seed: int,
    tell: Tell,
    watch: Watch,
    saved: Saved,
) -> float | None:
    """Return what is added to new items' biases, None where they aren't to be listed by their facts."""
    if not facts:
        return None
    if saved.progress.newcomers is None:
        chosen = choose_newcomers(model, encoder, facts, _some(parts.choose, seed), seed, watch.step)
        if chosen is None:
            tell("new items are not listed: no two items share a word of their facts, or none can be held out to judge")
        else:
            tell(chosen.told())
            count = sum(item not in encoder.index for item in facts)
            if chosen.wins and count > Words.MOST:
                tell(f"{count:,} items have no click; more than {Words.MOST:,} new items aren't listed by their facts")
        saved.decide(newcomers=chosen.facts() if chosen and chosen.wins else {})
    return saved.progress.newcomers["newcomers_shift"] if saved.progress.newcomers else None


def _ship(
    sessions: list[Session],
    features: Sequence[str],
    recipe: Recipe,
    memory: Memory,
    seed: int,
    tell: Tell,
    watch: Watch,
    saved: Saved,
) -> tuple[SessionGRU, Encoder]:
    """Return the model of all sessions, and their items."""
    encoder = Encoder(sessions, context_features=features)
    model = new_model(encoder, recipe, seed)
    added = item_memory(encoder.numbers(sessions), len(encoder.items), memory, model.item.device)
    training = Training(model, sessions, encoder, recipe, seed, functools.partial(watch.step, "all sessions"))
    values = saved.resume("all", training)
    for epoch, measured in enumerate(values, start=1):
        watch.epoch("all sessions", epoch, measured)
    saved.begin("all", encoder, sessions)
    saved.memory("all", added)
    left = time_left(training)
    while (loss := training.next()) is not None:
        tell(f"all sessions, epoch {training.epoch} of {recipe.epochs}: loss {loss:.4f}  {left()} left")
        values.append({"loss": loss})
        saved.epoch("all", training, values)
        watch.epoch("all sessions", training.epoch, values[-1])
    training.tell_of_divergence(tell)
    model.memory = added
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


def _some(questions: list[Question], seed: int, count: int = ASKED) -> list[Question]:
    """Return a sample of `count` questions, the same each time, in their order."""
    if len(questions) <= count:
        return questions
    return [questions[row] for row in np.sort(np.random.default_rng(seed).choice(len(questions), count, replace=False))]
