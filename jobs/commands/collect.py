"""collect: events from browsers and servers over HTTP."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from jobs.commands.shared import load_settings, note

if TYPE_CHECKING:
    from jobs.settings import Settings


def register(app: typer.Typer) -> None:
    app.command()(collect)


def collect() -> None:
    """Take events over HTTP and acknowledge each when Kafka has it; serves the script for pages, too. Ctrl-C stops it.

    Needs keys for pseudonyms (`liveshelf keys new`, LIVESHELF_PSEUDONYM_KEYS), write keys
    (LIVESHELF_COLLECTOR_WRITE_KEYS), and for browsers the pages that may send (LIVESHELF_COLLECTOR_ORIGINS).

    \b
    Examples:
      liveshelf collect
      LIVESHELF_COLLECTOR_ORIGINS=https://shop.example liveshelf collect
    """
    from jobs.cluster import runtime
    from jobs.collect import serve

    settings = load_settings()
    serve.check(settings)
    bootstrap = runtime.attach(settings, ("kafka",)).kafka_bootstrap
    serve.serve(
        settings,
        bootstrap,
        lambda: _item_files(settings),
        lambda url, admin_url: note(f"collecting on {url}, /healthz and /metrics on {admin_url}"),
    )
    note("stopped: what was acknowledged is in Kafka")


def _item_files(settings: "Settings") -> list[Path]:
    """Return the files of the items that events may name: the catalogue, and what the served model has learned."""
    if settings.collector_items is None:
        return []
    from models.serving.registry import serving_folder

    return [settings.collector_items, serving_folder(settings.model_dir) / "vocabulary.json"]
