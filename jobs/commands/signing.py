"""models key, models sign: who vouches for a bundle."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    for command in (key, sign):
        app.command()(command)


def key(
    file: Annotated[Path, typer.Argument(help="Where the private key goes; the public one goes to FILE.pub.")],
) -> None:
    """Make a key to sign bundles with; prints the file that LIVESHELF_MODEL_PUBLIC_KEY is to name."""
    from models.serving.signature import new_key

    print(new_key(file))


def sign(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle.")],
    key: Annotated[Path, typer.Option(help="Private key (Ed25519, PEM), as `liveshelf models key` makes it.")],
) -> None:
    """Check a bundle and sign it, so that it is served where LIVESHELF_MODEL_PUBLIC_KEY is set."""
    from models.serving import signature
    from models.serving.bundle import load_bundle

    load_bundle(bundle)
    signature.sign(bundle, key)
    print(bundle / signature.SIGNATURE)
