"""`liveshelf train`: clicks → a bundle, with the table that says what it is worth.

Sessions are split by time: the oldest 70 % teach, the next 15 % choose (the epoch, and how strong the memory is), the
last 15 % are looked at once. What ships has then learned from all of them with what was chosen.
"""

import functools
import itertools
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from jobs.errors import DataError
from models.clicks.dataset import EVENT_TYPES, MAX_EVENTS, Batch, Encoder, Session, kept, pad, pad_context
from models.clicks.sessions import Question, questions_of
from models.quality.evaluate import TYPE_INDEX, Score, answers_of_model, metrics
from models.quality.measure import measure_baselines, measure_model
from models.serving.bundle import CONTEXT_FEATURES, load_bundle
from models.session.choose import Memory, choose_memory, item_memory
from models.session.export import export_onnx, torch_list, write_manifest, write_vocabulary
from models.session.gru import Sample, SessionGRU
from models.session.head import Product
from models.session.losses import loss_named
from models.session.search import best_recipe
from models.session.watch import NOBODY, Watch, nobody

TEACH, CHOOSE = 0.70, 0.15
ASKED = 5_000  # questions of the choosing part that an epoch is judged by; all are asked for the table
# Half of the training sessions show no types, gaps or context: the model then also works for events that lack them.
SIDE_INPUT_DROPOUT = 0.5
BUCKET_BATCHES = 40  # batches whose sessions are sorted by length together: less padding, and still shuffled
# Epochs without a better MRR@20 before training stops. The model isn't set back to its best epoch: what ships learns for
# as many epochs, and the memory is weighed against that. Set back, the memory was weighed against a less certain network.
PATIENCE = 5
PROBE = 10  # a tenth of the sessions tells how long an epoch takes
SEARCH_TIME = 0.5
WARM_UP = 0.03  # of the steps
GOLDEN_ROWS, GOLDEN_EVENTS = 4, 8
DROPOUT = ((100.0, 0.2), (15.0, 0.35), (0.0, 0.45))  # from so many clicks an item on
SMALL_CATALOGUE = 4  # times the negatives: below it the whole catalogue is scored

Tell = Callable[[str], None]


class Recipe(NamedTuple):
    """Settings of a training; the defaults were chosen on the choosing parts of four sets (models/README.md)."""

    epochs: int = 10
    batch_rows: int = 128
    learning_rate: float = 3e-3
    dropout: float = 0.35
    hidden: int = 128
    negatives: int = 2048
    alpha: float = 0.5  # negatives are drawn by popularity ** alpha
    loss: str = "cross_entropy"  # or bpr_max, with `penalty` on the scores of the negatives (losses.py)
    penalty: float = 0.01
    min_session: int = 1  # clicks; shorter sessions teach nothing (see dataset.kept)
    min_item_support: int = 1  # clicks; rarer items aren't in the catalogue

    @classmethod
    def for_sessions(cls, sessions: list[Session]) -> "Recipe":
        """Few sessions get small batches, for more steps; the fewer clicks an item has, the more dropout."""
        clicks = sum(map(len, sessions)) / len({event.item for session in sessions for event in session})
        dropout = next(dropout for least, dropout in DROPOUT if clicks >= least)
        return cls(dropout=dropout) if len(sessions) >= 50_000 else cls(epochs=12, batch_rows=64, dropout=dropout)


class Split(NamedTuple):
    """Sessions by time; `choose` and `test` as questions."""

    teach: list[Session]
    choose: list[Question]
    test: list[Question]


def split_by_time(
    sessions: list[Session], choose: list[Session] | None = None, test: list[Session] | None = None
) -> Split:
    """70 / 15 / 15 % of the sessions in their order; 85 / 15 % where the sessions to test with are given.

    Where those to choose by are given too, all of `sessions` teach. Raises DataError if a part has no question to ask.
    """
    if choose and test:
        parts = Split(sessions, questions_of(choose), questions_of(test))
    else:
        taught = TEACH if test is None else 1 - CHOOSE
        first, second = round(len(sessions) * taught), round(len(sessions) * (taught + CHOOSE))
        last = questions_of(sessions[second:] if test is None else test)
        parts = Split(sessions[:first], questions_of(sessions[first:second]), last)
    if not (any(len(session) > 1 for session in parts.teach) and parts.choose and parts.test):
        raise DataError(
            f"{len(sessions):,} sessions, {sum(len(s) > 1 for s in sessions):,} of them with two clicks or more, are "
            "too few to teach, choose and test with",
            "give at least some dozens of sessions with two clicks or more",
        )
    return parts


def batches(
    sessions: list[Session], index: dict[str, int], rows: int, rng: np.random.Generator
) -> Iterator[tuple[Batch, np.ndarray]]:
    """Shuffled batches of sessions of like length, with their context [B, T, C]; one event alone has nothing to predict.

    Sorting all of them by length would pad still less, and cost 0.027 of MRR@20 on eshop's July.
    """
    usable = [kept for session in sessions if len(kept := session[-MAX_EVENTS:]) > 1]
    lengths = np.array([len(session) for session in usable])
    order = rng.permutation(len(usable))
    made = []
    for start in range(0, len(order), rows * BUCKET_BATCHES):
        bucket = order[start : start + rows * BUCKET_BATCHES]
        bucket = bucket[np.argsort(lengths[bucket], kind="stable")]
        made += [bucket[place : place + rows] for place in range(0, len(bucket), rows)]
    for place in rng.permutation(len(made)):
        shown = [usable[row] for row in made[place]]
        batch = pad(shown, index, TYPE_INDEX)
        yield batch, pad_context(shown, index, batch.items.shape[1])


def side_inputs(
    batch: Batch, context: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Types [B, T], gaps [B, T] and context [B, T, C] of a training batch, zeroed in `SIDE_INPUT_DROPOUT` of its rows."""
    shown = rng.random((len(batch.items), 1)) >= SIDE_INPUT_DROPOUT
    return batch.types * shown, batch.gaps * shown.astype(np.float32), context * shown[:, :, None].astype(np.float32)


def negatives(numbers: list[list[int]], n_items: int, recipe: Recipe, rng: np.random.Generator) -> Sample | None:
    """Draws columns by popularity ** alpha; None where the catalogue is so small that all of it is scored.

    Cross-entropy takes from a score the log of how often its item was to be expected (logQ): one that is drawn often
    stands for fewer others. BPR-max as it was published takes nothing.
    """
    if n_items < SMALL_CATALOGUE * recipe.negatives:
        return None
    counts = np.bincount(np.fromiter(itertools.chain.from_iterable(numbers), np.int64), minlength=n_items + 1)[1:]
    chance = np.maximum(counts, 1) ** recipe.alpha
    chance = chance / chance.sum()
    log_expected = np.log(chance * recipe.negatives) if recipe.loss == "cross_entropy" else np.zeros(n_items)
    upper, taken = chance.cumsum(), torch.from_numpy(log_expected).float()

    def draw() -> tuple[torch.Tensor, torch.Tensor]:
        found = np.searchsorted(upper, rng.random(recipe.negatives)).clip(max=n_items - 1)
        drawn = torch.from_numpy(found)
        return drawn, taken[drawn]

    return draw


def epochs_of(
    model: SessionGRU,
    sessions: list[Session],
    encoder: Encoder,
    recipe: Recipe,
    seed: int,
    step: Callable[[int, int], None] = nobody,
) -> Iterator[float]:
    """Train with Adam, an epoch each time the iterator is asked; gives its mean loss. The rate falls to 0 in a line.

    `step` is told the batches done and their number in all epochs.
    """
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98))
    sample = negatives(encoder.numbers(sessions), len(encoder.items), recipe, rng)
    steps = recipe.epochs * max(1, math.ceil(sum(len(session) > 1 for session in sessions) / recipe.batch_rows))
    targets = sum(min(len(session), MAX_EVENTS) - 1 for session in sessions if len(session) > 1)
    usual = targets * recipe.epochs / steps  # targets in a batch, on average
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / (WARM_UP * steps), max(0.01, 1 - step / steps))
    )
    loss_of = loss_named(recipe.loss, recipe.penalty)
    for epoch in range(recipe.epochs):
        model.train()
        losses = []
        for batch, known in batches(sessions, encoder.index, recipe.batch_rows, rng):
            types, gaps, context = side_inputs(batch, known, rng)
            arrays = (batch.items, types, gaps, batch.lengths, context)
            optimizer.zero_grad()
            tensors = (torch.from_numpy(each).to(model.item.device) for each in arrays)
            loss = model.loss(*tensors, sample=sample, of=loss_of)
            # A batch holds sessions of like length: each target counts the same, not each batch.
            share = float((batch.lengths - 1).sum()) / usual
            (loss * share).backward()
            optimizer.step()
            rate.step()
            losses.append(loss.item() * share)
            step(epoch * steps // recipe.epochs + len(losses), steps)
        yield float(np.mean(losses))


def new_model(encoder: Encoder, recipe: Recipe, seed: int) -> SessionGRU:
    """Untrained, on the GPU where there is one: everything else follows the model's device."""
    torch.manual_seed(seed)
    model = SessionGRU(len(encoder.items), len(EVENT_TYPES), len(CONTEXT_FEATURES), recipe.hidden, recipe.dropout)
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def score_with(model: SessionGRU) -> Score:
    """The model behind the signature of `Bundle.score`."""

    def score(*arrays: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        return torch_list(model, *arrays, k=min(k, model.item.shape[0]))

    return score


def train_bundle(
    sessions: list[Session],
    out: Path,
    name: str,
    source: dict[str, str],
    *,
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
    """Train on `sessions`, oldest first, and write the bundle; the reports of the model and the baselines on a test part.

    Args:
        source: where the sessions came from, for the manifest.
        choose: with `test`, other sessions to choose by; without them a part of `sessions` is used, and what ships
            learns from that part too, in a second training.
        test: later sessions to test with; then nothing of `sessions` is held back for it, and what ships is tested.
            Without them the last 15 % are, by models that have learned from the first 70 %.
        minutes: epochs are left out where the two trainings would take longer.
        trials: so many recipes are tried on the choosing part before, in half of the time at most (see `search`).
        names: readable names by item, where there are any.
        store: folder that keeps what was tried (see search.best_recipe); the bundle's own lies in it if None.

    Raises DataError where there are too few sessions.
    """
    started = time.monotonic()
    torch.set_num_threads(1)  # sums in one order, so that the same seed gives the same weights
    parts = split_by_time(sessions, choose, test)
    once = parts.teach is sessions
    recipe = recipe or Recipe.for_sessions(sessions)
    parts = parts._replace(teach=kept(parts.teach, recipe.min_session, recipe.min_item_support))
    sessions = parts.teach if once else kept(sessions, recipe.min_session, recipe.min_item_support)
    known = sum(bool(session[0].context) for session in sessions)
    tell(f"{len(sessions):,} sessions, {known:,} of them with context, {sum(map(len, sessions)):,} clicks")
    tell(f"{len(parts.choose):,} questions to choose by")
    encoder = Encoder(parts.teach)
    if trials:
        study = " ".join(map(str, (name, *source.values(), seed, recipe.min_session, recipe.min_item_support)))
        recipe = search(
            parts, encoder, recipe, trials, seed, minutes * SEARCH_TIME, store or out.parent, tell, study, watch
        )
    watch.recipe({**source, "seed": seed, **recipe._asdict()})
    model, recipe = _fit(parts, encoder, recipe, seed, started, minutes, tell, watch)
    asked = _some(parts.choose, seed)
    chosen, weighed = choose_memory(model, encoder.numbers(parts.teach), asked, encoder.index, watch.step)
    for tried in (Memory(), chosen):
        tell(f"{tried}: recall@20 {weighed[tried]['recall@20']:.4f}  MRR@20 {weighed[tried]['mrr@20']:.4f}")
    shipped, everything = (model, encoder) if once else _ship(sessions, recipe, chosen, seed, tell, watch)
    found = _tested(*((shipped, everything) if test else (model, encoder)), parts.test)
    found |= measure_baselines(sessions if test else parts.teach, parts.test, tell)
    training = {
        **source,
        "sessions": len(sessions),
        "sessions_with_context": known,
        "events": sum(map(len, sessions)),
        "seed": seed,
        **recipe._asdict(),
        **chosen._asdict(),
        "torch": str(torch.__version__),
        "train_s": round(time.monotonic() - started),
    }
    write_bundle(out, name, shipped, everything, sessions, names or {}, product, training, flat(found))
    tell(f"{out} holds the bundle, after {training['train_s']} s")
    return found


def _tested(model: SessionGRU, encoder: Encoder, questions: list[Question]) -> dict[str, dict]:
    """The reports of the model, and of its network without the memory."""
    found = {"model": measure_model(score_with(model), questions, encoder.index)}
    memory_of_it, model.memory = model.memory, None
    found["gru_alone"] = measure_model(score_with(model), questions, encoder.index)
    model.memory = memory_of_it
    return found


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
    """The recipe with the best MRR@20 on the choosing part, `recipe` itself among them (see search.best_recipe)."""
    asked, number = _some(parts.choose, seed), itertools.count(1)

    def values_of(own: Recipe) -> Iterator[float]:
        model = new_model(encoder, own, seed)
        step = functools.partial(watch.step, f"recipe {next(number)} of {trials}")
        for _ in epochs_of(model, parts.teach, encoder, own, seed, step):
            yield _judged(model, asked, encoder.index)["mrr@20"]

    return best_recipe(recipe, values_of, study, folder, trials=trials, minutes=minutes, seed=seed, tell=tell)


def flat(found: dict[str, dict]) -> dict[str, dict[str, float]]:
    """Without intervals and slices."""
    return {
        scorer: {key: value for key, value in numbers.items() if isinstance(value, float | int)}
        for scorer, numbers in found.items()
    }


def _judged(model: SessionGRU, questions: list[Question], index: dict[str, int]) -> dict[str, float]:
    """What the model is chosen by."""
    return metrics(answers_of_model(score_with(model.eval()), questions, index).ranks)


def _some(questions: list[Question], seed: int) -> list[Question]:
    """A sample of `ASKED`, the same for each epoch."""
    if len(questions) <= ASKED:
        return questions
    return [questions[row] for row in np.random.default_rng(seed).choice(len(questions), ASKED, replace=False)]


def _fit(
    parts: Split, encoder: Encoder, recipe: Recipe, seed: int, started: float, minutes: float, tell: Tell, watch: Watch
) -> tuple[SessionGRU, Recipe]:
    """The model of the teaching part, and the recipe with as many epochs as fit into the time for both trainings."""
    probe, begun = new_model(encoder, recipe, seed), 0.0
    for share in (100, PROBE):  # the first one only warms torch up, which takes as long as an epoch of a small shop
        begun = time.monotonic()
        next(epochs_of(probe, parts.teach[: max(1, len(parts.teach) // share)], encoder, recipe, seed))
    epoch_s = PROBE * (time.monotonic() - begun)
    left_s = minutes * 60 * 0.9 - (time.monotonic() - started)
    recipe = recipe._replace(epochs=int(max(1, min(recipe.epochs, left_s / (epoch_s * (1 + 1 / TEACH))))))
    asked, model = _some(parts.choose, seed), new_model(encoder, recipe, seed)
    best, best_epoch = -1.0, 0
    step = functools.partial(watch.step, "teaching part")
    for epoch, loss in enumerate(epochs_of(model, parts.teach, encoder, recipe, seed, step), start=1):
        found = _judged(model, asked, encoder.index)
        told = f"loss {loss:.4f}  recall@20 {found['recall@20']:.4f}  MRR@20 {found['mrr@20']:.4f}"
        tell(f"epoch {epoch} of {recipe.epochs}: {told}")
        watch.epoch("teaching part", epoch, {"loss": loss, "recall@20": found["recall@20"], "mrr@20": found["mrr@20"]})
        if found["mrr@20"] > best:
            best, best_epoch = found["mrr@20"], epoch
        elif epoch - best_epoch == PATIENCE:
            recipe = recipe._replace(epochs=epoch)
            break
    return model.eval(), recipe


def _ship(
    sessions: list[Session], recipe: Recipe, chosen: Memory, seed: int, tell: Tell, watch: Watch
) -> tuple[SessionGRU, Encoder]:
    """The model of all sessions."""
    encoder = Encoder(sessions)
    model = new_model(encoder, recipe, seed)
    step = functools.partial(watch.step, "all sessions")
    for epoch, loss in enumerate(epochs_of(model, sessions, encoder, recipe, seed, step), start=1):
        tell(f"all sessions, epoch {epoch} of {recipe.epochs}: loss {loss:.4f}")
        watch.epoch("all sessions", epoch, {"loss": loss})
    model.memory = item_memory(encoder.numbers(sessions), len(encoder.items), chosen, model.item.device)
    return model.eval(), encoder


def write_bundle(
    out: Path,
    name: str,
    model: SessionGRU,
    encoder: Encoder,
    sessions: list[Session],
    names: dict[str, str],
    product: Product,
    training: dict,
    table: dict,
) -> None:
    """The bundle's files, checked as a worker checks them."""
    out.mkdir(parents=True, exist_ok=True)
    model = model.cpu()  # the graph is traced, and its golden outputs are computed, where it will be served
    export_onnx(model, out / "model.onnx", product)
    known = {item: names[item] for item in encoder.items if item in names}
    write_vocabulary(out / "vocabulary.json", encoder.clicks, known)
    golden = pad([session[:GOLDEN_EVENTS] for session in sessions[-GOLDEN_ROWS:]], encoder.index, TYPE_INDEX)
    write_manifest(out, model, name, product, golden, training, table)
    load_bundle(out)
