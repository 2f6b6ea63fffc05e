"""A graph that holds more than arithmetic is refused before a runtime opens it; onnx writes the graphs."""

from pathlib import Path
from typing import Any

import pytest

from jobs.errors import ModelError
from models.serving.graph import check_graph

onnx = pytest.importorskip("onnx", reason="onnx isn't installed: pip install 'liveshelf[train]'")
helper, FLOAT = onnx.helper, onnx.TensorProto.FLOAT
FILE = Path("model.onnx")


def model(*nodes, initializer=(), **more) -> Any:
    values = [helper.make_tensor_value_info(name, FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph(list(nodes), "g", values[:1], values[1:], initializer=list(initializer))
    return helper.make_model(graph, **more)


def refuse(made: Any, reason: str) -> None:
    with pytest.raises(ModelError, match=f"model.onnx {reason}"):
        check_graph(FILE, made.SerializeToString())


RELU_IS_FINE = helper.make_node("Abs", ["x"], ["y"])


def test_arithmetic_is_taken_under_both_names_of_onnxs_domain() -> None:
    check_graph(FILE, model(RELU_IS_FINE).SerializeToString())
    check_graph(FILE, model(helper.make_node("Abs", ["x"], ["y"], domain="ai.onnx")).SerializeToString())


@pytest.mark.parametrize("operator", ["If", "Loop", "Scan", "StringNormalizer", "SequenceMap", "Abs\0", "abs", ""])
def test_any_other_operator_is_refused_by_name(operator: str) -> None:
    refuse(model(helper.make_node(operator, ["x"], ["y"])), f"uses the operator {operator!r}".replace("\\", "\\\\"))


def test_an_allowed_name_in_another_domain_is_refused() -> None:
    refuse(model(helper.make_node("Abs", ["x"], ["y"], domain="com.example")), "uses the operator 'com.example.Abs'")


def test_a_domain_that_is_only_imported_is_refused() -> None:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    refuse(model(RELU_IS_FINE, opset_imports=opsets), "uses operators of the domain 'com.example'")


def test_an_operator_inside_a_subgraph_is_found_however_deep() -> None:
    inner = model(helper.make_node("Loop", ["x"], ["y"])).graph
    for _ in range(3):  # the branches hide in attributes of an operator that is allowed
        inner = helper.make_graph([helper.make_node("Abs", ["x"], ["y"], then_branch=inner)], "g", [], [])
    refuse(model(helper.make_node("Abs", ["x"], ["y"], branches=[inner])), "uses the operator 'Loop'")


def test_functions_of_ones_own_are_refused() -> None:
    function = helper.make_function("com.example", "F", ["x"], ["y"], [RELU_IS_FINE], [helper.make_opsetid("", 17)])
    refuse(model(RELU_IS_FINE, functions=[function]), "holds functions")


def elsewhere(**how) -> Any:
    tensor = onnx.TensorProto(name="w", data_type=FLOAT, dims=[1], **how)
    if "data_location" in how:
        return tensor
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


@pytest.mark.parametrize("how", [{}, {"data_location": onnx.TensorProto.EXTERNAL}], ids=["a place", "a flag"])
@pytest.mark.parametrize("where", ["initializer", "sparse", "attribute", "attributes", "sparse attribute", "subgraph"])
def test_weights_in_other_files_are_refused_wherever_they_hide(where: str, how: dict) -> None:
    tensor = elsewhere(**how)
    sparse = onnx.SparseTensorProto(values=tensor, dims=[1])
    if where == "initializer":
        made = model(RELU_IS_FINE, initializer=[tensor])
    elif where == "sparse":
        made = model(RELU_IS_FINE)
        made.graph.sparse_initializer.append(sparse)
    elif where == "attribute":
        made = model(helper.make_node("Constant", [], ["y"], value=tensor))
    elif where == "attributes":
        made = model(helper.make_node("Constant", [], ["y"], value=[tensor]))
    elif where == "sparse attribute":
        made = model(helper.make_node("Constant", [], ["y"], sparse_value=sparse))
    else:
        inner = helper.make_graph([helper.make_node("Abs", ["x"], ["y"])], "g", [], [], initializer=[tensor])
        made = model(helper.make_node("Abs", ["x"], ["y"], body=inner))
    refuse(made, "keeps weights in other files")


def test_place_that_is_written_with_longer_length_is_found_too() -> None:
    # The same bytes as `location`, its length as a varint of two bytes: a search for the usual bytes passes it by.
    plain = model(RELU_IS_FINE, initializer=[elsewhere()]).SerializeToString()
    entry = b"\x0a\x08location\x12\x0b/etc/passwd"
    assert entry in plain
    longer = b"\x0a\x88\x00location\x12\x0b/etc/passwd"
    at = plain.index(entry)
    grown = bytearray(plain[:at] + longer + plain[at + len(entry) :])
    grown[at - 1] += 1  # the length of external_data's entry
    for place in _lengths_around(plain, at):
        grown[place] += 1
    assert onnx.load_from_string(bytes(grown)).graph.initializer[0].external_data[0].value == "/etc/passwd"
    with pytest.raises(ModelError, match="keeps weights in other files"):
        check_graph(FILE, bytes(grown))


def _lengths_around(data: bytes, at: int) -> list[int]:
    """Places of the one-byte lengths of the messages that hold the byte `at`: the graph's and the tensor's."""
    graph, tensor = data.index(b"\x3a"), data.rindex(b"\x2a", 0, at)
    return [graph + 1, tensor + 1]


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x3a\x7f\x00"], ids=["no message", "cut off"])
def test_what_isnt_protobuf_is_refused(data: bytes) -> None:
    with pytest.raises(ModelError, match="isn't an ONNX file"):
        check_graph(FILE, data)
