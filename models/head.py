"""The end of the graph: every item's score → the best k, exactly or with a quantised product first. Works on ONNX.

Shapes: B sessions, H hidden units, N items, K listed items, C candidates, S members of M blocks.
"""

from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Product = Literal["exact", "fast"]

# How many more candidates than asked for the quantised product hands on. Measured on both committed sets: with 12 more,
# every list of 30 is the exact one (models/README.md, "Fast").
MORE_CANDIDATES = 12
LEVELS = 127  # int8, symmetric
ITEMS_PER_BLOCK_SQUARED = 50  # S = sqrt(N / 50) balances the two TopKs for lists of 30: 19 for 18,009 items
SMALLEST = np.float32(1e-20)  # a state of zeros has no scale

# The graph that torch exports ends here, and its product with the item matrix is the only Gemm on it.
ALL_SCORES = "all_scores"
ITEM_MATRIX = "item"


def with_list(model: onnx.ModelProto, product: Product) -> onnx.ModelProto:
    """The graph with input `k` (int64 [1], at most N) and the outputs `scores` and `items_out` for `all_scores`.

    `exact` takes the best k of all scores. `fast` multiplies in int8, takes the best k + 12 of these scores, computes
    their product again in float32, and takes the best k of that: listed scores are exact, and an item is missed only
    if rounding moved it down by more than 12 places. Each row has a scale of its own, so that a list doesn't depend on
    the rows beside it. In a tie `exact` puts the lower index first, `fast` any.
    """
    graph = model.graph
    graph.input.append(helper.make_tensor_value_info("k", TensorProto.INT64, [1]))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", "K"]))
    graph.output.append(helper.make_tensor_value_info("items_out", TensorProto.INT64, ["batch", "K"]))
    _constants(graph, {"list.one": np.int64(1)})
    if product == "exact":
        graph.node.append(helper.make_node("TopK", [ALL_SCORES, "k"], ["scores", "list.columns"], axis=1))
    else:
        _quantise(graph)
        _rescore(graph)
    graph.node.append(helper.make_node("Add", ["list.columns", "list.one"], ["items_out"]))
    model.producer_name = f"liveshelf {product}"
    onnx.checker.check_model(model)
    return model


def _constants(graph: onnx.GraphProto, values: dict[str, np.ndarray]) -> None:
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in values.items())


def _quantise(graph: onnx.GraphProto) -> None:
    """Replace the product with the item matrix by an int8 one, named `fast.product` [B, N] before its bias."""
    (place,) = [at for at, node in enumerate(graph.node) if node.op_type == "Gemm" and node.input[1] == ITEM_MATRIX]
    gemm = graph.node[place]
    (matrix,) = [numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.name == ITEM_MATRIX]
    scale = np.maximum(np.abs(matrix).max(axis=1), SMALLEST) / LEVELS  # [N]
    _constants(
        graph,
        {
            "fast.items": np.ascontiguousarray(np.rint(matrix / scale[:, None]).astype(np.int8).T),  # [H, N]
            "fast.scale": (scale / LEVELS).astype(np.float32),  # [N]
            "fast.step": np.float32(1 / LEVELS),
            "fast.zero": np.uint8(128),
            "fast.smallest": SMALLEST,
            "fast.last_axis": np.array([2]),
        },
    )
    state, _, bias = gemm.input
    nodes = [
        helper.make_node("Abs", [state], ["fast.abs"]),
        helper.make_node("ReduceMax", ["fast.abs"], ["fast.max"], axes=[1], keepdims=1),  # [B, 1]
        helper.make_node("Max", ["fast.max", "fast.smallest"], ["fast.row_scale"]),
        helper.make_node("Div", [state, "fast.row_scale"], ["fast.state"]),  # [B, H] in -1..1
        helper.make_node("QuantizeLinear", ["fast.state", "fast.step", "fast.zero"], ["fast.state_u8"]),
        helper.make_node("MatMulInteger", ["fast.state_u8", "fast.items", "fast.zero"], ["fast.int"]),  # [B, N]
        helper.make_node("Cast", ["fast.int"], ["fast.float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["fast.float", "fast.scale"], ["fast.scaled"]),
        helper.make_node("Mul", ["fast.scaled", "fast.row_scale"], ["fast.product"]),
        helper.make_node("Add", ["fast.product", bias], [gemm.output[0]]),
        helper.make_node("Unsqueeze", [state, "fast.last_axis"], ["fast.column"]),  # [B, H, 1]
    ]
    kept = [*graph.node[:place], *nodes, *graph.node[place + 1 :]]
    del graph.node[:]
    graph.node.extend(kept)


def _best(graph: onnx.GraphProto, items: int) -> None:
    """The best `fast.count` of `all_scores`: `fast.rough` [B, C] and their columns `fast.found` [B, C], in any order.

    The best C of N lie in the C blocks with the best maxima. Maxima of whole rows are taken with SIMD, TopK compares one
    by one: so TopK sees the N / S maxima and then C * S scores.
    """
    size = max(1, round((items / ITEMS_PER_BLOCK_SQUARED) ** 0.5))  # S
    blocks = -(-items // size)  # M; column s * M + m is member s of block m
    _constants(
        graph,
        {
            "fast.pads": np.array([0, 0, 0, size * blocks - items]),
            "fast.lowest": np.float32(-np.inf),
            "fast.last_column": np.int64(items - 1),
            "fast.blocks_shape": np.array([-1, size, blocks]),
            "fast.blocks": np.array([blocks]),
            "fast.every_member": np.array([1, size, 1]),
            "fast.flat": np.array([0, -1]),
            "fast.middle_axis": np.array([1]),
            "fast.member_starts": (np.arange(size) * blocks).reshape(1, size, 1),
        },
    )
    graph.node.extend(
        [
            helper.make_node("Pad", [ALL_SCORES, "fast.pads", "fast.lowest"], ["fast.padded"]),
            helper.make_node("Reshape", ["fast.padded", "fast.blocks_shape"], ["fast.members"]),  # [B, S, M]
            helper.make_node("ReduceMax", ["fast.members"], ["fast.maxima"], axes=[1], keepdims=0),  # [B, M]
            helper.make_node("Min", ["fast.count", "fast.blocks"], ["fast.block_count"]),  # C', C or M
            helper.make_node("TopK", ["fast.maxima", "fast.block_count"], ["fast.best_maxima", "fast.best"], sorted=0),
            helper.make_node("Unsqueeze", ["fast.best", "fast.middle_axis"], ["fast.best3"]),  # [B, 1, C']
            helper.make_node("Expand", ["fast.best3", "fast.every_member"], ["fast.picked"]),  # [B, S, C']
            helper.make_node("GatherElements", ["fast.members", "fast.picked"], ["fast.scores3"], axis=2),
            helper.make_node("Add", ["fast.picked", "fast.member_starts"], ["fast.columns3"]),
            helper.make_node("Reshape", ["fast.scores3", "fast.flat"], ["fast.scores2"]),  # [B, S * C']
            helper.make_node("Reshape", ["fast.columns3", "fast.flat"], ["fast.columns2"]),
            helper.make_node("TopK", ["fast.scores2", "fast.count"], ["fast.rough", "fast.at"], sorted=0),
            helper.make_node("GatherElements", ["fast.columns2", "fast.at"], ["fast.padded_columns"], axis=1),
            # Only a row of NaN ever picks padding; it then gets scores that aren't finite instead of ending the call.
            helper.make_node("Min", ["fast.padded_columns", "fast.last_column"], ["fast.found"]),
        ]
    )


def _rescore(graph: onnx.GraphProto) -> None:
    """The best k of the candidates, with the rounding of the int8 product taken out of their scores."""
    (items,) = [tensor.dims[0] for tensor in graph.initializer if tensor.name == ITEM_MATRIX]
    _constants(graph, {"fast.more": np.array([MORE_CANDIDATES]), "fast.all": np.array([items])})
    graph.node.append(helper.make_node("Add", ["k", "fast.more"], ["fast.wanted"]))
    graph.node.append(helper.make_node("Min", ["fast.wanted", "fast.all"], ["fast.count"]))
    _best(graph, items)
    graph.node.extend(
        [
            helper.make_node("GatherElements", ["fast.product", "fast.found"], ["fast.rounded"], axis=1),
            helper.make_node("Gather", [ITEM_MATRIX, "fast.found"], ["fast.rows"], axis=0),  # [B, C, H]
            helper.make_node("MatMul", ["fast.rows", "fast.column"], ["fast.exact3"]),  # [B, C, 1]
            helper.make_node("Squeeze", ["fast.exact3", "fast.last_axis"], ["fast.exact"]),
            helper.make_node("Sub", ["fast.exact", "fast.rounded"], ["fast.error"]),
            helper.make_node("Add", ["fast.rough", "fast.error"], ["fast.candidates"]),
            helper.make_node("TopK", ["fast.candidates", "k"], ["scores", "fast.places"], axis=1),
            helper.make_node("GatherElements", ["fast.found", "fast.places"], ["list.columns"], axis=1),
        ]
    )
