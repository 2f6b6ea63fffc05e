"""audit show, audit verify: the log of what operators did."""

import time
from typing import Annotated

import typer

from jobs.commands.shared import AsJson, IsPseudonym, load_settings, note, print_json, say
from jobs.contract.printable import printable

app = typer.Typer(
    help="What operators did to this system: who, when, what, and what came of it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def show(
    visitor: Annotated[
        str, typer.Option(metavar="ID", help="Only what was done about this visitor; -: from stdin.")
    ] = "",
    pseudonym: IsPseudonym = None,
    as_json: AsJson = False,
) -> None:
    """Print every action, oldest first. The log names visitors by keyed hashes; --visitor works out whose they are.

    \b
    Examples:
      liveshelf audit show
      liveshelf audit show --visitor s22240
      liveshelf audit show --json | jq '.[] | select(.result != "done")'
    """
    from jobs.operate import audit
    from jobs.person import receipt
    from jobs.person.ids import one_of

    settings = load_settings()
    entries = audit.entries(settings.state_dir)
    if visitor:
        names = set(receipt.subjects(settings, one_of(settings, visitor, pseudonym)))
        entries = [entry for entry in entries if names.intersection(entry.arguments.get("subjects", ()))]
    if as_json:
        return print_json(entries)
    for entry in entries:
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(entry.at_ms / 1000))
        details = " ".join(f"{name}={value}" for name, value in (entry.arguments | entry.outcome).items() if value)
        line = f"{entry.number:5} {moment} {entry.who:10} {entry.action:16} {entry.result:14} {details}"
        say(printable(line).rstrip())  # one line an action, whatever its words
    note(f"{len(entries):,} actions, times in UTC")


@app.command()
def verify() -> None:
    """Check that no line was changed, dropped or moved. Exit with 6 and name the first line that was.

    \b
    Example, to keep elsewhere what the log must go on from:
      liveshelf audit verify
    """
    from jobs.operate import audit

    count, head = audit.verify(load_settings().state_dir)
    say(f"{count} lines, head {head}")
