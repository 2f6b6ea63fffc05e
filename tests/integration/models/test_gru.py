"""The torch model, and the ONNX graph that came out of it."""

import numpy as np
import onnxruntime as ort
import pytest

from models.clicks.dataset import EVENT_TYPES, Encoder, Event, pad, read

torch = pytest.importorskip("torch", reason="torch isn't installed: pip install 'liveshelf[train]'")

from models.serving.bundle import INPUTS  # noqa: E402
from models.session.export import export_onnx  # noqa: E402
from models.session.gru import SessionGRU  # noqa: E402

TYPE_INDEX = {name: index for index, name in enumerate(EVENT_TYPES, start=1)}


def model(n_items: int) -> "SessionGRU":
    """A model whose every input matters: the effects that start at zero get random weights."""
    torch.manual_seed(7)
    made = SessionGRU(n_items, len(EVENT_TYPES), 4, hidden=100, dropout=0.2).eval()
    with torch.no_grad():
        for weight in (made.bias, made.type_effect.weight, made.gap_effect, made.context_effect.weight):
            weight.normal_(std=0.1)
    return made


def run(made: "SessionGRU", *arrays: np.ndarray) -> np.ndarray:
    """Scores of every item, [B, N]."""
    with torch.no_grad():
        return made(*map(torch.from_numpy, arrays)).numpy()


def run_graph(file, *arrays: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    graph = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    return graph.run(None, dict(zip(INPUTS, (*arrays, np.array([k])), strict=True)))


@pytest.fixture(scope="module")
def eshop(eshop_file):
    return read("eshop", eshop_file)


@pytest.mark.parametrize("product", ["exact", "fast"])
def test_torch_and_onnx_agree_on_real_prefixes(eshop, tmp_path, product):
    items = Encoder(eshop.ship).index
    made = model(len(items))
    export_onnx(made, tmp_path / "model.onnx", product)
    prefixes = [session[:end] for session in eshop.test[:60] for end in range(1, len(session) + 1)]
    assert len(prefixes) > 200
    rng = np.random.default_rng(5)
    for start in range(0, len(prefixes), 37):  # 37: batches that the export example never had
        batch = pad(prefixes[start : start + 37], items, TYPE_INDEX)
        context = rng.normal(0, 1000, (len(batch.items), 4)).astype(np.float32)
        everything = run(made, *batch, context)
        order = np.argsort(-everything, axis=1, kind="stable")
        scores = np.take_along_axis(everything, order, axis=1)
        onnx_scores, onnx_listed = run_graph(tmp_path / "model.onnx", *batch, context, k=60)
        np.testing.assert_allclose(onnx_scores, scores[:, :60], atol=1e-4)
        apart = np.abs(np.diff(scores, axis=1, prepend=np.inf, append=-np.inf)) > 1e-4
        settled = (apart[:, :-1] & apart[:, 1:])[:, :60]  # no neighbour close enough to change places
        assert (onnx_listed[settled] == order[:, :60][settled] + 1).all()


def test_fast_graph_multiplies_in_int8_and_exact_one_does_not(tmp_path):
    onnx = pytest.importorskip("onnx", reason="onnx isn't installed: pip install 'liveshelf[train]'")
    found = {}
    for product in ("exact", "fast"):
        export_onnx(model(300), tmp_path / product, product)
        found[product] = {node.op_type for node in onnx.load(tmp_path / product).graph.node}
    assert "MatMulIntegerToFloat" in found["fast"]
    assert "MatMulIntegerToFloat" not in found["exact"]


def test_fast_graph_survives_state_of_zeros_and_item_of_zeros(tmp_path):
    made = model(40)
    with torch.no_grad():
        made.item.zero_()
        made.bias.copy_(torch.arange(40.0))
    export_onnx(made, tmp_path / "model.onnx", "fast")
    batch = pad([[Event("a", "view", 0)]], {"a": 1}, TYPE_INDEX)
    scores, listed = run_graph(tmp_path / "model.onnx", *batch, np.zeros((1, 4), np.float32), k=3)
    assert listed.tolist() == [[40, 39, 38]]
    assert scores.tolist() == [[39.0, 38.0, 37.0]]


def test_a_row_of_nan_leaves_the_other_rows_alone(tmp_path):
    """A row of NaN gets scores that aren't finite and leaves the others alone."""
    export_onnx(model(1_000), tmp_path / "model.onnx", "fast")
    batch = pad([[Event("a", "view", 0)], [Event("b", "view", 0)]], {"a": 1, "b": 2}, TYPE_INDEX)
    context = np.zeros((2, 4), np.float32)
    expected, _ = run_graph(tmp_path / "model.onnx", *batch, context, k=30)
    context[1] = np.nan
    scores, _ = run_graph(tmp_path / "model.onnx", *batch, context, k=30)
    assert not np.isfinite(scores[1]).any()
    np.testing.assert_allclose(scores[0], expected[0], atol=1e-5)


def test_equal_scores_list_the_lower_item_first_in_onnx(tmp_path):
    made = model(9)
    with torch.no_grad():
        made.item.zero_()
        made.bias.copy_(torch.tensor([0.0, 1, 0, 1, 0, 1, 0, 0, 2]))
    export_onnx(made, tmp_path / "model.onnx", "exact")
    batch = pad([[Event("a", "view", 0)]], {"a": 1}, TYPE_INDEX)
    _, listed = run_graph(tmp_path / "model.onnx", *batch, np.zeros((1, 4), np.float32), k=9)
    assert listed.tolist() == [[9, 2, 4, 6, 1, 3, 5, 7, 8]]


def test_the_exported_graph_is_one_gru_and_one_item_matrix(tmp_path):
    """The exported graph has one GRU one item matrix and no other files."""
    onnx = pytest.importorskip("onnx", reason="onnx isn't installed: pip install 'liveshelf[train]'")
    export_onnx(model(217), tmp_path / "model.onnx", "exact")
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert [node.op_type for node in graph.node].count("GRU") == 1
    assert [tuple(tensor.dims) for tensor in graph.initializer].count((217, 100)) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


def test_a_session_is_scored_from_its_own_events_only():
    # The same session alone and beside others: no state leaks from row to row.
    made, items = model(50), {str(index): index for index in range(1, 51)}
    sessions = [[Event(str(item), "view", 60.0 * at) for at, item in enumerate(row)] for row in ([3, 9], [4] * 6, [8])]
    context = np.ones((3, 4), np.float32)
    together = run(made, *pad(sessions, items, TYPE_INDEX), context)
    for row, session in enumerate(sessions):
        alone = run(made, *pad([session], items, TYPE_INDEX), context[:1])
        np.testing.assert_allclose(together[row], alone[0], atol=1e-5)


def test_types_gaps_and_context_reach_the_scores():
    made, items = model(50), {str(index): index for index in range(1, 51)}
    batch = pad([[Event("3", "view", 0), Event("9", "view", 60)]], items, TYPE_INDEX)
    context = np.ones((1, 4), np.float32)
    scores = run(made, *batch, context)
    for changed in (batch._replace(types=batch.types + 1), batch._replace(gaps=batch.gaps * 2)):
        assert np.abs(run(made, *changed, context) - scores).max() > 1e-4
    assert np.abs(run(made, *batch, context * 2) - scores).max() > 1e-4


def test_types_gaps_and_context_have_no_effect_before_training():
    made = SessionGRU(50, len(EVENT_TYPES), 4, hidden=100, dropout=0.2).eval()
    items, types, gaps, lengths = pad([[Event("a", "purchase", 0), Event("a", "view", 60)]], {"a": 1}, TYPE_INDEX)
    context = np.ones((1, 4), np.float32)
    scores = run(made, items, types, gaps, lengths, context)
    plain = run(made, items, types * 0, gaps * 0, lengths, context * 0)
    assert (scores == plain).all()


def test_the_loss_is_the_cross_entropy_of_every_next_item():
    """The loss is the cross entropy of every next item and ignores padding."""
    made, items = model(5), {str(index): index for index in range(1, 6)}
    sessions = [[Event(str(item), "view", float(at)) for at, item in enumerate(row)] for row in ([1, 2, 3], [4, 5])]
    arrays = [torch.from_numpy(array) for array in (*pad(sessions, items, TYPE_INDEX), np.zeros((2, 3, 4), np.float32))]
    losses = []
    for session in sessions:  # by the served path: all 5 items at each prefix, softmax, -log p(next)
        for end in range(1, len(session)):
            scores = run(made, *pad([session[:end]], items, TYPE_INDEX), np.zeros((1, 4), np.float32))
            weights = np.exp(scores[0].astype(float))
            losses.append(-np.log(weights[items[session[end].item] - 1] / weights.sum()))
    with torch.no_grad():
        assert float(made.loss(*arrays)) == pytest.approx(np.mean(losses), abs=1e-5)
