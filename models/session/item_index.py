"""Look at the items of the nearest blocks only: an inverted file in the graph, for catalogues of some hundred thousand.

k-means puts items that lie near each other into clusters, and a cluster's items into blocks of S places. A block has a
centre, the direction of its items' mean. The graph compares a session with all centres, multiplies in int8 with the
items of the nearest P blocks, and takes the best of them as candidates. All items of the memory are candidates too,
whatever block they lie in. Candidates are scored again in float32, so that listed scores are exact. An item is missed
only if its block isn't among the nearest and no click of the session leads to it.

Shapes: B sessions, H hidden units, N items, M blocks of S places, P blocks that are looked at, C candidates by product,
X entries of the memory, R candidates in all.
"""

import warnings
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.cluster import KMeans

from models.clicks.dataset import MAX_EVENTS
from models.session.gru import LATEST

PLACES = 32  # S
CLUSTER = 64  # items of a cluster, in the mean
LOOKED_AT = 128  # P, unless a model's lists want more (see spare.py)
SAMPLE, ROUNDS = 16, 6  # items a cluster from which k-means learns, and its rounds
ROWS = 8_192  # items that find their cluster at once
# A list holds the best of the product and of the memory. Where the memory weighs an item down, the next one of the
# product takes its place.
MORE = MAX_EVENTS + 14
# The memory may name an item so often: as a follower of each latest item, as a successor, as each event's own item.
# `found` names it once more.
MOST_OFTEN = 1 + LATEST + 1 + MAX_EVENTS
NOWHERE = np.float32(-1e30)  # far below any bias; not -inf, which makes no number with itself


class ItemIndex(NamedTuple):
    """Hold which items lie in which block, and each block's centre."""

    columns: np.ndarray  # int32 [M, S]: item - 1; a place without an item has the column of the block's first
    is_room: np.ndarray  # bool [M, S]: a place without an item
    centres: np.ndarray  # float32 [M, H]
    looked_at: int = LOOKED_AT  # P

    def highest(self, bias: np.ndarray) -> np.ndarray:
        """Return float32 [M]: the highest bias of each block's items, given that of all (float32 [N])."""
        return bias[self.columns].max(1)


def build(vectors: np.ndarray, seed: int = 1) -> ItemIndex:
    """Return an index of items' vectors, float32 [N, H]. A million of 128 units take minutes of one core."""
    rng = np.random.default_rng(seed)
    clusters = max(1, len(vectors) // CLUSTER)
    sample = vectors[rng.permutation(len(vectors))[: SAMPLE * clusters]]
    means = KMeans(clusters, init="random", n_init=1, max_iter=ROUNDS, random_state=seed, copy_x=False)
    with warnings.catch_warnings():  # a few rounds are meant, and two equal items may leave a cluster empty
        warnings.simplefilter("ignore")
        centres = means.fit(sample).cluster_centers_
    return of_clusters(vectors, nearest(vectors, centres))


def nearest(vectors: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return int64 [N]: the centre that is nearest to each vector."""
    half = 0.5 * (centres**2).sum(1)
    return np.concatenate(
        [(vectors[start : start + ROWS] @ centres.T - half).argmax(1) for start in range(0, len(vectors), ROWS)]
    )


def of_clusters(vectors: np.ndarray, clusters: np.ndarray) -> ItemIndex:
    """Return the index in which each block holds items of one of the `clusters` (int64 [N])."""
    order = np.argsort(clusters, kind="stable")
    sizes = np.bincount(clusters)
    blocks = -(-sizes // PLACES)  # of each cluster
    within = np.arange(len(order)) - np.repeat(sizes.cumsum() - sizes, sizes)
    places = np.repeat(blocks.cumsum() - blocks, sizes) * PLACES + within
    columns = np.full(blocks.sum() * PLACES, -1, np.int32)
    columns[places] = order
    columns = columns.reshape(-1, PLACES)
    is_room = columns < 0
    columns = np.where(is_room, columns[:, :1], columns)
    centres = np.stack([vectors[block[~room]].mean(0) for block, room in zip(columns, is_room, strict=True)])
    # A mean is the shorter, the farther its items lie apart. With lengths of 1 wide blocks aren't passed over: of 64
    # blocks the best 64 items then lacked 0.2 % instead of 0.5 (300,000 made items around serenade's).
    centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), np.float32(1e-9))
    return ItemIndex(columns, is_room, centres.astype(np.float32))


def constants(index: ItemIndex, bias: np.ndarray, int8: np.ndarray, scale: np.ndarray, step: float) -> dict:
    """Return the index's constants by name, for items of int8 [N, H] times scale [N], and queries of that step."""
    return {
        "index.items": np.ascontiguousarray(int8[index.columns].transpose(0, 2, 1)),  # [M, H, S]
        "index.scale": (scale[index.columns] * step).astype(np.float32),
        "index.room": np.where(index.is_room, NOWHERE, np.float32(0)),
        "index.columns": index.columns,
        "index.centres": index.centres,
        "index.bias": index.highest(bias),
        "index.step": np.float32(step),
        "index.zero": np.uint8(128),
        "index.blocks": np.array([min(index.looked_at, len(index.columns))]),
        "index.places_of_block": np.array([PLACES]),
        "index.more": np.array([MORE]),
        "index.row": np.array([0, -1]),
        "index.nowhere": NOWHERE,
        "index.no": np.float32(0),
        "index.first": np.int64(0),
        **{f"index.{number}": np.array([number]) for number in (-1, 0, 1, 2)},
        "index.middle": np.array([1, 2]),
        "index.far": np.array([np.iinfo(np.int64).max]),
        **{f"index.back{step}": np.array([step]) for step in _steps()},
        **{f"index.until{step}": np.array([-step]) for step in _steps()},
    }


def _steps() -> list[int]:
    """Return 1, 2, 4 and so on, until their sum reaches all that one item may be named."""
    return [1 << power for power in range((MOST_OFTEN - 1).bit_length())]


def search(graph: onnx.GraphProto, gemm: onnx.NodeProto, memory: onnx.NodeProto | None, values: dict) -> None:
    """Put the search in the place of the product `gemm` and of what the `memory` adds to it; give scores and columns.

    The graph's list ends as every product's does: `scores` [B, k] and `list.columns` [B, k].
    """
    query, items, bias = gemm.input
    kept = [node for node in graph.node if node not in (gemm, memory)]
    del graph.node[:]
    graph.node.extend(kept)
    make = _Nodes(graph)
    ids, added, dropped = make.summed(make.found(query, bias), memory)
    columns = make("Clip", ids, "index.first", "")
    rows = make("Gather", items, columns, axis=0)  # [B, R, H]
    product = make("Squeeze", make("MatMul", rows, make("Unsqueeze", query, "index.2")), "index.2")
    total = make("Add", product, make("Gather", bias, columns, axis=0))
    total = make("Add", make("Add", total, added), dropped)
    length = make("Min", "k", make("Slice", make("Shape", total), "index.1", "index.2"))
    scores = helper.make_node("TopK", [total, length], ["scores", "index.places"], axis=1)
    listed = helper.make_node("GatherElements", [columns, "index.places"], ["list.columns"], axis=1)
    graph.node.extend([scores, listed])
    used = {name for node in graph.node for name in node.input}
    graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in values.items() if name in used
    )


class _Nodes:
    """Add nodes to a graph, and name what they give."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._count = 0

    def __call__(self, kind: str, *inputs: str, output: int = 0, outputs: int = 1, **attributes: object) -> str:
        self._count += 1
        names = [f"index.{kind}{self._count}.{number}" for number in range(outputs)]
        self._graph.node.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[output]

    def float(self, name: str) -> str:
        return self("Cast", name, to=TensorProto.FLOAT)

    def integer(self, name: str) -> str:
        return self("Cast", name, to=TensorProto.INT64)

    def part(self, name: str, begin: str, end: str) -> str:
        """Take columns `begin` to `end` of each row."""
        return self("Slice", name, begin, end, "index.1")

    def found(self, query: str, bias: str) -> str:
        """Return int64 [B, C]: the columns of the best items of the nearest blocks, in any order."""
        near = self("Gemm", query, "index.centres", "index.bias", transB=1)  # [B, M]
        blocks = self("TopK", near, "index.blocks", outputs=2, output=1, sorted=0)  # [B, P]
        levels = self("QuantizeLinear", query, "index.step", "index.zero")  # [B, H]
        levels = self("Unsqueeze", levels, "index.middle")  # [B, 1, 1, H]
        items = self("Gather", "index.items", blocks, axis=0)  # [B, P, H, S]
        sums = self("Squeeze", self("MatMulInteger", levels, items, "index.zero"), "index.2")  # [B, P, S]
        columns = self("Gather", "index.columns", blocks, axis=0)  # [B, P, S]
        product = self("Mul", self.float(sums), self("Gather", "index.scale", blocks, axis=0))
        offset = self("Add", self("Gather", bias, columns, axis=0), self("Gather", "index.room", blocks, axis=0))
        scores = self("Reshape", self("Add", product, offset), "index.row")  # [B, P * S]
        most = self("Mul", "index.blocks", "index.places_of_block")
        count = self("Min", self("Add", "k", "index.more"), most)
        best = self("TopK", scores, count, outputs=2, output=1, sorted=0)
        return self.integer(self("GatherElements", self("Reshape", columns, "index.row"), best, axis=1))

    def summed(self, found: str, memory: onnx.NodeProto | None) -> tuple[str, str, str]:
        """Return all candidates [B, R], what the memory adds to each, and what drops one that is named again.

        Sorted by its column, an item's entries stand side by side. A sum over 1, 2, 4 and more places back, of the same
        item only, makes the last of them hold all that is added to the item. A place without an item has named another.
        """
        entries, sums = found, self.float(self("Mul", found, "index.0"))
        if memory is not None:
            _, columns, added = memory.input
            is_something = self.integer(self("Greater", self("Abs", added), "index.no"))
            named = self("Sub", self("Mul", self("Add", columns, "index.1"), is_something), "index.1")  # -1: nothing
            entries = self("Concat", entries, named, axis=1)
            sums = self("Concat", sums, added, axis=1)
        count = self("Slice", self("Shape", entries), "index.1", "index.2")
        ids, places = f"index.ids{self._count}", f"index.order{self._count}"
        self._graph.node.append(helper.make_node("TopK", [entries, count], [ids, places], axis=1))
        sums = self("GatherElements", sums, places, axis=1)
        for step in _steps():
            back, until = f"index.back{step}", f"index.until{step}"
            earlier = self.part(ids, "index.0", until), self.part(sums, "index.0", until)
            is_same = self.float(self("Equal", earlier[0], self.part(ids, back, "index.far")))
            more = self("Add", self.part(sums, back, "index.far"), self("Mul", earlier[1], is_same))
            sums = self("Concat", self.part(sums, "index.0", back), more, axis=1)
        again = self.float(self("Equal", self.part(ids, "index.0", "index.-1"), self.part(ids, "index.1", "index.far")))
        last = self("Mul", self.part(sums, "index.0", "index.1"), "index.no")
        is_none = self.float(self("Greater", "index.0", ids))
        dropped = self("Add", self("Concat", again, last, axis=1), is_none)
        return ids, sums, self("Mul", dropped, "index.nowhere")
