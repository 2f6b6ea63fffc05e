"""What the memory adds is chosen on questions that come later than what it learned from."""

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
    """What the memory adds (see memory.py, gru.py); as it stands here, nothing.

    `strength`, `fade`, `share`: of followers. `last`, `earlier`, `earlier_fade`: the bias of the session's last item, and
    of those before it, each `earlier_fade` times that of the one after it.
    """

    strength: float = 0.0
    fade: float = 1.0
    share: float = 0.0
    last: float = 0.0
    earlier: float = 0.0
    earlier_fade: float = 1.0

    @property
    def repeats(self) -> np.ndarray:
        """Bias by place from the end, float32 [L]."""
        return np.array(
            [self.last, *(self.earlier * self.earlier_fade**back for back in range(LATEST - 1))], np.float32
        )


def item_memory(numbers: Encoded, n_items: int, chosen: Memory, device: torch.device) -> ItemMemory | None:
    """The memory of sessions of items 1..N; None where nothing is added."""
    if not (chosen.strength or chosen.repeats.any()):
        return None
    followers = memory.learn(numbers, n_items, chosen.share, memory.KEPT if chosen.strength else 1)
    return ItemMemory(followers, chosen.strength, chosen.fade, chosen.repeats).to(device)


def choose_memory(
    model: SessionGRU, numbers: Encoded, questions: list[Question], index: dict[str, int], step: Step = nobody
) -> tuple[Memory, dict[Memory, dict[str, float]]]:
    """The memory with the best MRR@20 on `questions`, none among them; and what each one gave. The model gets it.

    `numbers` are the sessions that the model has learned from. Followers are chosen first, then repeats, then followers
    again: what is followed by an item often is an item that was seen before.
    """
    found: dict[Memory, dict[str, float]] = {}
    asked = _Asked(model, numbers, questions, index)
    best = Memory()
    for round_, grid in enumerate((_followers, _repeats, _followers)):
        step("memory", round_, 3)
        found |= asked.judged([each for each in {best: 0, **dict.fromkeys(grid(best))} if each not in found])
        best = max(found, key=lambda each: found[each]["mrr@20"])
    model.memory = item_memory(numbers, len(index), best, model.item.device)
    return best, found


def _followers(best: Memory) -> Iterable[Memory]:
    yield best._replace(strength=0.0)
    for strength, fade, share in itertools.product(STRENGTHS, FADES, SHARES):
        yield best._replace(strength=strength, fade=fade, share=share)


def _repeats(best: Memory) -> Iterable[Memory]:
    for last, earlier, fade in itertools.product(LAST, EARLIER, EARLIER_FADES):
        yield best._replace(last=last, earlier=earlier, earlier_fade=fade)


class _Asked:
    """Questions with what the network alone says, so that many memories are judged by one run of it."""

    def __init__(self, model: SessionGRU, numbers: Encoded, questions: list[Question], index: dict[str, int]) -> None:
        self._model, self._questions, self._index = model, questions, index
        model.memory = None
        self._followers = {share: memory.learn(numbers, len(index), share) for share in SHARES}

    def judged(self, memories: list[Memory]) -> dict[Memory, dict[str, float]]:
        modules = {
            each: ItemMemory(self._followers[each.share], each.strength, each.fade, each.repeats) for each in memories
        }
        ranks = {each: np.full(len(self._questions), np.inf) for each in memories}
        order = sorted(range(len(self._questions)), key=lambda row: len(self._questions[row].prefix))
        for start in range(0, len(order), BATCH_ROWS):
            self._rank(np.array(order[start : start + BATCH_ROWS]), modules, ranks)
        return {each: metrics(ranks[each]) for each in memories}

    @torch.no_grad()
    def _rank(self, rows: np.ndarray, modules: dict[Memory, ItemMemory], ranks: dict[Memory, np.ndarray]) -> None:
        """Fill in the targets' ranks in these rows; a target ranks behind all items with its score."""
        prefixes = [self._questions[row].prefix for row in rows]
        batch = pad(prefixes, self._index, TYPE_INDEX)
        targets = np.array([self._index.get(self._questions[row].target, 0) for row in rows])
        real = (batch.items[:, 0] > 0) & (targets > 0)
        if not real.any():
            return
        arrays = (*batch, context_at([prefix[-1] for prefix in prefixes]))
        inputs = [torch.from_numpy(part[real]).to(self._model.item.device) for part in arrays]
        items, lengths = inputs[0], inputs[3]
        alone = self._model.eval()(*inputs)  # [B, N]
        wanted = torch.from_numpy(targets[real]).to(items.device).unsqueeze(1) - 1  # [B, 1]
        for each, module in modules.items():
            scores = module(alone, items, lengths)
            ranks[each][rows[real]] = (scores >= scores.gather(1, wanted)).sum(1).cpu().numpy()
