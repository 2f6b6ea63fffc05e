"""Choose the product, and how many more candidates the int8 product passes on, from the errors it makes with a model.

A constant was right for two shops and wrong for a third one, whose training then ended without a bundle. So the exact
best k of a shop's own questions are looked up in the int8 product's order. The number is twice the largest excess. A
product that would need too many is left out, and the bundle is `exact`. An index is taken for a large catalogue, where
it holds nearly all items of the exact lists.

Shapes: Q questions, N items, K listed items.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional

from models.clicks.dataset import Event, Session, context_at, pad
from models.quality.evaluate import TYPE_INDEX, rows_at_once
from models.session.gru import SessionGRU
from models.session.head import MORE_CANDIDATES, Product, int8_scores
from models.session.item_index import LOOKED_AT

# Lists that callers ask for: 30 is a list of 20 and what rules may drop (jobs/rankings/ranker.py); 64 is what shelves
# ask for (CANDIDATES in jobs/contract/shelf_plan.py). Longer ones, 240 and 512, are asked for where rules drop most of
# a list. Their last items are hardly ever shown.
LENGTHS = (30, 64)
QUESTIONS = 2_000
MARGIN = 2  # times the largest excess that was measured
# More candidates cost more than the int8 product saves: each is a row of the item matrix that is read and multiplied.
MOST, MOST_OF_ITEMS = 128, 0.25
NOISE = 1e-3  # float32 sums in another order differ by less
# From so many items on an index is tried. A list in a batch of 19 takes 0.25 ms with it and 0.34 with the int8 product
# there; at 100,000 items it takes 0.22 and 0.17.
INDEXED_FROM = 200_000
# Share of the exact lists' items that an index must hold. On real questions an index with .992 of the best 20 had the
# exact product's recall@20 (.7077, 36,971 items), and one with .973 had .7025 where that had .7014 (18,009 items).
INDEXED_OVERLAP = 0.985
# Blocks that an index looks at. With 512 a list of 200,000 items takes 0.42 ms alone and 0.66 in a batch of 19, where
# the int8 product takes 1.4 and 0.34; of a million that takes 7.7 and 1.6.
MOST_BLOCKS = 512


class Asked(NamedTuple):
    """Hold questions as the model's inputs, the lists that are right for them, and what the int8 product does to them.

    `inputs` are arrays as `Bundle.score` takes them, a batch each; `scores` float32 [Q, K] fall, `items` int64 [Q, K].
    """

    inputs: list[list[np.ndarray]]
    scores: np.ndarray
    items: np.ndarray
    needed: int  # more candidates that the worst list needs
    n_items: int


class Spare(NamedTuple):
    """Hold the product that was chosen, its number of more candidates, and what was measured."""

    product: Product
    more: int
    needed: int  # more candidates that the worst list needed
    questions: int
    overlap: float = 1.0  # share of the exact lists' items that the fast lists hold, in the mean
    worst: float = 1.0  # the same of the worst list
    blocks: int = 0  # of an index, that it looks at

    def notes(self) -> dict[str, int | float]:
        """Return what the manifest's `training` tells of it."""
        return {
            "product_questions": self.questions,
            "product_needed": self.needed,
            "product_candidates": self.more if self.product == "fast" else 0,
            "product_blocks": self.blocks if self.product == "indexed" else 0,
            "product_overlap": round(self.overlap, 6),
            "product_overlap_worst": round(self.worst, 6),
        }

    def told(self) -> str:
        """Return the line for a person."""
        lengths = " and ".join(map(str, LENGTHS))
        if self.product == "indexed":
            lists = f"{self.questions:,} lists of {lengths} from the nearest {self.blocks} blocks of the index"
            return f"{lists} hold {self.overlap:.2%} of the exact ones' items, the worst list {self.worst:.1%}"
        found = f"{self.questions:,} lists of {lengths} need up to {self.needed} more candidates of the int8 product"
        held = f"lists hold {self.overlap:.2%} of the exact ones' items, the worst list {self.worst:.1%}"
        if self.product == "fast":
            return f"{found}; with {self.more} more, {held}"
        return f"{found}; the bundle is exact" + ("" if self.worst == 1 else f": with {self.more} more, {held}")


def ask(model: SessionGRU, prefixes: Sequence[Session], index: dict[str, int]) -> Asked:
    """Ask the model the latest `QUESTIONS` of `prefixes` that hold an item of `index`; Q is at least 1.

    Where there is none, the most frequent item alone is asked about.
    """
    known = [prefix for prefix in prefixes if any(event.item in index for event in prefix)][-QUESTIONS:]
    known = sorted(known, key=len) or [[Event(next(iter(index)), "view", 0.0)]]  # batches pad little
    rows = rows_at_once(len(index))
    inputs = []
    for start in range(0, len(known), rows):
        part = known[start : start + rows]
        inputs.append([*pad(part, index, TYPE_INDEX), context_at([each[-1] for each in part], model.n_context)])
    return ask_of(model, inputs)


def ask_of(model: SessionGRU, inputs: list[list[np.ndarray]]) -> Asked:
    """Ask the model these inputs (see `Asked`)."""
    answers = [_answer(model.eval(), arrays) for arrays in inputs]
    scores, items = (np.concatenate([answer[part] for answer in answers]) for part in (0, 1))
    return Asked(inputs, scores, items, max(answer[2] for answer in answers), model.item.shape[0])


@torch.no_grad()
def _answer(model: SessionGRU, arrays: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the right lists of a batch, scores and items [B, K], and the candidates that the worst of them needs."""
    items, types, gaps, lengths, context = (torch.from_numpy(array).to(model.item.device) for array in arrays)
    vectors = model.vectors()
    queries = model.asked(vectors, items, types, gaps, lengths, context)  # [B, H]
    exact = model.remembered(functional.linear(queries, vectors, model.bias), items, types, gaps, lengths)  # [B, N]
    product = int8_scores(queries.cpu().numpy(), vectors.cpu().numpy(), model.bias.cpu().numpy())
    rough = model.remembered(torch.from_numpy(product).to(exact.device), items, types, gaps, lengths)
    n_items, needed = exact.shape[1], 0
    best = exact.topk(min(max(LENGTHS), n_items))
    for length in LENGTHS:
        if length < n_items:
            lowest = rough.gather(1, best.indices[:, :length]).amin(1, keepdim=True)  # [B, 1]
            needed = max(needed, int((rough >= lowest).sum(1).max()) - length)
    return best.values.cpu().numpy(), best.indices.cpu().numpy() + 1, needed


def choose(asked: Asked, product: Product, least: int = MORE_CANDIDATES) -> Spare:
    """Return the product and its number of more candidates: twice what was needed, and at least `least`.

    `indexed` becomes `fast` below `INDEXED_FROM` items. `fast` becomes `exact` where more than `MOST` were wanted, or
    more than a quarter of the catalogue.
    """
    more, questions = max(least, MARGIN * asked.needed), len(asked.scores)
    if product == "indexed" and asked.n_items < INDEXED_FROM:
        product = "fast"
    if product == "fast" and more > min(MOST, MOST_OF_ITEMS * asked.n_items):
        product = "exact"
    return Spare(product, more, asked.needed, questions, blocks=LOOKED_AT if product == "indexed" else 0)


def checked(spare: Spare, asked: Asked, score: Callable[..., tuple[np.ndarray, np.ndarray]]) -> Spare:
    """Return `spare` with the overlap of the lists that `score` (as `Bundle.score`) gives and the right ones.

    Where lists aren't right, it becomes what `plainer` says: where the worst list of `fast` lacks an item, and where
    those of an index lack too many.
    """
    overlaps = [
        overlap(asked, [score(*arrays, k=min(length, asked.n_items)) for arrays in asked.inputs]) for length in LENGTHS
    ]
    held = np.concatenate(overlaps)
    spare = spare._replace(overlap=float(held.mean()), worst=float(held.min()))
    is_right = spare.overlap >= INDEXED_OVERLAP if spare.product == "indexed" else spare.worst == 1
    return spare if is_right else plainer(spare, asked)


def plainer(spare: Spare, asked: Asked) -> Spare:
    """Return `spare` with what comes next: an index with twice the blocks, then `fast`, then `exact`."""
    if spare.product != "indexed":
        return spare._replace(product="exact")
    if 2 * spare.blocks <= MOST_BLOCKS:
        return spare._replace(blocks=2 * spare.blocks)
    return spare._replace(product=choose(asked, "fast", spare.more).product, blocks=0)


def overlap(asked: Asked, lists: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return for each question the share of the right list's items that a list holds, float [Q].

    An item whose score is that of the list's last item counts as held: either may stand there.
    """
    scores, items = (np.concatenate([each[part] for each in lists]) for part in (0, 1))
    length = items.shape[1]
    is_there = (asked.items[:, :length, None] == items[:, None, :]).any(2)
    return (is_there | (asked.scores[:, :length] <= scores[:, -1:] + NOISE)).mean(1)
