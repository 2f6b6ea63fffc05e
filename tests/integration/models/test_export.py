"""Test the graphs that training exports against what a runtime may open."""

from pathlib import Path

import pytest

from models.serving.graph import ALLOWED, check_graph

torch = pytest.importorskip("torch", reason="torch isn't installed: make train-env")
onnx = pytest.importorskip("onnx", reason="onnx isn't installed: make train-env")

from models.session.export import export_onnx  # noqa: E402
from models.session.gru import SessionGRU  # noqa: E402


def test_packaged_graphs_use_exactly_what_is_allowed(eshop_bundle_folder: Path, tmp_path: Path) -> None:
    """The packaged bundles and all products use all that is allowed and nothing else."""
    torch.manual_seed(1)
    files = [eshop_bundle_folder.parent / name / "model.onnx" for name in ("eshop", "serenade")]
    for product in ("exact", "fast", "indexed"):
        files.append(tmp_path / f"{product}.onnx")
        export_onnx(SessionGRU(30, 6, 4, 8, 0.0), files[-1], product)
    for file in files:
        check_graph(file, file.read_bytes())
    nodes = [node for file in files for node in onnx.load(file).graph.node]
    used = {
        domain: {node.op_type for node in nodes if node.domain == domain} for domain in {node.domain for node in nodes}
    }
    assert used == ALLOWED
