"""Fit the memory's weights on questions that come later than what the memory learned from, and choose among memories.

The weights are some thirty, and scores are linear in them, so cross-entropy has one minimum, which L-BFGS finds. What
the memory changes are a few hundred columns of a session. The scores of all other items matter to the loss as one sum,
and to a rank as their best few. So the network is asked once, and a fit then costs the same for any catalogue.

Shapes: B sessions, N items, X entries of the memory, U columns that these change, K nodes, R listed items.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.clicks.dataset import Encoded, context_at, pad
from models.clicks.sessions import Question
from models.quality.evaluate import TYPE_INDEX, metrics, rows_at_once
from models.session import memory
from models.session.gru import Facts, ItemMemory, SessionGRU
from models.session.watch import Step, nobody

FITTED = 5_000  # questions at most: those next to what the network learned from, as in serving
JUDGED_BY = ("recall@20", "mrr@20")  # their sum
GAIN = 2e-3  # less is chance: 5,000 questions tell such a sum to within some .01
LISTED = 20
# The network's scores are multiplied by a scale between these while the weights are fitted, and the weights divided by
# it afterwards, which leaves the order as it is.
SCALES = (0.02, 1.6)
NODES = 8
RIDGE = 1e-4  # times the squares of all weights, added to the mean loss
EVALUATIONS = 30
FLOOR = -1e4  # stands for the log of nothing: a gradient of -inf would be none
FOLDS = 2

# What each memory may use, simplest first.
NOTHING = "nothing"
OWN_ITEMS = "own items first"
USES = {
    "places": ("followed", "places"),
    "sessions": ("followed", "places", "types", "dwell", "by_session"),
    "successors": ("followed", "succeeded", "places", "types", "dwell", "by_session"),
}
WEIGHTS = USES["successors"]
FIRST = 24.0  # the network's scores lie between -12 and 12


class Memory(NamedTuple):
    """Hold what was chosen: a name of `USES` or one of the two without a fit, and the weights of an `ItemMemory`."""

    uses: str = NOTHING
    weights: dict[str, Any] = {}  # noqa: RUF012 - never written to

    def facts(self) -> dict[str, str]:
        """Return what a manifest's `training` tells of it; its weights are in the graph."""
        return {"memory": self.uses}


def item_memory(numbers: Encoded, n_items: int, chosen: Memory, device: torch.device) -> ItemMemory | None:
    """Return the memory of sessions of items 1..N, or None where it would add nothing."""
    if chosen.uses == NOTHING:
        return None

    has_followers = np.any(chosen.weights.get("followed", 0.0))
    made = ItemMemory(
        memory.followers(numbers, n_items) if has_followers else memory.none(n_items),
        memory.successors(numbers, n_items) if "succeeded" in chosen.weights else None,
    )
    return with_weights(made, chosen).to(device)


def with_weights(made: ItemMemory, chosen: Memory) -> ItemMemory:
    """Give a memory the weights that were chosen, and return it."""
    with torch.no_grad():
        for name, values in chosen.weights.items():
            getattr(made, name).copy_(torch.tensor(values))
    return made


def choose_memory(
    model: SessionGRU, numbers: Encoded, questions: Sequence[Question], index: dict[str, int], step: Step = nobody
) -> tuple[Memory, dict[str, dict[str, float]]]:
    """Give the model the best memory for `questions`, and return it and the metrics of each one by name.

    `numbers` are the sessions that the model has learned from. Each memory is fitted to one half of the questions and
    judged by the other one, in turn. The best is then fitted to all. No memory is one of the choices, and so is one
    that lists a session's own items first, as the baseline `popular_in_session` does.
    """
    rows = memory.followers(numbers, len(index)), memory.successors(numbers, len(index))
    made = ItemMemory(*rows).to(model.item.device)
    asked = ask(model, made, questions, index)
    first = Memory(OWN_ITEMS, {"places": [FIRST] * len(made.places)})
    quality_of = {
        NOTHING: asked.quality(asked.ranks(made)),
        OWN_ITEMS: asked.quality(asked.ranks(with_weights(made, first))),
    }
    for number, uses in enumerate(USES):
        step("memory", number, len(USES))
        ranks = asked.ranks(made)
        for fold in range(FOLDS):
            fit(made, asked, USES[uses], [part for part in range(FOLDS) if part != fold])
            found = asked.ranks(made)
            ranks = np.where(asked.folds == fold, found, ranks)
        quality_of[uses] = asked.quality(ranks)
    best = _best(quality_of)
    if best in USES:
        fit(made, asked, USES[best], range(FOLDS))
        chosen = Memory(best, {name: getattr(made, name).tolist() for name in USES[best]})
    else:
        chosen = Memory() if best == NOTHING else first
    model.memory = item_memory(numbers, len(index), chosen, model.item.device)
    return chosen, quality_of


def worth(quality: Mapping[str, float]) -> float:
    """Return the one number by which choices are compared."""
    return sum(quality[name] for name in JUDGED_BY)


def _best(quality_of: dict[str, dict[str, float]]) -> str:
    """Return the best memory; a later one has to gain `GAIN` on one before it, which is simpler."""
    best = NOTHING
    for uses in quality_of:
        if worth(quality_of[uses]) > worth(quality_of[best]) + GAIN:
            best = uses
    return best


class Part(NamedTuple):
    """Hold B of the questions, with what the network alone says; no weight of the memory changes it."""

    facts: Facts
    slots: Tensor  # int64 [B, X]: the place among the changed columns of each entry
    alone: Tensor  # float32 [B, U]: the network's scores of the changed columns, FLOOR where there is none
    target: Tensor  # int64 [B, 1]: the slot of the item that came next
    rest: Tensor  # float32 [B, K]: log of the sum of exp(scale * score) of all other items, at each node
    best: Tensor  # float32 [B, R]: the best scores of the other items
    folds: Tensor  # int64 [B]


class Asked(NamedTuple):
    """Hold questions; those that the model can't answer are counted as misses."""

    parts: list[Part]
    misses: int
    folds: np.ndarray  # int64: of each answered question, in order of the parts

    def ranks(self, made: ItemMemory) -> np.ndarray:
        """Return the targets' ranks, inf behind `LISTED`; a target ranks behind all items with its score."""
        found = []
        with torch.no_grad():
            for part in self.parts:
                scores = _changed(part, made, torch.ones(()))
                target = scores.gather(1, part.target)
                rank = (scores >= target).sum(1) + (part.best >= target).sum(1)
                found.append(rank.cpu().numpy())
        ranks = np.concatenate([np.zeros(0), *found])
        return np.where(ranks <= LISTED, ranks, np.inf)

    def quality(self, ranks: np.ndarray) -> dict[str, float]:
        """Return the metrics of all questions."""
        return metrics(np.concatenate([ranks, np.full(self.misses, np.inf)]))


def ask(model: SessionGRU, made: ItemMemory, questions: Sequence[Question], index: dict[str, int]) -> Asked:
    """Ask the network alone, the first `FITTED` questions at most.

    Each is asked twice, the second time without types, gaps and context: the memory also fits events that lack them.
    """
    model.memory = None
    questions = sorted(questions[:FITTED], key=lambda question: len(question.prefix))  # batches pad little
    parts, misses = [], 0
    rows = rows_at_once(len(index))
    for start, is_shown in itertools.product(range(0, len(questions), rows), (True, False)):
        some = questions[start : start + rows]
        targets = np.array([index.get(question.target, 0) for question in some])
        batch = pad([question.prefix for question in some], index, TYPE_INDEX)
        real = (batch.items[:, 0] > 0) & (targets > 0)
        misses += int((~real).sum())
        if real.any():
            context = context_at([question.prefix[-1] for question in some], model.n_context)
            if not is_shown:
                batch = batch._replace(types=np.zeros_like(batch.types), gaps=np.zeros_like(batch.gaps))
                context = np.zeros_like(context)
            inputs = [torch.from_numpy(array[real]).to(model.item.device) for array in (*batch, context)]
            folds = torch.from_numpy(np.arange(start, start + len(some))[real] % FOLDS)
            parts.append(_part(model.eval(), made, inputs, torch.from_numpy(targets[real] - 1), folds))
    return Asked(parts, misses, np.concatenate([np.zeros(0, np.int64), *(part.folds.numpy() for part in parts)]))


@torch.no_grad()
def _part(model: SessionGRU, made: ItemMemory, inputs: list[Tensor], targets: Tensor, folds: Tensor) -> Part:
    items, types, gaps, lengths, _ = inputs
    facts, scores = made.facts(items, types, gaps, lengths), model(*inputs)  # [B, N]
    entries = torch.cat([facts.columns, targets.to(items.device).unsqueeze(1)], 1)  # [B, X + 1]
    columns, order = entries.sort(1)
    is_new = torch.ones_like(columns, dtype=torch.bool)
    is_new[:, 1:] = columns[:, 1:] != columns[:, :-1]
    in_order = is_new.cumsum(1) - 1  # [B, X + 1]
    slots = torch.zeros_like(entries).scatter(1, order, in_order)
    width = int(slots.max()) + 1  # U
    alone = torch.full((len(items), width), FLOOR, device=items.device)
    alone = alone.scatter(1, in_order, scores.gather(1, columns))
    others = scores.scatter(1, columns, -torch.inf)  # [B, N]
    rest = torch.stack([torch.logsumexp(node * others, 1) for node in _nodes().tolist()], 1).clamp(min=FLOOR)
    best = others.topk(min(LISTED, others.shape[1])).values
    return Part(facts, slots[:, :-1], alone, slots[:, -1:], rest, best, folds)


def _nodes() -> np.ndarray:
    """Return the scales [K] at which the others' sum is known: Chebyshev's, between which a polynomial is close."""
    low, high = SCALES
    return (low + high) / 2 + (high - low) / 2 * np.cos((np.arange(NODES) + 0.5) * np.pi / NODES)


def _changed(part: Part, made: ItemMemory, scale: Tensor) -> Tensor:
    """Return the scores [B, U] of the changed columns, the network's times `scale`."""
    return (scale * part.alone).scatter_add(1, part.slots, made.added(part.facts))


def _losses(part: Part, made: ItemMemory, scale: Tensor) -> Tensor:
    """Return the cross-entropy [B] of the items that came next, over the whole catalogue."""
    scores = _changed(part, made, scale)
    nodes = torch.from_numpy(_nodes()).float().to(scale.device)
    apart = scale - nodes  # Lagrange's polynomial through the nodes
    shares = torch.stack(
        [torch.prod(torch.cat([apart[:k], apart[k + 1 :]])) / _product(nodes, k) for k in range(len(nodes))]
    )
    total = torch.logaddexp(torch.logsumexp(scores, 1), part.rest @ shares)
    return total - scores.gather(1, part.target).squeeze(1)


def _product(nodes: Tensor, at: int) -> Tensor:
    return torch.prod(nodes[at] - torch.cat([nodes[:at], nodes[at + 1 :]]))


def fit(made: ItemMemory, asked: Asked, names: Sequence[str], folds: Sequence[int]) -> None:
    """Give the memory the weights `names` that fit the questions of `folds` best; all its other weights become 0."""
    low, high = SCALES
    position = torch.zeros((), device=made.followed.device, requires_grad=True)  # the middle of both
    with torch.no_grad():
        for name in WEIGHTS:
            getattr(made, name).zero_()
    weights = [getattr(made, name) for name in names]
    parts = [(part, torch.isin(part.folds, torch.tensor(list(folds)))) for part in asked.parts]
    count = max(1, sum(int(is_used.sum()) for _, is_used in parts))
    solver = torch.optim.LBFGS(
        [position, *weights], max_iter=EVALUATIONS, max_eval=EVALUATIONS, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        solver.zero_grad()
        value = RIDGE * sum((each**2).sum() for each in weights)
        value.backward()
        for part, is_used in parts:
            scale = low + (high - low) * torch.sigmoid(position)
            mean = (_losses(part, made, scale) * is_used.to(scale.device)).sum() / count
            mean.backward()
            value = value + mean.detach()
        return value.detach()

    solver.step(loss)
    with torch.no_grad():
        scale = low + (high - low) * torch.sigmoid(position)
        for weight in weights:
            weight /= scale
