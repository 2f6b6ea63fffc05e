"""lake: write the topics as Parquet files, hour by hour."""

from typing import TYPE_CHECKING, Annotated

import typer

from jobs.commands.shared import AsJson, load_settings, note, print_json

if TYPE_CHECKING:
    from jobs.lake.store import Store
    from jobs.lake.write import Run
    from jobs.settings import Settings


def register(app: typer.Typer) -> None:
    app.command()(lake)


def lake(
    to: Annotated[
        str, typer.Option("--to", metavar="FOLDER", help="A folder or s3://BUCKET/FOLDER; empty: LIVESHELF_LAKE.")
    ] = "",
    once: Annotated[bool, typer.Option("--once", help="Write what is there now, and end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the topics events, rankings and items as hourly Parquet files, each record once, until it is stopped.

    Stop it whenever you like, or kill it: the next one goes on where the last one was. It first takes out what visitors
    have withdrawn or had erased.

    \b
    Examples:
      liveshelf lake --to lake
      liveshelf lake --to 's3://shop/lake?region=eu-central-1' --once
    """
    import time

    from jobs.cluster import runtime
    from jobs.lake import store as stores
    from jobs.lake.write import Writer

    settings = load_settings()
    store = opened(settings, to)
    running = runtime.attach(settings, ("kafka",))
    stores.remember(settings, store.address)
    writer = Writer(settings, running.kafka_bootstrap, store)
    while True:
        run = writer.run()
        _tell(run, store, as_json, is_last=once)
        if once:
            return
        time.sleep(settings.lake_interval_s)


def opened(settings: "Settings", address: str) -> "Store":
    """Return the lake that an option or else the settings name. Raises SettingsError if neither does."""
    from jobs.errors import SettingsError
    from jobs.lake.store import Store, absolute

    address = address or settings.lake
    if not address:
        raise SettingsError("no lake is named", "name a folder or s3://BUCKET/FOLDER: --to or LIVESHELF_LAKE")
    return Store(absolute(address), settings.state_dir)


def _tell(run: "Run", store: "Store", as_json: bool, is_last: bool) -> None:
    for topic, count in run.deleted_unread.items():
        note(f"warning: retention took {count:,} offsets of {topic} before they were written; run it more often")
    if as_json:
        return print_json(run)
    if run.did_nothing and not is_last:
        return
    written = ", ".join(f"{count:,} of {topic}" for topic, count in run.written.items()) or "nothing new"
    note(
        f"{store}: {written} in {run.files} files; left out {run.left_out:,}, forgot {run.forgotten:,}, "
        f"compacted {run.compacted} files"
    )
