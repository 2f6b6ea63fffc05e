"""Measure the cost of a list by size of the catalogue: the exact graph, the fast one and the index, in turn in one run.

    python -m jobs.lab.bench.catalogue --items 10000 18009 100000 1000000
    python -m jobs.lab.bench.catalogue --vectors gaussian --items 1000000
    python -m jobs.lab.bench.catalogue --items 18009 1000000 --questions test.tsv     # and the recall of all

The graph is the whole one: the GRU and the memory of a real bundle. A catalogue larger than the bundle's gets
`families`. Each further item has a real item for a parent. It has the parent's bias, a vector at a cosine of 0.85 to
the parent's, in a random direction, and for followers any of the families that its parent's followers belong to. Real
items keep their own followers, so a real question has a real answer among the made items.

A made catalogue should be as hard as a real one. The measure is the cosine of a question and its best 20 items, which
grows with the catalogue. It is .25, .35, .51 with 1,125, 4,502 and 18,009 items of serenade, and .69 with 200,000 made
ones; .25, .40, .55 and .66 with yoochoose1_64's. With `gaussian` vectors it is .33: a worst case.
"""

import argparse
import copy
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime as ort

from jobs.operate import extras
from jobs.settings import REPOSITORY
from models.clicks.dataset import pad
from models.clicks.sessions import read_prefixes
from models.quality.evaluate import TYPE_INDEX
from models.quality.measure import measure_model, table
from models.serving.bundle import WORDS, load_bundle

with extras.of_program("python -m jobs.lab.bench.catalogue"):
    import onnx
    from onnx import helper, numpy_helper

    from models.session.head import ALL_SCORES, ITEM_MATRIX, PRODUCTS, with_list

BUNDLE = REPOSITORY / "models" / "artifacts" / "serenade"
COSINE = 0.85  # of a made item and its parent
BATCHES = (1, 19, 64)  # a quiet job, a group of a busy one, a group of a job that catches up
EVENTS = 8  # of each session; sessions of the packaged sets have 5 to 7 on average
ASKED = 30  # items: lists of 20, and what the rules may drop (jobs/rankings/ranker.py)
COMPARED = 20
SECONDS = 4.0  # of each measurement, for all graphs together
LEAST_ROUNDS = 4
QUESTIONS = 3_000  # at most
CHUNK = 100_000  # vectors made at once

Feed = dict[str, np.ndarray]


class Cost(NamedTuple):
    """The fastest round in seconds by batch size on one thread, and lists a second in batches of 19 by threads."""

    batch_s: dict[int, float]
    lists_per_s: dict[int, float]


def all_scores(graph_file: Path) -> onnx.ModelProto:
    """Return a fast bundle's graph up to the scores of all items: undo what `head.py` added."""
    model = onnx.load(graph_file)
    graph = model.graph
    added = ("fast.", "list.", "scores", "items_out", "newcomers", WORDS)
    nodes = [node for node in graph.node if not node.output[0].startswith(added)]
    state = next(
        n.input[0] for n in graph.node if n.output[0].startswith("fast.") and not n.input[0].startswith("fast.")
    )
    product = next((node.input[0] for node in nodes if node.op_type == "ScatterElements"), ALL_SCORES)
    gemm = helper.make_node("Gemm", [state, ITEM_MATRIX, "bias"], [product], transB=1)
    nodes = [gemm if node.output[0] == product else node for node in nodes]
    weights = [weight for weight in graph.initializer if not weight.name.startswith(added)]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(weights)
    for tensor in [each for each in graph.input if each.name in ("k", WORDS)]:
        graph.input.remove(tensor)
    return model


def with_items(model: onnx.ModelProto, n_items: int, kind: str, rng: np.random.Generator) -> onnx.ModelProto:
    """Return the graph with another catalogue, as the module says; a smaller one is a part of the graph's own."""
    changed_model = copy.deepcopy(model)
    weights = {weight.name: numpy_helper.to_array(weight) for weight in changed_model.graph.initializer}
    real = weights[ITEM_MATRIX]
    parents = np.arange(n_items) if n_items <= len(real) else rng.integers(0, len(real), n_items)
    parents[: len(real)] = np.arange(len(real))[:n_items]
    rows = np.concatenate([[0], parents + 1])  # row 0 of the memory is padding's
    changed = {
        ITEM_MATRIX: real[parents]
        if n_items <= len(real) and kind == "families"
        else vectors(real, parents, kind, rng),
        "bias": weights["bias"][parents],
    }
    members = np.argsort(parents, kind="stable")  # family by family
    sizes = np.bincount(parents, minlength=len(real))
    starts = sizes.cumsum() - sizes
    for name in ("columns", "successors"):
        if (weight := weights.get(f"memory.{name}")) is not None:
            families = weight[rows]
            families[sizes[families] == 0] = 0  # of a smaller catalogue
            chosen = starts[families] + (rng.random(families.shape, np.float32) * sizes[families]).astype(np.int64)
            columns = members[chosen].astype(np.int32)
            columns[: len(real) + 1] = families[: len(real) + 1]
            changed[f"memory.{name}"] = columns
    for name in ("weights", "succession"):
        if (weight := weights.get(f"memory.{name}")) is not None:
            changed[f"memory.{name}"] = weight[rows]
    kept = [weight for weight in changed_model.graph.initializer if weight.name not in changed]
    del changed_model.graph.initializer[:]
    changed_model.graph.initializer.extend(
        [*kept, *(numpy_helper.from_array(array, name) for name, array in changed.items())]
    )
    return changed_model


def vectors(real: np.ndarray, parents: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Return vectors, float32 [N, H], of length 1; of `families` the first are the real ones."""
    result = np.empty((len(parents), real.shape[1]), np.float32)
    for start in range(0, len(parents), CHUNK):
        parent = real[parents[start : start + CHUNK]]
        random = rng.normal(size=parent.shape).astype(np.float32)
        if kind == "families":
            random -= (random * parent).sum(axis=1, keepdims=True) * parent
        random /= np.linalg.norm(random, axis=1, keepdims=True)
        result[start : start + CHUNK] = (
            random if kind == "gaussian" else COSINE * parent + (1 - COSINE**2) ** 0.5 * random
        )
    if kind == "families":
        result[: len(real)] = real
    return result


def feed(rows: int, n_items: int, k: int, rng: np.random.Generator) -> Feed:
    """Return sessions of random items."""
    return {
        "items": rng.integers(1, n_items + 1, (rows, EVENTS)),
        "types": np.ones((rows, EVENTS), np.int64),
        "gaps": np.log1p(rng.exponential(60.0, (rows, EVENTS))).astype(np.float32),
        "lengths": np.full(rows, EVENTS),
        "context": np.zeros((rows, 4), np.float32),
        "k": np.array([k]),
    }


def opened(data: bytes) -> ort.InferenceSession:
    """Open a graph as `bundle.py` opens it."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def in_turn(graphs: dict[str, ort.InferenceSession], run: Callable[[ort.InferenceSession], None]) -> dict[str, float]:
    """Return the fastest round of each graph in seconds: other work on the machine only makes a round slower."""
    fastest, rounds, until = dict.fromkeys(graphs, np.inf), 0, time.perf_counter() + SECONDS
    while rounds < LEAST_ROUNDS or time.perf_counter() < until:
        for name, graph in graphs.items():
            begun = time.perf_counter()
            run(graph)
            fastest[name] = min(fastest[name], time.perf_counter() - begun)
        rounds += 1
    return fastest


def costs(graphs: dict[str, ort.InferenceSession], n_items: int, rng: np.random.Generator) -> dict[str, Cost]:
    """Return the cost of each graph."""
    costs_by_graph = {name: Cost({}, {}) for name in graphs}
    for rows in BATCHES:
        asked = feed(rows, n_items, ASKED, rng)
        for name, seconds in in_turn(graphs, lambda graph, asked=asked: graph.run(None, asked)).items():
            costs_by_graph[name].batch_s[rows] = seconds
    group = feed(BATCHES[1], n_items, ASKED, rng)
    for threads in (1, 2):
        with ThreadPoolExecutor(threads) as pool:
            run = lambda graph, pool=pool: list(pool.map(lambda _: graph.run(None, group), range(4)))  # noqa: E731
            for name, seconds in in_turn(graphs, run).items():
                costs_by_graph[name].lists_per_s[threads] = 4 * BATCHES[1] / seconds
    return costs_by_graph


def overlap(graphs: dict[str, ort.InferenceSession], feeds: Iterable[Feed]) -> dict[str, float]:
    """Return the share of the exact best items that each graph lists."""
    shares: dict[str, list[float]] = {name: [] for name in graphs}
    for asked in feeds:
        lists = {name: graph.run(["items_out"], asked)[0].tolist() for name, graph in graphs.items()}
        for name, found in lists.items():
            pairs = zip(lists["exact"], found, strict=True)
            shares[name] += [len(set(one) & set(other)) / len(one) for one, other in pairs]
    return {name: float(np.mean(each)) for name, each in shares.items()}


def measured(model: onnx.ModelProto, n_items: int, kind: str) -> dict[str, ort.InferenceSession]:
    """Print the rows of one catalogue, and return its graphs."""
    rng = np.random.default_rng(1)
    base = with_items(model, n_items, kind, rng)
    graphs, sizes = {}, {}
    for product in PRODUCTS:
        begun = time.perf_counter()
        data = with_list(copy.deepcopy(base), product).SerializeToString()
        graphs[product], sizes[product] = opened(data), len(data)
        print(f"{n_items:9,} {product:7} was written in {time.perf_counter() - begun:.0f} s", flush=True)
        del data
    costs_by_graph = costs(graphs, n_items, rng)
    same = overlap(graphs, (feed(16, n_items, COMPARED, rng) for _ in range(20)))
    for name, cost in costs_by_graph.items():
        numbers = [f"{cost.lists_per_s[threads]:9,.0f}" for threads in (1, 2)]
        ratios = [
            f"{cost.lists_per_s[threads] / costs_by_graph['exact'].lists_per_s[threads]:5.2f}" for threads in (1, 2)
        ]
        batches = [f"{1000 * cost.batch_s[rows]:8.2f}" for rows in BATCHES]
        size = f"{sizes[name] / 1e6:7.0f}"
        print(" ".join([f"{n_items:9,} {name:7}", *numbers, *ratios, *batches, f"{same[name]:8.4f}", size]), flush=True)
    return graphs


def recall(bundle: Path, graphs: dict[str, ort.InferenceSession], questions: Path) -> None:
    """Print the report of each graph, and the share of the exact best 20 that it lists."""
    loaded, asked = load_bundle(bundle), read_prefixes(questions)[:QUESTIONS]
    known = [question.prefix for question in asked if any(event.item in loaded.item_index for event in question.prefix)]
    rest = {"context": np.zeros((1, len(loaded.context_features)), np.float32), "k": np.array([COMPARED])}
    feeds = [pad([prefix], loaded.item_index, TYPE_INDEX)._asdict() | rest for prefix in known]
    print(" ".join(f"{name} {share:.4f}" for name, share in overlap(graphs, feeds).items()))
    reports = {}
    for product, opened_graph in graphs.items():

        def score(*arrays: np.ndarray, k: int, graph: ort.InferenceSession = opened_graph) -> list[np.ndarray]:
            names = ("items", "types", "gaps", "lengths", "context")
            return graph.run(["scores", "items_out"], dict(zip(names, arrays, strict=True)) | {"k": np.array([k])})

        reports[product] = measure_model(score, asked, loaded.item_index, len(loaded.context_features))
    print(table(reports))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=BUNDLE)
    parser.add_argument("--items", type=int, nargs="+", required=True)
    parser.add_argument("--vectors", choices=["families", "gaussian"], default="families")
    parser.add_argument(
        "--questions", type=Path, help="of the bundle's items, `item item …<TAB>target` a line; asked of no fewer items"
    )
    given = parser.parse_args()
    model = all_scores(given.bundle / "model.onnx")
    (known,) = [weight.dims[0] for weight in model.graph.initializer if weight.name == ITEM_MATRIX]
    print("    items           lists/s: 1, 2 threads   ratio: 1, 2  ms a batch of 1, 19, 64   overlap      MB")
    for n_items in given.items:
        graphs = measured(model, n_items, given.vectors)
        if given.questions and n_items >= known:  # a smaller catalogue lacks what is asked about
            recall(given.bundle, graphs, given.questions)


if __name__ == "__main__":
    main()
