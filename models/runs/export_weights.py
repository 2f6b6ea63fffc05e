"""Make a bundle of the weights that an interrupted training left: `liveshelf models export`."""

from collections.abc import Callable
from pathlib import Path

from jobs.errors import SettingsError
from models.serving.bundle import read_manifest, version_of
from models.session.export import write_bundle
from models.session.head import MORE_CANDIDATES, Product
from models.session.saved import SUFFIX, facts_of, restore_model
from models.session.segments import SEGMENTS, divide
from models.session.train import flat


def default_out(folder: Path) -> Path:
    """Return the folder that the training was to write. Raises SettingsError if that holds a bundle already."""
    around = folder.absolute()
    out = around.parent if around.name == SUFFIX else around.with_name(around.name.removesuffix(SUFFIX))
    if out == around or (out / "manifest.json").exists():
        raise SettingsError(f"{out} holds something already", "say with --out where the bundle goes")
    return out


def export_weights(folder: Path, out: Path, tell: Callable[[str], None]) -> str:
    """Write the bundle of the newest weights in `folder` to `out`, and return its version.

    Its manifest says which epoch they are of. The memory is in it where it had been chosen.
    Raises SettingsError for a folder of something else, and ModelError for one without weights.
    """
    model, encoder, sessions, progress, epoch = restore_model(folder)
    tell(f"{folder} holds {epoch}, {'with' if model.memory else 'without'} its memory")
    seed, count = progress.settings["seed"], progress.settings.get("segments", SEGMENTS)
    model.segments = divide(model, sessions, encoder.index, seed, count)
    facts = facts_of(progress) | {"interrupted": epoch}
    product: Product = progress.product or progress.settings["product"]
    content = sessions, progress.names, product, facts, flat(progress.reports or {})
    write_bundle(out, progress.name, model, encoder, *content, least=progress.more or MORE_CANDIDATES, tell=tell)
    return version_of(read_manifest(out))
