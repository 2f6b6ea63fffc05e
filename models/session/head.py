"""Add the end of the graph: from every item's score to the best k, exactly, with an int8 product first, or by an index.

Shapes: B sessions, H hidden units, N items, K listed items, C candidates, S members of each of M blocks.
"""

from typing import Literal, get_args

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.serving.bundle import NEARNESS, SEGMENT, WORDS
from models.session import item_index
from models.session.gru import SCALE
from models.session.item_index import ItemIndex
from models.session.segments import biases

Product = Literal["exact", "fast", "indexed"]
PRODUCTS = get_args(Product)

# The int8 product passes on at least this many more candidates than were asked for. On 24,068 prefixes of the two
# packaged sets it moved no item of a list of 30 down by more than 13 places (models/TRIALS.md, "The int8 product").
# Other shops need more: `spare.py` measures each model.
MORE_CANDIDATES = 16
# A state is 8 bits without a sign, an item only 7 bits with one. On a processor with AVX2 and without VNNI onnxruntime
# adds products in pairs and cuts each sum off at 32,767. Two products of 255 x 64 are 32,640. With items of 8 bits
# 0.33 % of serenade's scores were wrong there, by up to 1.47, and 1 % of its lists of 30 lost an item.
STATE_LEVELS, ITEM_LEVELS = 127, 64
# A state has the length SCALE, so one of its units is SCALE / sqrt(H) on average. Six times that is the largest value
# that int8 can hold; a larger one is cut off. The largest of the packaged models is 5.6 times. The full range, up to
# SCALE, made twice as many rank errors.
SPREAD = 6.0
ITEMS_PER_BLOCK_SQUARED = 50  # S = sqrt(N / 50) balances the two TopKs for lists of 30: 19 for 18,009 items
SMALLEST = np.float32(1e-20)  # an item of zeros has no scale

# The graph that torch exports ends with this tensor. Its product with the item matrix is the only Gemm on that matrix.
ALL_SCORES = "all_scores"
ITEM_MATRIX = "item"
QUERY = "query"  # the sessions' vectors, with which items are compared
# onnxruntime's own operator applies scales and bias while a score is still in a register. With ONNX's MatMulInteger,
# Cast, Mul, Mul, Add and Pad followed; they took 20 of 96 µs a row at 18,009 items, and this operator saves 10.
RUNTIME = "com.microsoft"


def with_list(
    model: onnx.ModelProto, product: Product, more: int = MORE_CANDIDATES, index: ItemIndex | None = None
) -> onnx.ModelProto:
    """Return the graph with input `k` (int64 [1], at most N) and outputs `scores` and `items_out`, not `all_scores`.

    `exact` takes the best k of all scores. `fast` multiplies in int8 and takes the best k + `more` of these scores
    as candidates. It computes their product again in float32 and takes the best k of that. So listed scores are exact,
    and an item is missed only if rounding moved it down by more than `more` places. The candidates are the same on
    every processor. All rows have one scale, so that a list doesn't depend on the rows beside it. Of equal scores
    `exact` puts the lower index first, the others any. `indexed` looks at a part of the items, by an `index`
    that is built if none is given (see item_index.py).
    """
    graph = model.graph
    graph.input.append(helper.make_tensor_value_info("k", TensorProto.INT64, [1]))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", "K"]))
    graph.output.append(helper.make_tensor_value_info("items_out", TensorProto.INT64, ["batch", "K"]))
    _constants(graph, {"list.one": np.int64(1)})
    if product == "exact":
        graph.node.append(helper.make_node("TopK", [ALL_SCORES, "k"], ["scores", "list.columns"], axis=1))
    elif product == "indexed":
        _search(graph, index)
    else:
        model.opset_import.append(helper.make_opsetid(RUNTIME, 1))
        gemm, blocks = _quantise(graph)
        _best(graph, blocks, more)
        _rescore(graph, gemm)
    graph.node.append(helper.make_node("Add", ["list.columns", "list.one"], ["items_out"]))
    model.producer_name = f"liveshelf {product}"
    onnx.checker.check_model(model)
    return model


def with_newcomers(model: onnx.ModelProto, table: np.ndarray, facts: int) -> onnx.ModelProto:
    """Return the graph with outputs `query` and `newcomers`, and `words` (int64 [new, F]), an input with a default.

    `table` is float32 [1 + W, H + 1], see newcomers.py. The sum of the rows of an item's words makes its vector.
    """
    graph = model.graph
    _name_query(graph)
    rows = table.copy()
    rows[0] = 0  # a word that isn't known
    _constants(
        graph,
        {
            "newcomers.mean": table[0],
            "newcomers.rows": rows,
            "newcomers.axis": np.array([1]),
            WORDS: np.zeros((1, facts), np.int64),
        },
    )
    graph.input.append(helper.make_tensor_value_info(WORDS, TensorProto.INT64, ["new", facts]))
    graph.node.extend(
        [
            helper.make_node("Gather", ["newcomers.rows", WORDS], ["newcomers.of_words"], axis=0),  # [new, F, H + 1]
            helper.make_node("ReduceSum", ["newcomers.of_words", "newcomers.axis"], ["newcomers.sum"], keepdims=0),
            helper.make_node("Add", ["newcomers.sum", "newcomers.mean"], ["newcomers"]),
        ]
    )
    for name, (rows_, width) in {QUERY: ("batch", table.shape[1] - 1), "newcomers": ("new", table.shape[1])}.items():
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows_, width]))
    onnx.checker.check_model(model)
    return model


def with_segments(model: onnx.ModelProto, centres: np.ndarray) -> onnx.ModelProto:
    """Return the graph with outputs `segment` (int64 [B]) and `nearness`; `centres` are float32 [S, H]."""
    graph = model.graph
    _name_query(graph)
    _constants(graph, {"segments.centres": centres, "segments.biases": biases(centres)})
    graph.node.extend(
        [
            helper.make_node("Gemm", [QUERY, "segments.centres", "segments.biases"], [NEARNESS], transB=1),
            helper.make_node("ArgMax", [NEARNESS], [SEGMENT], axis=1, keepdims=0),
        ]
    )
    graph.output.append(helper.make_tensor_value_info(SEGMENT, TensorProto.INT64, ["batch"]))
    graph.output.append(helper.make_tensor_value_info(NEARNESS, TensorProto.FLOAT, ["batch", len(centres)]))
    onnx.checker.check_model(model)
    return model


def _name_query(graph: onnx.GraphProto) -> None:
    """Name the tensor of the sessions' vectors `query`."""
    names = {
        node.input[0]
        for node in graph.node
        if node.op_type == "QuantizeLinear" or (node.op_type == "Gemm" and node.input[1] == ITEM_MATRIX)
    }
    (state,) = names
    for node in graph.node:
        node.input[:] = [QUERY if name == state else name for name in node.input]
        node.output[:] = [QUERY if name == state else name for name in node.output]


def _constants(graph: onnx.GraphProto, values: dict[str, np.ndarray]) -> None:
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in values.items())


def _product_of(graph: onnx.GraphProto) -> onnx.NodeProto:
    """Return the node that multiplies with the item matrix."""
    (gemm,) = [node for node in graph.node if node.op_type == "Gemm" and node.input[1] == ITEM_MATRIX]
    return gemm


def _search(graph: onnx.GraphProto, index: ItemIndex | None) -> None:
    """Replace the product with the item matrix, and what the memory adds to it, by a search of the index."""
    gemm = _product_of(graph)
    memory = next((node for node in graph.node if node.op_type == "ScatterElements"), None)
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    items, bias = (numpy_helper.to_array(tensors[name]) for name in (ITEM_MATRIX, gemm.input[2]))
    int8 = _int8_items(items, bias, len(items))
    step = float(int8["fast.step"])
    values = item_index.constants(
        index or item_index.build(items), bias, int8["fast.items"].T, int8["fast.scale"], step
    )
    item_index.search(graph, gemm, memory, values)


def _quantise(graph: onnx.GraphProto) -> tuple[onnx.NodeProto, int]:
    """Replace the product with the item matrix by an int8 one of M whole blocks of S; return the old node, and M.

    Column s * M + m is member s of block m. The columns after the last item have scores of -inf.
    """
    gemm = onnx.NodeProto()
    gemm.CopyFrom(_product_of(graph))
    place = [*graph.node].index(gemm)
    state, _, bias = gemm.input
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    items = numpy_helper.to_array(tensors[ITEM_MATRIX])
    size = max(1, round((len(items) / ITEMS_PER_BLOCK_SQUARED) ** 0.5))  # S
    blocks = -(-len(items) // size)  # M
    _constants(graph, _int8_items(items, numpy_helper.to_array(tensors[bias]), size * blocks))
    _constants(
        graph,
        {
            "fast.blocks_shape": np.array([-1, size, blocks]),
            "fast.member_starts": (np.arange(size) * blocks).reshape(1, size, 1),
        },
    )
    product = ["fast.state_u8", "fast.items", "fast.step", "fast.scale", "fast.zero", "", "fast.bias"]
    int8_nodes = [
        helper.make_node("QuantizeLinear", [state, "fast.step", "fast.zero"], ["fast.state_u8"]),  # [B, H]
        helper.make_node("MatMulIntegerToFloat", product, [gemm.output[0]], domain=RUNTIME),  # [B, S * M]
    ]
    nodes = [*graph.node[:place], *int8_nodes, *graph.node[place + 1 :]]
    del graph.node[:]
    graph.node.extend(nodes)
    return gemm, blocks


def _int8_items(items: np.ndarray, bias: np.ndarray, width: int) -> dict[str, np.ndarray]:
    """Return the int8 product's constants for items float32 [N, H] and their bias [N], padded to `width` columns."""
    room = width - len(items)
    scale = np.maximum(np.abs(items).max(axis=1), SMALLEST) / ITEM_LEVELS  # [N]
    rounded = np.rint(items / scale[:, None]).astype(np.int8)
    largest = SCALE * min(1.0, SPREAD / items.shape[1] ** 0.5)
    return {
        "fast.items": np.ascontiguousarray(np.pad(rounded, ((0, room), (0, 0))).T),  # [H, width]
        "fast.scale": np.pad(scale, (0, room)).astype(np.float32),
        "fast.bias": np.pad(bias, (0, room), constant_values=-np.inf),
        "fast.step": np.float32(largest / STATE_LEVELS),
        "fast.zero": np.uint8(128),
    }


def int8_scores(queries: np.ndarray, items: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Return the scores [B, N] that the int8 product gives float32 queries [B, H], items [N, H] and bias [N].

    Sums of integers stay below 2 ** 24 up to 2,048 hidden units, so float32 holds them exactly.
    """
    constants = _int8_items(items, bias, len(items))
    states = np.clip(np.rint(queries / constants["fast.step"]), -128, 127)  # [B, H]; with 128 added 0..255
    sums = states.astype(np.float32) @ constants["fast.items"].astype(np.float32)  # [B, N]
    return sums * (constants["fast.step"] * constants["fast.scale"]) + bias


def more_of(model: onnx.ModelProto) -> int:
    """Return how many more candidates the graph of a fast product takes, `MORE_CANDIDATES` for an exact one."""
    found = [tensor for tensor in model.graph.initializer if tensor.name == "fast.more"]
    return int(numpy_helper.to_array(found[0])[0]) if found else MORE_CANDIDATES


def _best(graph: onnx.GraphProto, blocks: int, more: int) -> None:
    """Add the best `fast.count` of `all_scores`: `fast.rough` [B, C] and `fast.columns` [B, C], in any order.

    The best C of N lie in the C blocks with the best maxima. SIMD takes the maxima of whole rows, while TopK compares
    one score at a time. So TopK sees the M maxima and then C * S scores.
    """
    (items,) = [tensor.dims[0] for tensor in graph.initializer if tensor.name == ITEM_MATRIX]
    _constants(
        graph,
        {
            "fast.more": np.array([more]),
            "fast.all": np.array([items]),
            "fast.blocks": np.array([blocks]),
            "fast.flat": np.array([0, -1]),
            "fast.middle_axis": np.array([1]),
        },
    )
    graph.node.extend(
        [
            helper.make_node("Add", ["k", "fast.more"], ["fast.limit"]),
            helper.make_node("Min", ["fast.limit", "fast.all"], ["fast.count"]),  # C
            helper.make_node("Reshape", [ALL_SCORES, "fast.blocks_shape"], ["fast.members"]),  # [B, S, M]
            helper.make_node("ReduceMax", ["fast.members"], ["fast.maxima"], axes=[1], keepdims=0),  # [B, M]
            helper.make_node("Min", ["fast.count", "fast.blocks"], ["fast.block_count"]),  # C', C or M
            helper.make_node("TopK", ["fast.maxima", "fast.block_count"], ["fast.best_maxima", "fast.best"], sorted=0),
            helper.make_node("Unsqueeze", ["fast.best", "fast.middle_axis"], ["fast.best3"]),  # [B, 1, C']
            helper.make_node("Add", ["fast.best3", "fast.member_starts"], ["fast.columns3"]),  # [B, S, C']
            helper.make_node("Reshape", ["fast.columns3", "fast.flat"], ["fast.columns2"]),  # [B, S * C']
            helper.make_node("GatherElements", [ALL_SCORES, "fast.columns2"], ["fast.scores2"], axis=1),
            helper.make_node("TopK", ["fast.scores2", "fast.count"], ["fast.rough", "fast.at"], sorted=0),
            helper.make_node("GatherElements", ["fast.columns2", "fast.at"], ["fast.columns"], axis=1),
        ]
    )


def _rescore(graph: onnx.GraphProto, gemm: onnx.NodeProto) -> None:
    """Add the best k of the candidates by `gemm`'s float32 product, plus what the memory added to the int8 one."""
    state, _, bias = gemm.input
    _constants(graph, {"fast.last_axis": np.array([2])})
    graph.node.extend(
        [
            helper.make_node("GatherElements", [gemm.output[0], "fast.columns"], ["fast.rounded"], axis=1),
            helper.make_node("Sub", ["fast.rough", "fast.rounded"], ["fast.added"]),
            helper.make_node("Gather", [ITEM_MATRIX, "fast.columns"], ["fast.rows"], axis=0),  # [B, C, H]
            helper.make_node("Unsqueeze", [state, "fast.last_axis"], ["fast.state3"]),  # [B, H, 1]
            helper.make_node("MatMul", ["fast.rows", "fast.state3"], ["fast.exact3"]),  # [B, C, 1]
            helper.make_node("Squeeze", ["fast.exact3", "fast.last_axis"], ["fast.product"]),
            helper.make_node("Gather", [bias, "fast.columns"], ["fast.candidate_bias"], axis=0),
            helper.make_node("Add", ["fast.product", "fast.candidate_bias"], ["fast.exact"]),
            helper.make_node("Add", ["fast.exact", "fast.added"], ["fast.candidates"]),
            helper.make_node("TopK", ["fast.candidates", "k"], ["scores", "fast.places"], axis=1),
            helper.make_node("GatherElements", ["fast.columns", "fast.places"], ["list.columns"], axis=1),
        ]
    )
