"""The session model in one file: item vectors, a GRU and a memory give every item a score. `head.py` takes the best k.

Written from the papers: Hidasi et al., "Session-based Recommendations with Recurrent Neural Networks" (ICLR 2016),
Hidasi & Karatzoglou, "Recurrent Neural Networks with Top-k Gains" (CIKM 2018), and Gupta et al., "NISER: Normalized
Item and Session Representations" (2019). From them: one GRU layer, one item matrix shared by input and output, sampled
softmax with negatives by popularity^alpha and the logQ correction, vectors of length 1. Of our own: event types, gaps,
the visitor's features, and the items that followed each item in training, as sparse rows added to the scores.

Shapes: B sessions, T events, N items, H hidden units, C context features, L latest events, M followers of an item.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.session.losses import Loss
from models.session.memory import Followers

SCALE = 12.0  # of the cosines before the softmax
LATEST = 6  # events of a session whose followers are added

# Draws S negatives: their columns int64 [S], and a correction float32 [S], which is subtracted from their scores.
Sample = Callable[[], tuple[Tensor, Tensor]]


class ItemMemory(nn.Module):
    """Add to a session's scores the followers of its latest items, and a bias for these items themselves.

    Each event counts `fade` times as much as the event after it. `repeats` float32 [L] holds the bias of the last item,
    of the item before it, and so on. An item that occurs twice gets both.
    """

    def __init__(self, followers: Followers, strength: float, fade: float, repeats: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("columns", torch.from_numpy(followers.columns).int())  # [N + 1, M]
        self.register_buffer("weights", torch.from_numpy(followers.weights) * strength)  # [N + 1, M]
        self.register_buffer("back", torch.arange(LATEST))  # [L]
        self.register_buffer("decay", fade ** torch.arange(LATEST))  # [L]
        self.register_buffer("repeats", torch.from_numpy(repeats))  # [L]

    def forward(self, scores: Tensor, items: Tensor, lengths: Tensor) -> Tensor:
        """Return scores [B, N] with memory added, for sessions `items` int64 [B, T] with `lengths` [B]."""
        place = lengths.unsqueeze(1) - 1 - self.back  # [B, L]
        latest = items.gather(1, place.clamp(min=0))  # [B, L]
        there = ((place >= 0) & (latest > 0)).to(scores.dtype)  # [B, L]
        themselves = (latest - 1).clamp(min=0).unsqueeze(-1)  # [B, L, 1]
        columns = torch.cat([self.columns[latest].long(), themselves], -1)  # [B, L, M + 1]; int32 halves the file
        followed = self.weights[latest] * (there * self.decay).unsqueeze(-1)  # [B, L, M]
        added = torch.cat([followed, (there * self.repeats).unsqueeze(-1)], -1)  # [B, L, M + 1]
        return scores.scatter_add(1, columns.flatten(1), added.flatten(1))


class SessionGRU(nn.Module):
    """Score every item for B sessions; item 0 is padding and has no score."""

    def __init__(self, n_items: int, n_types: int, n_context: int, hidden: int, dropout: float) -> None:
        super().__init__()
        # Row i - 1 is item i. One matrix for input and output: half the file, and better on most sets (GRU4Rec).
        self.item = nn.Parameter(torch.empty(n_items, hidden).normal_(std=hidden**-0.5))  # [N, H]
        self.bias = nn.Parameter(torch.zeros(n_items))  # [N]
        # These three start at zero, so a type or a feature that training never shows has no effect at all.
        self.type_effect = nn.Embedding(n_types + 1, hidden, padding_idx=0)
        nn.init.zeros_(self.type_effect.weight)
        self.gap_effect = nn.Parameter(torch.zeros(hidden))  # [H]
        self.context_effect = nn.Linear(n_context, hidden, bias=False)
        nn.init.zeros_(self.context_effect.weight)
        self.gru = nn.GRU(hidden, hidden)
        self.dropout = nn.Dropout(dropout)
        self.memory: ItemMemory | None = None
        self.frozen = False

    @property
    def n_context(self) -> int:
        """Return C, the number of context features."""
        return self.context_effect.in_features

    def vectors(self) -> Tensor:
        """Return the items' vectors of length 1, [N, H]."""
        return self.item if self.frozen else functional.normalize(self.item, dim=1)

    def freeze(self) -> "SessionGRU":
        """Store the vectors of length 1 as the item matrix, and return self. A frozen model isn't trained any more.

        The exported graph then needn't compute them.
        """
        with torch.no_grad():
            self.item.copy_(self.vectors())
        self.frozen = True
        return self.eval()

    def states(self, vectors: Tensor, items: Tensor, types: Tensor, gaps: Tensor) -> Tensor:
        """Return the hidden state after every event, [T, B, H]; padding is at the right, so no real state sees it."""
        items, types, gaps = items.T, types.T, gaps.T  # [T, B]: the GRU walks time first
        x = functional.embedding((items - 1).clamp(min=0), vectors)  # [T, B, H]
        x = self.dropout(x) + self.type_effect(types) + gaps.unsqueeze(-1) * self.gap_effect  # [T, B, H]
        return self.gru(x)[0]  # [T, B, H]

    def queries(self, states: Tensor, context: Tensor) -> Tensor:
        """Return the vectors [..., H] that are compared with the items, from states [..., H] and context [..., C]."""
        # Features are counts, seconds and prices: log1p brings them to one scale, with the sign kept.
        scaled = torch.sign(context) * torch.log1p(torch.abs(context))  # [..., C]
        return functional.normalize(states + self.context_effect(scaled), dim=-1) * SCALE

    def forward(self, items: Tensor, types: Tensor, gaps: Tensor, lengths: Tensor, context: Tensor) -> Tensor:
        """Return scores [B, N] for inputs as in `Bundle.score`; column i is item i + 1."""
        vectors = self.vectors()
        scores = functional.linear(self.asked(vectors, items, types, gaps, lengths, context), vectors, self.bias)
        return self.remembered(scores, items, lengths)

    def asked(
        self, vectors: Tensor, items: Tensor, types: Tensor, gaps: Tensor, lengths: Tensor, context: Tensor
    ) -> Tensor:
        """Return the sessions' vectors [B, H] that are compared with the items' `vectors` [N, H]."""
        states = self.states(vectors, items, types, gaps)  # [T, B, H]
        rows = torch.arange(items.shape[0], device=items.device)  # [B]
        last = states.flatten(0, 1)[(lengths - 1) * items.shape[0] + rows]  # [B, H]: one Gather
        return self.queries(last, context)

    def remembered(self, scores: Tensor, items: Tensor, lengths: Tensor) -> Tensor:
        """Return scores [B, N] with what the memory adds, if there is one."""
        return scores if self.memory is None else self.memory(scores, items, lengths)

    def loss(
        self,
        items: Tensor,
        types: Tensor,
        gaps: Tensor,
        lengths: Tensor,
        context: Tensor,
        sample: Sample | None = None,
        of: Loss = functional.cross_entropy,
    ) -> Tensor:
        """Return the mean loss of the next item at every event but the last, over the catalogue or a sample of it.

        Inputs are as in `forward`, but context is [B, T, C]: what was known at each event. The memory has no part in
        it, because it knows the answers of its own training sessions.
        """
        vectors = self.vectors()
        states = self.states(vectors, items, types, gaps)[:-1]  # [T-1, B, H]
        targets = items.T[1:]  # [T-1, B]
        real = targets > 0  # [T-1, B]
        queries = self.queries(states[real], context.transpose(0, 1)[:-1][real])  # [M, H]
        target = targets[real] - 1  # [M]
        if sample is None:
            return of(functional.linear(queries, vectors, self.bias), target)
        columns, correction = (tensor.to(queries.device) for tensor in sample())
        negative = functional.linear(queries, vectors[columns], self.bias[columns] - correction)  # [M, S]
        negative = negative.masked_fill(columns == target.unsqueeze(1), -torch.inf)
        positive = (queries * vectors[target]).sum(1, keepdim=True) + self.bias[target].unsqueeze(1)  # [M, 1]
        scores = torch.cat([positive, negative], dim=1)
        return of(scores, torch.zeros(len(target), dtype=torch.int64, device=scores.device))
