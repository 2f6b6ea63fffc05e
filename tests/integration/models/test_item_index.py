"""An index of items, against what torch scores and what is counted by hand."""

from pathlib import Path

import numpy as np
import pytest

from jobs.errors import ModelError
from models.serving import bundle as serving

torch = pytest.importorskip("torch", reason="torch isn't installed: pip install 'liveshelf[train]'")
onnx = pytest.importorskip("onnx", reason="onnx isn't installed: pip install 'liveshelf[train]'")

from models.clicks.dataset import EVENT_TYPES, Encoder, Event  # noqa: E402
from models.serving.bundle import load_bundle  # noqa: E402
from models.session import spare  # noqa: E402
from models.session.choose import Memory, item_memory  # noqa: E402
from models.session.export import write_bundle  # noqa: E402
from models.session.gru import LATEST, SessionGRU  # noqa: E402
from models.session.item_index import PLACES, build, of_clusters  # noqa: E402
from models.session.restore import restore  # noqa: E402

FAMILIES, MEMBERS, HIDDEN = 120, 20, 16
ITEMS = FAMILIES * MEMBERS
EVERY = [[Event(f"sku-{item}", "view", 0.0)] for item in range(ITEMS)]
WALKS = [
    [Event(f"sku-{item}", "view", float(row)) for item in items]
    for row, items in enumerate(np.random.default_rng(1).integers(0, ITEMS, (80, 4)).tolist())
]
SESSIONS = [*EVERY, *WALKS]
MEMORY = {"followed": [[0.5**back] for back in range(LATEST)], "places": [-1.0] + [0.5**back for back in range(8)]}
DROPPED = np.float32(-1e9)


def shop(has_memory: bool = True) -> tuple[SessionGRU, Encoder]:
    """A model whose items lie in families; items are numbered in the order of their ids."""
    torch.manual_seed(2)
    encoder = Encoder(SESSIONS)
    model = SessionGRU(ITEMS, len(EVENT_TYPES), 0, HIDDEN, 0.0).eval()
    family = torch.tensor([int(item.removeprefix("sku-")) // MEMBERS for item in encoder.items])
    with torch.no_grad():
        model.item.copy_(torch.randn(FAMILIES, HIDDEN)[family] + 0.3 * torch.randn(ITEMS, HIDDEN))
        model.bias.normal_(std=0.1)
    if has_memory:
        model.memory = item_memory(encoder.numbers(SESSIONS), ITEMS, Memory("places", MEMORY), model.bias.device)
    return model, encoder


def written(folder: Path, model: SessionGRU, encoder: Encoder, told: list[str] | None = None) -> serving.Bundle:
    told = [] if told is None else told
    write_bundle(folder, "shop", model, encoder, SESSIONS, {}, "indexed", {}, {}, tell=told.append)
    return load_bundle(folder)


@pytest.fixture
def large(monkeypatch) -> None:
    """Let a small catalogue count as a large one, of whose 94 blocks 80 are looked at, and no more."""
    monkeypatch.setattr(spare, "INDEXED_FROM", 1)
    monkeypatch.setattr(spare, "LOOKED_AT", 80)
    monkeypatch.setattr(spare, "MOST_BLOCKS", 80)


def questions(encoder: Encoder, model: SessionGRU, count: int = 60) -> spare.Asked:
    return spare.ask(model, [walk[:3] for walk in WALKS[:count]], encoder.index)


def test_each_item_has_one_place_among_its_own_cluster():
    clusters = np.array([2] * 40 + [0] * 3 + [1] * 32)
    index = of_clusters(np.eye(75, dtype=np.float32), clusters)
    held = [row[~room].tolist() for row, room in zip(index.columns, index.is_room, strict=True)]
    assert held == [[40, 41, 42], [*range(43, 75)], [*range(32)], [*range(32, 40)]]
    assert index.columns[0, 3:].tolist() == [40] * 29
    assert index.centres[0].tolist() == pytest.approx([0.0] * 40 + [3**-0.5] * 3 + [0.0] * 32)
    assert index.highest(np.arange(75.0)).tolist() == [42, 74, 31, 39]


def test_items_of_a_family_share_few_blocks():
    model, _ = shop()
    index = build(model.vectors().detach().numpy())
    assert sorted(index.columns[~index.is_room].tolist()) == [*range(ITEMS)]
    assert index.columns.shape[1] == PLACES
    products = np.einsum("bsh,bh->bs", model.vectors().detach().numpy()[index.columns], index.centres)
    assert np.median(products) > 0.8  # to a block of items by chance it is 0.2


def test_an_index_lists_nearly_what_the_exact_product_lists(tmp_path, large):
    model, encoder = shop()
    told: list[str] = []
    bundle = written(tmp_path / "shop", model, encoder, told)
    assert bundle.manifest["product"] == "indexed"
    assert "blocks of the index hold" in told[-1]
    asked = questions(encoder, model)
    lists = [bundle.score(*arrays, k=30) for arrays in asked.inputs]
    assert spare.overlap(asked, lists).mean() > 0.99
    for arrays, (scores, items) in zip(asked.inputs, lists, strict=True):
        with torch.no_grad():
            exact = model(*map(torch.from_numpy, arrays)).numpy()
        np.testing.assert_allclose(np.take_along_axis(exact, items - 1, axis=1), scores, atol=1e-4)


def test_what_the_memory_names_is_listed_from_any_block(tmp_path, large, monkeypatch):
    """One block is looked at. What followed the last item most strongly stands first all the same."""
    monkeypatch.setattr(spare, "LOOKED_AT", 1)
    monkeypatch.setattr(spare, "INDEXED_OVERLAP", 0.0)
    model, encoder = shop()
    with torch.no_grad():
        model.memory.followed.copy_(torch.tensor([[100.0]] + [[0.0]] * (LATEST - 1)))
    bundle = written(tmp_path / "shop", model, encoder)
    last = encoder.index[WALKS[0][0].item]
    strongest = int(model.memory.columns[last][model.memory.weights[last].argmax()]) + 1
    one = np.array([[last]])
    _, items = bundle.score(
        one, one * 0 + 1, np.zeros((1, 1), np.float32), one[0] * 0 + 1, np.zeros((1, 0), np.float32)
    )
    assert model.memory.weights[last].max() > 0
    assert items[0, 0] == strongest


def test_blocks_whose_items_are_all_dropped_are_passed_over(tmp_path, large):
    """Allowed is a family that the visitor is far from; an index that looked near the visitor would list nothing."""
    model, encoder = shop(has_memory=False)
    bundle = written(tmp_path / "shop", model, encoder)
    asked = questions(encoder, model, 1)
    with torch.no_grad():
        exact = model(*map(torch.from_numpy, asked.inputs[0])).numpy()[0]
    farthest = int(encoder.items[exact.argmin()].removeprefix("sku-")) // MEMBERS
    allowed = {encoder.index[f"sku-{farthest * MEMBERS + member}"] for member in range(MEMBERS)}
    added = np.full(ITEMS, DROPPED)
    added[[number - 1 for number in allowed]] = 0
    scores, items = bundle.score(*asked.inputs[0], k=30, bias=added)
    assert set(items[0][scores[0] > DROPPED / 10].tolist()) == allowed


def test_more_blocks_are_looked_at_where_rules_drop_most_items(tmp_path, large, monkeypatch):
    """One item in fifty is allowed, wherever it lies. A block or two hold hardly any of these."""
    monkeypatch.setattr(spare, "LOOKED_AT", 2)
    monkeypatch.setattr(spare, "INDEXED_OVERLAP", 0.0)
    model, encoder = shop(has_memory=False)
    bundle = written(tmp_path / "shop", model, encoder)
    asked = questions(encoder, model, 1)
    with torch.no_grad():
        exact = model(*map(torch.from_numpy, asked.inputs[0])).numpy()[0]
    added = np.full(ITEMS, DROPPED)
    added[::50] = 0
    by_hand = sorted(range(0, ITEMS, 50), key=lambda column: -exact[column])[:20]
    _, items = bundle.score(*asked.inputs[0], k=20, bias=added)
    assert (items[0] - 1).tolist() == by_hand
    assert bundle.bias(added)["index.blocks"].tolist() == [len(bundle.blocks)]
    added[::2] = 0
    assert bundle.bias(added)["index.blocks"].tolist() == [4]
    assert bundle.bias(np.zeros(ITEMS, np.float32))["index.blocks"].tolist() == [2]


@pytest.mark.parametrize("has_memory", [False, True])
def test_no_item_is_listed_twice_where_blocks_hold_too_few(tmp_path, large, monkeypatch, has_memory):
    """A block or two hold fewer items than the list is long. What is listed instead has the score of nothing."""
    monkeypatch.setattr(spare, "LOOKED_AT", 2)
    monkeypatch.setattr(spare, "MOST_BLOCKS", 2)
    monkeypatch.setattr(spare, "INDEXED_OVERLAP", 0.0)
    model, encoder = shop(has_memory)
    bundle = written(tmp_path / "shop", model, encoder)
    scores, items = bundle.score(*questions(encoder, model, 1).inputs[0], k=64)
    held = items[0][scores[0] > DROPPED / 10].tolist()
    assert len(set(held)) == len(held) >= 2
    assert np.isfinite(scores).all()


def test_an_index_that_misses_too_much_is_left_out(tmp_path, large, monkeypatch):
    monkeypatch.setattr(spare, "LOOKED_AT", 1)
    monkeypatch.setattr(spare, "MOST_BLOCKS", 3)
    model, encoder = shop()
    told: list[str] = []
    bundle = written(tmp_path / "shop", model, encoder, told)
    assert bundle.manifest["product"] == "fast"
    assert [line.split(" hold ")[0] for line in told[:2]] == ["the nearest 1 blocks", "the nearest 2 blocks"]
    assert bundle.manifest["training"]["product_blocks"] == 0


def test_blocks_are_doubled_where_lists_lack_items(tmp_path, large, monkeypatch):
    monkeypatch.setattr(spare, "LOOKED_AT", 20)
    model, encoder = shop()
    bundle = written(tmp_path / "shop", model, encoder)
    assert (bundle.manifest["product"], bundle.manifest["training"]["product_blocks"]) == ("indexed", 80)
    assert bundle.biases["index.blocks"].tolist() == [80]


def test_a_small_catalogue_has_no_index(tmp_path):
    model, encoder = shop()
    assert written(tmp_path / "shop", model, encoder).manifest["product"] == "fast"


def test_an_indexed_bundle_is_learned_on_from(tmp_path, large):
    model, encoder = shop()
    bundle = written(tmp_path / "shop", model, encoder)
    restored = restore(tmp_path / "shop").model
    asked = questions(encoder, model, 5)
    with torch.no_grad():
        exact = restored(*map(torch.from_numpy, asked.inputs[0])).numpy()
    scores, items = bundle.score(*asked.inputs[0], k=20)
    np.testing.assert_allclose(np.take_along_axis(exact, items - 1, axis=1), scores, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "edited", "reason"),
    [
        ("index.columns", lambda columns: columns + ITEMS, "blocks of other items"),
        ("index.columns", lambda columns: columns.ravel(), "no table of numbers"),
        ("index.bias", lambda biases: biases[:3], "and 3 biases of blocks"),
    ],
    ids=["items", "shape", "biases"],
)
def test_an_index_that_does_not_fit_is_refused(tmp_path, large, name, edited, reason):
    model, encoder = shop()
    written(tmp_path / "shop", model, encoder)
    graph = onnx.load(tmp_path / "shop" / "model.onnx")
    (tensor,) = [each for each in graph.graph.initializer if each.name == name]
    tensor.CopyFrom(onnx.numpy_helper.from_array(edited(onnx.numpy_helper.to_array(tensor)), name))
    data = graph.SerializeToString()
    content = serving.read_content(tmp_path / "shop") | {"model.onnx": data}
    manifest = content["manifest.json"].decode()
    old = load_bundle(tmp_path / "shop").manifest["files"]["model.onnx"]
    content["manifest.json"] = manifest.replace(old, serving.hashlib.sha256(data).hexdigest()).encode()
    with pytest.raises(ModelError, match=reason):
        serving.check_content(tmp_path / "shop", content)
