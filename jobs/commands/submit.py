"""submit, stop: the two jobs."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from jobs.commands.shared import AsJson, chosen, load_settings, note, print_json, say, warn_of_another_shop
from jobs.errors import SettingsError

Job = Literal["features", "rankings"]


def register(app: typer.Typer) -> None:
    for command in (submit, stop):
        app.command()(command)


def submit(
    job: Annotated[Literal["features", "rankings", "all"], typer.Argument(help="Which job.")] = "all",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the exact `flink run` line, ready to be pasted, and do nothing.")
    ] = False,
    from_savepoint: Annotated[
        str, typer.Option("--from-savepoint", metavar="PATH", help="Go on where `liveshelf stop` left off.")
    ] = "",
    accept_gap: Annotated[
        bool, typer.Option("--accept-gap", help="Go on though the topic has lost events that the job hadn't read.")
    ] = False,
    upgrade: Annotated[
        bool,
        typer.Option(
            "--upgrade",
            help="Stop the running job with a savepoint and go on from it; if that fails, with the old one.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compile the definitions and submit the jobs with `flink run`; wait until they run.

    \b
    Examples:
      liveshelf submit
      liveshelf submit rankings --dry-run
      liveshelf submit features --from-savepoint /data/savepoints/savepoint-1a2b3c
      liveshelf submit rankings --upgrade
    """
    from jobs.cluster import runtime
    from jobs.operate import audit
    from jobs.operate import submit as submitting
    from jobs.operate import upgrade as upgrading

    if from_savepoint and job == "all":
        raise SettingsError("--from-savepoint belongs to one job", "liveshelf submit features --from-savepoint PATH")
    if upgrade and (job == "all" or from_savepoint or dry_run or accept_gap):
        raise SettingsError("--upgrade belongs to one running job, and to no other option", "one job after the other")
    settings = load_settings()
    from_savepoint = savepoint_path(from_savepoint)
    running = runtime.attach(settings)
    jobs = submitting.JOBS if job == "all" else (job,)
    if dry_run:
        for one in jobs:
            say(submitting.submission(settings, running, one, from_savepoint or None).line)
        return
    note(chosen(settings))
    if "rankings" in jobs:
        warn_of_another_shop(settings)
    told = {"from_savepoint": from_savepoint} | ({"upgrade": True} if upgrade else {})
    with audit.recorded(settings.state_dir, "submit", jobs=jobs, **told) as ids:
        # Filled as it goes, so that the audit log tells what an interrupted submission had started.
        if upgrade:
            ids[jobs[0]] = upgrading.upgrade(settings, running, jobs[0], note)
        else:
            submitting.start(settings, running, jobs, ids, from_savepoint or None, accept_gap, note)
    if as_json:
        return print_json(ids)
    for name, job_id in ids.items():
        say(f"{name:8} {job_id}")


def savepoint_path(text: str) -> str:
    """Return a savepoint's place for the JobManager: absolute where it is a path of this machine, else as it is."""
    return str(Path(text).absolute()) if text and Path(text).exists() else text


def stop(
    job: Annotated[Job, typer.Argument(help="Which job.")],
    savepoint: Annotated[bool, typer.Option(help="Take a savepoint, to go on from.")] = True,
) -> None:
    """Stop a job with a savepoint and print the savepoint's path.

    \b
    Examples:
      liveshelf stop features
      liveshelf stop rankings --no-savepoint
    """
    from jobs.cluster import runtime
    from jobs.operate import audit, running_jobs

    settings = load_settings()
    with audit.recorded(settings.state_dir, "stop", job=job, savepoint=savepoint) as outcome:
        path = running_jobs.stop(settings, runtime.attach(settings, ("flink",)), job, savepoint)
        outcome["savepoint"] = path
    note(f"{job} stopped")
    if path:
        say(path)
