"""`liveshelf`: the command line. Commands are in `jobs/commands/`; their errors become exit codes here.

Exit codes: 0 done · 1 something else, or a check that failed · 2 a setting or an argument · 3 a Feast definition · 4
Kafka, Redis, Flink or the registry · 5 the model · 6 an input file · 7 `verify` found differences · 130 interrupted.
Results go to stdout, everything else to stderr. Nothing heavy is imported before a command runs: `--help` must be
quick.
"""

import os

import typer
from typer.core import TyperGroup

from jobs.commands import (
    apply,
    audit,
    bench,
    canary,
    chaos,
    checks,
    collect,
    dead,
    events,
    init,
    items,
    keys,
    lake,
    late,
    models,
    person,
    plan,
    rebuild,
    shelves,
    status,
    storefront,
    submit,
    train,
    up,
    why,
)
from jobs.commands.shared import end_on_signals, note, unknown_variables, without_warnings_of_libraries
from jobs.errors import LiveshelfError, was_interrupted

INTERRUPTED = 130  # what shells say of a process that Ctrl-C ended
DEBUG = "LIVESHELF_DEBUG"


class Commands(TyperGroup):
    """The group of all commands. An error that a person can act on is two lines, not a traceback."""

    def invoke(self, ctx: typer.Context) -> object:
        end_on_signals()
        os.umask(0o077)  # state, exports, receipts and logs hold people, passwords or both
        # A warning and no error: Kubernetes sets variables such as LIVESHELF_SERVICE_HOST for a service of that name.
        for warning in unknown_variables(os.environ):
            note(f"warning: {warning}")
        try:
            with without_warnings_of_libraries():
                return super().invoke(ctx)
        except LiveshelfError as error:
            if os.environ.get(DEBUG):
                raise
            note(f"error: {error}")
            raise typer.Exit(error.exit_code) from error
        except BaseException as error:
            if not was_interrupted(error):
                raise
            note("interrupted")
            raise typer.Exit(INTERRUPTED) from error


app = typer.Typer(
    cls=Commands,
    help="Real-time, session-based personalization: clicks in Kafka become features and ranked lists in Redis.\n\n"
    "Settings come from LIVESHELF_* variables and liveshelf.toml. "
    f"Errors say what to do; {DEBUG}=1 shows where they came from.",
    no_args_is_help=True,
    rich_markup_mode=None,  # help and errors hold brackets that aren't markup
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (
    up,
    init,
    apply,
    submit,
    status,
    events,
    collect,
    storefront,
    train,
    checks,
    why,
    lake,
    rebuild,
    chaos,
    plan,
):
    module.register(app)
app.add_typer(audit.app, name="audit")
app.add_typer(bench.app, name="bench")
app.add_typer(canary.app, name="canary")
app.add_typer(dead.app, name="dead")
app.add_typer(items.app, name="items")
app.add_typer(late.app, name="late")
app.add_typer(models.app, name="models")
app.add_typer(shelves.app, name="shelves")
app.add_typer(person.app, name="person")
app.add_typer(person.consents, name="consent")
app.add_typer(keys.app, name="keys")
