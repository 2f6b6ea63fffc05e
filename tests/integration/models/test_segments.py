"""Segments of visitors: those of a kind share one, in the graph too, and keep its number when a model learns on."""

import numpy as np
import pytest

from models.clicks.dataset import EVENT_TYPES, Encoder, Event, Session, pad
from models.quality.evaluate import TYPE_INDEX

torch = pytest.importorskip("torch", reason="torch isn't installed: pip install 'liveshelf[train]'")

from models.serving.bundle import load_bundle  # noqa: E402
from models.session.epochs import Training, new_model  # noqa: E402
from models.session.export import write_bundle  # noqa: E402
from models.session.gru import SessionGRU  # noqa: E402
from models.session.learn import train_on  # noqa: E402
from models.session.recipe import Recipe  # noqa: E402
from models.session.restore import restore  # noqa: E402
from models.session.segments import Visitors, describe, divide, in_order_of, vectors_of  # noqa: E402

KINDS, OF_A_KIND = 4, 8
RECIPE = Recipe(hidden=16, epochs=8, batch_rows=32)


def walks(count: int, seed: int) -> list[Session]:
    """Sessions of five items of one kind; kind 0 comes most often, kind 3 least."""
    rng = np.random.default_rng(seed)
    kinds = rng.choice(KINDS, count, p=[0.4, 0.3, 0.2, 0.1])
    return [
        [Event(f"k{kind}-{item}", "view", 1e5 * row + 60 * place) for place, item in enumerate(items)]
        for row, kind in enumerate(kinds)
        for items in [rng.permutation(OF_A_KIND)[:5]]
    ]


def kind_of(session: Session) -> int:
    return int(session[0].item[1])


@pytest.fixture(scope="module")
def trained() -> tuple[SessionGRU, Encoder]:
    """A model of four kinds of items, with its segments."""
    sessions = walks(800, 1)
    encoder = Encoder(sessions)
    model = new_model(encoder, RECIPE, 1)
    for _ in Training(model, sessions, encoder, RECIPE, 1):
        pass
    model.segments = divide(model.eval(), sessions, encoder.index, 1, KINDS)
    return model, encoder


@pytest.fixture(scope="module")
def shop(trained, tmp_path_factory):
    """That model's bundle."""
    model, encoder = trained
    folder = tmp_path_factory.mktemp("segments") / "shop"
    training = {**RECIPE._asdict(), "seed": 1}
    write_bundle(folder, "shop", model, encoder, walks(60, 2), {}, "fast", training, {}, tell=lambda _: None)
    return folder


def segments_of(folder, sessions) -> list[int]:
    bundle = load_bundle(folder)
    inputs = *pad(sessions, bundle.item_index, TYPE_INDEX), np.zeros((len(sessions), 0), np.float32)
    return bundle.segments_of(*inputs)[0].tolist()


def test_visitors_of_a_kind_share_a_segment_the_largest_first(trained):
    model, encoder = trained
    sessions = walks(400, 3)
    segments = model.segments.of(vectors_of(model, sessions, encoder.index))
    assert np.mean(segments == [kind_of(session) for session in sessions]) > 0.95
    assert model.segments.shares == pytest.approx([0.4, 0.3, 0.2, 0.1], abs=0.06)
    assert [{item[:2] for item in items} for items in model.segments.typical] == [{"k0"}, {"k1"}, {"k2"}, {"k3"}]


def test_the_graph_gives_the_models_segments(trained, shop):
    model, encoder = trained
    sessions = walks(50, 4)
    expected = model.segments.of(vectors_of(model, sessions, encoder.index)).tolist()
    assert segments_of(shop, sessions) == expected
    bundle = load_bundle(shop)
    inputs = *pad(sessions, bundle.item_index, TYPE_INDEX), np.zeros((50, 0), np.float32)
    scores, items, segment = bundle.score_with(["segment"], *inputs, k=5)
    assert segment.tolist() == expected
    assert np.array_equal(items, bundle.score(*inputs, k=5)[1])
    assert np.array_equal(scores, bundle.score(*inputs, k=5)[0])
    assert [each["items"] for each in bundle.segments] == model.segments.typical


def test_a_restored_model_has_the_same_segments(trained, shop):
    restored = restore(shop).model.segments
    assert restored.typical == trained[0].segments.typical
    assert np.array_equal(restored.centres, trained[0].segments.centres)


def test_visitors_keep_their_segment_when_a_model_learns_on(shop, tmp_path):
    """Of two learnings, each from other sessions; without matching the numbers come as k-means gives them."""
    told: list[str] = []
    train_on(shop, walks(900, 5), tmp_path / "one", {}, tell=told.append)
    train_on(tmp_path / "one", walks(900, 6), tmp_path / "two", {}, tell=told.append)
    sessions = walks(300, 7)
    kinds = [kind_of(session) for session in sessions]
    assert np.mean(np.equal(segments_of(tmp_path / "two", sessions), kinds)) > 0.95
    assert any("divided into 4 segments" in line for line in told)


def test_few_new_visitors_leave_the_segments_as_they_are(shop, tmp_path):
    train_on(shop, walks(100, 5), tmp_path / "next", {}, tell=lambda _: None)
    before, after = restore(shop).model.segments, restore(tmp_path / "next").model.segments
    assert np.array_equal(before.centres, after.centres)


def test_segments_get_the_numbers_that_most_visitors_keep():
    """Visitors at 10 were segment 2, those at 20 segment 0 or 1, those at 31 segment 1."""
    before, vectors = [2, 2, 2, 0, 0, 1, 1, 1], np.array([[10, 10, 10, 20, 20, 20, 31, 31]], np.float32).T
    centres = in_order_of(np.array(before), np.array([[10], [20], [30]], np.float32), vectors)
    assert centres.ravel().tolist() == [20, 30, 10]


def test_matching_is_of_all_segments_together():
    """Old 0 shares most with the centre at 10, and then that at 20 would share nothing with old 1."""
    before, vectors = [0] * 5 + [1] * 4 + [0] * 4, np.array([[10] * 9 + [20] * 4], np.float32).T
    centres = in_order_of(np.array(before), np.array([[10], [20]], np.float32), vectors)
    assert centres.ravel().tolist() == [20, 10]


def test_a_segment_is_told_by_its_own_items():
    """`both` is clicked by everybody, so it says nothing of either segment."""
    prefixes = [[Event(item, "view", 0.0) for item in ("both", mine)] for mine in ("a", "a", "b")]
    vectors = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    found = describe(np.array([[1, 0], [0, 1]]), Visitors(prefixes, vectors))
    assert (found.shares, found.typical) == ([0.6667, 0.3333], [["a"], ["b"]])


@pytest.mark.parametrize(("visitors", "count"), [(99, 0), (100, 2), (160, 3), (800, 8)])
def test_a_segment_has_fifty_visitors_in_the_mean(visitors, count):
    sessions = walks(visitors, 1)
    encoder = Encoder(sessions)
    found = divide(new_model(encoder, RECIPE, 1), sessions, encoder.index, 1)
    assert (0 if found is None else len(found.centres)) == count


def test_visitors_who_all_look_alike_have_no_segments():
    sessions = [[Event("only", "view", 0.0)] for _ in range(300)]
    encoder = Encoder(sessions)
    model = SessionGRU(1, len(EVENT_TYPES), 0, 4, 0.0)
    assert divide(model, sessions, encoder.index, 1) is None
