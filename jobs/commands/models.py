"""models list, publish, activate, rollback, diff, segments, export, key, sign: the versions of the model."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.commands.shared import AsJson, load_settings, note, print_json, say, warn_of_another_shop
from jobs.contract.printable import printable
from jobs.errors import SettingsError

if TYPE_CHECKING:
    from jobs.settings import Settings
    from models.serving.bundle import Bundle
    from models.serving.registry import Active, Refused, Registry, Version


app = typer.Typer(
    help="Versions of the model: LIVESHELF_MODEL_DIR names a folder of them, and a running rankings job serves the one "
    "that is activated, from its next batch on.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def registry_of_settings(signing_key: Path | None = None) -> "Registry":
    from models.serving.registry import Registry
    from models.serving.signature import read_private_key, read_public_key

    settings = load_settings()
    if signing_key:
        read_private_key(signing_key)  # now, and not only when a new version is learned
    folder, public_key = settings.model_dir, read_public_key(settings.model_public_key)
    if (folder / "manifest.json").is_file():
        raise SettingsError(
            f"{folder} is one bundle, not a folder of versions",
            "set LIVESHELF_MODEL_DIR to a folder for versions, then: liveshelf models publish BUNDLE",
        )
    return Registry(
        folder, lambda bundle: _check_context(settings, bundle), public_key=public_key, signing_key=signing_key
    )


def _check_context(settings: "Settings", bundle: "Bundle") -> None:
    """Raise for a bundle that `submit` would refuse. Before the first `up` nothing is applied, and nothing checked."""
    from jobs.features import definitions, plan
    from jobs.operate import submit

    if plan.submitted_path(settings.state_dir).is_file() or definitions.store_yaml(settings).is_file():
        submit.check_context(settings, bundle)


def publish_recorded(registry: "Registry", bundle: Path) -> str:
    from jobs.operate import audit

    with audit.recorded(load_settings().state_dir, "models publish", bundle=bundle) as outcome:
        outcome["version"] = registry.publish(bundle)
    return outcome["version"]


def change_recorded(action: str, change: "Callable[[Registry], Active]", **arguments: str) -> str:
    """Change the active version and return it. The audit log names it and the one before."""
    from jobs.operate import audit
    from models.serving.registry import is_registry

    registry = registry_of_settings()
    with audit.recorded(load_settings().state_dir, f"models {action}", **arguments) as outcome:
        before = registry.active().version if is_registry(registry.folder) else ""
        active = change(registry)
        outcome |= {"version": active.version, "before": before}
    warn_of_another_shop(load_settings())
    return active.version


@app.command("list")
def list_versions(as_json: AsJson = False) -> None:
    """List the published versions, oldest first. A * marks the active one, and a running job's refusal is told.

    Where LIVESHELF_MODEL_DIR is a single bundle, it lists that one.

    Example:
      liveshelf models list
    """
    from models.serving.registry import described

    if ((folder := load_settings().model_dir) / "manifest.json").is_file():
        return _print_versions([described(folder)], None, folder, as_json)
    registry = registry_of_settings()
    versions = registry.versions()
    refused = registry.refused() if any(version.active for version in versions) else None
    _print_versions(versions, refused, registry.folder, as_json)


def _print_versions(versions: "list[Version]", refused: "Refused | None", folder: Path, as_json: bool) -> None:
    if as_json:
        return print_json({"folder": folder, "versions": versions, "refused": refused})
    note(f"{len(versions)} versions in {folder}" if versions[1:] or not versions else f"1 version in {folder}")
    for version in versions:
        say(printable(f"{'*' if version.active else ' '} {version.version:40} {_about(version)}").rstrip())
    if refused:
        note(f"{refused.version} was refused by a running job, which goes on with the version before: {refused.reason}")


def _about(version: "Version") -> str:
    if version.broken:
        return f"broken: {version.broken}"
    quality = (
        f"  recall@20 {version.recall_20:.4f}  MRR@20 {version.mrr_20:.4f}" if version.recall_20 is not None else ""
    )
    return f"{version.items:9,} items{quality}"


@app.command()
def publish(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle.")],
    and_activate: Annotated[bool, typer.Option("--activate", help="Also make it the one that serves.")] = False,
) -> None:
    """Check a bundle, copy it into LIVESHELF_MODEL_DIR, and print its version."""
    version = publish_recorded(registry_of_settings(), bundle)
    if and_activate:
        change_recorded("activate", lambda registry: registry.activate(version), version=version)
    say(version)


@app.command()
def activate(version: Annotated[str, typer.Argument(help="As `models list` names it.")]) -> None:
    """Make a version the one that serves. A running rankings job takes it within seconds; it isn't submitted again.

    It is refused if a file is broken, or if the feature service doesn't give what the model reads.
    """
    say(change_recorded("activate", lambda registry: registry.activate(version), version=version))


@app.command()
def rollback() -> None:
    """Go back to the version that served before."""
    say(change_recorded("rollback", lambda registry: registry.rollback()))


@app.command()
def diff(one: str, other: str) -> None:
    """Print as JSON how two versions differ: metrics, training, and the number of items that come and go."""
    print_json(registry_of_settings().diff(one, other))


@app.command()
def segments(
    version: Annotated[str, typer.Argument(help="As `models list` names it; the one that serves if left out.")] = "",
    as_json: AsJson = False,
) -> None:
    """Tell the segments of a version: each one's number, its share of visitors in training, and what sets it apart.

    A rule of a shelf reads the number as `visitor.segment`. A version that was learned on from this one keeps it.

    Example:
      liveshelf models segments
    """
    from models.serving.bundle import load_bundle
    from models.serving.registry import serving_folder
    from models.serving.signature import read_public_key

    settings = load_settings()
    folder = registry_of_settings().place(version) if version else serving_folder(settings.model_dir)
    bundle = load_bundle(folder, read_public_key(settings.model_public_key))
    if as_json:
        return print_json({"version": bundle.version, "segments": bundle.segments})
    if not bundle.segments:
        note(f"{bundle.version} has no segments: liveshelf train makes them where a hundred sessions or more are known")
    for number, segment in enumerate(bundle.segments):
        named = "; ".join(bundle.names.get(item, item) for item in segment["items"])
        say(printable(f"{number:2}  {segment['share']:6.1%}  {named}"))


@app.command()
def export(
    training: Annotated[Path, typer.Argument(help="Folder of an interrupted training: OUT.training.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the bundle; by default what the training was to write, if empty.")
    ] = None,
) -> None:
    """Make a bundle of the newest weights that an interrupted `liveshelf train` left, and print its version.

    The folder stays as it is, so that `liveshelf train --resume` can still go on.

    Example:
      liveshelf models export mine.training --out mine-so-far
    """
    from jobs.commands.files import output_folder
    from jobs.operate import extras

    extras.require("liveshelf models export", *extras.TRAINING)
    from models.runs.export_weights import default_out, export_weights

    place = out or default_out(training)
    output_folder(place, "--out")
    say(export_weights(training, place, note))


@app.command()
def key(
    file: Annotated[Path, typer.Argument(help="Where the private key goes; the public one goes to FILE.pub.")],
) -> None:
    """Make a key that signs bundles. Print the file of the public key, for LIVESHELF_MODEL_PUBLIC_KEY."""
    from models.serving.signature import new_key

    say(new_key(file))


@app.command()
def sign(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle.")],
    key: Annotated[Path, typer.Option(help="Private key (Ed25519, PEM), as `liveshelf models key` makes it.")],
) -> None:
    """Check a bundle and sign it, so that it is served where LIVESHELF_MODEL_PUBLIC_KEY is set."""
    from models.serving import signature
    from models.serving.bundle import check_content, read_content

    content = read_content(bundle)
    check_content(bundle, content)
    signature.sign(bundle, content["manifest.json"], key)
    say(bundle / signature.SIGNATURE)
