"""Train the session model and write its bundle.

    python -m models.train --dataset eshop --data eshop_clothing_2008.csv.gz --out models/artifacts/eshop

The recipes were chosen on the validation part. A build repeats that run, so that its numbers can be compared, then
learns again from everything before the test part, and looks at the test part once, through the exported graph.
"""

import argparse
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
import torch

from models.bundle import CONTEXT_FEATURES, load_bundle
from models.dataset import EVENT_TYPES, Batch, Session, pad, read, vocabulary
from models.evaluate import compare, evaluate
from models.export import export_onnx, torch_list, write_manifest, write_vocabulary
from models.gru import SessionGRU
from models.head import Product

TYPE_INDEX = {name: index for index, name in enumerate(EVENT_TYPES, start=1)}

HIDDEN = 100  # GRU4Rec's size for RSC15; 217 items need no more, and the matrix of 18,009 items stays at 7.2 MB
# Half of the training sessions show no types, gaps or context: the model then also works for events that lack them.
SIDE_INPUT_DROPOUT = 0.5
GOLDEN_ROWS = 4
EVALUATED = 100  # items that a list needs for recall@20 with conservative ties


class Recipe(NamedTuple):
    """What was chosen on the validation part; models/README.md has the trials."""

    epochs: int
    batch_rows: int
    learning_rate: float
    dropout: float


RECIPES = {
    "eshop": Recipe(epochs=10, batch_rows=64, learning_rate=3e-3, dropout=0.2),
    "serenade": Recipe(epochs=10, batch_rows=64, learning_rate=4e-3, dropout=0.3),
}


def batches(sessions: list[Session], items: dict[str, int], rows: int, rng: np.random.Generator) -> Iterator[Batch]:
    """Shuffled batches; one event alone has nothing to predict.

    Not sorted by length, which would pad less: sorting alone cost 0.027 of MRR@20 on eshop's July.
    """
    usable = [session for session in sessions if len(session) > 1]
    order = rng.permutation(len(usable))
    for start in range(0, len(order), rows):
        yield pad([usable[row] for row in order[start : start + rows]], items, TYPE_INDEX)


def side_inputs(batch: Batch, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Types [B, T], gaps [B, T] and context [B, C] of a training batch, zeroed in `SIDE_INPUT_DROPOUT` of its rows.

    Seam: the committed sets have no context yet; with it, this is where the features' values at event time enter.
    """
    shown = rng.random((len(batch.items), 1)) >= SIDE_INPUT_DROPOUT
    context = np.zeros((len(batch.items), len(CONTEXT_FEATURES)), np.float32)
    return batch.types * shown, batch.gaps * shown.astype(np.float32), context * shown.astype(np.float32)


def train(sessions: list[Session], items: dict[str, int], recipe: Recipe, seed: int) -> SessionGRU:
    """A model after `recipe.epochs` passes with Adam; the learning rate falls to 0 in a straight line."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = SessionGRU(len(items), len(EVENT_TYPES), len(CONTEXT_FEATURES), HIDDEN, recipe.dropout)
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate)
    decay = torch.optim.lr_scheduler.LinearLR(
        optimizer, 1.0, 0.0, total_iters=recipe.epochs * -(-len(sessions) // recipe.batch_rows)
    )
    for epoch in range(recipe.epochs):
        losses = []
        for batch in batches(sessions, items, recipe.batch_rows, rng):
            types, gaps, context = side_inputs(batch, rng)
            arrays = (batch.items, types, gaps, batch.lengths, context)
            optimizer.zero_grad()
            loss = model.loss(*(torch.from_numpy(array) for array in arrays))
            loss.backward()
            optimizer.step()
            decay.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1} of {recipe.epochs}: loss {np.mean(losses):.4f}", flush=True)
    return model.eval()


def build(
    dataset: str, data: Path, out: Path, seed: int, recipe: Recipe, product: Product
) -> dict[str, dict[str, float]]:
    """Read, train, export, evaluate; returns the metrics that the manifest got."""
    torch.set_num_threads(1)  # sums in one order, so that the same seed gives the same weights
    parts = read(dataset, data)
    items = vocabulary(parts.ship)
    index = {item: position for position, item in enumerate(items, start=1)}
    started = time.perf_counter()
    model = train(parts.fit, index, recipe, seed)
    found = {"validation": evaluate(partial(torch_list, model, k=EVALUATED), parts.validate, index)}
    if parts.ship is not parts.fit:
        started = time.perf_counter()
        model = train(parts.ship, index, recipe, seed)
    training = {
        "dataset": dataset,
        "data_sha256": parts.fingerprint,
        "sessions": len(parts.ship),
        "events": sum(len(session) for session in parts.ship),
        "seed": seed,
        **recipe._asdict(),
        "torch": str(torch.__version__),
        "train_s": round(time.perf_counter() - started),
    }
    out.mkdir(parents=True, exist_ok=True)
    export_onnx(model, out / "model.onnx", product)
    write_vocabulary(out / "vocabulary.json", items, parts.names)
    golden = pad([session[:8] for session in parts.ship[:GOLDEN_ROWS]], index, TYPE_INDEX)
    write_manifest(out, model, dataset, product, golden, training, found)
    found |= compare(load_bundle(out).score, parts, index)
    write_manifest(out, model, dataset, product, golden, training, found)
    return found


def main() -> None:
    """Parse the arguments, build, print the metrics."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=sorted(RECIPES), required=True)
    parser.add_argument("--data", type=Path, required=True, help="eshop: the csv.gz; serenade: the folder")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    parser.add_argument("--product", choices=get_args(Product), default="fast", help="see models/head.py")
    arguments = parser.parse_args()
    recipe = RECIPES[arguments.dataset]
    recipe = recipe._replace(epochs=arguments.epochs or recipe.epochs)
    found = build(arguments.dataset, arguments.data, arguments.out, arguments.seed, recipe, arguments.product)
    for name, values in found.items():
        print(f"{name:12} recall@20 {values['recall@20']:.4f}  MRR@20 {values['mrr@20']:.4f}")


if __name__ == "__main__":
    main()
