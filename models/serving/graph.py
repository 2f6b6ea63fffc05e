"""Check what a graph holds before a runtime opens it: known operators only, and all weights inside the file.

The file is read with protobuf, which Beam and Feast bring anyway, and only as far as the fields named here. Their
numbers are those of ONNX's onnx.proto. The onnx package would give the same answer, for 86 MB in each worker's image
and 70 ms and 10 MB at each start.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from jobs.errors import ModelError

# The operators that models/session/gru.py, head.py and item_index.py export. None of them reads files or runs code.
# When the export needs another one, add it here.
OPERATORS = """
Abs Add And ArgMax Cast Clip Concat Constant ConstantOfShape Div Equal Expand Flatten GRU Gather GatherElements Gemm
Greater GreaterOrEqual Log MatMul MatMulInteger Min Mul QuantizeLinear Range ReduceL2 ReduceMax ReduceSum Reshape
ScatterElements Shape Sign Slice Squeeze Sub TopK Transpose Unsqueeze
"""
ALLOWED = {"": set(OPERATORS.split()), "com.microsoft": {"MatMulIntegerToFloat"}}  # domain → operators
EXTERNAL = 1  # TensorProto.DataLocation
INT8, INT32 = 3, 6  # TensorProto.DataType
# Two products of a state 0..255 and weights up to this fit into 16 bits with a sign: 2 * 255 * 64 = 32,640.
LARGEST_WEIGHT = 64
FLOAT, INT64 = 1, 7  # TensorProto.DataType
# Constants that a call may give otherwise. The biases are added to every item's score; `exact` graphs have the first.
# An index has a bias of each block, too, the highest of its items, and the number of blocks that it looks at.
BLOCK_BIAS, LOOKED_AT = "index.bias", "index.blocks"
OPENED = {"bias": FLOAT, "fast.bias": FLOAT, BLOCK_BIAS: FLOAT, LOOKED_AT: INT64}
ARRAYS = {FLOAT: np.float32, INT64: np.int64}
COLUMNS = "index.columns"  # the items of each block

TYPES = {
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
    "int32": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
}
# message → field → (number, type); `*` is a list, a capital a message of this table.
FIELDS = {
    "Model": {
        "graph": (7, "Graph"),
        "opset_import": (8, "*Opset"),
        "training_info": (20, "*bytes"),
        "functions": (25, "*bytes"),
    },
    "Opset": {"domain": (1, "bytes")},
    "Graph": {
        "node": (1, "*Node"),
        "initializer": (5, "*Tensor"),
        "input": (11, "*ValueInfo"),
        "sparse_initializer": (15, "*Sparse"),
    },
    "ValueInfo": {"name": (1, "bytes"), "type": (2, "Type")},
    "Type": {"tensor_type": (1, "TensorType")},
    "TensorType": {"elem_type": (1, "int32"), "shape": (2, "TensorShape")},
    "TensorShape": {"dim": (1, "*Dimension")},
    "Dimension": {"dim_value": (1, "int32")},
    "Node": {"op_type": (4, "bytes"), "attribute": (5, "*Attribute"), "domain": (7, "bytes")},
    "Attribute": {
        "t": (5, "Tensor"),
        "g": (6, "Graph"),
        "tensors": (10, "*Tensor"),
        "graphs": (11, "*Graph"),
        "sparse_tensor": (22, "Sparse"),
        "sparse_tensors": (23, "*Sparse"),
    },
    "Tensor": {
        "dims": (1, "*int64"),
        "data_type": (2, "int32"),
        "name": (8, "bytes"),
        "raw_data": (9, "bytes"),
        "external_data": (13, "*bytes"),
        "data_location": (14, "int32"),
    },
    "Sparse": {"values": (1, "Tensor"), "indices": (2, "Tensor")},
}


def check_graph(file: Path, data: bytes) -> Any:
    """Return the parsed graph.

    Raises ModelError for a file that isn't ONNX, keeps weights elsewhere, or holds an operator that isn't `ALLOWED`.
    """
    model = _model_class()()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise ModelError(f"{file} isn't an ONNX file: {error}", "copy the bundle again") from error
    if model.functions or model.training_info:
        raise ModelError(f"{file} holds functions or training graphs of its own", "export the graph without them")
    domains = {_text(opset.domain) for opset in model.opset_import}
    for domain in sorted(domains - ALLOWED.keys()):
        raise ModelError(f"{file} uses operators of the domain {domain!r}", _way_out())
    for graph in _graphs(model.graph):
        for node in graph.node:
            if _text(node.op_type) not in ALLOWED.get(_text(node.domain), ()):
                name = ".".join(filter(None, (_text(node.domain), _text(node.op_type))))
                raise ModelError(f"{file} uses the operator {name!r}, which isn't allowed", _way_out())
        for tensor in _tensors(graph):
            if tensor.external_data or tensor.data_location == EXTERNAL:
                raise ModelError(
                    f"{file} keeps weights in other files, which its sha256 doesn't cover",
                    "export without external data",
                )
    return model


def has_wide_weights(model: Any) -> bool:
    """Return True if an int8 weight lies outside -64..64.

    On an x86 processor without VNNI onnxruntime's int8 product adds such weights' products wrongly (see
    models/session/head.py). Bundles made before 28 November 2026 have them.
    """
    weights = [
        np.frombuffer(tensor.raw_data, np.int8) for tensor in model.graph.initializer if tensor.data_type == INT8
    ]
    return any(array.size and max(array.max(), -int(array.min())) > LARGEST_WEIGHT for array in weights)


def open_biases(model: Any) -> tuple[bytes, dict[str, NDArray[Any]]]:
    """Make what is `OPENED` inputs whose defaults are the trained constants. Return the graph, and these defaults.

    With a bias of its own a call of the model costs what it costs with the constant.
    """
    given = {
        tensor.name.decode(): np.frombuffer(tensor.raw_data, ARRAYS[tensor.data_type])
        for tensor in model.graph.initializer
        if OPENED.get(tensor.name.decode(errors="replace")) == tensor.data_type
    }
    inputs = {each.name for each in model.graph.input}
    for name, values in given.items():
        if name.encode() not in inputs:
            added = model.graph.input.add(name=name.encode())
            added.type.tensor_type.elem_type = OPENED[name]
            added.type.tensor_type.shape.dim.add(dim_value=len(values))
    return model.SerializeToString(), given


def blocks_of(file: Path, model: Any) -> NDArray[np.int32] | None:
    """Return int32 [M, S], the columns of the items in each block of an index, or None for a graph without one.

    Raises ModelError if they aren't a table.
    """
    for tensor in model.graph.initializer:
        if tensor.name.decode(errors="replace") == COLUMNS:
            columns = np.frombuffer(tensor.raw_data, np.int32)
            if tensor.data_type != INT32 or len(tensor.dims) != 2 or columns.size != np.prod(tensor.dims):
                raise ModelError(f"{file} has {COLUMNS} that are no table of numbers", _way_out())
            return columns.reshape(tuple(tensor.dims)).copy()
    return None


def _way_out() -> str:
    return "use a bundle that liveshelf exported; models/serving/graph.py lists the operators that are allowed"


def _text(name: bytes) -> str:
    """Decode a name; ONNX's own domain has two, and both become ""."""
    text = name.decode(errors="replace")
    return "" if text == "ai.onnx" else text


def _graphs(graph: Any) -> Iterator[Any]:
    """Yield the graph, and every graph in an attribute of its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _graphs(inner)


def _tensors(graph: Any) -> Iterator[Any]:
    """Yield the weights and constants of one graph, of a sparse one its parts."""
    yield from graph.initializer
    sparse = list(graph.sparse_initializer)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
    for tensor in sparse:
        yield from (tensor.values, tensor.indices)


@cache
def _model_class() -> type:
    """Build the class that reads a `ModelProto` as far as `FIELDS` goes; protobuf keeps the rest unread."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="liveshelf/onnx.proto", package="liveshelf.onnx", syntax="proto2")
    for message, fields in FIELDS.items():
        described = file.message_type.add(name=message)
        for name, (number, kind) in fields.items():
            plain = kind.lstrip("*")
            field = described.field.add(
                name=name, number=number, label=kinds.LABEL_REPEATED if kind[0] == "*" else kinds.LABEL_OPTIONAL
            )
            if plain in FIELDS:
                field.type, field.type_name = kinds.TYPE_MESSAGE, f".liveshelf.onnx.{plain}"
            else:
                field.type = TYPES[plain]
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("liveshelf.onnx.Model"))
