"""The session model in one file: item vectors, a GRU and a memory give every item a score. `head.py` takes the best k.

Written from the papers: Hidasi et al., "Session-based Recommendations with Recurrent Neural Networks" (ICLR 2016),
Hidasi & Karatzoglou, "Recurrent Neural Networks with Top-k Gains" (CIKM 2018), and Gupta et al., "NISER: Normalized
Item and Session Representations" (2019). From them: one GRU layer, one item matrix shared by input and output, sampled
softmax with negatives by popularity^alpha and the logQ correction, vectors of length 1. Of our own: event types, gaps,
the visitor's features, and the items that followed each item in training, as sparse rows added to the scores.

Shapes: B sessions, T events, N items, H hidden units, C context features, L latest events, M followers and A successors
of an item, P places, Y types of events, F facts of a session.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.clicks.dataset import EVENT_TYPES
from models.session.losses import Loss
from models.session.memory import Rows
from models.session.words import Newcomers

if TYPE_CHECKING:
    from models.session.segments import Segments

SCALE = 12.0  # of the cosines before the softmax
LATEST = 6  # events of a session whose followers are added
PLACES = 9  # from the end, with a bias of their own; all before have that of the last of them
SESSION_FACTS = 7  # see `session_facts`

# Draws S negatives: their columns int64 [S], and a correction float32 [S], which is subtracted from their scores.
Sample = Callable[[], tuple[Tensor, Tensor]]


class Facts(NamedTuple):
    """Hold what the memory knows of B sessions before any weight is applied; X = L * M + A + T entries a session."""

    columns: Tensor  # int64 [B, X]: columns of followers, of successors, then of the session's own items, latest first
    followed: Tensor  # float32 [B, L, M]: the followers of the latest items
    succeeded: Tensor  # float32 [B, A]: the successors of the last item
    there: Tensor  # float32 [B, T]: 1 for an event, 0 for padding; latest first, as all of them
    types: Tensor  # int64 [B, T]
    dwells: Tensor  # float32 [B, T]: log1p of the seconds until the event after, 0 for the last
    session: Tensor  # float32 [B, F]: see `session_facts`


class ItemMemory(nn.Module):
    """Add to a session's scores what followed its latest items in training, and a bias for its own items.

    All weights are fitted on questions (choose.py). `followed` [L, 1] weighs the followers of the last item, of the
    item before it, and so on, and `succeeded` the successors of the last one. The bias of an own item is a sum:
    `places` [P] by its place from the end, `types` [Y] by its event's type, `dwell` times its dwell, and what the
    session's facts (`session_facts`) say, times `by_session` [F, 2], of which the first column is for the last item. An
    item that occurs twice gets both sums.
    """

    def __init__(self, followers: Rows, successors: Rows | None = None) -> None:
        super().__init__()
        self.register_buffer("columns", torch.from_numpy(followers.columns).int())  # [N + 1, M]
        self.register_buffer("weights", torch.from_numpy(followers.weights))  # [N + 1, M]
        self.succeeded: nn.Parameter | None = None
        if successors is not None:  # of two tensors with the same values the exporter would keep one
            columns = torch.from_numpy(successors.columns).int()  # [N + 1, A]
            columns[0] = len(columns) - 2  # row 0 weighs nothing, and it is another one than the followers'
            self.register_buffer("successors", columns)
            self.register_buffer("succession", torch.from_numpy(successors.weights))  # [N + 1, A]
            self.succeeded = nn.Parameter(torch.zeros(1))
        self.register_buffer("back", torch.arange(LATEST))  # [L]
        self.followed = nn.Parameter(torch.zeros(LATEST, 1))  # [L, 1]
        self.places = nn.Parameter(torch.zeros(PLACES))  # [P]
        self.types = nn.Parameter(torch.zeros(len(EVENT_TYPES) + 1))  # [Y]
        self.dwell = nn.Parameter(torch.zeros(1))
        self.by_session = nn.Parameter(torch.zeros(SESSION_FACTS, 2))  # [F, 2]

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "ItemMemory":
        """Return the memory of arrays by the names of its weights.

        Memories made before 29 November 2026 knew places only, and six of them, and one fade for all followers.
        """
        successors = None
        if "successors" in arrays:
            successors = Rows(arrays["successors"].astype(np.int64), arrays["succession"])
        made = cls(Rows(arrays["columns"].astype(np.int64), arrays["weights"]), successors)
        if "decay" in arrays:
            places = np.zeros(PLACES, np.float32)
            places[:LATEST] = arrays["repeats"]
            fitted = {"followed": arrays["decay"][:, None], "places": places}
        else:
            fitted = {name: arrays[name] for name, _ in made.named_parameters()}
        weights = {name: torch.from_numpy(values) for name, values in fitted.items()}
        made.load_state_dict({**made.state_dict(), **weights})
        return made

    def rows(self) -> tuple[Rows, Rows | None]:
        """Return the rows of followers, and those of successors if it has any."""
        followers = Rows(self.columns.numpy(), self.weights.numpy())
        if self.succeeded is None:
            return followers, None
        return followers, Rows(self.successors.numpy(), self.succession.numpy())

    def forward(self, scores: Tensor, items: Tensor, types: Tensor, gaps: Tensor, lengths: Tensor) -> Tensor:
        """Return scores [B, N] with memory added, for inputs as in `Bundle.score`."""
        facts = self.facts(items, types, gaps, lengths)
        return scores.scatter_add(1, facts.columns, self.added(facts))

    def facts(self, items: Tensor, types: Tensor, gaps: Tensor, lengths: Tensor) -> Facts:
        """Return what no weight changes."""
        last = lengths.unsqueeze(1) - 1  # [B, 1]
        place = last - self.back  # [B, L]
        latest = items.gather(1, place.clamp(min=0)) * (place >= 0)  # [B, L]
        back = torch.arange(items.shape[1], device=items.device)  # [T]
        place = last - back  # [B, T]
        there = (place >= 0) & (items[:, :1] > 0)  # [B, T]; a session without a known item has item 0
        place = place.clamp(min=0)
        own = items.gather(1, place) * there  # [B, T]
        followers = self.columns[latest].long()  # int32 halves the file
        last_item = latest[:, 0]
        if self.succeeded is None:
            successors, succeeded = followers[:, 0, :0], gaps[:, :0]
        else:
            successors, succeeded = self.successors[last_item].long(), self.succession[last_item]
        columns = torch.cat([followers.flatten(1), successors, (own - 1).clamp(min=0)], 1)
        after = torch.minimum(place + 1, last)  # [B, T]
        dwells = gaps.gather(1, after) * (back > 0)  # [B, T]
        there = there.to(gaps.dtype)
        session = session_facts(own, latest, gaps.gather(1, place) * there, there)
        return Facts(columns, self.weights[latest], succeeded, there, types.gather(1, place), dwells, session)

    def added(self, facts: Facts) -> Tensor:
        """Return float32 [B, X]: what is added to the columns of `facts`."""
        followed = facts.followed * self.followed  # [B, L, M]
        back = torch.arange(facts.there.shape[1], device=facts.there.device)  # [T]
        bias = self.places[back.clamp(max=PLACES - 1)] + self.types[facts.types] + self.dwell * facts.dwells  # [B, T]
        of_session = facts.session @ self.by_session  # [B, 2]
        is_last = (back == 0).to(bias.dtype)  # [T]
        bias = bias + of_session[:, :1] * is_last + of_session[:, 1:] * (1 - is_last)
        added = [followed.flatten(1), bias * facts.there]
        if self.succeeded is not None:
            added.insert(1, facts.succeeded * self.succeeded)
        return torch.cat(added, 1)


def session_facts(own: Tensor, latest: Tensor, gaps: Tensor, there: Tensor) -> Tensor:
    """Return float32 [B, F]: how long a session is, and how it repeats its items. All are latest first, 0 for padding.

    The log of its events; the share of its events that are repeats; whether its last item came before, and came right
    before; the log of the seconds before the last event, and whether any are known; the share of its events on the last
    item.
    """
    events = there.sum(1, keepdim=True).clamp(min=1)  # [B, 1]
    is_same = (own.unsqueeze(2) == own.unsqueeze(1)).to(there.dtype)  # [B, T, T]
    back = torch.arange(own.shape[1], device=own.device)  # [T]
    earlier = (is_same * (back > back.unsqueeze(1)).to(there.dtype)).sum(2)  # [B, T]
    repeats = ((earlier > 0).to(there.dtype) * there).sum(1, keepdim=True)
    on_last = ((own == latest[:, :1]).to(there.dtype) * there).sum(1, keepdim=True)
    came_right_before = (latest[:, :1] == latest[:, 1:2]).to(there.dtype)
    came_before = (on_last > 1).to(there.dtype)
    has_times = (gaps.sum(1, keepdim=True) > 0).to(there.dtype)
    return torch.cat(
        [events.log(), repeats / events, came_before, came_right_before, gaps[:, :1] / 5, has_times, on_last / events],
        1,
    )


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
        # These are no part of the scores: the graph has outputs of their own for them.
        self.newcomers: Newcomers | None = None
        self.segments: Segments | None = None
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
        return self.remembered(scores, items, types, gaps, lengths)

    def asked(
        self, vectors: Tensor, items: Tensor, types: Tensor, gaps: Tensor, lengths: Tensor, context: Tensor
    ) -> Tensor:
        """Return the sessions' vectors [B, H] that are compared with the items' `vectors` [N, H]."""
        states = self.states(vectors, items, types, gaps)  # [T, B, H]
        rows = torch.arange(items.shape[0], device=items.device)  # [B]
        last = states.flatten(0, 1)[(lengths - 1) * items.shape[0] + rows]  # [B, H]: one Gather
        return self.queries(last, context)

    def remembered(self, scores: Tensor, items: Tensor, types: Tensor, gaps: Tensor, lengths: Tensor) -> Tensor:
        """Return scores [B, N] with what the memory adds, if there is one."""
        return scores if self.memory is None else self.memory(scores, items, types, gaps, lengths)

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
        if sample is None:
            vectors, bias = self.vectors(), self.bias
        else:
            # A gradient, a norm and a step of every item would be for the few that are in use.
            columns, correction = (tensor.to(items.device) for tensor in sample())
            items, columns, rows = _numbered_anew(items, columns)
            vectors = functional.normalize(functional.embedding(rows, self.item, sparse=True), dim=1)  # [R, H]
            bias = self.bias[rows]  # [R]
        states = self.states(vectors, items, types, gaps)[:-1]  # [T-1, B, H]
        targets = items.T[1:]  # [T-1, B]
        real = targets > 0  # [T-1, B]
        queries = self.queries(states[real], context.transpose(0, 1)[:-1][real])  # [M, H]
        target = targets[real] - 1  # [M]
        if sample is None:
            return of(functional.linear(queries, vectors, bias), target)
        negative = functional.linear(queries, vectors[columns], bias[columns] - correction)  # [M, S]
        negative = negative.masked_fill(columns == target.unsqueeze(1), -torch.inf)
        positive = (queries * vectors[target]).sum(1, keepdim=True) + bias[target].unsqueeze(1)  # [M, 1]
        scores = torch.cat([positive, negative], dim=1)
        return of(scores, torch.zeros(len(target), dtype=torch.int64, device=scores.device))


def _numbered_anew(items: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return items [B, T] and columns [S] as places in `rows` [R], which are the columns of the items that occur."""
    wanted = torch.cat([(items - 1).clamp(min=0).flatten(), columns])
    rows, places = torch.unique(wanted, return_inverse=True)
    own = places[: items.numel()].view_as(items) + 1
    return own.where(items > 0, 0), places[items.numel() :], rows
