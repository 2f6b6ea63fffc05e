"""Whatever the clicks, a training ends with a bundle that loads and lists what the exact scores say."""

import os

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch isn't installed: pip install 'liveshelf[train]'")

from models.clicks.dataset import context_at, pad  # noqa: E402
from models.clicks.sessions import questions_of  # noqa: E402
from models.quality.evaluate import TYPE_INDEX  # noqa: E402
from models.serving.bundle import load_bundle  # noqa: E402
from models.session.recipe import Recipe  # noqa: E402
from models.session.restore import restore  # noqa: E402
from models.session.train import train_bundle  # noqa: E402
from tests.support.random_clicks import world  # noqa: E402

WORLDS = int(os.environ.get("LIVESHELF_RANDOM_TRAININGS", "4"))
RECIPE = Recipe(epochs=1, hidden=16, batch_rows=64, negatives=64)
NEAR = 1e-4  # two items with scores so close may change places


@pytest.mark.parametrize("seed", range(WORLDS))
def test_training_ends_with_bundle_whose_lists_are_right(tmp_path, seed):
    """`LIVESHELF_RANDOM_TRAININGS=200` asks more of them."""
    made = world(seed)
    train_bundle(made.sessions, tmp_path / "shop", "shop", {}, recipe=RECIPE, minutes=600.0, tell=lambda _: None)
    bundle = load_bundle(tmp_path / "shop")
    assert set(bundle.items[1:]) == {event.item for session in made.sessions for event in session}
    known = restore(tmp_path / "shop").model
    known.frozen = True
    prefixes = [question.prefix for question in questions_of(made.sessions)][-300:]
    arrays = [*pad(prefixes, bundle.item_index, TYPE_INDEX), context_at([each[-1] for each in prefixes], 0)]
    k = min(20, len(bundle.items) - 1)
    scores, items = bundle.score(*arrays, k=k)
    with torch.no_grad():
        exact = known(*map(torch.from_numpy, arrays)).numpy()
    order = np.argsort(-exact, axis=1, kind="stable")[:, :k]
    is_right = (items == order + 1) | (np.abs(np.take_along_axis(exact, order, axis=1) - scores) < NEAR)
    assert is_right.mean() >= 0.99, made.about
    assert list(tmp_path.iterdir()) == [tmp_path / "shop"]
