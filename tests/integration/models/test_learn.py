"""Learning on from a bundle: what is known stays, what is new joins, what is worse doesn't serve."""

import hashlib
import json
import math
import shutil

import numpy as np
import pytest

from jobs.errors import DataError, ModelError

torch = pytest.importorskip("torch", reason="torch isn't installed: pip install 'liveshelf[train]'")

from jobs.learn.loop import learn_once, learned_until_s  # noqa: E402
from jobs.rankings.ranker import Ranker  # noqa: E402
from jobs.rankings.session import Session  # noqa: E402
from models.clicks.dataset import EVENT_TYPES, Encoder, Event, pad  # noqa: E402
from models.runs.tracking import EXPERIMENT  # noqa: E402
from models.serving.bundle import load_bundle  # noqa: E402
from models.serving.registry import Registry  # noqa: E402
from models.session import learn, memory  # noqa: E402
from models.session.choose import Memory, item_memory  # noqa: E402
from models.session.epochs import new_model, score_with  # noqa: E402
from models.session.export import write_bundle  # noqa: E402
from models.session.gru import LATEST, ItemMemory  # noqa: E402
from models.session.recipe import Recipe  # noqa: E402
from models.session.restore import restore  # noqa: E402
from models.session.train import train_bundle  # noqa: E402

TYPE_INDEX = {name: index for index, name in enumerate(EVENT_TYPES, start=1)}
DAY_S = 86_400.0


def walks(step: int, count: int, items: int = 40, seed: int = 1, at_s: float = 0.0) -> list[list[Event]]:
    """Sessions of 5 clicks in a ring of items, each `step` further."""
    starts = np.random.default_rng(seed).integers(0, items, count)
    return [
        [Event(f"sku-{(start + step * place) % items}", "view", at_s + row + place / 10) for place in range(5)]
        for row, start in enumerate(starts)
    ]


FEATURES = ["visitor:a", "visitor:b", "visitor:c", "visitor:d"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A bundle that knows that item n + 1 follows item n, of 40."""
    out = tmp_path_factory.mktemp("learn") / "shop"
    train_bundle(
        walks(1, 300),
        out,
        "shop",
        {},
        recipe=Recipe(epochs=6, batch_rows=16, dropout=0.0),
        context_features=FEATURES,
        tell=lambda _: None,
    )
    return out


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """MLflow's; it takes seconds to make."""
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture
def registry(shop, tmp_path) -> Registry:
    found = Registry(tmp_path / "versions")
    found.activate(found.publish(shop))
    return found


def test_a_restored_model_scores_as_its_bundle_does(shop):
    known, bundle = restore(shop), load_bundle(shop)
    batch = pad([session[:3] for session in walks(1, 20, seed=9)], bundle.item_index, TYPE_INDEX)
    arrays = (*batch, np.full((20, 4), 7, np.float32))
    ours, theirs = score_with(known.model)(*arrays, k=40), bundle.score(*arrays, k=40)
    assert ours[0] == pytest.approx(theirs[0], abs=1e-4)
    assert (ours[1][:, :5] == theirs[1][:, :5]).all()
    assert sum(known.clicks.values()) == 300 * 5


def test_new_item_starts_between_the_known_items_of_its_sessions(shop):
    known = restore(shop)
    sessions = [[Event(item, "view", 0.0) for item in ("sku-1", "new", "sku-2")], [Event("alone", "view", 0.0)]]
    encoder = Encoder(sessions, known.clicks, FEATURES)
    grown = learn._with_new_items(known, encoder, sessions, Recipe(), seed=1)
    before = dict(zip(known.clicks, known.model.item.detach(), strict=True))
    after = dict(zip(encoder.items, grown.item.detach(), strict=True))
    assert torch.equal(after["sku-7"], before["sku-7"])
    assert torch.allclose(after["new"], (before["sku-1"] + before["sku-2"]) / 2)
    assert torch.isfinite(after["alone"]).all()


def test_a_version_knows_what_it_learned_on_from(shop, tmp_path):
    """What a version learns on from is in the next one and what it knew too."""
    # From every item of the ring one now goes on to an item that nobody had seen before.
    sessions = [
        [*walk[:2], Event(f"new-{int(walk[1].item[4:])}", "view", walk[2].time_s)] for walk in walks(1, 400, seed=3)
    ]
    judged = learn.train_on(shop, sessions, tmp_path / "next", {}, tell=lambda _: None)
    assert judged.before["recall@20"] == pytest.approx(0.5, abs=0.05)  # each second question asks for an unknown item
    assert judged.after["mrr@20"] > 0.8
    assert judged.worse == []
    bundle = load_bundle(tmp_path / "next")
    assert len(bundle.items) == 1 + 40 + 40
    assert bundle.manifest["training"]["from"] == load_bundle(shop).version
    ring = [session[:1] for session in walks(1, 40)]
    _, items = bundle.score(*pad(ring, bundle.item_index, TYPE_INDEX), np.zeros((40, 4), np.float32), k=5)
    known = [bundle.item_index[f"sku-{(int(session[0].item[4:]) + 1) % 40}"] for session in ring]
    assert np.mean([target in row for target, row in zip(known, items, strict=True)]) > 0.9


def test_items_learned_later_are_shown(shop, tmp_path):
    """A bundle that names its items shows no item without a name, so what is learned later gets one."""
    named = tmp_path / "named"
    shutil.copytree(shop, named)
    vocabulary = json.loads((named / "vocabulary.json").read_text())
    vocabulary["names"] = {item: f"the {item}" for item in vocabulary["items"] if item not in ("sku-0", "sku-20")}
    rewrite(named, vocabulary)
    ranked = shown_after(learned_from(named, tmp_path / "first", ["sku-1", "new-1", "new-2", "sku-20"]), "new-1")
    assert {"new-2", "sku-20"} <= set(ranked[:5])  # people look at sku-20: the shop has it
    assert "sku-0" not in ranked
    vocabulary = json.loads((tmp_path / "first" / "vocabulary.json").read_text())
    assert (vocabulary["names"]["sku-1"], vocabulary["names"]["new-1"]) == ("the sku-1", "new-1")
    again = learned_from(tmp_path / "first", tmp_path / "second", ["sku-2", "new-3", "new-1"])
    assert {"new-1", "new-2", "new-3"} <= set(load_bundle(again).names)


def test_names_are_not_made_where_no_item_has_one(shop, tmp_path):
    assert load_bundle(learned_from(shop, tmp_path / "next", ["sku-1", "new-1", "new-2"])).names == {}


def rewrite(folder, vocabulary: dict) -> None:
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["vocabulary.json"] = hashlib.sha256((folder / "vocabulary.json").read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def learned_from(folder, out, items: list[str]):
    """What is made of a bundle by 80 sessions of these items."""
    sessions = [[Event(item, "view", row + place / 10) for place, item in enumerate(items)] for row in range(80)]
    learn.train_on(folder, sessions, out, {}, tell=lambda _: None)
    return out


def shown_after(folder, item: str) -> list[str]:
    """The list that the rankings job shows to whom looks at the item."""
    bundle = load_bundle(folder)
    session = Session([0], ["view"], [item], frozenset())
    (ranked,) = Ranker(bundle, 20).rank([session], np.zeros((1, len(bundle.context_features)), np.float32))
    assert ranked.fallback is None
    return ranked.items


def test_joined_memory_weighs_old_and_new_rows_by_their_clicks(shop):
    known, chosen = restore(shop), Memory("places", {"followed": [[6.0 * 0.5**back] for back in range(LATEST)]})
    numbers = [[list(known.clicks).index(event.item) + 1 for event in walk] for walk in walks(1, 300)]
    known.model.memory = item_memory(numbers, 40, chosen, torch.device("cpu"))
    sessions = [[Event("sku-1", "view", 0.0), Event("sku-9", "view", 1.0)]] * known.clicks[
        "sku-1"
    ]  # as often as before
    encoder = Encoder(sessions, known.clicks)
    before = row_of(known.model.memory, known.clicks, "sku-1")
    after = row_of(learn._joint_memory(known, encoder, sessions), encoder.clicks, "sku-1")
    assert after["sku-2"] == pytest.approx(before["sku-2"] / 2, rel=1e-5)
    # All of sku-1's new clicks led to sku-9 (1), and as companions they have n / sqrt(n * n) = 1: half of 1 + 1.
    assert after["sku-9"] == pytest.approx(before.get("sku-9", 0) / 2 + 1)


def test_successors_are_counted_on_with_the_new_sessions(shop):
    known, chosen = restore(shop), Memory("successors", {"succeeded": [1.0]})
    of = {item: number for number, item in enumerate(known.clicks, start=1)}
    known.model.memory = item_memory([[of["sku-1"], of["sku-2"]]] * 3, 40, chosen, torch.device("cpu"))
    encoder = Encoder([[Event("sku-1", "view", 0.0), Event("sku-2", "view", 1.0)]] * 2, known.clicks)
    sessions = [[Event("sku-1", "view", 0.0), Event(item, "view", 1.0)] for item in ("sku-2", "sku-2", "sku-9")]
    found = learn._joint_memory(known, encoder, sessions).rows()[1]
    row, ids = encoder.index["sku-1"], list(encoder.clicks)
    counted = {ids[column]: weight for column, weight in zip(found.columns[row], found.weights[row], strict=True)}
    # Three times before and twice now; once now.
    assert counted["sku-2"] == pytest.approx(math.log(6))
    assert counted["sku-9"] == pytest.approx(math.log(2))


def row_of(memory, clicks, item):
    """An item's followers and their weights; `clicks` in the model's order."""
    ids = list(clicks)
    row = ids.index(item) + 1
    pairs = zip(memory.columns[row].tolist(), memory.weights[row].tolist(), strict=True)
    return {ids[column]: weight for column, weight in pairs if weight}


def test_versions_with_other_inputs_are_not_compared(shop, tmp_path):
    train_bundle(walks(1, 60), tmp_path / "other", "other", {}, recipe=Recipe(epochs=1), tell=lambda _: None)
    with pytest.raises(ModelError, match=r"reads \['visitor:a', .*\n  fix: train anew without --from"):
        learn.train_on(shop, walks(1, 60), tmp_path / "next", {}, against=tmp_path / "other", tell=lambda _: None)


def test_too_few_sessions_are_refused(shop, tmp_path):
    with pytest.raises(DataError, match=r"2 sessions, 2 of them .* too few"):
        learn.train_on(shop, walks(1, 2), tmp_path / "next", {}, tell=lambda _: None)


def test_a_bundle_without_its_clicks_cant_be_learned_on_from(shop, tmp_path):
    """A bundle that doesn't know its clicks can't be learned on from."""
    old = tmp_path / "old"
    shutil.copytree(shop, old)
    vocabulary = json.loads((old / "vocabulary.json").read_text())
    del vocabulary["clicks"]
    data = json.dumps(vocabulary).encode()
    (old / "vocabulary.json").write_bytes(data)
    manifest = json.loads((old / "manifest.json").read_text())
    manifest["files"]["vocabulary.json"] = hashlib.sha256(data).hexdigest()
    (old / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match="has no clicks"):
        restore(old)


def test_a_better_version_serves_and_is_a_run(registry, store):
    """A better version serves says until when it learned and is a run."""
    sessions = walks(7, 400, seed=2, at_s=10 * DAY_S)
    outcome = learn_once(registry, sessions, "asked to", lambda _: None, store)
    assert outcome.problem == ""
    assert outcome.after["mrr@20"] > outcome.before["mrr@20"] + 0.2
    assert registry.active().version == outcome.version
    assert learned_until_s(registry) == pytest.approx(sessions[-1][-1].time_s, abs=0.001)
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{store / 'mlflow.db'}")
    run, *_ = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    assert (run.info.status, run.data.params["from"]) == ("FINISHED", outcome.began_from)
    assert run.data.metrics["test/after/mrr_20"] == pytest.approx(outcome.after["mrr@20"])
    losses = [each.value for each in client.get_metric_history(run.info.run_id, "all sessions/loss")]
    assert len(losses) == learn.EPOCHS
    assert losses[-1] < losses[0]


def test_version_that_is_worse_on_the_newest_sessions_doesnt_serve(registry, store):
    before = registry.active()
    # The older sessions go a way that the newest, which judge, don't go any more.
    sessions = [*walks(7, 340, seed=2), *walks(1, 60, seed=3, at_s=DAY_S)]
    outcome = learn_once(registry, sessions, "asked to", lambda _: None, store)
    assert outcome.version == ""
    assert outcome.problem.startswith("worse on the newest sessions")
    assert registry.active() == before
    assert len(registry.versions()) == 1


def test_memory_of_two_items_is_written_with_its_successors(tmp_path):
    """Each item is then the follower of the other one, and its successor. The exporter writes equal tensors once."""
    sessions = [[Event("a", "view", 0.0), Event("b", "view", 1.0)]] * 8
    encoder = Encoder(sessions, context_features=FEATURES)
    model = new_model(encoder, Recipe(hidden=4), 1).eval()
    numbers = encoder.numbers(sessions)
    model.memory = ItemMemory(memory.followers(numbers, 2), memory.successors(numbers, 2))
    with torch.no_grad():
        for weights in model.parameters():  # of zeros it writes one tensor, too
            weights.normal_()
    write_bundle(tmp_path / "shop", "shop", model, encoder, sessions, {}, "exact", {}, {}, tell=print)
    known = restore(tmp_path / "shop").model.memory
    for name, values in model.memory.state_dict().items():
        assert torch.equal(known.state_dict()[name], values), name
