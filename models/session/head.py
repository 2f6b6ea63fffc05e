"""The end of the graph: every item's score → the best k, exactly or with a quantised product first. Works on ONNX.

Shapes: B sessions, H hidden units, N items, K listed items, C candidates, S members of M blocks.
"""

from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.session.gru import SCALE

Product = Literal["exact", "fast"]

# How many more candidates than asked for the quantised product hands on. Measured on both committed sets: with 12 more,
# every list of 30 is the exact one (models/README.md, "Fast").
MORE_CANDIDATES = 12
LEVELS = 127  # int8, symmetric
ITEMS_PER_BLOCK_SQUARED = 50  # S = sqrt(N / 50) balances the two TopKs for lists of 30: 19 for 18,009 items
SMALLEST = np.float32(1e-20)  # an item of zeros has no scale

# The graph that torch exports ends here, and its product with the item matrix is the only Gemm on it.
ALL_SCORES = "all_scores"
ITEM_MATRIX = "item"
# onnxruntime's own operator takes scales and bias while a score is still in a register. Cast, Mul, Mul, Add and Pad after
# ONNX's MatMulInteger were 20 of 96 µs a row at 18,009 items, and 10 of them are gone.
RUNTIME = "com.microsoft"


def with_list(model: onnx.ModelProto, product: Product) -> onnx.ModelProto:
    """The graph with input `k` (int64 [1], at most N) and the outputs `scores` and `items_out` for `all_scores`.

    `exact` takes the best k of all scores. `fast` multiplies in int8, takes the best k + 12 of these scores, computes
    their product again in float32, and takes the best k of that: listed scores are exact, and an item is missed only
    if rounding moved it down by more than 12 places. All rows have one scale, for states of length gru.SCALE, so that a
    list doesn't depend on the rows beside it. In a tie `exact` puts the lower index first, `fast` any.
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
        model.opset_import.append(helper.make_opsetid(RUNTIME, 1))
        gemm, blocks = _quantise(graph)
        _best(graph, blocks)
        _rescore(graph, gemm)
    graph.node.append(helper.make_node("Add", ["list.columns", "list.one"], ["items_out"]))
    model.producer_name = f"liveshelf {product}"
    onnx.checker.check_model(model)
    return model


def _constants(graph: onnx.GraphProto, values: dict[str, np.ndarray]) -> None:
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in values.items())


def _quantise(graph: onnx.GraphProto) -> tuple[onnx.NodeProto, int]:
    """Replace the product with the item matrix by an int8 one of M whole blocks of S; the old node, and M.

    Column s * M + m is member s of block m. The columns after the last item have scores of -inf.
    """
    (place,) = [at for at, node in enumerate(graph.node) if node.op_type == "Gemm" and node.input[1] == ITEM_MATRIX]
    gemm = onnx.NodeProto()
    gemm.CopyFrom(graph.node[place])
    state, _, bias = gemm.input
    arrays = {each.name: numpy_helper.to_array(each) for each in graph.initializer if each.name in (ITEM_MATRIX, bias)}
    items = len(arrays[ITEM_MATRIX])
    size = max(1, round((items / ITEMS_PER_BLOCK_SQUARED) ** 0.5))  # S
    blocks = -(-items // size)  # M
    room = size * blocks - items
    scale = np.maximum(np.abs(arrays[ITEM_MATRIX]).max(axis=1), SMALLEST) / LEVELS  # [N]
    rounded = np.rint(arrays[ITEM_MATRIX] / scale[:, None]).astype(np.int8)
    _constants(
        graph,
        {
            "fast.items": np.ascontiguousarray(np.pad(rounded, ((0, room), (0, 0))).T),  # [H, S * M]
            "fast.scale": np.pad(scale, (0, room)).astype(np.float32),
            "fast.bias": np.pad(arrays[bias], (0, room), constant_values=-np.inf),
            "fast.step": np.float32(SCALE / LEVELS),
            "fast.zero": np.uint8(128),
            "fast.blocks_shape": np.array([-1, size, blocks]),
            "fast.member_starts": (np.arange(size) * blocks).reshape(1, size, 1),
        },
    )
    product = ["fast.state_u8", "fast.items", "fast.step", "fast.scale", "fast.zero", "", "fast.bias"]
    nodes = [
        helper.make_node("QuantizeLinear", [state, "fast.step", "fast.zero"], ["fast.state_u8"]),  # [B, H]
        helper.make_node("MatMulIntegerToFloat", product, [gemm.output[0]], domain=RUNTIME),  # [B, S * M]
    ]
    kept = [*graph.node[:place], *nodes, *graph.node[place + 1 :]]
    del graph.node[:]
    graph.node.extend(kept)
    return gemm, blocks


def _best(graph: onnx.GraphProto, blocks: int) -> None:
    """The best `fast.count` of `all_scores`: `fast.rough` [B, C] and their columns `fast.found` [B, C], in any order.

    The best C of N lie in the C blocks with the best maxima. Maxima of whole rows are taken with SIMD, TopK compares one
    by one: so TopK sees the M maxima and then C * S scores.
    """
    (items,) = [tensor.dims[0] for tensor in graph.initializer if tensor.name == ITEM_MATRIX]
    _constants(
        graph,
        {
            "fast.more": np.array([MORE_CANDIDATES]),
            "fast.all": np.array([items]),
            "fast.blocks": np.array([blocks]),
            "fast.flat": np.array([0, -1]),
            "fast.middle_axis": np.array([1]),
        },
    )
    graph.node.extend(
        [
            helper.make_node("Add", ["k", "fast.more"], ["fast.wanted"]),
            helper.make_node("Min", ["fast.wanted", "fast.all"], ["fast.count"]),  # C
            helper.make_node("Reshape", [ALL_SCORES, "fast.blocks_shape"], ["fast.members"]),  # [B, S, M]
            helper.make_node("ReduceMax", ["fast.members"], ["fast.maxima"], axes=[1], keepdims=0),  # [B, M]
            helper.make_node("Min", ["fast.count", "fast.blocks"], ["fast.block_count"]),  # C', C or M
            helper.make_node("TopK", ["fast.maxima", "fast.block_count"], ["fast.best_maxima", "fast.best"], sorted=0),
            helper.make_node("Unsqueeze", ["fast.best", "fast.middle_axis"], ["fast.best3"]),  # [B, 1, C']
            helper.make_node("Add", ["fast.best3", "fast.member_starts"], ["fast.columns3"]),  # [B, S, C']
            helper.make_node("Reshape", ["fast.columns3", "fast.flat"], ["fast.columns2"]),  # [B, S * C']
            helper.make_node("GatherElements", [ALL_SCORES, "fast.columns2"], ["fast.scores2"], axis=1),
            helper.make_node("TopK", ["fast.scores2", "fast.count"], ["fast.rough", "fast.at"], sorted=0),
            helper.make_node("GatherElements", ["fast.columns2", "fast.at"], ["fast.found"], axis=1),
        ]
    )


def _rescore(graph: onnx.GraphProto, gemm: onnx.NodeProto) -> None:
    """The best k of the candidates by `gemm`'s float32 product, plus what was added to the int8 one (the memory)."""
    state, _, bias = gemm.input
    _constants(graph, {"fast.last_axis": np.array([2])})
    graph.node.extend(
        [
            helper.make_node("GatherElements", [gemm.output[0], "fast.found"], ["fast.rounded"], axis=1),
            helper.make_node("Sub", ["fast.rough", "fast.rounded"], ["fast.added"]),
            helper.make_node("Gather", [ITEM_MATRIX, "fast.found"], ["fast.rows"], axis=0),  # [B, C, H]
            helper.make_node("Unsqueeze", [state, "fast.last_axis"], ["fast.column"]),  # [B, H, 1]
            helper.make_node("MatMul", ["fast.rows", "fast.column"], ["fast.exact3"]),  # [B, C, 1]
            helper.make_node("Squeeze", ["fast.exact3", "fast.last_axis"], ["fast.product"]),
            helper.make_node("Gather", [bias, "fast.found"], ["fast.found_bias"], axis=0),
            helper.make_node("Add", ["fast.product", "fast.found_bias"], ["fast.exact"]),
            helper.make_node("Add", ["fast.exact", "fast.added"], ["fast.candidates"]),
            helper.make_node("TopK", ["fast.candidates", "k"], ["scores", "fast.places"], axis=1),
            helper.make_node("GatherElements", ["fast.found", "fast.places"], ["list.columns"], axis=1),
        ]
    )
