"""audit show, audit verify: what operators did."""

import time

import typer

from jobs.commands.shared import AsJson, load_settings, note, print_json

app = typer.Typer(
    help="What operators did to this system: who, when, what, and what came of it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def show(as_json: AsJson = False) -> None:
    """Print every action, oldest first.

    \b
    Examples:
      liveshelf audit show
      liveshelf audit show --json | jq '.[] | select(.result != "done")'
    """
    from jobs.operate import audit

    found = audit.entries(load_settings().state_dir)
    if as_json:
        return print_json(found)
    for each in found:
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(each.at_ms / 1000))
        told = " ".join(f"{name}={value}" for name, value in (each.arguments | each.outcome).items() if value)
        print(f"{each.number:5} {moment} {each.who:10} {each.action:16} {each.result:14} {told}".rstrip())
    note(f"{len(found):,} actions, times in UTC")


@app.command()
def verify() -> None:
    """Check that no line was changed, dropped or moved; exits with 6 and names the first that was.

    \b
    Example, to keep elsewhere what the log must go on from:
      liveshelf audit verify
    """
    from jobs.operate import audit

    count, head = audit.verify(load_settings().state_dir)
    print(f"{count} lines, head {head}")
