"""Read a bundle back as a torch model, so that learning goes on from the file that serves. Needs onnx and torch.

The order of a GRU's gates is update, reset, new in ONNX, and reset, update, new in torch.
"""

from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import onnx
import torch
from onnx import numpy_helper
from scipy import sparse

from jobs.errors import ModelError
from models.serving.bundle import REBUILD, Manifest, Segment, Vocabulary, load_bundle
from models.serving.newcomers import Words
from models.session.gru import ItemMemory, SessionGRU
from models.session.head import ITEM_MATRIX
from models.session.memory import Rows
from models.session.segments import Segments
from models.session.words import Newcomers


class Restored(NamedTuple):
    """Hold a bundle as a torch model; `clicks` has each item's clicks in training, in the model's order."""

    version: str
    model: SessionGRU
    clicks: dict[str, int]
    names: dict[str, str]
    manifest: Manifest


def restore(folder: Path) -> Restored:
    """Return the model in a bundle's graph; it gives the same scores as the bundle.

    Raises ModelError if the bundle is refused, or is one that can't be learned on from.
    """
    bundle = load_bundle(folder)
    vocabulary = msgspec.json.decode((folder / "vocabulary.json").read_bytes(), type=Vocabulary)
    if "clicks" not in vocabulary:
        raise ModelError(
            f"{folder / 'vocabulary.json'} has no clicks: the bundle is older than `train --from`", REBUILD
        )
    model = _model(folder / "model.onnx", len(bundle.context_features), bundle.words, bundle.segments)
    clicks = dict(zip(vocabulary["items"], vocabulary["clicks"], strict=True))
    return Restored(bundle.version, model, clicks, bundle.names, bundle.manifest)


def scores_of(rows: Rows) -> sparse.csr_array:
    """Return [N, N]: a memory's rows as `memory.weigh` and `memory.succession` give them."""
    items, kept = len(rows.columns) - 1, rows.columns.shape[1]
    places = np.repeat(np.arange(items), kept), rows.columns[1:].ravel()
    return sparse.csr_array(sparse.coo_array((rows.weights[1:].ravel(), places), shape=(items, items)))


def _model(file: Path, n_context: int, words: Words | None, segments: list[Segment]) -> SessionGRU:
    graph = onnx.load(file).graph
    tensors = {
        tensor.name: numpy_helper.to_array(tensor).copy() for tensor in graph.initializer
    }  # torch wants to write
    (gru,) = [node for node in graph.node if node.op_type == "GRU"]
    context = [
        node.input[1] for node in graph.node if node.op_type == "MatMul" and node.name.startswith("/context_effect")
    ]
    if ITEM_MATRIX not in tensors or len(context) != 1:
        raise ModelError(f"{file} isn't a graph of this version of liveshelf", REBUILD)
    weights, recurrent, biases = (tensors[name][0] for name in gru.input[1:4])
    items, hidden = tensors[ITEM_MATRIX].shape
    model = SessionGRU(items, len(tensors["type_effect.weight"]) - 1, n_context, hidden, 0.0)
    state = {
        "item": tensors[ITEM_MATRIX],
        "bias": tensors["bias"],
        "gap_effect": tensors["gap_effect"],
        "type_effect.weight": tensors["type_effect.weight"],
        "context_effect.weight": tensors[context[0]].T,
        "gru.weight_ih_l0": _reset_first(weights),
        "gru.weight_hh_l0": _reset_first(recurrent),
        "gru.bias_ih_l0": _reset_first(biases[: 3 * hidden]),
        "gru.bias_hh_l0": _reset_first(biases[3 * hidden :]),
    }
    model.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in state.items()})
    memory = {name.removeprefix("memory."): value for name, value in tensors.items() if name.startswith("memory.")}
    if memory:
        model.memory = ItemMemory.of_arrays(memory)
    if words is not None:
        table = tensors["newcomers.rows"]
        table[0] = tensors["newcomers.mean"]
        model.newcomers = Newcomers(words, table)
    if segments:
        shares, typical = [each["share"] for each in segments], [each["items"] for each in segments]
        model.segments = Segments(tensors["segments.centres"], shares, typical)
    return model.eval()


def _reset_first(gates: np.ndarray) -> np.ndarray:
    """Return gates [3 * H, ...] in the order reset, update, new, from update, reset, new."""
    update, reset, new = np.split(gates, 3)
    return np.concatenate([reset, update, new])
