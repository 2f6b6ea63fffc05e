"""bench, bench compare: the jobs against the clock, and one result beside another."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.commands.files import output_file
from jobs.commands.shared import load_settings, note, print_json, say
from jobs.contract.printable import printable

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def bench(
    ctx: typer.Context,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer events, rough figures: under three minutes on two cores.")
    ] = False,
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Only the processor time of an event over a backlog: by process, thread, step."),
    ] = False,
) -> None:
    """Measure both jobs beside the same jobs written the usual way, latency, reads and memory.

    It needs the extra test (make test-env) and a quiet machine. With --quick or --profile it needs no extra. --quick
    measures the same with so few events that its figures are rough.

    \b
    Examples:
      liveshelf bench --json bench.json
      liveshelf bench --quick
      liveshelf bench --profile --json before.json
      liveshelf bench compare before.json after.json
    """
    if ctx.invoked_subcommand is not None:
        return
    import msgspec

    from jobs.lab.bench import run
    from jobs.operate import extras

    if not (quick or profile):
        extras.require("liveshelf bench", "confluent_kafka")  # kafka-python takes a share of the cores that one notices
    output_file(json_file, "--json")
    settings = load_settings()
    if quick:
        note(run.ROUGH)
    result = (run.profile if profile else run.bench)(settings, quick, note)
    print_json(result)
    if json_file:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2))
        note(f"written to {json_file}")
    if quick:
        note(run.ROUGH)


@app.command()
def compare(
    before: Annotated[Path, typer.Argument(metavar="A", help="Result of `bench --json`.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
) -> None:
    """Print the numbers of two results side by side, and how many times A each of B is.

    \b
    Example:
      liveshelf bench compare before.json after.json
    """
    from jobs.lab.bench import compare as results

    one, other = results.load(before), results.load(after)
    for warning in results.unlike(one, other):
        note(f"warning: {warning}")
    for line in results.lines(one, other):
        say(printable(line))
