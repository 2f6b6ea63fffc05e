"""Load a bundle: a model's ONNX file, its vocabulary and a manifest, refused unless the three fit each other.

A bundle is a folder with `model.onnx`, `vocabulary.json` and `manifest.json`. This module runs inside the Flink
workers, so it needs numpy, onnxruntime, protobuf and msgspec, and never torch.
"""

import hashlib
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import msgspec
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from jobs.errors import ModelError
from models.serving import signature
from models.serving.graph import BLOCK_BIAS, LOOKED_AT, blocks_of, check_graph, has_wide_weights, open_biases
from models.serving.newcomers import Words
from models.serving.offered import catalogue

# Name → type and shape, a free dimension by its name. C is the number of context features, K the length of a list,
# which is asked for by `k`.
Tensors = dict[str, tuple[str, list[str]]]
INPUTS: Tensors = {
    "items": ("tensor(int64)", ["batch", "time"]),
    "types": ("tensor(int64)", ["batch", "time"]),
    "gaps": ("tensor(float)", ["batch", "time"]),
    "lengths": ("tensor(int64)", ["batch"]),
    "context": ("tensor(float)", ["batch", "C"]),
    "k": ("tensor(int64)", [1]),
}
OUTPUTS: Tensors = {
    "scores": ("tensor(float)", ["batch", "K"]),
    "items_out": ("tensor(int64)", ["batch", "K"]),
}
# Also of a bundle that lists new items by their facts: the sessions' vectors, and vector and bias of items whose words
# are given. `words` (int64 [new, F]) has a default, so that nothing else need give it.
OUTPUTS_OF_FACTS: Tensors = {
    "query": ("tensor(float)", ["batch", "H"]),
    "newcomers": ("tensor(float)", ["new", "H + 1"]),
}
WORDS = "words"
# Also of a bundle that divides visitors into S segments: each session's, from 0, and how near it is to each; the
# nearest is its own.
SEGMENT, NEARNESS = "segment", "nearness"
OUTPUTS_OF_SEGMENTS: Tensors = {
    SEGMENT: ("tensor(int64)", ["batch"]),
    NEARNESS: ("tensor(float)", ["batch", "S"]),
}
DROPPED = -1e8  # an item with a lower bias isn't wanted
MOST_LOOKED_AT = 1_024  # blocks of an index, where rules drop most items; a list then takes 0.7 to 0.9 ms
NO_SEGMENT = -1  # of a visitor of whom the model knows nothing, and of everybody where a bundle has no segments

# torch and onnxruntime differ by 1.4e-6 on the golden cases here; another CPU sums in yet another order.
GOLDEN_TOLERANCE = 1e-3
# A golden case is compared as far as a list is shown. The int8 product may miss the 96th item of 100: the number of
# its candidates was chosen for lists of 30.
GOLDEN_PLACES = 20

# A name becomes a folder of the registry, a part of each list, and a line on somebody's screen.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SHA256 = re.compile(r"[0-9a-f]{64}")
# Bytes that a file may have. A graph of a million items has 1.1 GB, and protobuf reads 2 GB at most. The largest bundle
# that comes with the repository, of 18,009 items, has 21 MB, 1 MB and 30 kB.
LIMITS = {
    "manifest.json": 1 << 24,
    "model.onnx": (1 << 31) - 1,
    "vocabulary.json": 1 << 28,
    signature.SIGNATURE: 1 << 12,
}

REBUILD = "export the bundle again: liveshelf train (see models/README.md)"


class FactWords(TypedDict):
    """Name the words of facts by which new items are listed, in the order of their numbers (see `Words`)."""

    texts: dict[str, list[str]]
    bounds: dict[str, list[float]]


class Segment(TypedDict):
    """Tell a person of a segment: its share of visitors in training, and the items that set it apart."""

    share: float
    items: list[str]


class Vocabulary(TypedDict):
    """Name the model's items: items[i] is model item i + 1; `popular` starts with the most popular."""

    items: list[str]
    clicks: NotRequired[list[int]]  # of each item in training; `train --from` weighs new clicks against them
    event_types: list[str]
    names: dict[str, str]
    popular: list[str]
    facts: NotRequired[FactWords]
    segments: NotRequired[list[Segment]]


class Tensor(TypedDict):
    """Describe an input or output of the graph."""

    name: str
    type: str
    shape: list[int | str]


class Golden(TypedDict):
    """Hold inputs, and the outputs that they gave at export, by name."""

    inputs: dict[str, list]
    outputs: dict[str, list]


# The sha256 of each file.
Files = TypedDict("Files", {"model.onnx": str, "vocabulary.json": str})


class Manifest(TypedDict):
    """Say what the bundle is, and what it was made of."""

    format: Literal[1]
    name: str
    files: Files
    inputs: list[Tensor]
    outputs: list[Tensor]
    n_items: int
    product: Literal["exact", "fast", "indexed"]  # see models/session/head.py
    max_events: int  # training saw no longer session
    context_features: list[str]
    training: dict[str, str | int | float]
    metrics: dict[str, dict[str, float]]
    golden: Golden


@dataclass(frozen=True)
class Bundle:
    """Score sessions with a checked model. `items[0]` is "" for padding; `item_index` and `type_index` start at 1."""

    version: str
    items: list[str]
    item_index: dict[str, int]
    type_index: dict[str, int]
    names: dict[str, str]
    popular: list[str]
    context_features: list[str]
    manifest: Manifest
    session: ort.InferenceSession = field(repr=False)
    biases: "Bias" = field(default_factory=dict, repr=False)  # as trained
    blocks: NDArray[np.int32] | None = field(default=None, repr=False)  # the columns of each block of an index
    words: Words | None = field(default=None, repr=False)  # None: items that training never saw aren't listed
    segments: list[Segment] = field(default_factory=list, repr=False)  # by number

    def offered(self) -> NDArray[np.bool_]:
        """Return bool [N + 1]: which items may be shown."""
        return catalogue(self.items, self.names)

    def score(
        self,
        items: np.ndarray,
        types: np.ndarray,
        gaps: np.ndarray,
        lengths: np.ndarray,
        context: np.ndarray,
        k: int = 100,
        bias: "NDArray[np.float32] | Bias | None" = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the best K = min(k, N) items of B sessions: scores float32 [B, K] falling, items int64 [B, K] in 1..N.

        items, types: int64 [B, T]; gaps: float32 [B, T]; lengths: int64 [B], at least 1; context: float32 [B, C].
        Rows are left-aligned, padded with 0 at the right, B is at least 1. `bias` (float32 [N], or what `bias` made of
        it) is added to the items' scores before the best are taken.
        """
        return self._answers(list(OUTPUTS), (items, types, gaps, lengths, context), k, bias)

    def newcomers(self, words: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return float32 [M, H + 1]: vectors, and last the biases, of items with these words (int64 [M, F])."""
        one, nothing = np.ones((1, 1), np.int64), np.zeros((1, 1), np.float32)
        context = np.zeros((1, len(self.context_features)), np.float32)
        feed = {"items": one, "types": one, "gaps": nothing, "lengths": one[0], "context": context, "k": one[0]}
        return self.session.run(["newcomers"], feed | {WORDS: words})[0]

    def score_with(
        self, outputs: Sequence[str], *inputs: np.ndarray, k: int, bias: "NDArray[np.float32] | Bias | None" = None
    ) -> tuple[np.ndarray, ...]:
        """Return what `score` returns for its inputs, and then these outputs of the graph.

        `query`, float32 [B, H], are the sessions' vectors, where the bundle has `words`. The score of a new item is the
        product of its vector and the session's, plus its bias (see `newcomers`). `segment`, int64 [B], and `nearness`,
        float32 [B, S], are there where the bundle has `segments`.
        """
        return self._answers([*OUTPUTS, *outputs], inputs, k, bias)

    def segments_of(self, *inputs: np.ndarray) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the segment of each session, int64 [B], and how near it is to each, float32 [B, S].

        Inputs are as in `score`. Only a bundle with `segments` can.
        """
        segment, nearness = self._answers([SEGMENT, NEARNESS], inputs, 1, None)
        return segment, nearness

    def _answers(
        self, names: list[str], inputs: tuple[np.ndarray, ...], k: int, bias: "NDArray[np.float32] | Bias | None"
    ) -> tuple[np.ndarray, ...]:
        feed = dict(zip(INPUTS, (*inputs, np.array([min(k, len(self.items) - 1)])), strict=True))
        if bias is not None:
            feed |= bias if isinstance(bias, dict) else self.bias(bias)
        return tuple(self.session.run(names, feed))

    def bias(self, added: "NDArray[np.float32]") -> "Bias":
        """Return the inputs by which `score` adds something (float32 [N]) to the items' scores.

        -1e9 drops an item; its score is then below -1e8. Not -inf, which the graph subtracts.
        """
        assert self.biases, "a bundle without them is refused when it is read"
        of_items = self.biases["bias"] + added.astype(np.float32, copy=False)
        given = {  # the int8 product has columns behind the last item
            name: np.concatenate([of_items, trained[len(of_items) :]])
            for name, trained in self.biases.items()
            if name not in (BLOCK_BIAS, LOOKED_AT)
        }
        if self.blocks is not None:  # a block is looked at for its best item, and more of them where many are dropped
            kept = max(1, int((added > DROPPED).sum())) / len(added)
            looked_at = min(round(self.biases[LOOKED_AT][0] / kept), MOST_LOOKED_AT, len(self.blocks))
            given |= {BLOCK_BIAS: of_items[self.blocks].max(1), LOOKED_AT: np.array([looked_at])}
        return given


Bias = dict[str, NDArray[Any]]  # by the input's name


def load_bundle(path: Path | str, public_key: str = "") -> Bundle:
    """Return the bundle in the folder `path`, checked against its manifest and run once on its golden inputs.

    With a `public_key` (PEM) the manifest must be signed with the private key that belongs to it.

    Raises ModelError with the file, the value, the expected value and the way out.
    """
    folder = Path(path)
    return check_content(folder, read_content(folder), public_key)


def read_content(folder: Path) -> dict[str, bytes]:
    """Return a bundle's files by name, read once; its signature is among them if it has one.

    Raises ModelError for a file that isn't there, is a link, or is larger than a bundle's file can be.
    """
    names = [*LIMITS] if os.path.lexists(folder / signature.SIGNATURE) else [*LIMITS][:-1]
    return {name: _read(folder / name) for name in names}


def check_content(folder: Path, content: dict[str, bytes], public_key: str = "") -> Bundle:
    """Return the bundle that these bytes are, checked as in `load_bundle`. Errors name the files of `folder`."""
    manifest = _manifest(folder, content["manifest.json"], content.get(signature.SIGNATURE), public_key)
    for name in ("model.onnx", "vocabulary.json"):
        _check_hash(folder / name, content[name], manifest["files"][name])
    _check_features(folder / "manifest.json", manifest["context_features"])
    vocabulary = _decode(folder / "vocabulary.json", content["vocabulary.json"], Vocabulary)
    _check_vocabulary(folder / "vocabulary.json", vocabulary, manifest)
    session, biases, blocks = _open_session(folder / "model.onnx", content["model.onnx"])
    words, segments = _words(vocabulary), vocabulary.get("segments", [])
    _check_signature(folder / "model.onnx", session, manifest, words, segments)
    _check_biases(folder / "model.onnx", biases, blocks, len(vocabulary["items"]))
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
        biases=biases,
        blocks=blocks,
        words=words,
        segments=segments,
    )
    _check_golden(folder / "model.onnx", bundle)
    _check_newcomers(folder / "model.onnx", bundle)
    _check_segments(folder / "model.onnx", bundle)
    return bundle


def read_manifest(folder: Path, public_key: str = "") -> Manifest:
    """Return a bundle's manifest without a look at its other files; with a `public_key` (PEM) it must be signed.

    Raises ModelError if the manifest can't be read, or isn't signed with that key.
    """
    signed = folder / signature.SIGNATURE
    written = _read(signed) if public_key and os.path.lexists(signed) else None
    return _manifest(folder, _read(folder / "manifest.json"), written, public_key)


def _manifest(folder: Path, described: bytes, signed: bytes | None, public_key: str) -> Manifest:
    file = folder / "manifest.json"
    if public_key:
        if signed is None:
            raise ModelError(f"{folder} isn't signed, and model_public_key is set", signature.HOW)
        signature.check(file, described, signed, public_key)
    manifest = _decode(file, described, Manifest)
    check_name(manifest["name"], str(file))
    for name, digest in manifest["files"].items():
        if not SHA256.fullmatch(digest):
            raise ModelError(f"{file} says that {name} has sha256 {digest!r}", REBUILD)
    return manifest


def check_name(name: str, where: str) -> None:
    """Raise ModelError for a bundle's name that isn't a plain one; `where` says who has given it."""
    if not NAME.fullmatch(name):
        raise ModelError(
            f"{where} names the bundle {name!r}", "use up to 64 letters, digits, . _ and -, the first no sign"
        )


def version_of(manifest: Manifest) -> str:
    """Return the version that lists carry: the bundle's name, and the first 12 digits of its model's sha256."""
    return f"{manifest['name']}-{manifest['files']['model.onnx'][:12]}"


def _read(file: Path) -> bytes:
    """Read a file of the bundle itself. A link's target isn't part of the bundle, and a pipe would block the worker."""
    limit = LIMITS[file.name]
    try:
        with open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise ModelError(f"{file} isn't a plain file", "copy the bundle's files themselves")
            data = opened.read(limit + 1)
    except OSError as error:
        if file.is_symlink():
            raise ModelError(f"{file} is a link", "copy the bundle's files themselves") from error
        raise ModelError(
            f"{file} can't be read ({error.strerror})",
            "point LIVESHELF_MODEL_DIR at a folder with model.onnx, vocabulary.json and manifest.json",
        ) from error
    if len(data) > limit:
        raise ModelError(f"{file} has more than {limit:,} bytes", "a bundle's file is never so large")
    return data


def _decode(file: Path, data: bytes, kind: type) -> dict:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise ModelError(f"{file} isn't a {kind.__name__.lower()}: {error}", REBUILD) from error


def _check_hash(file: Path, data: bytes, expected: str) -> None:
    digest = hashlib.sha256(data).hexdigest()
    if digest != expected:
        raise ModelError(
            f"{file} ({len(data):,} bytes) has sha256 {digest}, its manifest says {expected}",
            "copy the whole bundle folder again, or export it again; never edit one of its files",
        )


def _check_features(file: Path, features: list[str]) -> None:
    """Refuse a name that isn't `view:feature`: a running job would fail on it, and again at each restart."""
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


def _open_session(file: Path, data: bytes) -> tuple[ort.InferenceSession, Bias, NDArray[np.int32] | None]:
    graph = check_graph(file, data)
    blocks = blocks_of(file, graph)
    data, biases = open_biases(graph)
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors; it warns of each bias that may be changed
    # One thread per Flink slot; spinning would take the cores that the JVM works on.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    if has_wide_weights(graph):
        # An older bundle. onnxruntime then takes a product without sums of 16 bits, 5 to 10 % slower at 18,009 items.
        options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"]), biases, blocks
    except Exception as error:  # onnxruntime raises a dozen unrelated classes, all of them "this file doesn't load"
        raise ModelError(f"{file} isn't a graph that onnxruntime {ort.__version__} loads: {error}", REBUILD) from error


def _words(vocabulary: Vocabulary) -> Words | None:
    facts = vocabulary.get("facts")
    return Words.of(facts["texts"], facts["bounds"]) if facts else None


def outputs_of(has_words: bool, has_segments: bool) -> Tensors:
    """Return the outputs of a bundle's graph, in their order."""
    return OUTPUTS | (OUTPUTS_OF_FACTS if has_words else {}) | (OUTPUTS_OF_SEGMENTS if has_segments else {})


def _check_signature(
    file: Path, session: ort.InferenceSession, manifest: Manifest, words: Words | None, segments: list[Segment]
) -> None:
    """Refuse a graph or a manifest that names other tensors than the code that feeds the graph."""
    outputs = outputs_of(words is not None, bool(segments))
    sizes = {"C": len(manifest["context_features"]), "S": len(segments)}
    if words is not None:  # the hidden units are the graph's own affair
        hidden = next((output.shape[-1] for output in session.get_outputs()[len(OUTPUTS) :] if output.shape), None)
        if isinstance(hidden, int):
            sizes |= {"H": hidden, "H + 1": hidden + 1}
    sides = (
        ("inputs", INPUTS, session.get_inputs(), manifest["inputs"]),
        ("outputs", outputs, session.get_outputs(), manifest["outputs"]),
    )
    for side, contract, tensors, named_tensors in sides:
        expected = [(name, kind, [sizes.get(d, d) for d in shape]) for name, (kind, shape) in contract.items()]
        in_graph = [(tensor.name, tensor.type, tensor.shape) for tensor in tensors]
        in_manifest = [(tensor["name"], tensor["type"], tensor["shape"]) for tensor in named_tensors]
        for place, named in ((file, in_graph), (file.with_name("manifest.json"), in_manifest)):
            if named != expected:
                raise ModelError(f"{place} has {side} {named}, the worker feeds {expected}", REBUILD)


def _check_biases(file: Path, biases: Bias, blocks: NDArray[np.int32] | None, n_items: int) -> None:
    """Refuse a graph whose items can't be held back: a job would meet that when shelves with a rule are activated.

    All that liveshelf ever exported have a bias of their items.
    """
    sizes = {name: len(values) for name, values in biases.items()}
    of_items = [size for name, size in sizes.items() if name not in (BLOCK_BIAS, LOOKED_AT)]
    if sizes.get("bias") != n_items or min(of_items) < n_items:
        raise ModelError(f"{file} has biases {sizes}, and shelves' rules need `bias` of all {n_items} items", REBUILD)
    if len({blocks is not None, BLOCK_BIAS in sizes, LOOKED_AT in sizes}) != 1:
        raise ModelError(f"{file} has an index that lacks its blocks, their biases or their number", REBUILD)
    if blocks is not None and (
        len(blocks) != sizes[BLOCK_BIAS] or not blocks.size or blocks.min() < 0 or blocks.max() >= n_items
    ):
        raise ModelError(
            f"{file} has {len(blocks):,} blocks and {sizes[BLOCK_BIAS]:,} biases of blocks, or blocks of other items "
            f"than its {n_items:,}",
            REBUILD,
        )


def _check_golden(file: Path, bundle: Bundle) -> None:
    """Refuse a model that gives other lists than it gave at export, in the places that a list shows."""
    arrays, expected, expected_items = _golden(file.with_name("manifest.json"), bundle.manifest["golden"])
    try:
        scores, items = bundle.score(**arrays | {"k": expected.shape[1]})
    except Exception as error:  # as in _open_session: every class of onnxruntime's means that it doesn't run
        raise ModelError(f"{file} doesn't run on its golden inputs: {error}", REBUILD) from error
    if not np.isfinite(scores).all():
        raise ModelError(f"{file} gives {int((~np.isfinite(scores)).sum())} scores that aren't finite", REBUILD)
    if scores.shape != expected.shape:
        raise ModelError(f"{file} gives golden scores of shape {scores.shape}, expected {expected.shape}", REBUILD)
    _compare(f"{file} doesn't give its golden scores", scores, expected, np.abs(scores - expected) > GOLDEN_TOLERANCE)
    # Two items closer than the tolerance may change places on another CPU, and no others.
    moved = (items != expected_items) & ~_near_a_neighbour(expected)
    moved |= (items < 1) | (items > bundle.manifest["n_items"])
    _compare(f"{file} doesn't list its golden items", items, expected_items, moved)


def _check_newcomers(file: Path, bundle: Bundle) -> None:
    """Refuse a graph that doesn't know all words of its vocabulary: a job would meet that when such an item appears."""
    if bundle.words is None:
        return
    last = np.full((1, len(bundle.words.names)), bundle.words.size)
    try:
        vector = bundle.newcomers(last)
    except Exception as error:  # as in _check_golden
        raise ModelError(
            f"{file} doesn't know the {bundle.words.size} words of its vocabulary: {error}", REBUILD
        ) from error
    if not np.isfinite(vector).all():
        raise ModelError(f"{file} gives new items vectors that aren't finite", REBUILD)


def _check_segments(file: Path, bundle: Bundle) -> None:
    """Refuse a graph that gives other segments than those that the vocabulary tells of."""
    if not bundle.segments:
        return
    inputs = _golden(file.with_name("manifest.json"), bundle.manifest["golden"])[0]
    numbers, _ = bundle.segments_of(*(inputs[name] for name in INPUTS if name != "k"))
    if numbers.min() < 0 or numbers.max() >= len(bundle.segments):
        raise ModelError(f"{file} gives segments {numbers.tolist()}, and there are {len(bundle.segments)}", REBUILD)


def _compare(reason: str, values: np.ndarray, expected: np.ndarray, differs: np.ndarray) -> None:
    """Raise ModelError with the first place [row, place] where `differs` is True, if there is one."""
    if differs.any():
        row, place = np.argwhere(differs)[0].tolist()
        raise ModelError(
            f"{reason}: row {row}, place {place} is {values[row, place]}, expected {expected[row, place]}; "
            f"{int(differs.sum())} of {differs.size} places differ",
            REBUILD,
        )


def _golden(file: Path, golden: Golden) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Return the golden case: input arrays by name, scores float32 [B, K], items int64 [B, K], K at most 20."""
    kinds = {"tensor(int64)": np.int64, "tensor(float)": np.float32}
    try:
        arrays = {name: np.array(golden["inputs"][name], kinds[kind]) for name, (kind, _) in INPUTS.items()}
        scores = np.array(golden["outputs"]["scores"], np.float32)
        items = np.array(golden["outputs"]["items_out"], np.int64)
    except (KeyError, ValueError, TypeError) as error:
        raise ModelError(f"{file} has no usable golden case: {error!r}", REBUILD) from error
    if scores.ndim != 2 or scores.shape != items.shape or not scores.size:
        raise ModelError(f"{file} has golden outputs of shape {scores.shape} and {items.shape}, not [B, K]", REBUILD)
    return arrays, scores[:, :GOLDEN_PLACES], items[:, :GOLDEN_PLACES]


def _near_a_neighbour(scores: np.ndarray) -> np.ndarray:
    """Mark, in sorted scores [B, K], those within two tolerances of a neighbour, and the last of each row."""
    near = -np.diff(scores, axis=1) <= 2 * GOLDEN_TOLERANCE  # [B, K-1]
    edge = np.zeros((len(scores), 1), bool)
    return np.hstack([edge, near]) | np.hstack([near, ~edge])
