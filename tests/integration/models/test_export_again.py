"""A bundle whose graph is written again is the same model."""

import shutil

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch isn't installed: pip install 'liveshelf[train]'")

from models.clicks.dataset import Event, pad
from models.runs.export_again import export_again
from models.serving.bundle import load_bundle


def test_exporting_again_keeps_lists_training_and_metrics(eshop_bundle_folder, tmp_path):
    before = load_bundle(eshop_bundle_folder)
    folder = shutil.copytree(eshop_bundle_folder, tmp_path / "eshop")
    version = export_again(folder)
    after = load_bundle(folder)
    assert after.version == version
    for part in ("name", "product", "training", "metrics"):
        assert after.manifest[part] == before.manifest[part]
    sessions = [[Event(item, "view", 0.0) for item in items] for items in (["A13", "A16"], ["B4"], ["C20", "P1", "C5"])]
    arrays = (*pad(sessions, before.item_index, before.type_index), np.zeros((3, 4), np.float32))
    for one, other in zip(before.score(*arrays, k=20), after.score(*arrays, k=20), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
