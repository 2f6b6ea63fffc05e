"""The end of the graph against lists that are made by counting in plain Python."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

torch = pytest.importorskip("torch", reason="torch isn't installed: pip install 'liveshelf[train]'")

from models.clicks.dataset import EVENT_TYPES  # noqa: E402
from models.serving.bundle import INPUTS  # noqa: E402
from models.session.export import export_onnx  # noqa: E402
from models.session.gru import LATEST, ItemMemory, SessionGRU  # noqa: E402
from models.session.memory import Rows  # noqa: E402

ITEMS = 1_003  # 251 blocks of 4 and a place that no item has
FADE = 0.5
REPEATS = [-24.0, 4.0, 3.0, 2.0, 1.0, 0.5, 0.25, 0.25, 0.125]  # of the last item, the one before, …; then the last
# Row 0: item 3 twice, so that each of its followers counts twice. Row 2: one event. Row 3: one item, all along.
SESSIONS = [[3, 9, 3], [1, 2, 3, 4, 5, 6, 7, 1_003], [1_003], [5] * 50]


@pytest.fixture(scope="module")
def model() -> "SessionGRU":
    torch.manual_seed(3)
    made = SessionGRU(ITEMS, len(EVENT_TYPES), 4, hidden=32, dropout=0.0).eval()
    rng = np.random.default_rng(3)
    columns = np.stack([rng.choice(ITEMS, 60, replace=False) for _ in range(ITEMS + 1)])
    weights = np.asarray(rng.exponential(2.0, columns.shape), np.float32)
    columns[:, 50:], weights[:, 50:] = 0, 0.0  # an item with fewer followers, as memory.strongest leaves it
    weights[0] = 0.0
    made.memory = ItemMemory(Rows(columns, weights))
    with torch.no_grad():
        made.memory.followed.copy_(torch.tensor([[FADE**back] for back in range(LATEST)]))
        made.memory.places.copy_(torch.tensor(REPEATS))
        made.bias.normal_(std=0.5)
    return made


@pytest.fixture(scope="module")
def inputs() -> list[np.ndarray]:
    items = np.zeros((len(SESSIONS), max(map(len, SESSIONS))), np.int64)
    for row, session in enumerate(SESSIONS):
        items[row, : len(session)] = session
    lengths = np.array([len(session) for session in SESSIONS])
    return [items, np.sign(items), np.zeros(items.shape, np.float32), lengths, np.zeros((len(items), 4), np.float32)]


@pytest.fixture(scope="module")
def expected(model, inputs) -> np.ndarray:
    """Every item's score [B, N]: the network's, all repeats, and the followers of the last six events one by one."""
    followers, model.memory = model.memory, None
    with torch.no_grad():
        scores = model(*map(torch.from_numpy, inputs)).numpy()
    model.memory = followers
    columns, weights = followers.columns.numpy(), followers.weights.numpy()
    for row, session in enumerate(SESSIONS):
        for back, item in enumerate(session[::-1]):
            scores[row, item - 1] += REPEATS[min(back, len(REPEATS) - 1)]
            for column, weight in zip(columns[item], weights[item], strict=True):
                scores[row, column] += weight * FADE**back * (back < LATEST)
    return scores


@pytest.fixture(scope="module", params=["exact", "fast", "indexed"])
def graph(request, model, tmp_path_factory) -> ort.InferenceSession:
    file = tmp_path_factory.mktemp("graph") / "model.onnx"
    export_onnx(model, file, request.param)  # the index has fewer blocks than it looks at, so it sees all items
    return ort.InferenceSession(file, providers=["CPUExecutionProvider"])


def ask(graph: ort.InferenceSession, arrays: list[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
    return graph.run(None, dict(zip(INPUTS, (*arrays, np.array([k])), strict=True)))


@pytest.mark.parametrize("k", [1, 20, 250, ITEMS - 1, ITEMS])
def test_list_holds_best_items_of_all_with_what_memory_adds(graph, inputs, expected, k):
    scores, items = ask(graph, inputs, k)
    np.testing.assert_allclose(scores, -np.sort(-expected, axis=1)[:, :k], atol=1e-4)
    np.testing.assert_allclose(np.take_along_axis(expected, items - 1, axis=1), scores, atol=1e-4)


@pytest.mark.parametrize("k", [20, ITEMS])
def test_no_item_is_listed_twice(graph, inputs, k):
    _, items = ask(graph, inputs, k)
    assert [len(set(row)) for row in items.tolist()] == [k] * len(SESSIONS)
    assert items.min() >= 1
    assert items.max() <= ITEMS


def test_a_list_does_not_depend_on_the_rows_beside_it(graph, inputs):
    together, _ = ask(graph, inputs, 30)
    for row, session in enumerate(SESSIONS):
        width = len(session)
        alone = [*(part[row : row + 1, :width] for part in inputs[:3]), *(part[row : row + 1] for part in inputs[3:])]
        scores, _ = ask(graph, alone, 30)
        np.testing.assert_allclose(scores[0], together[row], atol=1e-5)


def int8_product(file: Path, arrays: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The states uint8 [B, H] and items int8 [H, W] of a fast graph, and what onnxruntime makes of them [B, W]."""
    onnx = pytest.importorskip("onnx", reason="onnx isn't installed: pip install 'liveshelf[train]'")
    graph = onnx.load(file)
    (node,) = [node for node in graph.graph.node if node.op_type == "MatMulIntegerToFloat"]
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    unit = np.ones_like(constants["fast.scale"])  # without scales and bias the product is the sum of integers itself
    for name, value in (("fast.scale", unit), ("fast.bias", 0 * unit)):
        (tensor,) = [tensor for tensor in graph.graph.initializer if tensor.name == name]
        tensor.CopyFrom(onnx.numpy_helper.from_array(value, name))
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(1), "one"))
    node.input[2] = "one"
    for name, kind in ((node.input[0], onnx.TensorProto.UINT8), (node.output[0], onnx.TensorProto.FLOAT)):
        graph.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, None))
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    *_, states, product = session.run(None, dict(zip(INPUTS, (*arrays, np.array([20])), strict=True)))
    return states, constants["fast.items"], product


@pytest.mark.parametrize("rows", [1, 2, 19])  # onnxruntime has another kernel for one row
def test_the_int8_product_is_exact_on_every_processor(model, tmp_path, rows):
    """Without VNNI an x86 processor adds pairs of products in 16 bits; weights of 8 bits are cut off there."""
    export_onnx(model, tmp_path / "model.onnx", "fast")
    items = np.random.default_rng(rows).integers(1, ITEMS + 1, (rows, 5))
    lengths, context = np.full(rows, 5), np.zeros((rows, 4), np.float32)
    arrays = [items, np.ones_like(items), np.zeros(items.shape, np.float32), lengths, context]
    states, weights, product = int8_product(tmp_path / "model.onnx", arrays)
    np.testing.assert_array_equal(product, (states.astype(np.int64) - 128) @ weights.astype(np.int64))


def test_no_pair_of_int8_products_leaves_sixteen_bits(model, tmp_path):
    """The same for machines whose processor can't show it: 255 is the largest state, in any two places."""
    export_onnx(model, tmp_path / "model.onnx", "fast")
    items = np.zeros((1, 1), np.int64) + 1
    _, weights, _ = int8_product(
        tmp_path / "model.onnx", [items, items, items.astype(np.float32), items[0], np.zeros((1, 4), np.float32)]
    )
    largest = np.sort(np.abs(weights.astype(np.int64)), axis=0)[-2:].sum(axis=0)  # [W]
    assert largest.max() > 100, "the weights use their 7 bits"
    assert 255 * largest.max() <= np.iinfo(np.int16).max
