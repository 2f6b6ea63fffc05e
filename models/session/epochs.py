"""Train the network: batches, negatives, and an epoch at a time.

Shapes: B sessions of a batch, T events, C context features, S negatives.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch

from models.clicks.dataset import EVENT_TYPES, Batch, Clicks, Encoder, Session
from models.quality.evaluate import TYPE_INDEX, Score
from models.session.export import torch_list
from models.session.gru import Sample, SessionGRU
from models.session.losses import loss_named
from models.session.recipe import Recipe
from models.session.watch import nobody

# Half of the training sessions show no types, gaps or context: the model then also works for events that lack them.
SIDE_INPUT_DROPOUT = 0.5
# The sessions of so many batches are sorted by length together. That pads less and still shuffles. Sorting all of them
# would pad still less, and cost 0.027 of MRR@20 on eshop's July.
BUCKET_BATCHES = 40
WARM_UP = 0.03  # of the steps
WEIGHTS = "model."  # how the names of weights begin in what is kept
TIMES = "times"  # of the learning rate, in a group of weights
SMALL_CATALOGUE = 1.5  # times the negatives: below it the whole catalogue is scored


def new_model(encoder: Encoder, recipe: Recipe, seed: int) -> SessionGRU:
    """Return an untrained model, on the GPU where there is one: everything else follows the model's device."""
    torch.manual_seed(seed)
    model = SessionGRU(
        len(encoder.items), len(EVENT_TYPES), len(encoder.context_features), recipe.hidden, recipe.dropout
    )
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def score_with(model: SessionGRU) -> Score:
    """Return the model behind the signature of `Bundle.score`."""

    def score(*arrays: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        return torch_list(model, *arrays, k=min(k, model.item.shape[0]))

    return score


def load_weights(model: SessionGRU, arrays: Mapping[str, np.ndarray]) -> None:
    """Give the model the weights among the arrays of `Training.state`."""
    weights = {name: value for name, value in arrays.items() if name.startswith(WEIGHTS)}
    model.load_state_dict({name.removeprefix(WEIGHTS): torch.from_numpy(value) for name, value in weights.items()})


class Training:
    """Train with Adam, an epoch at a time; the learning rate falls to 0 in a line.

    Its state after an epoch can be kept, and another object of the same arguments goes on from there, bit for bit.
    """

    def __init__(
        self,
        model: SessionGRU,
        sessions: list[Session],
        encoder: Encoder,
        recipe: Recipe,
        seed: int,
        step: Callable[[int, int], None] = nobody,
    ) -> None:
        """`step` is called with the batches done and their number in all epochs."""
        self.epoch, self.epochs, self.diverged = 0, recipe.epochs, False
        self._model, self._recipe, self._step = model, recipe, step
        self._rng = np.random.default_rng(seed)
        self._clicks = Clicks.of(sessions, encoder.index, TYPE_INDEX, model.n_context)
        self._sample = negatives(encoder.numbers(sessions), len(encoder.items), recipe, self._rng)
        self._optimizers = optimizers(model, recipe, sampled=self._sample is not None)
        several = self._clicks.lengths[self._clicks.lengths > 1]
        self._steps = steps = recipe.epochs * max(1, math.ceil(len(several) / recipe.batch_rows))
        self._usual = int((several - 1).sum()) * recipe.epochs / steps  # targets in a batch, on average
        self._taken = 0  # steps
        self._loss = loss_named(recipe.loss, recipe.penalty)

    def next(self) -> float | None:
        """Train for an epoch and return its mean loss, None after the last one.

        An epoch that leaves a weight which isn't finite is undone, and none follows: `diverged` is then True.
        """
        if self.diverged or self.epoch >= self.epochs:
            return None
        before = {name: value.clone() for name, value in self._model.state_dict().items()}
        losses = self._batches()
        if not all(bool(torch.isfinite(value).all()) for value in self._model.state_dict().values()):
            self._model.load_state_dict(before)
            self.diverged = True
            return None
        self.epoch += 1
        return float(np.mean(losses))

    def __iter__(self) -> Iterator[float]:
        """Train one epoch each time the iterator is asked, and yield the epoch's mean loss (see `next`)."""
        while (loss := self.next()) is not None:
            yield loss

    def tell_of_divergence(self, tell: Callable[[str], None]) -> None:
        """Say that an epoch was undone, if one was."""
        if self.diverged:
            tell(f"epoch {self.epoch + 1} gave weights that aren't finite: it was undone, and none follows")

    def _batches(self) -> list[float]:
        model, rng, losses = self._model, self._rng, []
        model.train()
        for batch, context in batches(self._clicks, self._recipe.batch_rows, rng):
            self._set_rate()
            inputs = _tensors(batch, context, rng, model.item.device)
            loss = model.loss(*inputs, sample=self._sample, of=self._loss)
            # A batch holds sessions of like length: each target counts the same, not each batch.
            share = float((batch.lengths - 1).sum()) / self._usual
            (loss * share).backward()
            for optimizer in self._optimizers:
                optimizer.step()
                optimizer.zero_grad()
            self._taken += 1
            losses.append(loss.item() * share)
            self._step(self.epoch * self._steps // self.epochs + len(losses), self._steps)
        return losses

    def _set_rate(self) -> None:
        """Let the learning rate rise at first, and then fall to 0 in a line."""
        share = min((self._taken + 1) / (WARM_UP * self._steps), max(0.01, 1 - self._taken / self._steps))
        for group in (group for optimizer in self._optimizers for group in optimizer.param_groups):
            group["lr"] = self._recipe.learning_rate * share * group.get(TIMES, 1.0)

    def state(self) -> tuple[dict[str, np.ndarray], dict]:
        """Return weights, optimizers and torch's generator as arrays, and the state of numpy's generator."""
        tensors = {f"{WEIGHTS}{name}": value for name, value in self._model.state_dict().items()}
        for number, optimizer in enumerate(self._optimizers):
            for place, kept in optimizer.state_dict()["state"].items():
                tensors |= {
                    f"optimizer.{number}.{place}.{name}": torch.as_tensor(value) for name, value in kept.items()
                }
        tensors["generator.cpu"] = torch.get_rng_state()
        if self._model.item.is_cuda:
            tensors["generator.cuda"] = torch.cuda.get_rng_state(self._model.item.device)
        tensors["steps"] = torch.tensor(self._taken)
        arrays = {name: value.detach().cpu().numpy() for name, value in tensors.items()}
        return arrays, dict(self._rng.bit_generator.state)

    def load(self, epoch: int, arrays: dict[str, np.ndarray], generator: dict) -> None:
        """Set the training to what `state` returned after so many epochs."""
        load_weights(self._model, arrays)
        tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
        for number, optimizer in enumerate(self._optimizers):
            kept: dict[int, dict[str, torch.Tensor]] = {}
            for name, value in tensors.items():
                if name.startswith(f"optimizer.{number}."):
                    _, _, place, part = name.split(".")
                    kept.setdefault(int(place), {})[part] = value
            optimizer.load_state_dict(optimizer.state_dict() | {"state": kept})
        self._taken = int(arrays["steps"])
        torch.set_rng_state(tensors["generator.cpu"])
        if "generator.cuda" in tensors and self._model.item.is_cuda:
            torch.cuda.set_rng_state(tensors["generator.cuda"], self._model.item.device)
        self._rng.bit_generator.state = generator
        self.epoch = epoch


def optimizers(model: SessionGRU, recipe: Recipe, sampled: bool) -> list[torch.optim.Optimizer]:
    """Return Adam for the weights; with sampled negatives the item matrix has one of its own, for the rows in use.

    An item that isn't drawn then stands still, where Adam would go on moving it for a while. So its rate is higher.
    """
    options = {"lr": recipe.learning_rate, "betas": (0.9, 0.98)}
    if not sampled:
        return [torch.optim.Adam(model.parameters(), **options)]
    others = [weights for weights in model.parameters() if weights is not model.item]
    of_items = torch.optim.SparseAdam([model.item], **options)
    of_items.param_groups[0][TIMES] = recipe.item_rate
    return [torch.optim.Adam(others, **options), of_items]


def _tensors(
    batch: Batch, context: np.ndarray, rng: np.random.Generator, device: torch.device
) -> Iterator[torch.Tensor]:
    types, gaps, context = side_inputs(batch, context, rng)
    for array in (batch.items, types, gaps, batch.lengths, context):
        yield torch.from_numpy(array).to(device)


def batches(clicks: Clicks, rows: int, rng: np.random.Generator) -> Iterator[tuple[Batch, np.ndarray]]:
    """Yield shuffled batches of sessions of like length, each with its context [B, T, C].

    A session of one event has nothing to predict and is left out.
    """
    usable = np.flatnonzero(clicks.lengths > 1)
    order = usable[rng.permutation(len(usable))]
    rows_of_batch = []
    for start in range(0, len(order), rows * BUCKET_BATCHES):
        bucket = order[start : start + rows * BUCKET_BATCHES]
        bucket = bucket[np.argsort(clicks.lengths[bucket], kind="stable")]
        rows_of_batch += [bucket[place : place + rows] for place in range(0, len(bucket), rows)]
    for place in rng.permutation(len(rows_of_batch)):
        yield clicks.batch(rows_of_batch[place])


def side_inputs(
    batch: Batch, context: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return types [B, T], gaps [B, T] and context [B, T, C], zeroed in `SIDE_INPUT_DROPOUT` of the rows."""
    shown = rng.random((len(batch.items), 1)) >= SIDE_INPUT_DROPOUT
    return batch.types * shown, batch.gaps * shown.astype(np.float32), context * shown[:, :, None].astype(np.float32)


def negatives(numbers: list[list[int]], n_items: int, recipe: Recipe, rng: np.random.Generator) -> Sample | None:
    """Return what draws columns by popularity ** alpha, or None for a catalogue so small that all of it is scored.

    Cross-entropy takes from a score the log of how often its item was to be expected (logQ): an item that is drawn
    often stands for fewer others. BPR-max as it was published takes nothing.
    """
    if n_items < SMALL_CATALOGUE * recipe.negatives:
        return None
    counts = np.bincount(np.fromiter(itertools.chain.from_iterable(numbers), np.int64), minlength=n_items + 1)[1:]
    chance = np.maximum(counts, 1) ** recipe.alpha
    chance = chance / chance.sum()
    log_expected = np.log(chance * recipe.negatives) if recipe.loss == "cross_entropy" else np.zeros(n_items)
    upper, correction = chance.cumsum(), torch.from_numpy(log_expected).float()

    def draw() -> tuple[torch.Tensor, torch.Tensor]:
        places = np.searchsorted(upper, rng.random(recipe.negatives)).clip(max=n_items - 1)
        columns = torch.from_numpy(places)
        return columns, correction[columns]

    return draw
