"""Write a bundle's graph again from its own float weights, after the export has changed; nothing is trained.

python -m models.runs.export_again models/artifacts/eshop models/artifacts/serenade
"""

import argparse
from pathlib import Path

import numpy as np

from models.clicks.dataset import Batch
from models.serving.bundle import INPUTS, load_bundle
from models.session.export import export_onnx, write_manifest
from models.session.restore import restore


def export_again(folder: Path) -> str:
    """Write `model.onnx` and the manifest in `folder` anew and return the new version.

    Training, metrics and golden inputs stay as the manifest has them. Raises ModelError for a bundle that doesn't load.
    """
    bundle = restore(folder)
    bundle.model.frozen = True  # its vectors have the length 1 already; divided again, some would change by one bit
    export_onnx(bundle.model, folder / "model.onnx", bundle.manifest["product"])
    golden = bundle.manifest["golden"]["inputs"]
    kinds = {"tensor(int64)": np.int64, "tensor(float)": np.float32}
    batch = Batch(*(np.array(golden[name], kinds[INPUTS[name][0]]) for name in Batch._fields))
    manifest = bundle.manifest
    write_manifest(
        folder,
        bundle.model,
        manifest["name"],
        manifest["product"],
        batch,
        manifest["context_features"],
        manifest["training"],
        manifest["metrics"],
    )
    return load_bundle(folder).version


def main() -> None:
    """Print the new version of each bundle."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", type=Path, nargs="+", help="folders of bundles")
    for folder in parser.parse_args().bundles:
        print(export_again(folder))


if __name__ == "__main__":
    main()
