"""The number of more candidates of the int8 product, against places that are counted in plain Python."""

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="torch isn't installed: pip install 'liveshelf[train]'")

from models.clicks.dataset import EVENT_TYPES, Encoder, Event  # noqa: E402
from models.serving.bundle import load_bundle  # noqa: E402
from models.session import spare  # noqa: E402
from models.session.choose import Memory, item_memory  # noqa: E402
from models.session.export import write_bundle  # noqa: E402
from models.session.gru import LATEST, SessionGRU  # noqa: E402
from models.session.head import ITEM_LEVELS, more_of  # noqa: E402

ITEMS, HIDDEN = 600, 16


def clicks(count: int, seed: int = 1) -> list[list[Event]]:
    rows = np.random.default_rng(seed).integers(0, ITEMS, (count, 4))
    return [[Event(f"sku-{item}", "view", float(row)) for item in items] for row, items in enumerate(rows.tolist())]


SESSIONS = [[Event(f"sku-{item}", "view", 0.0) for item in range(ITEMS)], *clicks(60)]
MEMORY = {"followed": [[0.5**back] for back in range(LATEST)], "places": [-1.0] + [0.5**back for back in range(8)]}


def shop(spread: float) -> tuple[SessionGRU, Encoder]:
    """A model whose item vectors lie around one vector: the smaller the spread, the less 7 bits tell them apart."""
    torch.manual_seed(4)
    encoder = Encoder(SESSIONS)
    model = SessionGRU(ITEMS, len(EVENT_TYPES), 0, HIDDEN, 0.0).eval()
    with torch.no_grad():
        model.item.copy_(torch.randn(1, HIDDEN) + spread * torch.randn(ITEMS, HIDDEN))
        model.bias.normal_(std=0.01)
    model.memory = item_memory(encoder.numbers(SESSIONS), ITEMS, Memory("places", MEMORY), model.bias.device)
    return model, encoder


def needed_by_hand(model: SessionGRU, encoder: Encoder, prefixes: list[list[Event]]) -> int:
    """Round as `head.py` says, sort every item, and look each of the best 30 and 64 up."""
    worst = 0
    vectors = model.vectors().detach().double().numpy()
    bias = model.bias.detach().double().numpy()
    item_step = np.abs(vectors).max(axis=1, keepdims=True) / ITEM_LEVELS
    for prefix in prefixes:
        numbers = torch.tensor([[encoder.index[event.item] for event in prefix]])
        inputs = numbers, torch.ones_like(numbers), torch.zeros(numbers.shape), torch.tensor([len(prefix)])
        with torch.no_grad():
            query = model.asked(model.vectors(), *inputs, torch.zeros(1, 0))[0].double().numpy()
            added = model.remembered(torch.zeros(1, ITEMS), *inputs)[0].double().numpy()
            exact = model(*inputs, torch.zeros(1, 0))[0].tolist()
        state_step = 12 * min(1, 6 / HIDDEN**0.5) / 127
        rounded = np.rint(query / state_step) * state_step
        rough = ((np.rint(vectors / item_step) * item_step) @ rounded + bias + added).tolist()
        by_exact = sorted(range(ITEMS), key=lambda item: -exact[item])
        place = {item: at for at, item in enumerate(sorted(range(ITEMS), key=lambda item: -rough[item]))}
        for length in (30, 64):
            worst = max(worst, max(place[item] for item in by_exact[:length]) + 1 - length)
    return worst


@pytest.mark.parametrize("spread", [2.0, 0.3, 0.02])
def test_places_are_those_that_sorting_gives(spread):
    model, encoder = shop(spread)
    prefixes = [session[:2] for session in clicks(20, seed=7)]
    found = spare.ask(model, prefixes, encoder.index).needed
    assert found > 0
    assert found == pytest.approx(needed_by_hand(model, encoder, prefixes), abs=1)  # equal scores may change places


@pytest.mark.parametrize(
    ("needed", "items", "product", "more"),
    [
        (0, 1000, "fast", 16), (8, 1000, "fast", 16), (9, 1000, "fast", 18), (64, 1000, "fast", 128),
        (65, 1000, "exact", 130), (25, 200, "fast", 50), (26, 200, "exact", 52), (0, 60, "exact", 16),
    ],
)  # fmt: skip
def test_twice_what_was_needed_is_taken_up_to_a_bound(needed, items, product, more):
    """At least 16, at most 128 and a quarter of the items."""
    asked = spare.Asked([], np.zeros((3, 30)), np.zeros((3, 30)), needed, items)
    chosen = spare.choose(asked, "fast")
    assert (chosen.product, chosen.more) == (product, more)
    assert spare.choose(asked, "exact").product == "exact"


def test_what_was_chosen_before_is_never_undercut():
    asked = spare.Asked([], np.zeros((3, 30)), np.zeros((3, 30)), 2, 1000)
    assert spare.choose(asked, "fast", least=40).more == 40


def test_the_share_of_the_right_items_is_counted():
    """Of the right list 1 2 3 the second question's lacks item 2; in the third one's place stands an equal item."""
    right = np.array([[3.0, 2.0, 1.0]] * 3), np.array([[1, 2, 3]] * 3)
    asked = spare.Asked([[]], *right, 0, 3)
    given = np.array([[3.0, 2.0, 1.0], [3.0, 1.0, 0.5], [3.0, 2.0, 1.0]]), np.array([[1, 2, 3], [1, 3, 4], [1, 2, 5]])
    assert spare.overlap(asked, [given]).tolist() == [1, pytest.approx(2 / 3), 1]
    chosen = spare.Spare("fast", 16, 0, 3)
    assert spare.checked(chosen, asked, lambda k: right).product == "fast"
    lacking = spare.checked(chosen, asked, lambda k: given)
    assert (lacking.product, lacking.overlap, lacking.worst) == ("exact", pytest.approx(8 / 9), pytest.approx(2 / 3))


@pytest.mark.parametrize(("spread", "product"), [(2.0, "fast"), (0.02, "exact")])
def test_bundle_of_any_model_is_written_with_its_product(tmp_path, spread, product):
    """Where 7 bits can't tell the items apart, the bundle is exact; its lists are right either way."""
    model, encoder = shop(spread)
    told: list[str] = []
    chosen = write_bundle(
        tmp_path / "shop", "shop", model, encoder, SESSIONS, {}, "fast", {"seed": 1}, {}, tell=told.append
    )
    bundle = load_bundle(tmp_path / "shop")
    training = bundle.manifest["training"]
    assert bundle.manifest["product"] == chosen.product == product
    assert training["product_candidates"] == (chosen.more if product == "fast" else 0)
    assert f"need up to {training['product_needed']} more candidates" in told[-1]
    asked = spare.ask(model, [session[:2] for session in clicks(50, seed=9)], encoder.index)
    lists = [bundle.score(*arrays, k=20) for arrays in asked.inputs]
    assert spare.overlap(asked, lists).min() == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["shop"]


def test_product_that_loses_items_after_all_is_left_out(tmp_path, monkeypatch):
    """The measurement is made blind: a worker would refuse the bundle that was written."""
    model, encoder = shop(0.02)
    monkeypatch.setattr(spare, "int8_scores", lambda queries, items, bias: queries @ items.T + bias)
    told: list[str] = []
    chosen = write_bundle(tmp_path / "shop", "shop", model, encoder, SESSIONS, {}, "fast", {}, {}, tell=told.append)
    assert chosen.product == load_bundle(tmp_path / "shop").manifest["product"] == "exact"
    assert any("the int8 product is left out" in line for line in told)


def test_the_graph_takes_as_many_candidates_as_were_chosen(tmp_path):
    model, encoder = shop(0.3)
    write_bundle(tmp_path / "a", "a", model, encoder, SESSIONS, {}, "fast", {}, {}, least=77, tell=lambda _: None)
    assert more_of(onnx.load(tmp_path / "a" / "model.onnx")) == 77
