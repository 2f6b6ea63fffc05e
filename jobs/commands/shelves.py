"""shelves lint, explain, publish, activate, rollback, diff, list: what the shop shows where, and its versions."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.commands.shared import AsJson, load_settings, note, note_feast, print_json, say
from jobs.errors import DefinitionError, ServiceError

if TYPE_CHECKING:
    from jobs.catalogue.columns import Snapshot
    from jobs.contract.shelf_plan import ShelfPlan
    from jobs.settings import Settings
    from jobs.shelves.known import Known
    from jobs.shelves.versions import ShelfVersions
    from jobs.versions.folder import Active

app = typer.Typer(
    help="Shelves: what the shop shows where. feature_repo/shelves.py defines them; LIVESHELF_SHELVES_DIR holds the "
    "published versions.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def _known(settings: "Settings") -> "Known":
    from jobs.features.definitions import from_files
    from jobs.features.lint import compiled
    from jobs.operate.shelves import known_of

    note_feast()
    definitions = from_files(settings)
    plan, problems = compiled(settings, definitions)
    if problems:
        raise DefinitionError("\n".join(map(str, problems)), "liveshelf lint, before the shelves")
    return known_of(settings, plan)


def _facts(settings: "Settings") -> "Snapshot | None":
    """Return what the topics of facts say now; None where no Kafka runs."""
    from jobs.catalogue.follower import Follower
    from jobs.cluster import runtime
    from jobs.operate.facts import contracts_of

    bootstrap = runtime.current(settings).kafka_bootstrap
    if not bootstrap:
        return None
    try:
        follower = Follower(bootstrap, contracts_of(settings)).start()
    except ServiceError as error:
        note(f"item facts can't be read: {error.what}")
        return None
    follower.close()
    return follower.snapshot


def _checked(settings: "Settings") -> "ShelfPlan":
    """Return the plan of the repository's shelves. Raises DefinitionError with every mistake."""
    from jobs.operate.shelves import lint as findings_of
    from jobs.shelves.load import FILE, load

    load(settings.feature_repo / FILE)  # Feast imports it, too, and says less of a mistake in it
    snapshot = _facts(settings)
    if snapshot is None or not snapshot.items:
        note("no item facts are known: how many items a rule lets through isn't looked at")
        snapshot = None
    plan, problems = findings_of(settings, _known(settings), snapshot)
    for problem in problems:
        if problem.is_warning:
            note(str(problem))
    if errors := [str(problem) for problem in problems if not problem.is_warning]:
        raise DefinitionError("\n".join(errors))
    return plan


def _versions(settings: "Settings") -> "ShelfVersions":
    from jobs.operate.shelves import check_running
    from jobs.shelves.versions import ShelfVersions

    return ShelfVersions(settings.shelves_folder, lambda version, plan: check_running(settings, version, plan))


@app.command()
def lint(
    features: Annotated[bool, typer.Option("--features", help="List the features that a rule may read.")] = False,
) -> None:
    """Find every mistake in shelves.py, each with its shelf, its field and what to write instead.

    Where a system runs, it also counts how many items each rule lets through. Exits with 3 for a mistake.
    """
    settings = load_settings()
    if features:
        from jobs.shelves.known import table

        return say(table(_known(settings)))
    plan = _checked(settings)
    note(f"no mistakes in {len(plan.shelves)} shelves")


@app.command()
def explain(name: Annotated[str, typer.Argument(help="A shelf.")]) -> None:
    """Print a shelf's rules, the class of each, and what it costs a list."""
    from jobs.shelves.explain import explain as page

    say(page(_checked(load_settings()), name))


@app.command()
def publish(
    and_activate: Annotated[bool, typer.Option("--activate", help="Also make it the one that serves.")] = False,
) -> None:
    """Check shelves.py, write it as a version, and print the version."""
    from jobs.operate import audit
    from jobs.shelves.load import FILE

    settings = load_settings()
    plan = _checked(settings)
    with audit.recorded(settings.state_dir, "shelves publish") as outcome:
        version = outcome["version"] = _versions(settings).publish(plan, settings.feature_repo / FILE)
    if and_activate:
        _change("activate", lambda versions: versions.activate(version), version=version)
    say(version)


@app.command()
def activate(version: Annotated[str, typer.Argument(help="As `shelves list` names it.")]) -> None:
    """Make a version the one that serves."""
    say(_change("activate", lambda versions: versions.activate(version), version=version))


@app.command()
def rollback() -> None:
    """Go back to the version that served before."""
    say(_change("rollback", lambda versions: versions.rollback()))


def _change(action: str, change: "Callable[[ShelfVersions], Active]", **arguments: str) -> str:
    from jobs.operate import audit
    from jobs.versions.folder import ACTIVE

    settings = load_settings()
    versions = _versions(settings)
    with audit.recorded(settings.state_dir, f"shelves {action}", **arguments) as outcome:
        before = versions.active().version if (versions.folder / ACTIVE).is_file() else ""
        active = change(versions)
        outcome |= {"version": active.version, "before": before}
    return active.version


@app.command()
def diff(
    last: Annotated[int, typer.Option(min=1, metavar="N", help="How many of the last logged lists.")] = 10_000,
    show: Annotated[bool, typer.Option("--show", help="Name each click that would be lost.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what shelves.py would change: the last logged lists are made again under it, and nothing is written.

    Facts are those that were known then. Clicks are events of type click that name a list; where there are none, what
    each visitor viewed next. It needs the running system.

    \b
    Examples:
      liveshelf shelves diff
      liveshelf shelves diff --last 1000 --show
    """
    from jobs.cluster import runtime
    from jobs.operate.facts import contracts_of
    from jobs.whatif.diff import diff as compare

    settings = load_settings()
    running = runtime.attach(settings, ("kafka",))
    plan = _checked(settings)
    found = compare(settings, running.kafka_bootstrap, plan, contracts_of(settings), last)
    if as_json:
        document = dict(found.document())
        return print_json(document | {"lost": found.lost} if show else document)
    say(found.text(show))


@app.command("list")
def list_versions(as_json: AsJson = False) -> None:
    """List the published versions, oldest first. A * marks the active one."""
    versions = _versions(load_settings())
    published = versions.versions()
    if as_json:
        return print_json({"folder": versions.folder, "versions": published})
    note(f"{len(published)} versions in {versions.folder}")
    for version in published:
        about = f"broken: {version.broken}" if version.broken else ", ".join(version.shelves)
        say(f"{'*' if version.active else ' '} {version.version}  {about}")
