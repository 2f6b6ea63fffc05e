"""Give items that training never saw a vector and a bias, from their facts: ridge regression on the items it saw.

A fact's word is a category, a brand, a colour; a price counts by the tenth of all prices in which it lies. Each word
has a row, and an item's vector is the mean item plus the rows of its words. A new item then stands among the items that
share its words, seconds after its record. It wins a place of its own when a training has seen its clicks.

Shapes: N items of the catalogue, M new items, F facts, W words of all facts, H hidden units, B questions.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import spsolve

from models.clicks.dataset import Encoder, context_at, pad
from models.clicks.sessions import Question
from models.quality.evaluate import TYPE_INDEX, metrics, rows_at_once
from models.serving.newcomers import Words
from models.session.choose import LISTED, worth
from models.session.gru import SessionGRU
from models.session.watch import Step, nobody
from models.session.words import ItemFacts, Newcomers, words_of

RIDGE = 1.0  # items that each word is given of the mean item's vector
SURE = 5.0  # clicks of which an item's vector is half as sure as it can be
HELD_OUT = 10  # where nothing new is asked about, each tenth item is taken for a new one
ENOUGH = 100  # questions about new items, to choose by
SHIFTS = (-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0)  # added to a new item's bias


class Chosen(NamedTuple):
    """Hold the shift of new items' biases that answers best, and the metrics by which it was chosen.

    `without` and `within` are of all questions, without new items and with them; `alone` is of the questions whose
    answer is a new item.
    """

    shift: float
    questions: int
    is_held_out: bool
    without: dict[str, float]
    within: dict[str, float]
    alone: dict[str, float]

    @property
    def wins(self) -> bool:
        return worth(self.within) > worth(self.without)

    def facts(self) -> dict[str, float | int]:
        """Return what a manifest's `training` tells of it."""
        return {
            "newcomers_shift": self.shift,
            "newcomers_questions": self.questions,
            "newcomers_recall@20": round(self.alone["recall@20"], 4),
            "newcomers_mrr@20": round(self.alone["mrr@20"], 4),
        }

    def told(self) -> str:
        """Return the line for a person."""
        which = "held-out items" if self.is_held_out else "new items"
        alone, within, without = (
            f"recall@20 {values['recall@20']:.4f}  MRR@20 {values['mrr@20']:.4f}"
            for values in (self.alone, self.within, self.without)
        )
        outcome = "listed by their facts" if self.wins else "not listed"
        return (
            f"{which} are {outcome}: {alone} on {self.questions:,} questions about them; "
            f"{within} on all, {without} without them"
        )


def learn(
    model: SessionGRU, encoder: Encoder, facts: ItemFacts, shift: float, known: np.ndarray | None = None
) -> Newcomers:
    """Return the rows of words, learned from the catalogue's items, or from those that `known` (bool [N]) says.

    An item weighs by its clicks: the vector of a rare one is mostly chance.
    """
    with torch.no_grad():
        target = torch.cat([model.vectors(), model.bias.unsqueeze(1)], 1).cpu().numpy()  # [N, H + 1]
    items = [item for place, item in enumerate(encoder.items) if known is None or known[place]]
    words = words_of(items, facts)
    used = [item for item in items if item in facts]
    places = np.array([encoder.index[item] - 1 for item in used], np.int64)
    clicks = np.array([encoder.clicks[item] for item in used], np.float64)
    weights = clicks / (clicks + SURE)
    rows = [words.rows(facts[item].get) for item in used]
    lines = np.repeat(np.arange(len(used)), [len(row) for row in rows])
    columns = np.array([word for row in rows for word in row], np.int64)
    is_word = columns > 0
    held = sparse.csr_array(
        (np.ones(int(is_word.sum())), (lines[is_word], columns[is_word] - 1)), shape=(len(used), words.size)
    )
    mean = np.average(target[places], axis=0, weights=weights)
    weighed = held.multiply(weights[:, None]).tocsr()
    left = sparse.csc_array(held.T @ weighed + RIDGE * sparse.eye_array(words.size))
    rest = spsolve(left, weighed.T @ (target[places] - mean)).reshape(words.size, -1)
    mean[-1] += shift
    return Newcomers(words, np.concatenate([mean[None], rest]).astype(np.float32))


def choose_newcomers(
    model: SessionGRU,
    encoder: Encoder,
    facts: ItemFacts,
    questions: Sequence[Question],
    seed: int,
    step: Step = nobody,
    shifts: Sequence[float] = SHIFTS,
) -> Chosen | None:
    """Return how well new items are listed by their facts, None where there is nothing to learn from.

    One of `shifts` is added to their biases, the one that answers best. Items that are first seen after the model's
    sessions are the new ones. Where too few questions are about them, a tenth of the items is taken for new: no session
    shows them, and their facts alone say where they stand.
    """
    new = [item for item in facts if item not in encoder.index]
    known = np.ones(len(encoder.items), bool)
    asked = {question.target for question in questions}
    natural = sum(question.target in facts and question.target not in encoder.index for question in questions)
    is_held_out = natural < ENOUGH
    if is_held_out:
        places = np.random.default_rng(seed).permutation(len(encoder.items))[: len(encoder.items) // HELD_OUT]
        known[places] = False
        new = [encoder.items[place] for place in places if encoder.items[place] in facts]
    elif len(new) > Words.MOST:
        new = sorted(new, key=lambda item: item not in asked)[: Words.MOST]
    if not words_of([item for place, item in enumerate(encoder.items) if known[place]], facts).size or not new:
        return None
    learned = learn(model, encoder, facts, 0.0, known)
    vectors = learned.of([facts[item] for item in new])
    ranks, of_new = _ranks(model, encoder, questions, known, new, vectors, shifts, step)
    quality = [metrics(ranks[number]) for number in range(len(shifts))]
    # Held-out items are as popular as any. A new item isn't known to be, so nothing is added for it.
    tried = [number for number, shift in enumerate(shifts) if shift <= 0 or not is_held_out]
    best = max(tried, key=lambda number: worth(quality[number]))
    return Chosen(
        shifts[best],
        int(of_new.sum()),
        is_held_out,
        metrics(ranks[-1]),
        quality[best],
        metrics(ranks[best][of_new]) if of_new.any() else {"recall@20": 0.0, "mrr@20": 0.0},
    )


def _ranks(
    model: SessionGRU,
    encoder: Encoder,
    questions: Sequence[Question],
    known: np.ndarray,
    new: Sequence[str],
    vectors: np.ndarray,
    shifts: Sequence[float],
    step: Step,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the targets' ranks at each shift, and last without new items; and which targets are new ones, bool."""
    index = {item: number for item, number in encoder.index.items() if known[number - 1]}
    column_of = {item: place for place, item in enumerate(new)}
    asked = [question for question in questions if any(event.item in index for event in question.prefix)]
    asked.sort(key=lambda question: len(question.prefix))
    found = np.full((len(shifts) + 1, len(asked)), np.inf)
    of_new = np.array([question.target in column_of for question in asked], bool)
    device = model.item.device
    hidden, table = torch.from_numpy(~known).to(device), torch.from_numpy(vectors).to(device)
    rows = rows_at_once(len(encoder.items) + len(new))
    for start in range(0, len(asked), rows):
        step("new items", start, len(asked))
        some = asked[start : start + rows]
        prefixes = [[event for event in question.prefix if event.item in index] for question in some]
        arrays = [*pad(prefixes, index, TYPE_INDEX), context_at([each[-1] for each in prefixes], model.n_context)]
        inputs = [torch.from_numpy(array).to(device) for array in arrays]
        with torch.no_grad():
            queries = model.asked(model.vectors(), *inputs)  # [B, H]
            scores = model(*inputs).masked_fill(hidden, -torch.inf)  # [B, N]
            of_facts = queries @ table[:, :-1].T + table[:, -1]  # [B, M]
            scores, of_facts = scores.cpu(), of_facts.cpu()
        for place, question in enumerate(some):
            is_new = question.target in column_of
            if not is_new and question.target not in index:
                continue
            for number, shift in enumerate(shifts):
                extra = of_facts[place] + shift
                target = extra[column_of[question.target]] if is_new else scores[place, index[question.target] - 1]
                found[number, start + place] = (scores[place] >= target).sum() + (extra >= target).sum()
            if not is_new:
                found[-1, start + place] = (scores[place] >= scores[place, index[question.target] - 1]).sum()
    return list(np.where(found <= LISTED, found, np.inf)), of_new
