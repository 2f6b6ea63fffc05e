"""Learning goes on: a version and newer sessions → the next version, which may serve if it isn't worse."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse

from jobs.errors import DataError
from models.clicks.dataset import Encoder, Session
from models.clicks.sessions import Question, questions_of
from models.quality.measure import measure_model
from models.serving.bundle import load_bundle
from models.session import memory
from models.session.choose import Memory
from models.session.epochs import epochs_of, new_model, score_with
from models.session.export import write_bundle
from models.session.gru import ItemMemory, SessionGRU
from models.session.recipe import Recipe
from models.session.restore import Restored, follower_scores, restore
from models.session.train import Tell, flat

HELD_OUT = 0.15  # the newest sessions, which judge
JUDGED_BY = ("recall@20", "mrr@20")
# Chosen on eshop: April's model learns on from May and answers June. Recall@20 / MRR@20 .6926 / .2409 without May, .7026 /
# .2468 with these, .7005 / .2457 with 3 epochs, .6991 / .2459 at 3e-3. Halving what April counts changed .0003.
EPOCHS = 6
LEARNING_RATE = 1e-3


class Judgement(NamedTuple):
    """Both versions on the newest sessions, which neither has learned from."""

    before: dict
    after: dict

    @property
    def worse(self) -> list[str]:
        """The metrics that fell."""
        return [name for name in JUDGED_BY if self.after[name] < self.before[name]]


class Newest(NamedTuple):
    """New sessions by time; what judges as questions."""

    teach: list[Session]
    judge: list[Question]


def split_newest(sessions: list[Session]) -> Newest:
    """The newest 15 % judge. Raises DataError if a part has no question to ask."""
    cut = round(len(sessions) * (1 - HELD_OUT))
    parts = Newest(sessions[:cut], questions_of(sessions[cut:]))
    if not (questions_of(parts.teach) and parts.judge):
        raise DataError(
            f"{len(sessions):,} sessions, {sum(len(s) > 1 for s in sessions):,} of them with two clicks or more, are "
            "too few to learn and to judge",
            "give at least some dozens of sessions with two clicks or more",
        )
    return parts


def train_on(
    folder: Path,
    sessions: list[Session],
    out: Path,
    source: dict[str, str],
    *,
    against: Path | None = None,
    seed: int = 1,
    tell: Tell = print,
    epoch: Callable[[str, int, dict[str, float]], None] = lambda *_: None,
) -> Judgement:
    """Learn on from the bundle in `folder` and write the next one to `out`; how it does on the newest sessions.

    What is judged has learned from the older 85 % of `sessions`; what is written from all of them, in the same way.

    Args:
        sessions: new ones, oldest first.
        source: where they came from, for the manifest.
        against: the bundle that it is compared with; `folder` if there is none.
        epoch: called after each epoch with what is learned from, its number, and the loss.

    Raises ModelError if the bundle can't be learned on from, DataError for too few sessions.
    """
    started = time.monotonic()
    torch.set_num_threads(1)  # sums in one order, as in train_bundle
    known, parts, rival = restore(folder), split_newest(sessions), load_bundle(against or folder)
    tell(
        f"{len(sessions):,} new sessions, {sum(map(len, sessions)):,} clicks; {len(parts.judge):,} questions to judge by"
    )
    tried, encoder = _continued(known, parts.teach, seed, tell, partial(epoch, "older sessions"))
    judged = Judgement(
        before=measure_model(rival.score, parts.judge, rival.item_index),
        after=measure_model(score_with(tried), parts.judge, encoder.index),
    )
    shipped, everything = _continued(known, sessions, seed, tell, partial(epoch, "all sessions"))
    training = known.manifest["training"] | {
        **source,
        "from": known.version,
        "sessions": len(sessions),
        "events": sum(map(len, sessions)),
        "seed": seed,
        "torch": str(torch.__version__),
        "train_s": round(time.monotonic() - started),
    }
    made = known.manifest["name"], shipped, everything, sessions, known.names, known.manifest["product"]
    write_bundle(out, *made, training, flat({"model": judged.after, "before": judged.before}))
    return judged


def _continued(
    known: Restored, sessions: list[Session], seed: int, tell: Tell, epoch: Callable[[int, dict[str, float]], None]
) -> tuple[SessionGRU, Encoder]:
    """The known model after `EPOCHS` epochs of new sessions, with the items that are new."""
    training = known.manifest["training"]
    recipe = Recipe(**{name: training[name] for name in Recipe._fields if name in training})
    recipe = recipe._replace(epochs=EPOCHS, learning_rate=LEARNING_RATE)
    encoder = Encoder(sessions, known.clicks)
    model = _grown(known, encoder, sessions, recipe, seed)
    for number, loss in enumerate(epochs_of(model, sessions, encoder, recipe, seed), start=1):
        tell(f"epoch {number} of {recipe.epochs}: loss {loss:.4f}")
        epoch(number, {"loss": loss})
    chosen = Memory(**{name: training[name] for name in Memory._fields})
    if known.model.memory is not None:
        model.memory = _joined(known, encoder, sessions, chosen).to(model.item.device)
    return model.eval(), encoder


def _grown(known: Restored, encoder: Encoder, sessions: list[Session], recipe: Recipe, seed: int) -> SessionGRU:
    """The known weights, and for a new item the mean of the known items in its sessions."""
    model = new_model(encoder, recipe, seed)
    places = _places(known, encoder)
    rows = model.item.detach().cpu().numpy().copy()  # [N, H]; what stays random is a new item among new ones only
    bias = np.zeros(len(rows), np.float32)
    rows[places], bias[places] = known.model.item.detach().numpy(), known.model.bias.detach().numpy()
    for number, neighbours in _neighbours(sessions, encoder, known).items():
        rows[number - 1] = rows[np.array(neighbours) - 1].mean(axis=0)
    state = known.model.state_dict() | {"item": torch.from_numpy(rows), "bias": torch.from_numpy(bias)}
    model.load_state_dict({name: value for name, value in state.items() if not name.startswith("memory.")})
    return model


def _neighbours(sessions: list[Session], encoder: Encoder, known: Restored) -> dict[int, list[int]]:
    """Numbers of new items → numbers of the known items in sessions with them."""
    found: dict[int, list[int]] = {}
    for session in sessions:
        items = {event.item for event in session}
        familiar = [encoder.index[item] for item in sorted(items & known.clicks.keys())]
        for item in items - known.clicks.keys():
            found.setdefault(encoder.index[item], []).extend(familiar)
    return {number: neighbours for number, neighbours in found.items() if neighbours}


def _joined(known: Restored, encoder: Encoder, sessions: list[Session], chosen: Memory) -> ItemMemory:
    """The mean of the known memory and that of the new sessions, each item's by its clicks in both."""
    numbers, items = encoder.numbers(sessions), len(encoder.items)
    new_clicks = np.bincount(np.concatenate(numbers), minlength=items + 1)[1:]
    old_clicks = np.zeros(items)
    places = _places(known, encoder)
    old_clicks[places] = list(known.clicks.values())
    total = np.maximum(old_clicks + new_clicks, 1)
    moved = sparse.csr_array((np.ones(len(places)), (np.arange(len(places)), places)), shape=(len(places), items))
    old = moved.T @ follower_scores(known.model.memory) @ moved
    new = chosen.strength * memory.weigh(numbers, items, chosen.share)
    both = sparse.diags_array(old_clicks / total) @ old + sparse.diags_array(new_clicks / total) @ new
    return ItemMemory(memory.strongest(sparse.csr_array(both)), 1.0, chosen.fade, chosen.repeats)


def _places(known: Restored, encoder: Encoder) -> np.ndarray:
    """Column of each known item in the new catalogue, int64 [N before]."""
    return np.array([encoder.index[item] - 1 for item in known.clicks])
