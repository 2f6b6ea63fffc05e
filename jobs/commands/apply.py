"""apply, lint, explain, history: the Feast definitions."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.commands.shared import AsJson, AskedOf, load_settings, note, note_feast, print_json, say
from jobs.errors import DataError, DefinitionError, SettingsError


def register(app: typer.Typer) -> None:
    for command in (apply, lint, explain, history):
        app.command()(command)


def apply() -> None:
    """Run `feast apply` on LIVESHELF_FEATURE_REPO with the running system's registry and online store.

    \b
    Example, after an edit of feature_repo/definitions.py:
      liveshelf lint && liveshelf apply
      liveshelf submit features --from-savepoint "$(liveshelf stop features)"
    """
    from jobs.cluster import runtime
    from jobs.operate import apply as applying
    from jobs.operate import audit

    settings = load_settings()
    note_feast()
    with audit.recorded(settings.state_dir, "apply", feature_repo=settings.feature_repo):
        applying.apply(settings, runtime.attach(settings, ("redis",)).redis_url)
        running = runtime.current(settings)
        if running.kafka_bootstrap:
            applying.create_topics(settings, running)  # the definitions may name topics of the shop's own
    note(f"applied {settings.feature_repo}")


def lint(
    entity: Annotated[
        str, typer.Argument(metavar="[ENTITY]", help="With --columns: list all features of this entity.")
    ] = "",
    columns: Annotated[bool, typer.Option("--columns", help="List the columns that an aggregation may take.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find every mistake in the Feast definitions, and say what changes do to the running jobs' state.

    Exits with 3 for a mistake, or a change that can't go on from a savepoint; prints the changes that can.

    \b
    Examples:
      liveshelf lint
      liveshelf lint --columns
      liveshelf lint --columns item             # what a rule may say of an item: facts, and what events tell
    """
    from jobs.features.explain import columns_table, features_of, features_table

    if entity and not columns:
        raise SettingsError(f"lint takes no {entity!r}", f"liveshelf lint --columns {entity}")
    if columns and not entity:
        return say(columns_table())
    if columns:
        note_feast()
        features = features_of(load_settings(), entity)
        return print_json([each._asdict() for each in features]) if as_json else say(features_table(features))
    from jobs.features.definitions import from_files
    from jobs.features.lint import compiled
    from jobs.features.lint import lint as findings_of
    from jobs.operate.shelves import check_active

    settings = load_settings()
    note_feast()
    problems, carried = findings_of(settings)
    if as_json:
        print_json({"problems": [each._asdict() for each in problems], "carried": [each._asdict() for each in carried]})
    else:
        for change in carried:
            say(change)
    if problems:
        raise DefinitionError("\n".join(map(str, problems)))
    check_active(settings, compiled(settings, from_files(settings))[0])
    note("no mistakes")


def explain(
    view: Annotated[str, typer.Argument(help="Name of a stream feature view.")] = "",
    service: Annotated[str, typer.Option("--service", help="Name of a feature service.")] = "",
) -> None:
    """Print the SQL, the state per key and the Redis fields of a view, or what a feature service feeds the scorer.

    \b
    Examples:
      liveshelf explain visitor_session
      liveshelf explain --service ranker_context
    """
    if bool(view) == bool(service):
        raise SettingsError("explain takes either a view or --service", "liveshelf explain visitor_session")
    from jobs.features.explain import explain_service, explain_view

    settings = load_settings()
    note_feast()
    say(explain_service(settings, service) if service else explain_view(settings, view))


def history(
    source: Annotated[Path, typer.Argument(help="Contract events: JSON lines, CSV, TSV (.gz of each) or Parquet.")],
    consent: AskedOf = "",
    as_json: AsJson = False,
) -> None:
    """Compute every view over past events, and write the rows where Feast looks for training sets (`batch_source`).

    Views of item facts aren't made of events, so they have no history.

    These files lie beside the definitions, so an installed liveshelf wants a feature repository of your own first
    (`liveshelf init`).

    Events of visitors who withdrew or were erased count as in the jobs: in nothing of the visitor's own.

    \b
    Example:
      liveshelf history events.jsonl
    """
    from itertools import chain

    from jobs.features import definitions, offline
    from jobs.features import lint as linting
    from jobs.features.backfill import write_history
    from jobs.features.problem import Problem
    from jobs.files import events as files
    from jobs.person.asked import ask

    settings = load_settings()
    definitions.refuse_shipped(settings)
    asked = ask(settings, consent)
    events = (row.event for row in files.read(source))
    first = next(events, None)  # a file that can't be read is refused before the definitions are compiled
    if first is None:
        raise DataError(f"{source} holds no event but heartbeats", "give a file with at least one event")
    note_feast()
    defined = definitions.from_files(settings)
    plan = linting.checked(settings, defined)
    if faults := offline.faults(settings.feature_repo, defined.views):
        raise DefinitionError("\n".join(str(Problem(*fault)) for fault in faults))
    if defined.facts:
        note(offline.without_facts([view.name for view in defined.facts]))
    targets = {view.name: offline.history_file(settings.feature_repo, view) for view in defined.views}
    rows = write_history(plan, chain([first], events), targets, settings.max_window_events, asked.verdict)
    note(asked.told())
    if as_json:
        return print_json(rows)
    for name, count in rows.items():
        say(f"{count:,} rows of {name} in {targets[name].path}")
