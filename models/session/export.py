"""Write a trained model as a bundle: one ONNX file, its vocabulary, and a manifest that a worker can check."""

import copy
import io
import warnings
from pathlib import Path

import msgspec
import numpy as np
import onnx
import torch

from models.clicks.dataset import EVENT_TYPES, MAX_EVENTS, Batch, Encoder, Session, fingerprint, pad
from models.quality.evaluate import TYPE_INDEX
from models.serving.bundle import GOLDEN_PLACES, INPUTS, OUTPUTS, load_bundle
from models.serving.registry import OF_FILES, PARTS
from models.session.gru import SessionGRU
from models.session.head import ALL_SCORES, Product, with_list

# Version 17 has every operator of the graph (GRU-14, Gemm-13, TopK-11), and runtimes since 2022 read it.
OPSET = 17
POPULAR_ITEMS = 200
GOLDEN_ROWS, GOLDEN_EVENTS = 4, 8


def write_bundle(
    out: Path,
    name: str,
    model: SessionGRU,
    encoder: Encoder,
    sessions: list[Session],
    names: dict[str, str],
    product: Product,
    training: dict,
    table: dict,
) -> None:
    """Write the bundle's files, and check them as a worker checks them.

    The golden case comes from the newest of `sessions`. Raises ModelError for a bundle that a worker would refuse.
    """
    out.mkdir(parents=True, exist_ok=True)
    model = model.cpu()  # the graph is traced, and its golden outputs are computed, where it will be served
    export_onnx(model, out / "model.onnx", product)
    name_by_item = {item: names[item] for item in encoder.items if item in names}
    write_vocabulary(out / "vocabulary.json", encoder.clicks, name_by_item)
    golden = pad([session[:GOLDEN_EVENTS] for session in sessions[-GOLDEN_ROWS:]], encoder.index, TYPE_INDEX)
    write_manifest(out, model, name, product, golden, encoder.context_features, training, table)
    load_bundle(out)
    for part in PARTS:
        (out / part).chmod(OF_FILES)


def export_onnx(model: SessionGRU, file: Path, product: Product) -> None:
    """Write the graph with free `batch` and `time` dimensions and all weights inside; `product`: see head.with_list.

    The TorchScript exporter maps nn.GRU to ONNX's GRU operator and needs no onnxscript. It warns about the batch size
    of the initial state; the traced graph builds that state from the input's shape, so the warning is silenced.
    """
    example = {
        "items": torch.ones(2, 3, dtype=torch.int64),
        "types": torch.ones(2, 3, dtype=torch.int64),
        "gaps": torch.ones(2, 3),
        "lengths": torch.tensor([3, 2]),
        "context": torch.zeros(2, model.n_context),
    }
    free = {
        name: {axis: dimension for axis, dimension in enumerate(INPUTS[name][1]) if dimension in ("batch", "time")}
        for name in example
    }
    traced = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            copy.deepcopy(model).freeze(),
            tuple(example.values()),
            traced,
            dynamo=False,
            opset_version=OPSET,
            input_names=list(example),
            output_names=[ALL_SCORES],
            dynamic_axes=free | {ALL_SCORES: {0: "batch"}},
        )
    onnx.save(with_list(onnx.load_from_string(traced.getvalue()), product), file)


def write_vocabulary(file: Path, clicks: dict[str, int], names: dict[str, str]) -> None:
    """Write the vocabulary; `clicks` by item are in the model's order (see dataset.clicks_by_item)."""
    items = list(clicks)
    vocabulary = {
        "items": items,
        "clicks": list(clicks.values()),
        "event_types": EVENT_TYPES,
        "names": names,
        "popular": items[:POPULAR_ITEMS],
    }
    file.write_bytes(msgspec.json.encode(vocabulary))


def write_manifest(
    folder: Path,
    model: SessionGRU,
    name: str,
    product: Product,
    batch: Batch,
    context_features: list[str],
    training: dict,
    metrics: dict[str, dict[str, float]],
) -> None:
    """Write the manifest of the files in `folder`; `batch` becomes the golden case, with the outputs of torch."""
    golden_inputs = golden_case(batch, model.n_context)
    k = min(GOLDEN_PLACES, model.item.shape[0])
    scores, items = torch_list(model, *golden_inputs.values(), k=k)
    sizes = {"C": model.n_context}

    def tensors(contract: dict[str, tuple[str, list[str]]]) -> list[dict]:
        return [
            {"name": tensor, "type": kind, "shape": [sizes.get(dimension, dimension) for dimension in shape]}
            for tensor, (kind, shape) in contract.items()
        ]

    manifest = {
        "format": 1,
        "name": name,
        "files": {file: fingerprint(folder / file) for file in ("model.onnx", "vocabulary.json")},
        "inputs": tensors(INPUTS),
        "outputs": tensors(OUTPUTS),
        "n_items": model.item.shape[0],
        "product": product,
        "max_events": MAX_EVENTS,
        "context_features": context_features,
        "training": training,
        "metrics": metrics,
        "golden": {
            "inputs": {key: array.tolist() for key, array in golden_inputs.items()} | {"k": [k]},
            "outputs": {key: value.tolist() for key, value in zip(OUTPUTS, (scores, items), strict=True)},
        },
    }
    (folder / "manifest.json").write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1))


def golden_case(batch: Batch, n_context: int) -> dict[str, np.ndarray]:
    """Return the batch by input name; every second row has context values, so that this input counts too."""
    context = np.zeros((len(batch.items), n_context), np.float32)
    context[::2] = np.resize([3, 2400, 4350, 5], n_context)  # of the size of counts, seconds and prices
    return {**batch._asdict(), "context": context}


def torch_list(model: SessionGRU, *arrays: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the model's answer as `Bundle.score` gives it, without ONNX."""
    with torch.no_grad():
        tensors = (torch.from_numpy(array).to(model.item.device) for array in arrays)
        scores, columns = model.eval()(*tensors).topk(k)
    return scores.cpu().numpy(), columns.cpu().numpy() + 1
