"""Choose what the memory adds, on questions that come later than what the memory learned from."""

import itertools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch

from models.clicks.dataset import Encoded, context_at, pad
from models.clicks.sessions import Question
from models.quality.evaluate import BATCH_ROWS, TYPE_INDEX, metrics
from models.session import memory
from models.session.gru import LATEST, ItemMemory, SessionGRU
from models.session.watch import Step, nobody

STRENGTHS, FADES, SHARES = (3.0, 6.0, 12.0, 20.0, 30.0), (0.2, 0.37, 0.72), (0.0, 1.0)
# -24 is never: the network's scores lie between -12 and 12.
LAST, EARLIER, EARLIER_FADES = (-24.0, -2.0, -1.0, 0.0, 1.0), (-1.0, 0.0, 1.0, 2.0, 4.0, 6.0, 8.0), (0.6, 0.8)


class Memory(NamedTuple):
    """Settings of the memory (see memory.py, gru.py); the defaults add nothing.

    `strength`, `fade` and `share` are those of followers. `last` is the bias of the session's last item, `earlier` the
    bias of the item before it. Further back, an item's bias is `earlier_fade` times that of the item after it.
    """

    strength: float = 0.0
    fade: float = 1.0
    share: float = 0.0
    last: float = 0.0
    earlier: float = 0.0
    earlier_fade: float = 1.0

    @property
    def repeats(self) -> np.ndarray:
        """Return the bias by place from the end, float32 [L]."""
        return np.array(
            [self.last, *(self.earlier * self.earlier_fade**back for back in range(LATEST - 1))], np.float32
        )


def item_memory(numbers: Encoded, n_items: int, chosen: Memory, device: torch.device) -> ItemMemory | None:
    """Return the memory of sessions of items 1..N, or None where it would add nothing."""
    if not (chosen.strength or chosen.repeats.any()):
        return None
    followers = memory.learn(numbers, n_items, chosen.share, memory.KEPT if chosen.strength else 1)
    return ItemMemory(followers, chosen.strength, chosen.fade, chosen.repeats).to(device)


def choose_memory(
    model: SessionGRU, numbers: Encoded, questions: list[Question], index: dict[str, int], step: Step = nobody
) -> tuple[Memory, dict[Memory, dict[str, float]]]:
    """Give the model the memory with the best MRR@20 on `questions`, and return it and the metrics of each trial.

    No memory is one of the choices. `numbers` are the sessions that the model has learned from. Followers are chosen
    first, then repeats, then followers again: an item's follower is often one that the session already holds.
    """
    quality_of: dict[Memory, dict[str, float]] = {}
    asked = _Asked(model, numbers, questions, index)
    best = Memory()
    for round_, grid in enumerate((_followers, _repeats, _followers)):
        step("memory", round_, 3)
        trials = [memory for memory in {best: 0, **dict.fromkeys(grid(best))} if memory not in quality_of]
        quality_of |= asked.quality_of(trials)
        best = max(quality_of, key=lambda memory: quality_of[memory]["mrr@20"])
    model.memory = item_memory(numbers, len(index), best, model.item.device)
    return best, quality_of


def _followers(best: Memory) -> Iterable[Memory]:
    yield best._replace(strength=0.0)
    for strength, fade, share in itertools.product(STRENGTHS, FADES, SHARES):
        yield best._replace(strength=strength, fade=fade, share=share)


def _repeats(best: Memory) -> Iterable[Memory]:
    for last, earlier, fade in itertools.product(LAST, EARLIER, EARLIER_FADES):
        yield best._replace(last=last, earlier=earlier, earlier_fade=fade)


class _Asked:
    """Judge many memories by one run of the network alone."""

    def __init__(self, model: SessionGRU, numbers: Encoded, questions: list[Question], index: dict[str, int]) -> None:
        self._model, self._questions, self._index = model, questions, index
        model.memory = None
        self._followers = {share: memory.learn(numbers, len(index), share) for share in SHARES}

    def quality_of(self, memories: list[Memory]) -> dict[Memory, dict[str, float]]:
        """Return the metrics of the model with each memory."""
        modules = {
            settings: ItemMemory(self._followers[settings.share], settings.strength, settings.fade, settings.repeats)
            for settings in memories
        }
        ranks = {settings: np.full(len(self._questions), np.inf) for settings in memories}
        order = sorted(range(len(self._questions)), key=lambda row: len(self._questions[row].prefix))
        for start in range(0, len(order), BATCH_ROWS):
            self._rank(np.array(order[start : start + BATCH_ROWS]), modules, ranks)
        return {settings: metrics(ranks[settings]) for settings in memories}

    @torch.no_grad()
    def _rank(self, rows: np.ndarray, modules: dict[Memory, ItemMemory], ranks: dict[Memory, np.ndarray]) -> None:
        """Write the targets' ranks into these rows; a target ranks behind all items with its score."""
        prefixes = [self._questions[row].prefix for row in rows]
        batch = pad(prefixes, self._index, TYPE_INDEX)
        targets = np.array([self._index.get(self._questions[row].target, 0) for row in rows])
        real = (batch.items[:, 0] > 0) & (targets > 0)
        if not real.any():
            return
        arrays = (*batch, context_at([prefix[-1] for prefix in prefixes], self._model.n_context))
        inputs = [torch.from_numpy(part[real]).to(self._model.item.device) for part in arrays]
        items, lengths = inputs[0], inputs[3]
        alone = self._model.eval()(*inputs)  # [B, N]
        columns = torch.from_numpy(targets[real]).to(items.device).unsqueeze(1) - 1  # [B, 1]
        for settings, module in modules.items():
            scores = module(alone, items, lengths)
            ranks[settings][rows[real]] = (scores >= scores.gather(1, columns)).sum(1).cpu().numpy()
