"""Items that training never saw: what their facts say of them, by hand, in the graph, and in lists."""

import copy

import numpy as np
import pytest

from jobs.errors import ModelError
from models.clicks.dataset import EVENT_TYPES, Encoder, Event
from models.clicks.sessions import questions_of
from models.serving.newcomers import Words

torch = pytest.importorskip("torch", reason="torch isn't installed: pip install 'liveshelf[train]'")

from models.serving.bundle import load_bundle  # noqa: E402
from models.session import export  # noqa: E402
from models.session.epochs import Training, new_model  # noqa: E402
from models.session.export import write_bundle  # noqa: E402
from models.session.gru import SessionGRU  # noqa: E402
from models.session.learn import train_on  # noqa: E402
from models.session.newcomers import HELD_OUT, choose_newcomers, learn  # noqa: E402
from models.session.recipe import Recipe  # noqa: E402
from models.session.restore import restore  # noqa: E402
from models.session.words import words_of  # noqa: E402

KINDS, OF_A_KIND = 8, 12


def session(*items: str, start_s: float = 0.0) -> list[Event]:
    return [Event(item, "view", start_s + 60 * place) for place, item in enumerate(items)]


def walks(count: int, items: int, seed: int) -> list[list[Event]]:
    """Sessions of five items of one kind, of its first so many."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, KINDS, count)
    return [
        session(*(f"k{kind}-{item}" for item in rng.permutation(items)[:5]), start_s=1e5 * row)
        for row, kind in enumerate(kinds)
    ]


FACTS = {f"k{kind}-{item}": {"category": f"kind {kind}"} for kind in range(KINDS) for item in range(OF_A_KIND)}


@pytest.fixture(scope="module")
def trained() -> tuple[SessionGRU, Encoder]:
    """A model of eight kinds of items, eight of each kind."""
    sessions = walks(600, 8, 1)
    encoder = Encoder(sessions)
    model = new_model(encoder, Recipe(hidden=16, epochs=8, batch_rows=32), 1)
    for _ in Training(model, sessions, encoder, Recipe(hidden=16, epochs=8, batch_rows=32), 1):
        pass
    return model.eval(), encoder


def test_words_are_numbered_by_fact_and_prices_by_bounds():
    words = Words.of({"brand": ["x", "y"], "category": ["shoes"]}, {"price_minor": [1000.0, 2000.0]})
    assert (words.names, words.size) == (["brand", "category", "price_minor"], 6)
    assert words.rows({"brand": "y", "category": "shoes", "price_minor": 999}.get) == [2, 3, 4]
    assert words.rows({"brand": "z", "price_minor": 1000}.get) == [0, 0, 5]
    assert words.rows({"category": 7, "price_minor": float("nan")}.get) == [0, 0, 0]


def test_words_of_one_item_are_left_out():
    facts = {
        "a": {"category": "shoes", "status": "active", "brand": "x", "on_offer": True, "price_minor": 1},
        "b": {"category": "shoes", "status": "active", "brand": "y", "price_minor": 1},
        "c": {"category": "hats", "status": "gone", "brand": "y", "price_minor": 1},
        "d": {"category": "hats", "status": "gone", "brand": "x", "price_minor": 9},
        "e": {"category": "coats", "status": "gone", "brand": None},
    }
    words = words_of([*facts, "no facts"], facts)
    assert words.texts == {"brand": {"x": 1, "y": 2}, "category": {"hats": 3, "shoes": 4}}
    assert list(words.bounds) == ["price_minor"]


@pytest.mark.parametrize(
    ("prices", "bounds", "texts"),
    [
        ((1.0, float("nan"), float("inf")), {"price_minor": [1.0]}, {}),
        ((float("nan"), float("nan"), None), {}, {}),
        (("cheap", "cheap", "dear", "dear"), {}, {"price_minor": {"cheap": 1, "dear": 2}}),
    ],
)
def test_prices_that_are_no_amounts_have_no_bounds(prices, bounds, texts):
    """A shop may say in its contract that a price is a text, or a fraction."""
    facts = {str(number): {"price_minor": price} for number, price in enumerate(prices)}
    words = words_of(list(facts), facts)
    assert (words.bounds, words.texts) == (bounds, texts)


def test_rows_are_the_ridge_regression_of_the_known_items():
    """Two kinds of two items, each clicked 5 times, so with a weight of 1/2: a row is half of what its kind differs."""
    encoder = Encoder([session("a", "b", "c", "d")] * 5)
    model = SessionGRU(4, len(EVENT_TYPES), 0, 2, 0.0)
    vectors = {"a": [1.0, 0.0], "b": [1.0, 0.0], "c": [0.0, 1.0], "d": [0.0, 1.0]}
    with torch.no_grad():
        model.item.copy_(torch.tensor([vectors[item] for item in encoder.items]))
        model.bias.copy_(torch.tensor([2.0 if item in "ab" else 4.0 for item in encoder.items]))
    facts = {item: {"category": "left" if item in "ab" else "right"} for item in "abcd"}
    learned = learn(model, encoder, facts, -1.0)
    # The mean item is (1/2, 1/2 | 3). A kind's sum of weights is 1, and RIDGE adds 1: half of (1/2, -1/2 | -1).
    found = learned.of([{"category": "left"}, {"category": "right"}, {"category": "new"}, {}])
    assert found == pytest.approx(
        np.array([[0.75, 0.25, 1.5], [0.25, 0.75, 2.5], [0.5, 0.5, 2.0], [0.5, 0.5, 2.0]]), abs=1e-6
    )


@pytest.mark.parametrize("product", ["exact", "fast"])
def test_the_graph_scores_new_items_as_the_model_does(trained, tmp_path, product):
    model, encoder = trained
    model.newcomers = learn(model, encoder, FACTS, 0.5)
    write_bundle(tmp_path / "shop", "shop", model, encoder, walks(60, 8, 2), {}, product, {}, {}, tell=lambda _: None)
    bundle = load_bundle(tmp_path / "shop")
    assert bundle.words is not None
    new = [FACTS["k3-9"], FACTS["k5-11"], {}]
    vectors = bundle.newcomers(np.array([bundle.words.rows(each.get) for each in new]))
    assert vectors == pytest.approx(model.newcomers.of(new), abs=1e-6)
    items = np.array([[encoder.index["k3-1"], encoder.index["k3-2"]]])
    inputs = items, np.ones_like(items), np.zeros(items.shape, np.float32), np.array([2]), np.zeros((1, 0), np.float32)
    scores, listed, queries = bundle.score_with(["query"], *inputs, k=10)
    plain = bundle.score(*inputs, k=10)
    assert np.array_equal(plain[0], scores)
    assert np.array_equal(plain[1], listed)
    with torch.no_grad():
        query = model.asked(model.vectors(), *map(torch.from_numpy, inputs)).numpy()
    assert queries == pytest.approx(query, abs=1e-5)
    of_kind, other, unknown = (queries @ vectors[:, :-1].T + vectors[:, -1])[0]
    assert of_kind > max(other, unknown)
    # Learning on goes on from what serves.
    assert restore(tmp_path / "shop").model.newcomers.table == pytest.approx(model.newcomers.table)


def test_new_items_win_where_their_facts_tell(trained):
    """The newest sessions are of twelve items of a kind, four of which training never saw."""
    model, encoder = trained
    chosen = choose_newcomers(model, encoder, FACTS, questions_of(walks(150, OF_A_KIND, 3)), 1)
    assert not chosen.is_held_out
    assert chosen.wins
    assert chosen.alone["recall@20"] > 0.5
    assert chosen.within["recall@20"] > chosen.without["recall@20"] + 0.1


def test_held_out_items_judge_where_nothing_is_new(trained):
    model, encoder = trained
    chosen = choose_newcomers(model, encoder, FACTS, questions_of(walks(150, 8, 3)), 1)
    assert chosen.is_held_out
    assert chosen.wins
    assert chosen.alone["recall@20"] > 0.5


def test_held_out_items_have_no_part_in_their_choice(trained):
    """Neither their scores nor their vectors, in sessions or in what is learned from facts."""
    model, encoder = trained
    questions = questions_of(walks(150, 8, 3))
    expected = choose_newcomers(model, encoder, FACTS, questions, 1)
    held_out = np.random.default_rng(1).permutation(len(encoder.items))[: len(encoder.items) // HELD_OUT]
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.bias[held_out] = 100.0
        other.item[held_out] = -other.item[held_out]
    assert choose_newcomers(other, encoder, FACTS, questions, 1) == expected


def test_nothing_is_added_for_held_out_items(trained):
    """They are as popular as any, and a new item isn't known to be."""
    model, encoder = trained
    chosen = choose_newcomers(model, encoder, FACTS, questions_of(walks(150, 8, 3)), 1, shifts=[-9.0, 1.0])
    assert chosen.shift == -9.0


def test_learning_on_keeps_the_rows_of_words(trained, tmp_path):
    """An item that was new has clicks then: it is one of the model's own."""
    model, encoder = trained
    model.newcomers = learn(model, encoder, FACTS, 0.0)
    content = model, encoder, walks(60, 8, 2), {}, "exact", Recipe(hidden=16)._asdict(), {}
    write_bundle(tmp_path / "shop", "shop", *content, tell=lambda _: None)
    train_on(tmp_path / "shop", walks(100, OF_A_KIND, 4), tmp_path / "next", {}, tell=lambda _: None)
    before, after = load_bundle(tmp_path / "shop"), load_bundle(tmp_path / "next")
    assert "k3-9" not in before.item_index
    assert "k3-9" in after.item_index
    assert after.words == before.words
    rows = np.array([[1], [8], [0]])
    assert np.array_equal(after.newcomers(rows), before.newcomers(rows))


def test_new_items_lose_where_their_facts_are_chance(trained):
    """A kind says nothing of its items, and a thousand items are new that nobody looks at."""
    model, encoder = trained
    rng = np.random.default_rng(2)
    facts = {item: {"category": f"kind {rng.integers(0, KINDS)}"} for item in FACTS}
    facts |= {f"never {item}": {"category": f"kind {item % KINDS}"} for item in range(1000)}
    chosen = choose_newcomers(model, encoder, facts, questions_of(walks(600, 9, 3)), 1)
    assert not chosen.is_held_out
    assert chosen.within["recall@20"] < chosen.without["recall@20"] + 0.02


def test_no_facts_in_common_means_no_new_items(trained):
    model, encoder = trained
    facts = {item: {"category": item} for item in FACTS}
    assert choose_newcomers(model, encoder, facts, questions_of(walks(50, OF_A_KIND, 3)), 1) is None


def test_more_new_items_than_a_list_can_afford_arent_tried(trained, monkeypatch):
    """The items that are asked about come first, so the choice is about them."""
    model, encoder = trained
    monkeypatch.setattr(Words, "MOST", 32)
    facts = {f"never {item}": {"category": "kind 1"} for item in range(500)} | FACTS
    assert choose_newcomers(model, encoder, facts, questions_of(walks(150, OF_A_KIND, 3)), 1).wins


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_model_on_a_gpu_chooses_as_on_the_processor(trained):
    model, encoder = trained
    questions = questions_of(walks(150, OF_A_KIND, 3))
    expected = choose_newcomers(model, encoder, FACTS, questions, 1)
    found = choose_newcomers(copy.deepcopy(model).cuda(), encoder, FACTS, questions, 1)
    assert found.shift == expected.shift
    assert found.within == pytest.approx(expected.within, abs=0.01)


def test_bundle_with_words_that_its_graph_lacks_is_refused(trained, tmp_path):
    model, encoder = trained
    model.newcomers = learn(model, encoder, FACTS, 0.0)
    short = model.newcomers._replace(table=model.newcomers.table[:-1])
    model.newcomers = short
    with pytest.raises(ModelError, match="doesn't know the 8 words of its vocabulary"):
        write_bundle(tmp_path / "shop", "shop", model, encoder, walks(60, 8, 2), {}, "exact", {}, {}, tell=print)


def test_bundle_with_words_and_no_outputs_is_refused(trained, tmp_path, monkeypatch):
    model, encoder = trained
    model.newcomers = learn(model, encoder, FACTS, 0.0)
    monkeypatch.setattr(export, "with_newcomers", lambda graph, *_: graph)
    with pytest.raises(ModelError, match=r"has outputs .* the worker feeds .*newcomers"):
        write_bundle(tmp_path / "shop", "shop", model, encoder, walks(60, 8, 2), {}, "exact", {}, {}, tell=print)
