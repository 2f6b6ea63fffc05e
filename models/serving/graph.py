"""What a graph may hold: known operators and weights inside the file; checked before a runtime sees it.

The file is read with protobuf, which is there anyway (Beam, Feast), and only the fields named here: their numbers are
those of ONNX's onnx.proto. The onnx package would bring 86 MB to each worker's image, 70 ms and 10 MB to each start,
for the same answer.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from jobs.errors import ModelError

# What models/session/gru.py and models/session/head.py export, and nothing that reads files or runs code; what they come to need is added.
OPERATORS = """
Abs Add And Cast Clip Concat Constant ConstantOfShape Div Expand Flatten GRU Gather GatherElements Gemm Greater
GreaterOrEqual Log MatMul Min Mul QuantizeLinear Range ReduceL2 ReduceMax Reshape ScatterElements Shape Sign Slice
Squeeze Sub TopK Transpose Unsqueeze
"""
ALLOWED = {"": set(OPERATORS.split()), "com.microsoft": {"MatMulIntegerToFloat"}}  # domain → operators
EXTERNAL = 1  # TensorProto.DataLocation

# message → field → (number, type); `*` is a list, a capital a message of this table.
FIELDS = {
    "Model": {
        "graph": (7, "Graph"),
        "opset_import": (8, "*Opset"),
        "training_info": (20, "*bytes"),
        "functions": (25, "*bytes"),
    },
    "Opset": {"domain": (1, "bytes")},
    "Graph": {"node": (1, "*Node"), "initializer": (5, "*Tensor"), "sparse_initializer": (15, "*Sparse")},
    "Node": {"op_type": (4, "bytes"), "attribute": (5, "*Attribute"), "domain": (7, "bytes")},
    "Attribute": {
        "t": (5, "Tensor"),
        "g": (6, "Graph"),
        "tensors": (10, "*Tensor"),
        "graphs": (11, "*Graph"),
        "sparse_tensor": (22, "Sparse"),
        "sparse_tensors": (23, "*Sparse"),
    },
    "Tensor": {"external_data": (13, "*bytes"), "data_location": (14, "int32")},
    "Sparse": {"values": (1, "Tensor"), "indices": (2, "Tensor")},
}


def check_graph(file: Path, data: bytes) -> None:
    """Raises ModelError for a file that isn't ONNX, keeps weights elsewhere, or holds what isn't `ALLOWED`."""
    model = _model_class()()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise ModelError(f"{file} isn't an ONNX file: {error}", "copy the bundle again") from error
    if model.functions or model.training_info:
        raise ModelError(f"{file} holds functions or training graphs of its own", "export the graph without them")
    domains = {_text(each.domain) for each in model.opset_import}
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


def _way_out() -> str:
    return "use a bundle that liveshelf exported; what its graphs may hold is in models/serving/graph.py"


def _text(name: bytes) -> str:
    """ONNX's own domain has two names."""
    text = name.decode(errors="replace")
    return "" if text == "ai.onnx" else text


def _graphs(graph: Any) -> Iterator[Any]:
    """The graph and all that lie in attributes of its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _graphs(inner)


def _tensors(graph: Any) -> Iterator[Any]:
    """Weights and constants of one graph, sparse ones as their parts."""
    yield from graph.initializer
    sparse = list(graph.sparse_initializer)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
    for each in sparse:
        yield from (each.values, each.indices)


@cache
def _model_class() -> type:
    """`ModelProto` as far as `FIELDS` goes; protobuf keeps the rest unread."""
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
                field.type = kinds.TYPE_BYTES if plain == "bytes" else kinds.TYPE_INT32
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("liveshelf.onnx.Model"))
