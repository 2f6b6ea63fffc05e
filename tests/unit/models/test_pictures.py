"""What the pictures show, read from the figures themselves."""

import pytest

pytest.importorskip("matplotlib", reason="matplotlib isn't installed: pip install 'liveshelf[train]'")

from models.runs.pictures import Epoch, comparison, curves, draw

CURVE = [
    Epoch("teaching part", 1, {"loss": 4.0, "recall@20": 0.5, "mrr@20": 0.2}),
    Epoch("teaching part", 2, {"loss": 3.5, "recall@20": 0.6, "mrr@20": 0.3}),
    Epoch("all sessions", 1, {"loss": 3.0}),
]
FOUND = {
    "model": {
        "recall@20": 0.75,
        "mrr@20": 0.25,
        "pairs": 8,
        "intervals": {"recall@20": [0.5, 1.0], "mrr@20": [0.25, 0.25]},
    },
    "popular": {"recall@20": 0.125, "mrr@20": 0.0625, "pairs": 8, "intervals": {}},
}


def test_the_curves_are_each_parts_losses_and_the_mrr():
    """The curves are the losses of each part and the MRR of what was asked."""
    left, right = curves("shop", CURVE).axes
    assert [(line.get_label(), line.get_xydata().tolist()) for line in left.lines] == [
        ("teaching part", [[1, 4.0], [2, 3.5]]),
        ("all sessions", [[1, 3.0]]),
    ]
    assert [line.get_xydata().tolist() for line in right.lines] == [[[1, 0.2], [2, 0.3]]]


def test_each_scorer_is_dot_with_its_interval_model_at_top():
    recall, mrr = comparison("shop", FOUND).axes
    dots = {container[0].get_ydata()[0]: container for container in recall.containers}
    assert [label.get_text() for label in recall.get_yticklabels()] == ["popular", "model"]
    assert dots[1][0].get_xdata().tolist() == [0.75]
    assert dots[1][2][0].get_segments()[0].tolist() == [[0.5, 1], [1.0, 1]]
    assert dots[0][0].get_xdata().tolist() == [0.125]
    assert "8 questions" in mrr.get_title()


def test_two_small_png_files_are_written(tmp_path):
    files = draw(tmp_path / "pictures", "shop", CURVE, FOUND)
    assert [file.name for file in files] == ["shop-curves.png", "shop-comparison.png"]
    for file in files:
        assert file.read_bytes().startswith(b"\x89PNG")
        assert file.stat().st_size < 100_000
