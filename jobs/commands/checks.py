"""demo, verify: the system at work, and against the oracle."""

import sys
from typing import Annotated

import typer

from jobs.commands.shared import AsJson, load_settings, note, say, seconds
from jobs.contract.printable import printable_json
from jobs.errors import MismatchError, was_interrupted


def register(app: typer.Typer) -> None:
    for command in (demo, verify):
        app.command()(command)


def demo() -> None:
    """Start everything, replay a shop's August, show what happens, stop everything.

    In a terminal a live board shows rates, latencies, hit rates and some visitors' lists; Ctrl-C leaves. Without a
    terminal it runs to the end and prints one line of JSON. It always has services of its own, in STATE_DIR/demo and on
    free ports, so that it can run beside `liveshelf up`.

    \b
    Examples:
      liveshelf demo
      liveshelf demo </dev/null 2>/dev/null | jq .hit_rate_20
    """
    import msgspec

    from jobs.lab.demo.run import run

    settings = load_settings()
    watched = sys.stdin.isatty() and sys.stdout.isatty()
    try:
        result = run(settings, watched)
    except BaseException as error:
        if watched and was_interrupted(error):
            return note("left")  # Ctrl-C is the way out of a board, not a failure
        raise
    if not watched:
        return say(printable_json(msgspec.json.encode(result).decode()))
    for name, value in result.items():
        say(f"{name.replace('_', ' '):26} {value}")


def verify(
    topic: Annotated[str, typer.Option(help="Topic to recompute; the events topic if empty.")] = "",
    sample: Annotated[int, typer.Option(min=1, metavar="N", help="Compare one entity in N.")] = 1,
    since: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PARTITION:OFFSET",
            help="Compare only what events from this offset of a partition on have changed; may be repeated.",
        ),
    ] = None,
    wait: Annotated[str, typer.Option(help="Compare again for so long while something differs, such as 60s.")] = "0s",
    as_json: AsJson = False,
) -> None:
    """Recompute features and lists in plain Python and compare them with Redis; exit with 7 if something differs.

    The whole topic is always read, because features and lists hold all of it. With --since, only letters from there on
    are compared, and features and lists of the entities that have an event from there on.

    Rows and lists whose time to live is over must be absent. A feature that was added to a running job is compared with
    the events from its savepoint on.

    \b
    Examples:
      liveshelf verify --wait 60s
      liveshelf verify --json | jq '{compared, equal, mismatched, fixes}'
      liveshelf verify --sample 50              # of a large topic: all events, one entity in 50
      liveshelf verify --since 0:1200 --since 1:1150
    """
    from rich.console import Console

    from jobs.cluster import runtime
    from jobs.verify.render import render
    from jobs.verify.run import verify as compare

    settings = load_settings()
    running = runtime.attach(settings, ("kafka", "redis"))
    report = compare(
        settings, running, topic=topic, since=_offsets(since or []), wait_s=seconds(wait, "wait"), sample=sample
    )
    if as_json:
        say(printable_json(report.to_json()))
    else:
        Console(highlight=False).print(render(report))
    if not report.ok:
        differs = f"{report.mismatched:,} of {report.compared:,} values differ"
        raise MismatchError(differs if report.compared else "nothing to compare", "\n  fix: ".join(report.fixes()))


def _offsets(since: list[str]) -> dict[int, int] | None:
    """Read PARTITION:OFFSET texts. Raises SettingsError for any other text."""
    from jobs.errors import SettingsError

    offsets = {}
    for text in since:
        partition, _, offset = text.partition(":")
        if not (partition.isdecimal() and offset.isdecimal()):
            raise SettingsError(f"since is {text!r}", "PARTITION:OFFSET, such as 0:1200")
        offsets[int(partition)] = int(offset)
    return offsets or None
