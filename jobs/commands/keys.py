"""keys new, keys retire: the keys that pseudonyms are made with."""

from pathlib import Path

import typer

from jobs.commands.shared import load_settings, note, say

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def keys() -> None:
    """Manage the keys that turn visitors' and users' ids into pseudonyms: `new` begins a rotation, `retire` ends it.

    \b
    Example:
      liveshelf keys new
    """


@app.command()
def new() -> None:
    """Make a key file, or a new current key in it. The key before stays valid for look-ups until `keys retire`.

    Producers and the collector read the file when they start: restart them after a rotation. The file is
    pseudonym_keys of the settings, else STATE_DIR/pseudonym.keys. Keep a copy in a safe place: without it nobody
    finds a visitor again.

    \b
    Example:
      liveshelf keys new
    """
    from liveshelf import pseudonyms

    path = _path()
    say(f"{pseudonyms.add_key(path)} is the current key of {path}")
    if load_settings().pseudonym_keys is None:
        note(f"next: export LIVESHELF_PSEUDONYM_KEYS={path.resolve()}")


@app.command()
def retire() -> None:
    """Take the older of two keys away. Do it when nothing that was stored under it is kept any more.

    \b
    Example:
      liveshelf keys retire
    """
    from liveshelf import pseudonyms

    path = _path()
    say(f"{pseudonyms.retire_key(path)} is no longer a key of {path}")


def _path() -> Path:
    settings = load_settings()
    return settings.pseudonym_keys or settings.state_dir / "pseudonym.keys"
