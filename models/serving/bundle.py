"""What a worker loads: one ONNX file, its vocabulary and a manifest, refused unless they fit each other.

A bundle is a folder with `model.onnx`, `vocabulary.json` and `manifest.json`. This module needs numpy, onnxruntime and
msgspec, never torch: it runs inside the Flink workers.
"""

import hashlib
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NotRequired, TypedDict

import msgspec
import numpy as np
import onnxruntime as ort

from jobs.errors import ModelError
from models.serving import signature
from models.serving.graph import check_graph

# Seam: what the ranker reads from the feature service, in this order; a bundle names its own list in its manifest.
CONTEXT_FEATURES = [
    "visitor_session:view_count",
    "visitor_session:duration_s",
    "visitor_session:mean_price_minor",
    "visitor_activity:views_1h",
]

# Name → type and shape, a free dimension by its name. C is the number of context features, K the length of a list,
# which is asked for by `k`.
INPUTS = {
    "items": ("tensor(int64)", ["batch", "time"]),
    "types": ("tensor(int64)", ["batch", "time"]),
    "gaps": ("tensor(float)", ["batch", "time"]),
    "lengths": ("tensor(int64)", ["batch"]),
    "context": ("tensor(float)", ["batch", "C"]),
    "k": ("tensor(int64)", [1]),
}
OUTPUTS = {"scores": ("tensor(float)", ["batch", "K"]), "items_out": ("tensor(int64)", ["batch", "K"])}

# torch and onnxruntime differ by 1.4e-6 on the golden cases here; another CPU sums in yet another order.
GOLDEN_TOLERANCE = 1e-3

REBUILD = "export the bundle again: liveshelf train (see models/README.md)"


class Vocabulary(TypedDict):
    """items[i] is model item i + 1; `popular` starts with the most popular."""

    items: list[str]
    clicks: NotRequired[list[int]]  # of each item in training; what `train --from` weighs new clicks against
    event_types: list[str]
    names: dict[str, str]
    popular: list[str]


class Tensor(TypedDict):
    """A graph input or output."""

    name: str
    type: str
    shape: list[int | str]


class Golden(TypedDict):
    """Inputs and the outputs that they gave at export, by name."""

    inputs: dict[str, list]
    outputs: dict[str, list]


# Of each file its sha256.
Files = TypedDict("Files", {"model.onnx": str, "vocabulary.json": str})


class Manifest(TypedDict):
    """What the bundle is, and what it was made of."""

    format: Literal[1]
    name: str
    files: Files
    inputs: list[Tensor]
    outputs: list[Tensor]
    n_items: int
    product: Literal["exact", "fast"]  # see models/session/head.py
    max_events: int  # training saw no longer session
    context_features: list[str]
    training: dict[str, str | int | float]
    metrics: dict[str, dict[str, float]]
    golden: Golden


@dataclass(frozen=True)
class Bundle:
    """A checked model. `items[0]` is "" for padding; `item_index` and `type_index` start at 1."""

    version: str
    items: list[str]
    item_index: dict[str, int]
    type_index: dict[str, int]
    names: dict[str, str]
    popular: list[str]
    context_features: list[str]
    manifest: Manifest
    session: ort.InferenceSession = field(repr=False)

    def score(
        self,
        items: np.ndarray,
        types: np.ndarray,
        gaps: np.ndarray,
        lengths: np.ndarray,
        context: np.ndarray,
        k: int = 100,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best K = min(k, N) items of B sessions: scores float32 [B, K] falling, items int64 [B, K] in 1..N.

        items, types: int64 [B, T]; gaps: float32 [B, T]; lengths: int64 [B], at least 1; context: float32 [B, C].
        Rows are left-aligned, padded with 0 at the right, B is at least 1.
        """
        feed = {"items": items, "types": types, "gaps": gaps, "lengths": lengths, "context": context}
        feed["k"] = np.array([min(k, len(self.items) - 1)])
        return tuple(self.session.run(list(OUTPUTS), feed))


def load_bundle(path: Path | str, public_key: str = "") -> Bundle:
    """The bundle in the folder `path`, checked against its manifest and run once on its golden inputs.

    With a `public_key` (PEM) the manifest must be signed with its private one.

    Raises ModelError with the file, what was found, what was expected and the way out.
    """
    folder = Path(path)
    manifest = read_manifest(folder, public_key)
    content = {name: _read(folder / name) for name in ("model.onnx", "vocabulary.json")}
    for name, data in content.items():
        _check_hash(folder / name, data, manifest["files"][name])
    _check_features(folder / "manifest.json", manifest["context_features"])
    vocabulary = _decode(folder / "vocabulary.json", content["vocabulary.json"], Vocabulary)
    _check_vocabulary(folder / "vocabulary.json", vocabulary, manifest)
    session = _open_session(folder / "model.onnx", content["model.onnx"])
    _check_signature(folder / "model.onnx", session, manifest)
    bundle = Bundle(
        version=version_of(manifest),
        items=["", *vocabulary["items"]],
        item_index={item: index for index, item in enumerate(vocabulary["items"], start=1)},
        type_index={name: index for index, name in enumerate(vocabulary["event_types"], start=1)},
        names=vocabulary["names"],
        popular=vocabulary["popular"],
        context_features=manifest["context_features"],
        manifest=manifest,
        session=session,
    )
    _check_golden(folder / "model.onnx", bundle)
    return bundle


def read_manifest(folder: Path, public_key: str = "") -> Manifest:
    """What the bundle says of itself; nothing else is looked at. With a `public_key` (PEM) it has to be signed.

    Raises ModelError if it can't be read, or isn't signed so.
    """
    described = _read(folder / "manifest.json")
    if public_key:
        signature.check(folder / "manifest.json", described, _signed(folder / signature.SIGNATURE), public_key)
    return _decode(folder / "manifest.json", described, Manifest)


def version_of(manifest: Manifest) -> str:
    """The name that lists carry: the bundle's, and the first 12 digits of its model's sha256."""
    return f"{manifest['name']}-{manifest['files']['model.onnx'][:12]}"


def _read(file: Path) -> bytes:
    """A file of the bundle itself: what a link names isn't part of it, and a pipe would be waited for."""
    try:
        with open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise ModelError(f"{file} isn't a plain file", "copy the bundle's files themselves")
            return opened.read()
    except OSError as error:
        if file.is_symlink():
            raise ModelError(f"{file} is a link", "copy the bundle's files themselves") from error
        raise ModelError(
            f"{file} can't be read ({error.strerror})",
            "point LIVESHELF_MODEL_DIR at a folder with model.onnx, vocabulary.json and manifest.json",
        ) from error


def _signed(file: Path) -> bytes:
    if not file.exists():
        raise ModelError(f"{file.parent} isn't signed, and model_public_key is set", signature.HOW)
    return _read(file)


def _decode(file: Path, data: bytes, kind: type) -> dict:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise ModelError(f"{file} isn't a {kind.__name__.lower()}: {error}", REBUILD) from error


def _check_hash(file: Path, data: bytes, expected: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise ModelError(
            f"{file} ({len(data):,} bytes) has sha256 {found}, its manifest says {expected}",
            "copy the whole bundle folder again, or export it again; never edit one of its files",
        )


def _check_features(file: Path, features: list[str]) -> None:
    """A running job would else fail on the name, and again at each restart."""
    wrong = [feature for feature in features if not re.fullmatch(r"[^:]+:[^:]+", feature)]
    if wrong:
        raise ModelError(f"{file} has context features {wrong} that aren't view:feature", REBUILD)


def _check_vocabulary(file: Path, vocabulary: Vocabulary, manifest: Manifest) -> None:
    items = vocabulary["items"]
    if len(items) != manifest["n_items"]:
        raise ModelError(f"{file} has {len(items)} items, the manifest says {manifest['n_items']}", REBUILD)
    distinct = set(items)
    if len(distinct) != len(items):
        raise ModelError(f"{file} has {len(items) - len(distinct)} items twice", REBUILD)
    unknown = [item for item in vocabulary["popular"] if item not in distinct]
    if unknown or not vocabulary["popular"]:
        raise ModelError(f"{file} has `popular` items {unknown[:3]} that aren't in `items`, or none at all", REBUILD)


def _open_session(file: Path, data: bytes) -> ort.InferenceSession:
    check_graph(file, data)
    options = ort.SessionOptions()
    # One thread per Flink slot; spinning would take the cores that the JVM works on.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a dozen unrelated classes, all of them "this file doesn't load"
        raise ModelError(f"{file} isn't a graph that onnxruntime {ort.__version__} loads: {error}", REBUILD) from error


def _check_signature(file: Path, session: ort.InferenceSession, manifest: Manifest) -> None:
    """The graph, the manifest and the code that feeds it name the same tensors."""
    sizes = {"C": len(manifest["context_features"])}
    pairs = (("inputs", INPUTS, session.get_inputs()), ("outputs", OUTPUTS, session.get_outputs()))
    for side, contract, tensors in pairs:
        expected = [(name, kind, [sizes.get(d, d) for d in shape]) for name, (kind, shape) in contract.items()]
        in_graph = [(tensor.name, tensor.type, tensor.shape) for tensor in tensors]
        in_manifest = [(tensor["name"], tensor["type"], tensor["shape"]) for tensor in manifest[side]]
        for place, found in ((file, in_graph), (file.with_name("manifest.json"), in_manifest)):
            if found != expected:
                raise ModelError(f"{place} has {side} {found}, the worker feeds {expected}", REBUILD)


def _check_golden(file: Path, bundle: Bundle) -> None:
    arrays, expected, expected_items = _golden(file.with_name("manifest.json"), bundle.manifest["golden"])
    try:
        scores, items = bundle.score(**arrays | {"k": expected.shape[1]})
    except Exception as error:  # as in _open_session: every class of onnxruntime's means that it doesn't run
        raise ModelError(f"{file} doesn't run on its golden inputs: {error}", REBUILD) from error
    if not np.isfinite(scores).all():
        raise ModelError(f"{file} gives {int((~np.isfinite(scores)).sum())} scores that aren't finite", REBUILD)
    if scores.shape != expected.shape or np.abs(scores - expected).max() > GOLDEN_TOLERANCE:
        raise ModelError(
            f"{file} doesn't give its golden scores: row 0 starts with {scores[0, :3]}, expected {expected[0, :3]}",
            REBUILD,
        )
    # Two items closer than the tolerance may change places on another CPU, and no others.
    moved = (items != expected_items) & ~_near_a_neighbour(expected)
    if moved.any() or items.min() < 1 or items.max() > bundle.manifest["n_items"]:
        raise ModelError(f"{file} doesn't list its golden items: {items[0, :5]} … in row 0", REBUILD)


def _golden(file: Path, golden: Golden) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Input arrays by name, scores float32 [B, K] and items int64 [B, K] of the manifest's golden case."""
    kinds = {"tensor(int64)": np.int64, "tensor(float)": np.float32}
    try:
        arrays = {name: np.array(golden["inputs"][name], kinds[kind]) for name, (kind, _) in INPUTS.items()}
        scores = np.array(golden["outputs"]["scores"], np.float32)
        items = np.array(golden["outputs"]["items_out"], np.int64)
    except (KeyError, ValueError, TypeError) as error:
        raise ModelError(f"{file} has no usable golden case: {error!r}", REBUILD) from error
    if scores.ndim != 2 or scores.shape != items.shape or not scores.size:
        raise ModelError(f"{file} has golden outputs of shape {scores.shape} and {items.shape}, not [B, K]", REBUILD)
    return arrays, scores, items


def _near_a_neighbour(scores: np.ndarray) -> np.ndarray:
    """[B, K] sorted scores → which of them lie within two tolerances of the one before or after, or end the list."""
    near = -np.diff(scores, axis=1) <= 2 * GOLDEN_TOLERANCE  # [B, K-1]
    edge = np.zeros((len(scores), 1), bool)
    return np.hstack([edge, near]) | np.hstack([near, ~edge])
