"""From a file of clicks to a bundle, and the parts of a training that can be worked out by hand."""

import itertools
import json
import math

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from jobs.errors import DataError

torch = pytest.importorskip("torch", reason="torch isn't installed: pip install 'liveshelf[train]'")

from jobs.cli import app  # noqa: E402
from models.clicks.dataset import EVENT_TYPES, Clicks, Encoder, Event, pad  # noqa: E402
from models.clicks.sessions import questions_of, read_sessions  # noqa: E402
from models.quality.baselines import Markov  # noqa: E402
from models.quality.evaluate import answers_of_baseline, answers_of_model, metrics  # noqa: E402
from models.serving.bundle import load_bundle  # noqa: E402
from models.serving.registry import PARTS  # noqa: E402
from models.session import export, spare  # noqa: E402
from models.session.choose import NOTHING, choose_memory  # noqa: E402
from models.session.epochs import Training, batches, negatives, new_model, score_with  # noqa: E402
from models.session.export import check_size  # noqa: E402
from models.session.gru import SessionGRU  # noqa: E402
from models.session.recipe import Recipe, split_by_time  # noqa: E402
from models.session.train import _affordable, search  # noqa: E402

RNG = np.random.default_rng(1)
TYPE_INDEX = {name: index for index, name in enumerate(EVENT_TYPES, start=1)}


def session(*items: str) -> list[Event]:
    return [Event(item, "view", 0.0) for item in items]


def run(*arguments: object):
    return CliRunner().invoke(app, [str(each) for each in arguments])


def test_the_parts_lie_behind_each_other_in_time():
    sessions = [session(f"a{number}", "b") for number in range(20)]
    parts = split_by_time(sessions)
    assert [each[0].item for each in parts.teach] == [f"a{number}" for number in range(14)]
    assert [question.prefix[0].item for question in parts.choose] == ["a14", "a15", "a16"]
    assert [question.prefix[0].item for question in parts.test] == ["a17", "a18", "a19"]


def test_nothing_is_held_back_for_test_part_that_is_given():
    parts = split_by_time([session("a", "b")] * 20, test=[session("x", "y", "z")])
    assert (len(parts.teach), len(parts.choose)) == (17, 3)
    assert [question.target for question in parts.test] == ["y", "z"]


def test_too_few_sessions_are_refused_with_their_number():
    with pytest.raises(DataError, match=r"3 sessions, 1 of them with two clicks or more, are too few"):
        split_by_time([session("a"), session("a", "b"), session("c")])
    with pytest.raises(DataError, match=r"14 of these teach, and 2 and 0 clicks are left to choose and to test with"):
        split_by_time([session("a", "b")] * 16 + [session("a")] * 4)


def test_time_of_an_epoch_is_probed_with_sessions_that_teach(monkeypatch):
    """The oldest sessions here have one click, and cost nothing. A probe that diverges is no reason to end."""
    probed = []
    monkeypatch.setattr(Training, "next", lambda training: probed.append(training._clicks.lengths))
    sessions = [session("a")] * 300 + [session("a", "b")] * 200
    assert _affordable(sessions, Encoder(sessions), Recipe(epochs=3), 1, 0.0, math.inf).epochs == 3
    assert [each.tolist() for each in probed] == [[2] * 2, [2] * 20]


def test_epochs_that_the_time_leaves_out_are_told(monkeypatch):
    """A tenth of the sessions takes 6 s: an epoch 60 s, and one of both trainings 60 / .7 more, which is 145.7 s.

    Of ten minutes nine are for training, of which 12 s are gone: 528 s, or 3.6 epochs. Ten take 1,469 s, with all 27.2
    minutes.
    """
    clock = itertools.count(0, 6)
    monkeypatch.setattr("models.session.train.time.monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(Training, "next", lambda training: None)
    sessions, told = [session("a", "b")] * 100, []
    recipe = _affordable(sessions, Encoder(sessions), Recipe(), 1, 0.0, 10, told.append)
    assert recipe.epochs == 3
    assert told == ["10 minutes are enough for 3 of 10 epochs; --minutes 28 for all of them"]


def test_an_epoch_shows_every_session_of_two_clicks_once():
    sessions = [session(*(f"{row}-{place}" for place in range(1 + row % 5))) for row in range(100)]
    encoder = Encoder(sessions)
    seen = []
    clicks = Clicks.of(sessions, encoder.index, TYPE_INDEX)
    for batch, _ in batches(clicks, 8, np.random.default_rng(1)):
        seen += [tuple(row[:length]) for row, length in zip(batch.items.tolist(), batch.lengths.tolist(), strict=True)]
    expected = [tuple(numbers) for numbers in encoder.numbers(sessions) if len(numbers) > 1]
    assert sorted(seen) == sorted(expected)


def test_negatives_come_by_popularity_to_the_power_of_alpha():
    # Items 1 and 2 of 8 were clicked 16 times and 4 times, the others once: roots 4, 2 and six times 1, of 12.
    numbers = [[1] * 16, [2] * 4, [3, 4, 5, 6, 7, 8]]
    sample = negatives(numbers, 8, Recipe(negatives=2, alpha=0.5), np.random.default_rng(3))
    drawn = np.concatenate([sample()[0].numpy() for _ in range(6_000)])
    assert np.bincount(drawn, minlength=8) / len(drawn) == pytest.approx(
        np.array([4, 2, 1, 1, 1, 1, 1, 1]) / 12, abs=0.01
    )
    columns, log_expected = sample()
    assert log_expected.tolist() == pytest.approx(
        [math.log(2 * [4, 2, 1, 1, 1, 1, 1, 1][each] / 12) for each in columns]
    )


def test_nothing_is_taken_from_scores_of_negatives_for_bpr_max():
    sample = negatives([[1, 2, 2]], 8, Recipe(negatives=2, loss="bpr_max"), np.random.default_rng(3))
    assert sample()[1].tolist() == [0.0, 0.0]


def test_a_small_catalogue_is_scored_whole():
    assert negatives([[1, 2]], 100, Recipe(negatives=2048), np.random.default_rng(1)) is None


def test_sample_that_is_catalogue_gives_the_loss_of_the_catalogue():
    torch.manual_seed(1)
    model = SessionGRU(40, len(EVENT_TYPES), 4, hidden=16, dropout=0.0)
    items = {str(number): number for number in range(1, 41)}
    batch = pad([session("3", "9", "4"), session("7", "1")], items, TYPE_INDEX)
    arrays = [torch.from_numpy(each) for each in (*batch, np.zeros((2, 3, 4), np.float32))]
    everything = torch.arange(40), torch.zeros(40)  # each drawn once, as expected
    assert float(model.loss(*arrays, sample=lambda: everything)) == pytest.approx(float(model.loss(*arrays)), abs=1e-5)


def test_items_in_use_alone_are_trained_at_their_own_rate():
    sessions = [session("a", "b")] * 8
    encoder = Encoder([*sessions, session(*(f"other-{number}" for number in range(18)))])
    recipe = Recipe(epochs=1, batch_rows=8, hidden=8, dropout=0.0, negatives=3, learning_rate=1e-3, item_rate=5.0)
    model = new_model(encoder, recipe, 1)
    training = Training(model, sessions, encoder, recipe, 1)
    training._sample = lambda: (torch.tensor([4, 4, 6]), torch.zeros(3))  # items 5 and 7
    before = model.item.detach().clone()
    training.next()
    moved = (model.item.detach() - before).abs().amax(1).tolist()
    used = {encoder.index["a"], encoder.index["b"], 5, 7}
    # Adam's first step is the rate itself, whatever the gradient's size.
    assert moved == pytest.approx([5e-3 if number in used else 0.0 for number in range(1, 21)], rel=1e-3)


@pytest.mark.parametrize(("known", "expected"), [(True, 1.0), (False, 0.75)])
def test_a_next_item_that_depends_on_the_context_is_learned(tmp_path, known, expected):
    """A next item that depends on the context is learned from a Feast training set."""
    # Half of the visitors go from `start` to `dear`, half to `cheap`, and only the mean price says which. Who can't
    # know lists the two in one order for all: ranks 1 and 2 in equal parts, (1 + 1 / 2) / 2.
    rows = [
        {
            "visitor_id": f"v{row}",
            "event_type": "view",
            "event_time_ms": 1_714_550_400_000 + row * 10 + place,
            "item_id": item,
            "price": price,
        }
        for row in range(200)
        for price, goal in [((90_000.0, "dear"), (300.0, "cheap"))[row % 2]]
        for place, item in enumerate(("start", goal))
    ]
    column = "visitor_session__mean_price_minor" if known else "price"
    pd.DataFrame(rows).rename(columns={"price": column}).to_parquet(tmp_path / "set.parquet")
    features = ["visitor_session:mean_price_minor"]
    sessions = read_sessions(tmp_path / "set.parquet", features)
    encoder = Encoder(sessions, context_features=features)
    recipe = Recipe(epochs=20, batch_rows=16, hidden=16, dropout=0.0)
    model = new_model(encoder, recipe, 1)
    assert len(list(Training(model, sessions, encoder, recipe, 1))) == 20
    answers = answers_of_model(score_with(model), questions_of(sessions), encoder.index, 1)
    assert metrics(answers.ranks)["mrr@20"] == expected


def test_the_context_of_an_event_stands_at_its_place():
    """The context of an event stands at its place and of unknown items nowhere."""
    sessions = [[Event("a", "view", 0, (1, 2, 3, 4)), Event("b", "view", 0, (5, 6, 7, 8))], session("a", "b", "a")]
    clicks = Clicks.of(sessions, {"a": 1, "b": 2}, TYPE_INDEX, 4)
    shown = {batch.lengths.tolist()[0]: context for batch, context in batches(clicks, 1, RNG)}
    assert shown[2].tolist() == [[[1, 2, 3, 4], [5, 6, 7, 8]]]
    assert shown[3].tolist() == [[[0, 0, 0, 0]] * 3]
    without_a = Clicks.of(sessions, {"b": 1}, TYPE_INDEX, 4).batch(np.array([0, 1]))
    assert without_a[1].tolist() == [[[5, 6, 7, 8]], [[0, 0, 0, 0]]]


def test_an_epoch_with_weights_that_arent_finite_is_undone():
    sessions = [session("a", "b", "c")] * 20
    encoder = Encoder(sessions)
    recipe = Recipe(epochs=3, batch_rows=8, hidden=8)
    model = new_model(encoder, recipe, 1)
    training = Training(model, sessions, encoder, recipe, 1)
    assert training.next() > 0
    before = {name: value.clone() for name, value in model.state_dict().items()}
    training._loss = lambda scores, target: (scores * math.inf).sum()
    assert training.next() is None
    assert (training.diverged, training.epoch) == (True, 1)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert training.next() is None


def test_too_many_items_for_a_bundle_are_refused_before_training(monkeypatch):
    encoder = Encoder([session("a", "b")])
    assert check_size(encoder, {}, 128) > 0
    monkeypatch.setitem(export.LIMITS, "vocabulary.json", 100)
    with pytest.raises(DataError, match=r"2 items make a vocabulary.json of \d+ bytes, and one may have 100"):
        check_size(encoder, {}, 128)
    with pytest.raises(DataError, match=r"an item's id can't be written as UTF-8"):
        check_size(Encoder([session("\ud800")]), {}, 128)


def test_context_that_isnt_finite_is_refused_with_its_row(tmp_path):
    rows = [
        {"event_id": str(row), "visitor_id": "v", "event_type": "view", "event_time_ms": 1_714_550_400_000 + row,
         "item_id": "a", "s:x": value} for row, value in enumerate((1.0, math.inf))
    ]  # fmt: skip
    pd.DataFrame(rows).to_parquet(tmp_path / "set.parquet")
    with pytest.raises(DataError, match=r"row 2: s:x is inf"):
        read_sessions(tmp_path / "set.parquet", ["s:x"])


def test_the_memory_that_answers_best_is_chosen():
    # The untrained network knows nothing; every session goes from a letter to its own digit.
    sessions = [session(letter, digit) for letter, digit in zip("abcdefgh", "12345678", strict=True)] * 10
    encoder = Encoder(sessions)
    parts = split_by_time(sessions)
    model = new_model(encoder, Recipe(), 1)
    chosen, trials = choose_memory(model, encoder.numbers(sessions), parts.choose, encoder.index)
    assert chosen.uses == "places"  # the others aren't better, and are less simple
    assert chosen.weights["followed"][0][0] > 0
    assert trials["places"]["mrr@20"] == 1.0
    assert trials[NOTHING]["mrr@20"] < 0.5
    # The model has what was chosen, and is judged as any model is.
    answers = answers_of_model(score_with(model), parts.choose, encoder.index, 0)
    assert metrics(answers.ranks) == trials["places"]


def test_successors_list_what_the_markov_baseline_lists():
    """A network that knows nothing, as one of which the time cut the epochs, is then no worse than that baseline."""
    rng = np.random.default_rng(4)
    paths = [[0] for _ in range(600)]
    for path in paths:  # 40 items; from each to 30 others by chance, to the nearer ones more often
        for _ in range(4):
            path.append(int(path[-1] + rng.geometric(0.12)) % 40)
    sessions = [session(*(f"i{item}" for item in path)) for path in paths]
    encoder = Encoder(sessions)
    numbers, questions = encoder.numbers(sessions[:400]), questions_of(sessions[400:])
    _, trials = choose_memory(new_model(encoder, Recipe(), 1), numbers, questions, encoder.index)
    answers = answers_of_baseline(Markov(numbers, len(encoder.items)), questions, encoder.index)
    markov = metrics(answers.ranks)
    assert trials["successors"]["recall@20"] > markov["recall@20"] - 0.005
    assert trials["successors"]["mrr@20"] > markov["mrr@20"] - 0.005
    assert trials[NOTHING]["mrr@20"] < markov["mrr@20"] / 2


def test_items_that_come_back_are_favoured_where_they_do():
    # Nobody clicks an item twice running; everybody returns to the first one, which is another in each session.
    sessions = [session(f"i{row}", f"i{row + 1}", f"i{row}") for row in range(200)]
    encoder = Encoder(sessions)
    questions = [question for question in questions_of(sessions[150:]) if len(question.prefix) == 2]
    model = new_model(encoder, Recipe(), 1)
    chosen, trials = choose_memory(model, encoder.numbers(sessions[:150]), questions, encoder.index)
    last, before = chosen.weights["places"][:2]
    assert last < before
    assert trials[chosen.uses]["mrr@20"] == 1.0


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A shop of 60 items where item n + 1 follows item n, trained from the command line."""
    folder = tmp_path_factory.mktemp("trained")
    rng = np.random.default_rng(5)
    lines = [" ".join(f"sku-{(start + step) % 60}" for step in range(5)) for start in rng.integers(0, 60, 400)]
    (folder / "clicks.txt").write_text("\n".join(lines))
    (folder / "questions.tsv").write_text(
        "\n".join(f"sku-{n}\tsku-{(n + 1) % 60}" for n in range(60)) + "\nsku-3\tsku-99\n"
    )
    answer = run(
        "train", "--sessions", folder / "clicks.txt", "--out", folder / "shop", "--minutes", 1, "--trials", 1, "--json"
    )
    assert answer.exit_code == 0, answer.stderr
    return folder, json.loads(answer.stdout)


def test_train_prints_the_model_beside_every_baseline(trained):
    _, found = trained
    assert list(found) == [
        "model", "gru_alone", "popular", "popular_in_session", "markov", "co_visitation", "vmis_knn",
    ]  # fmt: skip
    assert found["model"]["mrr@20"] > 0.95
    assert found["popular"]["mrr@20"] < 0.3


def test_a_trained_bundle_loads_and_says_what_it_learned_from(trained):
    bundle = load_bundle(trained[0] / "shop")
    assert len(bundle.items) == 61
    assert bundle.manifest["training"]["sessions"] == 400
    assert len(bundle.manifest["training"]["file_sha256"]) == 64
    assert bundle.manifest["metrics"]["model"]["pairs"] == 240  # 60 sessions of 5 clicks


def test_bundle_folder_holds_bundle_alone_and_trials_lie_in_store(trained, tracking_dir):
    assert sorted(file.name for file in (trained[0] / "shop").iterdir()) == sorted(PARTS)
    assert (tracking_dir / "trials.db").is_file()


def test_evaluate_tells_fractions_and_counts_unknown_target_as_a_miss(trained):
    folder, _ = trained
    arguments = ["--model", folder / "shop", "--prefixes", folder / "questions.tsv", "--json"]
    answer = run("evaluate", *arguments, "--baselines", "--sessions", folder / "clicks.txt")
    assert answer.exit_code == 0, answer.stderr
    found = json.loads(answer.stdout)
    assert found["pairs"] == 61
    assert found["recall@20"] == pytest.approx(60 / 61)
    assert found["mrr@5"] > 0.9
    assert found["by_frequency"]["never seen"] == {"recall@20": 0.0, "mrr@20": 0.0, "ndcg@20": 0.0, "pairs": 1}
    assert found["baselines"]["markov"]["mrr@20"] == pytest.approx(60 / 61)


def test_evaluate_reads_lists_made_elsewhere(tmp_path):
    (tmp_path / "q.tsv").write_text("a\tb\na\tc\n")
    (tmp_path / "lists.tsv").write_text("x b\nx\n")
    answer = run("evaluate", "--lists", tmp_path / "lists.tsv", "--prefixes", tmp_path / "q.tsv", "--json")
    found = json.loads(answer.stdout)
    assert (found["recall@5"], found["mrr@20"], found["pairs"]) == (0.5, 0.25, 2)


def test_lists_and_questions_of_different_number_are_refused(tmp_path):
    (tmp_path / "q.tsv").write_text("a\tb\na\tc\n")
    (tmp_path / "lists.tsv").write_text("x b\n")
    answer = run("evaluate", "--lists", tmp_path / "lists.tsv", "--prefixes", tmp_path / "q.tsv")
    assert answer.exit_code == 6
    assert "has 1 lists" in answer.stderr
    assert "has 2 questions" in answer.stderr


def test_evaluate_without_anything_to_evaluate_says_what_to_give(tmp_path):
    (tmp_path / "q.tsv").write_text("a\tb\n")
    answer = run("evaluate", "--prefixes", tmp_path / "q.tsv")
    assert answer.exit_code == 2
    assert "give --model, --lists or --baselines" in answer.stderr


def test_a_search_tries_the_defaults_first_and_goes_on(tmp_path):
    """A search tries the defaults first keeps its trials and goes on there."""
    sessions = [session(letter, digit) for letter, digit in zip("abcdefgh", "12345678", strict=True)] * 5
    parts, recipe = split_by_time(sessions), Recipe(epochs=1, batch_rows=8)
    told: list[str] = []
    found = search(parts, Encoder(parts.teach), recipe, 2, 1, 1.0, tmp_path, told.append)
    assert "'dropout': 0.35" in told[0]
    assert found.epochs == 1
    assert (found.learning_rate, found.dropout, found.alpha) != (0, 0, 0)
    search(parts, Encoder(parts.teach), recipe, 1, 1, 1.0, tmp_path, told.append)
    assert [line.split(":")[0] for line in told] == ["trial 0", "trial 1", "trial 2"]
    search(parts, Encoder(parts.teach), recipe, 1, 1, 1.0, tmp_path, told.append, "of other sessions")
    assert told[-1].startswith("trial 0")


def test_a_large_catalogue_gets_an_index_by_default(tmp_path, monkeypatch):
    monkeypatch.setattr(spare, "INDEXED_FROM", 40)
    walks = np.random.default_rng(2).integers(0, 40, (300, 6)).tolist()
    (tmp_path / "clicks.txt").write_text("".join(" ".join(map(str, walk)) + "\n" for walk in walks))
    out = tmp_path / "shop"
    ran = run("train", "--sessions", tmp_path / "clicks.txt", "--out", out, "--minutes", 0.2, "--threads", 1)
    assert ran.exit_code == 0, ran.output
    assert load_bundle(out).manifest["product"] == "indexed"
