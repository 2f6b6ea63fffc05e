"""late list, late show: events that came too late for features."""

from typing import Annotated

import typer

from jobs.commands.dead import Place, broker, print_group, print_letter
from jobs.commands.shared import AsJson, note, print_json

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def letters(ctx: typer.Context) -> None:
    """Events that came too late for features: list them by partition and hour, look at one.

    An event is late if it is older than (newest event time seen in its partition) - (watermark delay). Features don't
    count it; the next list of its visitor does. Sending it again doesn't help, as event time doesn't go back.

    \b
    Examples:
      liveshelf late
      liveshelf late show 0-42
    """
    if ctx.invoked_subcommand is None:
        list_letters()


@app.command("list")
def list_letters(
    partition: Annotated[int, typer.Option(help="List each late event of this partition of the events topic.")] = -1,
    as_json: AsJson = False,
) -> None:
    """Count late events by partition, hour of event time and reason; with --partition, list their places for `show`.

    \b
    Examples:
      liveshelf late list
      liveshelf late list --partition 0
      liveshelf late list --json | jq length
    """
    from jobs.operate import dead_letters

    settings, bootstrap = broker()
    every = dead_letters.read_letters(bootstrap, settings.late_topic, dead_letters.Letter)
    letters = [letter for letter in every if partition in (-1, letter.partition)]
    if as_json:
        return print_json(letters)
    for (number, hour, why), alike in dead_letters.by_hour(letters).items():
        print_group(f"partition {number}, events of {hour} UTC, {why}", alike, each=partition >= 0)
    note(f"{len(letters):,} late events")


@app.command()
def show(
    place: Place,
    as_json: AsJson = False,
) -> None:
    """Print one late event: where it came from, and its bytes as they were.

    \b
    Example:
      liveshelf late show 0-42
    """
    settings, bootstrap = broker()
    print_letter(
        bootstrap, settings.late_topic, place, "`liveshelf late list --partition N` prints the places", as_json
    )
