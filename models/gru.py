"""The session model in one file: item embedding → GRU → all items' scores (the best k: `head.py`).

Written from the papers: Hidasi et al., "Session-based Recommendations with Recurrent Neural Networks" (ICLR 2016),
and Hidasi & Karatzoglou, "Recurrent Neural Networks with Top-k Gains" (CIKM 2018). From them: one GRU layer, one item
matrix shared by input and output, a loss over the catalogue. Ours: event types, gaps and the visitor's features.

Shapes: B sessions, T events, N items, H hidden units, C context features.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class SessionGRU(nn.Module):
    """Every item's score for B sessions; item 0 is padding and has none."""

    def __init__(self, n_items: int, n_types: int, n_context: int, hidden: int, dropout: float) -> None:
        super().__init__()
        # Row i - 1 is item i. One matrix for input and output: half the file, and better on most sets (GRU4Rec).
        self.item = nn.Parameter(torch.empty(n_items, hidden).normal_(std=hidden**-0.5))  # [N, H]
        self.bias = nn.Parameter(torch.zeros(n_items))  # [N]
        # These three start at zero, so what training never shows (a type, a feature) has no effect at all.
        self.type_effect = nn.Embedding(n_types + 1, hidden, padding_idx=0)
        nn.init.zeros_(self.type_effect.weight)
        self.gap_effect = nn.Parameter(torch.zeros(hidden))  # [H]
        self.context_effect = nn.Linear(n_context, hidden, bias=False)
        nn.init.zeros_(self.context_effect.weight)
        self.gru = nn.GRU(hidden, hidden)
        self.dropout = nn.Dropout(dropout)

    def states(self, items: Tensor, types: Tensor, gaps: Tensor) -> Tensor:
        """Hidden state after every event, [T, B, H]: padding is at the right, so no real state has seen it."""
        items, types, gaps = items.T, types.T, gaps.T  # [T, B]: the GRU walks time first
        x = functional.embedding((items - 1).clamp(min=0), self.item)  # [T, B, H]
        x = self.dropout(x) + self.type_effect(types) + gaps.unsqueeze(-1) * self.gap_effect  # [T, B, H]
        return self.gru(x)[0]  # [T, B, H]

    def score(self, states: Tensor, context: Tensor) -> Tensor:
        """Scores of every item, [..., N], from states [..., H] and context features [..., C]."""
        # Features are counts, seconds and prices: log1p brings them to one scale, with the sign kept.
        scaled = torch.sign(context) * torch.log1p(torch.abs(context))  # [..., C]
        return functional.linear(states + self.context_effect(scaled), self.item, self.bias)  # [..., N]

    def forward(self, items: Tensor, types: Tensor, gaps: Tensor, lengths: Tensor, context: Tensor) -> Tensor:
        """Inputs as `Bundle.score` → scores [B, N]; column i is item i + 1."""
        states = self.states(items, types, gaps)  # [T, B, H]
        rows = torch.arange(items.shape[0], device=items.device)  # [B]
        last = states.flatten(0, 1)[(lengths - 1) * items.shape[0] + rows]  # [B, H]: one Gather
        return self.score(last, context)

    def loss(self, items: Tensor, types: Tensor, gaps: Tensor, lengths: Tensor, context: Tensor) -> Tensor:
        """Mean cross-entropy of the next item at every event but the last, over the whole catalogue."""
        states = self.dropout(self.states(items, types, gaps))[:-1]  # [T-1, B, H]
        targets = items.T[1:]  # [T-1, B]
        real = targets > 0  # [T-1, B]
        rows = real.nonzero()[:, 1]  # [M]: the session of each real target
        return functional.cross_entropy(self.score(states[real], context[rows]), targets[real] - 1)
