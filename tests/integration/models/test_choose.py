"""The memory's weights are fitted on a few hundred columns a question, and mean the same for the whole catalogue."""

import numpy as np
import pytest

from models.clicks.dataset import EVENT_TYPES, Encoder, Event, pad
from models.clicks.sessions import Question, questions_of

torch = pytest.importorskip("torch", reason="torch isn't installed: pip install 'liveshelf[train]'")

from models.quality.evaluate import BATCH_ROWS, answers_of_model, metrics  # noqa: E402
from models.session import choose, memory  # noqa: E402
from models.session.choose import NOTHING, OWN_ITEMS, USES, WEIGHTS, Asked, ask, choose_memory, fit  # noqa: E402
from models.session.epochs import new_model, score_with  # noqa: E402
from models.session.gru import ItemMemory  # noqa: E402
from models.session.recipe import Recipe  # noqa: E402

TYPE_INDEX = {name: index for index, name in enumerate(EVENT_TYPES, start=1)}
ITEMS = 700  # more than a memory changes of most questions here


def walks(count: int, returns: float, seed: int) -> list[list[Event]]:
    """Sessions of 2 to 9 clicks in a ring of items; so often the next click is on an item of the session."""
    rng = np.random.default_rng(seed)
    sessions = []
    for row in range(count):
        items = [int(rng.integers(0, ITEMS))]
        for _ in range(rng.integers(1, 9)):
            items.append(int(rng.choice(items)) if rng.random() < returns else (items[-1] + 1) % ITEMS)
        sessions.append([Event(f"i{item}", "view", row * 1e5 + 60.0 * at) for at, item in enumerate(items)])
    return sessions


@pytest.fixture(scope="module")
def shop():
    sessions = walks(900, 0.4, 1)
    encoder = Encoder([*sessions, [Event(f"i{item}", "view", 0.0) for item in range(ITEMS)]])
    model = new_model(encoder, Recipe(hidden=16), 2)
    with torch.no_grad():
        model.bias.normal_(std=0.5)
    numbers = encoder.numbers(sessions[:600])
    made = ItemMemory(memory.followers(numbers, ITEMS), memory.successors(numbers, ITEMS))
    questions = [*questions_of(sessions[600:]), Question([Event("new", "view", 0.0)], "i3")]
    return model, encoder, made, as_asked(questions), ask(model, made, questions, encoder.index)


def as_asked(questions: list[Question]) -> list[Question]:
    """Questions by length in batches; each batch comes again without types and times."""
    by_length = sorted(questions, key=lambda question: len(question.prefix))
    asked = []
    for start in range(0, len(by_length), BATCH_ROWS):
        some = by_length[start : start + BATCH_ROWS]
        asked += [*some, *(Question([Event(seen.item, "", 0.0) for seen in each.prefix], each.target) for each in some)]
    return asked


@pytest.fixture
def random_memory(shop) -> ItemMemory:
    torch.manual_seed(3)
    with torch.no_grad():
        for weights in shop[2].parameters():
            weights.normal_(std=0.7)
    return shop[2]


def whole(model, prefix, index, scale, made):
    """All items' scores [1, N], the network's times `scale`, with the memory's added."""
    inputs = [*map(torch.from_numpy, pad([prefix], index, TYPE_INDEX))]
    model.memory = None
    alone = model.eval()(*inputs, torch.zeros(1, 0))
    return made(scale * alone, *inputs)


@pytest.mark.parametrize("scale", [0.25, 0.9, 1.55])
def test_the_loss_is_that_of_the_whole_catalogue(shop, random_memory, scale):
    model, encoder, made, questions, asked = shop
    known = [question for question in questions if question.prefix[0].item != "new"]
    with torch.no_grad():
        found = torch.cat([choose._losses(part, made, torch.tensor(scale)) for part in asked.parts])
        for place in range(0, len(known), 97):
            scores = whole(model, known[place].prefix, encoder.index, scale, made)
            target = torch.tensor([encoder.index[known[place].target] - 1])
            expected = torch.nn.functional.cross_entropy(scores.double(), target)
            assert float(found[place]) == pytest.approx(float(expected), abs=2e-3)


def test_the_metrics_are_those_of_a_model_with_the_memory(shop, random_memory):
    model, encoder, made, questions, asked = shop
    model.memory = made
    answers = answers_of_model(score_with(model), questions, encoder.index, 0)
    model.memory = None
    expected = metrics(np.where(answers.ranks <= choose.LISTED, answers.ranks, np.inf))
    assert asked.quality(asked.ranks(made)) == pytest.approx(expected)
    assert expected["recall@20"] < 1 - 1 / len(questions)  # each time the question about a new item is a miss


def mean_loss(asked: Asked, made: ItemMemory, scale: float) -> float:
    losses = torch.cat([choose._losses(part, made, torch.tensor(scale)) for part in asked.parts])
    return float(losses.mean())


def test_no_other_weights_fit_better(shop, monkeypatch):
    """What is fitted is a minimum: a step away from it in any direction costs.

    This network knows nothing, so its scale goes to the lowest one, which takes many steps.
    """
    _, _, made, _, asked = shop
    monkeypatch.setattr(choose, "EVALUATIONS", 150)
    fit(made, asked, WEIGHTS, range(choose.FOLDS))
    with torch.no_grad():
        scales = np.linspace(*choose.SCALES, 29)
        # The weights were divided by the scale that belongs to them; scores times that scale have the least loss.
        least, scale = min((_loss_times(asked, made, scale), scale) for scale in scales)
        for weights in made.parameters():
            for step in (-0.5, 0.5):
                weights += step
                assert _loss_times(asked, made, scale) > least - 1e-3
                weights -= step


def _loss_times(asked: Asked, made: ItemMemory, scale: float) -> float:
    """The mean loss of all scores times a scale."""
    for weights in made.parameters():
        weights *= scale
    found = mean_loss(asked, made, scale)
    for weights in made.parameters():
        weights /= scale
    return found


def test_sessions_are_told_apart_that_repeat_in_another_way():
    """After two items the last one comes again, after three the one before it. A bias by place can't say both."""
    rng = np.random.default_rng(7)
    sessions = []
    for row in range(400):
        a, b, c = (f"i{item}" for item in rng.choice(ITEMS, 3, replace=False))
        path = [a, b, b] if row % 2 else [a, b, c, b]
        sessions.append([Event(item, "view", row * 1e5 + at) for at, item in enumerate(path)])
    encoder = Encoder(sessions)
    model = new_model(encoder, Recipe(hidden=16), 1)
    questions = [Question(session[:-1], session[-1].item) for session in sessions[200:]]
    chosen, quality_of = choose_memory(model, encoder.numbers(sessions[:200]), questions, encoder.index)
    assert chosen.uses == "sessions"
    assert quality_of["sessions"]["mrr@20"] > 0.95
    assert quality_of["places"]["mrr@20"] < 0.8


def test_own_items_stand_first_by_how_often_they_were_clicked():
    """That is the list of the baseline `popular_in_session`; here a network without a clue would lose it."""
    rng = np.random.default_rng(2)
    sessions = []
    for row in range(300):
        twice, once, other = rng.choice(ITEMS, 3, replace=False)
        items = [twice, once, twice, other, twice]
        sessions.append([Event(f"i{item}", "view", row * 1e5 + at) for at, item in enumerate(items)])
    encoder = Encoder(sessions)
    model = new_model(encoder, Recipe(hidden=16), 1)
    questions = [question for question in questions_of(sessions[200:]) if len(question.prefix) == 4]
    _, quality_of = choose_memory(model, encoder.numbers(sessions[:200]), questions, encoder.index)
    assert quality_of[OWN_ITEMS]["mrr@20"] == 1.0
    assert max(quality_of[uses]["mrr@20"] for uses in USES) == 1.0


def test_no_memory_is_chosen_where_none_helps():
    """A network that is always right needs none."""
    sessions = walks(60, 0.0, 5)
    encoder = Encoder(sessions)
    model = new_model(encoder, Recipe(hidden=16), 1)
    perfect = {item: f"i{(int(item[1:]) + 1) % ITEMS}" for item in encoder.items}
    index = encoder.index

    def scores(items, types, gaps, lengths, context):
        last = items[torch.arange(len(items)), lengths - 1].tolist()
        wanted = [index.get(perfect[encoder.items[number - 1]], 1) - 1 for number in last]
        return 50 * torch.nn.functional.one_hot(torch.tensor(wanted), len(index)).float()

    model.forward = scores
    chosen, quality_of = choose_memory(model, encoder.numbers(sessions), questions_of(sessions), index)
    assert (chosen.uses, quality_of[NOTHING]["mrr@20"]) == (NOTHING, 1.0)
    assert model.memory is None
