"""init: a feature repository of one's own."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.commands.shared import note, say

DEFAULT = Path("feature_repo")  # where every command looks first


def register(app: typer.Typer) -> None:
    app.command()(init)


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make.")] = DEFAULT,
) -> None:
    """Copy the shipped feature repository into a folder of your own, where you edit it.

    A folder that holds something isn't overwritten. Commands use ./feature_repo by themselves.

    \b
    Examples:
      liveshelf init
      liveshelf init shop/features && export LIVESHELF_FEATURE_REPO=shop/features
    """
    from jobs.features.definitions import copy_shipped

    copy_shipped(folder)
    say(folder.absolute())
    if folder.absolute() != DEFAULT.absolute():
        note(f"first: export LIVESHELF_FEATURE_REPO={folder.absolute()}")
    note(f"next: edit {folder / 'definitions.py'}, then liveshelf lint; where a system runs, liveshelf apply")
