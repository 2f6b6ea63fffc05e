"""The program that counts missed candidates, on a bundle that misses none and on one that misses many."""

import hashlib
import json
import shutil

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx isn't installed: pip install 'liveshelf[train]'")
pytest.importorskip("torch", reason="torch isn't installed: pip install 'liveshelf[train]'")

from models.clicks.dataset import Event  # noqa: E402
from models.runs.candidates import differing, prefixes_of  # noqa: E402

SESSIONS = [[Event(item, "view", 0.0) for item in items] for items in (["A13", "A16", "B4"], ["C20", "P1"])]


def test_the_packaged_bundle_lists_what_the_exact_product_lists(eshop_bundle_folder):
    assert differing(eshop_bundle_folder, prefixes_of(SESSIONS)) == (5, {20: 0, 30: 0, 100: 0})


def test_a_product_that_knows_one_item_in_two_misses_candidates(eshop_bundle_folder, tmp_path):
    """The golden case is emptied to one row of one place, so that the broken bundle loads."""
    folder = shutil.copytree(eshop_bundle_folder, tmp_path / "eshop")
    graph = onnx.load(folder / "model.onnx")
    (bias,) = [tensor for tensor in graph.graph.initializer if tensor.name == "fast.bias"]
    values = onnx.numpy_helper.to_array(bias).copy()
    values[1::2] -= 100
    bias.CopyFrom(onnx.numpy_helper.from_array(values, "fast.bias"))
    onnx.save(graph, folder / "model.onnx")
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"]["model.onnx"] = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    place = first_even(manifest["golden"]["outputs"]["items_out"])
    manifest["golden"] = one_place(manifest["golden"], place)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    lists, count = differing(folder, prefixes_of(SESSIONS))
    assert (lists, count[20]) == (5, 5)


def first_even(rows: list[list[int]]) -> int:
    """The row whose best item keeps its bias: items have numbers from 1, columns from 0."""
    return next(row for row, items in enumerate(rows) if np.array(items)[0] % 2 == 1)


def one_place(golden: dict, row: int) -> dict:
    inputs = {name: values if name == "k" else [values[row]] for name, values in golden["inputs"].items()}
    return {"inputs": inputs, "outputs": {name: [[values[row][0]]] for name, values in golden["outputs"].items()}}
