"""Learn on: make the next version from a version and newer sessions, and judge whether it is worse."""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse

from jobs.errors import DataError, ModelError
from models.clicks.dataset import Encoder, Session
from models.clicks.sessions import Question, questions_of
from models.quality.measure import measure_bundle, measure_model
from models.serving.bundle import Bundle, load_bundle
from models.serving.offered import catalogue
from models.session import memory
from models.session.choose import JUDGED_BY
from models.session.epochs import Training, new_model, score_with
from models.session.export import write_bundle
from models.session.gru import ItemMemory, SessionGRU
from models.session.recipe import Recipe
from models.session.restore import Restored, restore, scores_of
from models.session.segments import carry
from models.session.train import Tell, flat

HELD_OUT = 0.15  # share of the sessions, the newest, that judge
# Chosen on eshop: April's model learns on from May and answers June (models/TRIALS.md).
EPOCHS = 6
LEARNING_RATE = 1e-3


class Judgement(NamedTuple):
    """Compare both versions on the newest sessions, which neither has learned from."""

    before: dict
    after: dict

    @property
    def worse(self) -> list[str]:
        """Return the metrics that fell."""
        return [name for name in JUDGED_BY if self.after[name] < self.before[name]]


class Newest(NamedTuple):
    """New sessions by time; those that judge are questions."""

    teach: list[Session]
    judge: list[Question]


def split_newest(sessions: list[Session]) -> Newest:
    """Cut sessions into the newest 15 %, which judge, and the rest. Raises DataError if a part has no question."""
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
    """Learn on from the bundle in `folder`, write the next one to `out`, and return both versions' quality.

    Both are judged on the newest 15 % of `sessions`, the next one after learning from the older 85 %. The model that is
    written has learned from all of them, in the same way.

    Args:
        sessions: new ones, oldest first.
        source: where they came from, for the manifest.
        against: the bundle to compare with; None for the one in `folder`.
        epoch: called after each epoch with the part of the sessions, the epoch's number, and the loss.

    Raises ModelError if the bundle can't be learned on from, or reads other context features than `against`, and
    DataError for too few sessions.
    """
    started = time.monotonic()
    torch.set_num_threads(1)  # sums in one order, as in train_bundle
    base, parts, rival = restore(folder), split_newest(sessions), load_bundle(against or folder)
    _check_inputs(base, rival)
    tell(
        f"{len(sessions):,} new sessions, {sum(map(len, sessions)):,} clicks; "
        f"{len(parts.judge):,} questions to judge by"
    )
    model, encoder = _learn_on(base, parts.teach, seed, tell, partial(epoch, "older sessions"))
    offered = catalogue(["", *encoder.items], names_of(base.names, parts.teach))
    judgement = Judgement(
        before=measure_bundle(rival, parts.judge),
        after=measure_model(score_with(model), parts.judge, encoder.index, model.n_context, offered),
    )
    content = base.manifest["name"], model, encoder, parts.teach, {}, base.manifest["product"], {}, {}
    prefixes = [question.prefix for question in parts.judge]
    with tempfile.TemporaryDirectory() as trial:  # what would refuse the bundle refuses it now
        spare = write_bundle(Path(trial), *content, prefixes=prefixes, tell=tell)
    shipped, all_items = _learn_on(base, sessions, seed, tell, partial(epoch, "all sessions"))
    training = base.manifest["training"] | {
        **source,
        "from": base.version,
        "sessions": len(sessions),
        "events": sum(map(len, sessions)),
        "seed": seed,
        "torch": str(torch.__version__),
        "train_s": round(time.monotonic() - started),
    }
    content = base.manifest["name"], shipped, all_items, sessions, names_of(base.names, sessions), spare.product
    table = flat({"model": judgement.after, "before": judgement.before})
    write_bundle(out, *content, training, table, least=spare.more, tell=tell)
    return judgement


def names_of(known: dict[str, str], sessions: list[Session]) -> dict[str, str]:
    """Return the items' names; an item of the new sessions that has none gets its id for one.

    Where a bundle names items, only named ones are shown. An item that people look at is offered, so without a name it
    would be learned, judged, and never shown. Older versions hold such items, named here when clicked again.
    """
    clicked = {event.item: event.item for session in sessions for event in session}
    return clicked | known if known else {}


def _check_inputs(base: Restored, rival: Bundle) -> None:
    """Raise ModelError unless both read the same context features: the sessions that judge hold those of one."""
    inputs = base.manifest["context_features"]
    if inputs != rival.context_features:
        raise ModelError(
            f"{base.version} reads {inputs}, and {rival.version}, which it is compared with, {rival.context_features}",
            "train anew without --from: learning on keeps a model's inputs",
        )


def _learn_on(
    base: Restored, sessions: list[Session], seed: int, tell: Tell, epoch: Callable[[int, dict[str, float]], None]
) -> tuple[SessionGRU, Encoder]:
    """Return the base's model after `EPOCHS` epochs of new sessions, and its items, new ones among them."""
    training = base.manifest["training"]
    recipe = Recipe(**{name: training[name] for name in Recipe._fields if name in training})
    recipe = recipe._replace(epochs=EPOCHS, learning_rate=LEARNING_RATE)
    encoder = Encoder(sessions, base.clicks, base.manifest["context_features"])
    model = _with_new_items(base, encoder, sessions, recipe, seed)
    model.newcomers = base.model.newcomers  # the rows of words change little in some hours
    epochs = Training(model, sessions, encoder, recipe, seed)
    for number, loss in enumerate(epochs, start=1):
        tell(f"epoch {number} of {recipe.epochs}: loss {loss:.4f}")
        epoch(number, {"loss": loss})
    epochs.tell_of_divergence(tell)
    if base.model.memory is not None:
        model.memory = _joint_memory(base, encoder, sessions).to(model.item.device)
    index = {item: number for number, item in enumerate(base.clicks, start=1)}
    model.segments = carry(base.model, index, model, encoder.index, sessions, seed)
    if model.segments is not None:
        tell(model.segments.told())
    return model.eval(), encoder


def _with_new_items(base: Restored, encoder: Encoder, sessions: list[Session], recipe: Recipe, seed: int) -> SessionGRU:
    """Return a model with the base's weights; a new item gets the mean of the base's items in its sessions."""
    model = new_model(encoder, recipe, seed)
    places = _places(base, encoder)
    rows = model.item.detach().cpu().numpy().copy()  # [N, H]; an item that was seen beside new items only stays random
    bias = np.zeros(len(rows), np.float32)
    rows[places], bias[places] = base.model.item.detach().numpy(), base.model.bias.detach().numpy()
    for number, neighbours in _neighbours(sessions, encoder, base).items():
        rows[number - 1] = rows[np.array(neighbours) - 1].mean(axis=0)
    state = base.model.state_dict() | {"item": torch.from_numpy(rows), "bias": torch.from_numpy(bias)}
    model.load_state_dict({name: value for name, value in state.items() if not name.startswith("memory.")})
    return model


def _neighbours(sessions: list[Session], encoder: Encoder, base: Restored) -> dict[int, list[int]]:
    """Return, by the number of a new item, the numbers of the base's items in sessions with it."""
    neighbours_of: dict[int, list[int]] = {}
    for session in sessions:
        items = {event.item for event in session}
        familiar = [encoder.index[item] for item in sorted(items & base.clicks.keys())]
        for item in items - base.clicks.keys():
            neighbours_of.setdefault(encoder.index[item], []).extend(familiar)
    return {number: neighbours for number, neighbours in neighbours_of.items() if neighbours}


def _joint_memory(base: Restored, encoder: Encoder, sessions: list[Session]) -> ItemMemory:
    """Return the memory of the base's sessions and the new ones, with the base's weights.

    Followers are the mean of both, weighed by each item's clicks; the rows of bundles made before 29 November 2026 hold
    their strength. Successors are counted on.
    """
    numbers, items = encoder.numbers(sessions), len(encoder.items)
    new_clicks = np.bincount(np.concatenate(numbers), minlength=items + 1)[1:]
    old_clicks = np.zeros(items)
    places = _places(base, encoder)
    old_clicks[places] = list(base.clicks.values())
    total = np.maximum(old_clicks + new_clicks, 1)
    moved = sparse.csr_array((np.ones(len(places)), (np.arange(len(places)), places)), shape=(len(places), items))
    followers, successors = base.model.memory.rows()
    old = moved.T @ scores_of(followers) @ moved
    new = base.manifest["training"].get("strength", 1.0) * memory.weigh(numbers, items)
    both = sparse.diags_array(old_clicks / total) @ old + sparse.diags_array(new_clicks / total) @ new
    if successors is not None:
        counts = moved.T @ scores_of(successors).expm1() @ moved + memory.succession(numbers, items)
        successors = memory.strongest(sparse.csr_array(counts).log1p(), memory.KEPT_SUCCESSORS)
    made = ItemMemory(memory.strongest(sparse.csr_array(both), memory.KEPT), successors)
    made.load_state_dict({**made.state_dict(), **dict(base.model.memory.named_parameters())})
    return made


def _places(base: Restored, encoder: Encoder) -> np.ndarray:
    """Return the column of each of the base's items in the new catalogue, int64 [N before]."""
    return np.array([encoder.index[item] - 1 for item in base.clicks])
