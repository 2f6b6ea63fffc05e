"""Write a trained model as a bundle: one ONNX file, its vocabulary, and a manifest that a worker can check."""

import copy
import io
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime as ort
import torch

from jobs.errors import DataError, ModelError
from models.clicks.dataset import EVENT_TYPES, MAX_EVENTS, Batch, Encoder, Session, fingerprint, pad
from models.quality.evaluate import TYPE_INDEX
from models.serving.bundle import GOLDEN_PLACES, INPUTS, LIMITS, OUTPUTS, load_bundle, outputs_of
from models.serving.registry import OF_FILES, PARTS
from models.session.gru import SessionGRU
from models.session.head import ALL_SCORES, MORE_CANDIDATES, Product, with_list, with_newcomers, with_segments
from models.session.item_index import ItemIndex, build
from models.session.memory import KEPT, KEPT_SUCCESSORS
from models.session.segments import Segments
from models.session.spare import INDEXED_FROM, QUESTIONS, Asked, Spare, ask, checked, choose, plainer
from models.session.words import Newcomers

# Version 17 has every operator of the graph (GRU-14, Gemm-13, TopK-11), and runtimes since 2022 read it.
OPSET = 17
POPULAR_ITEMS = 200
GOLDEN_ROWS, GOLDEN_EVENTS = 4, 8
NAMES = {"exact": "exact product", "fast": "int8 product", "indexed": "index"}


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
    *,
    prefixes: Sequence[Session] = (),
    least: int = MORE_CANDIDATES,
    tell: Callable[[str], None] = print,
) -> Spare:
    """Write the bundle's files, check them as a worker checks them, and return how its product was chosen.

    The golden case comes from the newest of `sessions`. The int8 product takes as many more candidates as `prefixes`,
    or else the newest of `sessions`, need, and at least `least` (see spare.py). Where a bundle with it would be
    refused, or an index holds too few items of the exact lists, a plainer product is taken. `out` is touched when all
    is checked.

    Raises ModelError for an exact bundle that a worker would refuse.
    """
    model = model.cpu()  # the graph is traced, and its golden outputs are computed, where it will be served
    newest = [session[:GOLDEN_EVENTS] for session in sessions[-GOLDEN_ROWS:]]
    asked = ask(model, [*(prefixes or newest_prefixes(sessions)), *newest], encoder.index)
    golden = pad(newest, encoder.index, TYPE_INDEX)
    name_by_item = {item: names[item] for item in encoder.items if item in names}
    with staging(out) as folder:
        write_vocabulary(folder / "vocabulary.json", encoder.clicks, name_by_item, model.newcomers, model.segments)

        def manifest(spare: Spare) -> None:
            facts = training | spare.notes()
            write_manifest(folder, model, name, spare.product, golden, encoder.context_features, facts, table)

        spare = write_graph(folder, model, choose(asked, product, least), asked, manifest, tell)
        tell(spare.told())
        out.mkdir(parents=True, exist_ok=True)
        for part in PARTS:
            (folder / part).chmod(OF_FILES)
            os.replace(folder / part, out / part)
    return spare


def check_size(encoder: Encoder, names: dict[str, str], hidden: int) -> int:
    """Return about how many bytes of disk a training of these items needs.

    Raises DataError if their bundle would be larger than one may be, or if an item's id can't be written.
    """
    items = len(encoder.items)
    weights, memory = items * (hidden + 1) * 4, items * (KEPT + KEPT_SUCCESSORS) * 8
    int8 = items * (hidden + 8)  # the int8 product's matrix, scales and biases
    if items >= INDEXED_FROM:  # an index has places for some more items, and a centre for every 25
        int8 = int(1.3 * items * (hidden + 12)) + items // 25 * hidden * 4
    graph = weights + int8 + memory
    named = {item: names[item] for item in encoder.items if item in names}
    try:
        words = len(vocabulary_of(encoder.clicks, named))
    except (UnicodeEncodeError, msgspec.EncodeError) as error:
        raise DataError(f"an item's id can't be written as UTF-8: {error}", "mend the id in the file") from error
    for name, size in (("model.onnx", graph + (1 << 20)), ("vocabulary.json", words)):
        if size > LIMITS[name]:
            raise DataError(
                f"{items:,} items make a {name} of {size:,} bytes, and one may have {LIMITS[name]:,}",
                "leave rare items out with --min-item-support",
            )
    return 3 * (graph + words) + 2 * 2 * 3 * weights  # new, old and trial bundles; two parts, written beside each other


def newest_prefixes(sessions: Sequence[Session]) -> list[Session]:
    """Return the newest beginnings of sessions that a visitor may be asked about, at least `QUESTIONS` if there are."""
    prefixes: list[Session] = []
    for session in reversed(sessions):
        if len(prefixes) >= QUESTIONS:
            break
        prefixes += [session[max(0, end - MAX_EVENTS) : end] for end in range(len(session), 0, -1)][:QUESTIONS]
    return prefixes[::-1]


def write_graph(
    folder: Path,
    model: SessionGRU,
    spare: Spare,
    asked: Asked,
    manifest: Callable[[Spare], None],
    tell: Callable[[str], None],
    index: ItemIndex | None = None,
) -> Spare:
    """Write `model.onnx` and by `manifest` the manifest, and load the bundle; a plainer product where one loses items.

    Raises ModelError for an exact bundle that is refused.
    """
    if spare.product == "indexed":
        index = (index or build(model.vectors().detach().numpy()))._replace(looked_at=spare.blocks)
    export_onnx(model, folder / "model.onnx", spare.product, spare.more, index)
    manifest(spare)
    try:
        bundle = load_bundle(folder)
    except ModelError as error:
        if spare.product == "exact":
            raise
        tell(f"the {NAMES[spare.product]} is left out: {error.what}")
        return write_graph(folder, model, plainer(spare, asked), asked, manifest, tell, index)
    if spare.product == "exact":
        return spare
    measured = checked(spare, asked, bundle.score)
    if (measured.product, measured.blocks) != (spare.product, spare.blocks):
        if spare.product == "indexed":
            tell(f"the nearest {spare.blocks} blocks hold {measured.overlap:.2%} of the exact lists' items, too few")
        return write_graph(folder, model, measured, asked, manifest, tell, index)
    manifest(measured)
    return measured


@contextmanager
def staging(out: Path) -> Iterator[Path]:
    """Give a folder on the disk of `out` to write a bundle in, and remove it at the end.

    It lies beside `out`, or in it where `out` is there and the folder around it can't be written.
    """
    around = out.absolute()
    folder = around.parent / f".{around.name}.new"
    if around.is_dir() and not os.access(around.parent, os.W_OK):
        folder = around / ".new"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        for part in PARTS:
            (folder / part).unlink(missing_ok=True)
        folder.rmdir()


def export_onnx(
    model: SessionGRU, file: Path, product: Product, more: int = MORE_CANDIDATES, index: ItemIndex | None = None
) -> None:
    """Write the graph with free `batch` and `time` dimensions and all weights inside; see head.with_list for the rest.

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
    graph = with_list(onnx.load_from_string(traced.getvalue()), product, more, index)
    if model.newcomers is not None:
        graph = with_newcomers(graph, model.newcomers.table, len(model.newcomers.words.names))
    if model.segments is not None:
        graph = with_segments(graph, model.segments.centres)
    onnx.save(graph, file)


def write_vocabulary(
    file: Path,
    clicks: dict[str, int],
    names: dict[str, str],
    newcomers: Newcomers | None = None,
    segments: Segments | None = None,
) -> None:
    """Write the vocabulary; `clicks` by item are in the model's order (see dataset.clicks_by_item)."""
    file.write_bytes(vocabulary_of(clicks, names, newcomers, segments))


def vocabulary_of(
    clicks: dict[str, int],
    names: dict[str, str],
    newcomers: Newcomers | None = None,
    segments: Segments | None = None,
) -> bytes:
    """Return the vocabulary's file."""
    items = list(clicks)
    vocabulary = {
        "items": items,
        "clicks": list(clicks.values()),
        "event_types": EVENT_TYPES,
        "names": names,
        "popular": items[:POPULAR_ITEMS],
    }
    if newcomers is not None:
        texts = {name: list(numbers) for name, numbers in newcomers.words.texts.items()}
        vocabulary["facts"] = {"texts": texts, "bounds": dict(newcomers.words.bounds)}
    if segments is not None:
        told = zip(segments.shares, segments.typical, strict=True)
        vocabulary["segments"] = [{"share": share, "items": items} for share, items in told]
    return msgspec.json.encode(vocabulary)


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
    """Write the manifest of the files in `folder`; `batch` becomes the golden case.

    Its outputs are those of torch, but the graph's own where an index may leave an item out.
    """
    golden_inputs = golden_case(batch, model.n_context)
    k = min(GOLDEN_PLACES, model.item.shape[0])
    scores, items = torch_list(model, *golden_inputs.values(), k=k)
    if product == "indexed":  # `checked` holds its lists against the exact ones
        scores, items = graph_list(folder / "model.onnx", golden_inputs, k)
    hidden = model.item.shape[1]
    sizes = {"C": model.n_context, "H": hidden, "H + 1": hidden + 1}
    sizes["S"] = len(model.segments.centres) if model.segments else 0
    outputs = outputs_of(model.newcomers is not None, model.segments is not None)

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
        "outputs": tensors(outputs),
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


def graph_list(file: Path, inputs: dict[str, np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the graph's answer as `Bundle.score` gives it."""
    session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    return tuple(session.run([*OUTPUTS], inputs | {"k": np.array([k])}))


def torch_list(model: SessionGRU, *arrays: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the model's answer as `Bundle.score` gives it, without ONNX."""
    with torch.no_grad():
        tensors = (torch.from_numpy(array).to(model.item.device) for array in arrays)
        scores, columns = model.eval()(*tensors).topk(k)
    return scores.cpu().numpy(), columns.cpu().numpy() + 1
