"""Write a bundle's graph again from its own float weights, after the export has changed; nothing is trained.

python -m models.runs.export_again models/artifacts/eshop models/artifacts/serenade
"""

import argparse
import os
import shutil
from pathlib import Path

import numpy as np
import onnx

from models.clicks.dataset import Batch
from models.serving.bundle import INPUTS, load_bundle
from models.serving.registry import OF_FILES
from models.session.export import golden_case, staging, write_graph, write_manifest
from models.session.head import more_of
from models.session.restore import restore
from models.session.spare import Spare, ask_of, choose


def export_again(folder: Path) -> str:
    """Write `model.onnx` and the manifest in `folder` anew and return the new version.

    Training, metrics and golden inputs stay as the manifest has them. No session of the shop is at hand, so the graph
    keeps its number of more candidates, or takes more where the golden case needs them. Where the int8 product would
    lose an item there, the graph is exact. Raises ModelError for a bundle that doesn't load.
    """
    bundle = restore(folder)
    bundle.model.frozen = True  # its vectors have the length 1 already; divided again, some would change by one bit
    golden = bundle.manifest["golden"]["inputs"]
    kinds = {"tensor(int64)": np.int64, "tensor(float)": np.float32}
    batch = Batch(*(np.array(golden[name], kinds[INPUTS[name][0]]) for name in Batch._fields))
    asked = ask_of(bundle.model, [[*golden_case(batch, bundle.model.n_context).values()]])
    least = more_of(onnx.load(folder / "model.onnx", load_external_data=False))
    known = bundle.manifest

    def manifest(spare: Spare) -> None:
        content = known["context_features"], known["training"], known["metrics"]
        write_manifest(written, bundle.model, known["name"], spare.product, batch, *content)

    with staging(folder) as written:
        shutil.copyfile(folder / "vocabulary.json", written / "vocabulary.json")
        write_graph(written, bundle.model, choose(asked, known["product"], least), asked, manifest, print)
        for part in ("model.onnx", "manifest.json"):
            (written / part).chmod(OF_FILES)
            os.replace(written / part, folder / part)
    return load_bundle(folder).version


def main() -> None:
    """Print the new version of each bundle."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", type=Path, nargs="+", help="folders of bundles")
    for folder in parser.parse_args().bundles:
        print(export_again(folder))


if __name__ == "__main__":
    main()
