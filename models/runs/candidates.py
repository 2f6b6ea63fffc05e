"""Count the lists for which a packaged bundle's int8 product misses an item, beside the exact product.

python -m models.runs.candidates eshop jobs/lab/replay/datasets/eshop2008.csv.gz models/artifacts/eshop
python -m models.runs.candidates serenade FOLDER_WITH_train_valid_test models/artifacts/serenade
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from models.clicks.dataset import MAX_EVENTS, Session, pad, read
from models.quality.evaluate import BATCH_ROWS, TYPE_INDEX
from models.serving.bundle import Bundle, load_bundle
from models.session.export import export_onnx
from models.session.restore import restore
from models.session.spare import NOISE

LENGTHS = (20, 30, 100)  # of a list: as shown, as asked for by the ranker, and far more
TAUGHT = 1_500  # sessions of the teaching part, for more prefixes


def prefixes_of(sessions: Sequence[Session]) -> list[Session]:
    """Return every beginning of every session, the shortest first, so that batches pad little."""
    prefixes = [session[:end][-MAX_EVENTS:] for session in sessions for end in range(1, len(session) + 1)]
    return sorted(prefixes, key=len)


def inputs_of(bundle: Bundle, prefixes: list[Session]) -> Iterator[list[np.ndarray]]:
    """Yield the model's inputs, a batch at a time, for the prefixes that hold an item of the bundle."""
    for start in range(0, len(prefixes), BATCH_ROWS):
        batch = pad(prefixes[start : start + BATCH_ROWS], bundle.item_index, TYPE_INDEX)
        rows = batch.items[:, 0] > 0
        context = np.zeros((len(rows), len(bundle.context_features)), np.float32)
        yield [array[rows] for array in (*batch, context)]


def differing(folder: Path, prefixes: list[Session]) -> tuple[int, dict[int, int]]:
    """Return the number of lists, and of those whose scores aren't the exact graph's, by the list's length."""
    bundle = load_bundle(folder)
    names = ("items", "types", "gaps", "lengths", "context")
    with tempfile.TemporaryDirectory() as scratch:
        model = restore(folder).model
        model.frozen, model.newcomers = True, None
        export_onnx(model, Path(scratch) / "exact.onnx", "exact")
        exact = ort.InferenceSession(Path(scratch) / "exact.onnx", providers=["CPUExecutionProvider"])
    lists, count = 0, dict.fromkeys(LENGTHS, 0)
    for arrays in inputs_of(bundle, prefixes):
        lists += len(arrays[0])
        for length in LENGTHS:
            scores, _ = bundle.score(*arrays, k=length)
            best = exact.run(["scores"], dict(zip(names, arrays, strict=True)) | {"k": np.array([scores.shape[1]])})[0]
            count[length] += int((np.abs(scores - best) > NOISE).any(axis=1).sum())
    return lists, count


def main() -> None:
    """Print the counts for the set's choosing and test parts, and some sessions that taught."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", choices=["eshop", "serenade"])
    parser.add_argument("data", type=Path, help="eshop: the csv.gz; serenade: the folder")
    parser.add_argument("bundle", type=Path, help="folder of the bundle")
    given = parser.parse_args()
    parts = read(given.dataset, given.data)
    lists, count = differing(given.bundle, prefixes_of([*parts.test, *parts.validate, *parts.ship[-TAUGHT:]]))
    print(f"{lists:,} lists; {', '.join(f'of {length}: {number} differ' for length, number in count.items())}")


if __name__ == "__main__":
    main()
