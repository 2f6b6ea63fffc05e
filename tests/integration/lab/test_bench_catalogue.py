"""The graph that the bench of catalogues makes of a bundle's: every part of it has the new catalogue's items."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

torch = pytest.importorskip("torch", reason="torch isn't installed: pip install 'liveshelf[train]'")

from jobs.lab.bench.catalogue import all_scores, feed, with_items  # noqa: E402
from models.clicks.dataset import EVENT_TYPES  # noqa: E402
from models.serving.newcomers import Words  # noqa: E402
from models.session.export import export_onnx  # noqa: E402
from models.session.gru import ItemMemory, SessionGRU  # noqa: E402
from models.session.head import with_list  # noqa: E402
from models.session.memory import followers, successors  # noqa: E402
from models.session.words import Newcomers  # noqa: E402

ITEMS = 200


@pytest.mark.parametrize("n_items", [50, 1_000])
@pytest.mark.parametrize("has_all", [False, True])
def test_graph_with_another_catalogue_scores_all_of_its_items(tmp_path: Path, n_items: int, has_all: bool):
    """Has it all: successors, and words by which new items are listed."""
    sessions = np.random.default_rng(1).integers(1, ITEMS + 1, (300, 5)).tolist()
    model = SessionGRU(ITEMS, len(EVENT_TYPES), 4, hidden=16, dropout=0.0).eval()
    model.memory = ItemMemory(followers(sessions, ITEMS), successors(sessions, ITEMS) if has_all else None)
    if has_all:
        words = Words.of({"category": ["shoes", "hats"]}, {})
        model.newcomers = Newcomers(words, np.zeros((words.size + 1, 17), np.float32))
    with torch.no_grad():
        for weights in model.memory.parameters():
            weights.fill_(1.0)
    export_onnx(model, tmp_path / "model.onnx", "fast")
    rng = np.random.default_rng(2)
    graph = with_list(with_items(all_scores(tmp_path / "model.onnx"), n_items, "families", rng), "exact")
    opened = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    scores, items = opened.run(None, feed(64, n_items, n_items, rng))
    assert np.isfinite(scores).all()
    assert np.array_equal(np.sort(items, axis=1), np.broadcast_to(np.arange(n_items) + 1, items.shape))
