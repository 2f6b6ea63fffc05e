"""Submit jobs: from the applied definitions to Flink's own client."""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import requests

from jobs.cluster import flink
from jobs.cluster.runtime import Runtime
from jobs.connect import addresses, users
from jobs.errors import DefinitionError, ServiceError
from jobs.features import changes, definitions, lint, plan
from jobs.features.explain import service_inputs
from jobs.flow import began, id_secret, submissions
from jobs.flow.job_config import JobConfig
from jobs.jvm.build import contract_jar
from jobs.operate import facts, refuse, shelves, workers
from jobs.operate.apply import create_topics
from jobs.operate.running_jobs import JOBS, RUNNING_LIMIT_S, Job, cancel, cause, is_coming_up, wait_running
from jobs.settings import REPOSITORY, Settings
from models.serving.bundle import Bundle, load_bundle
from models.serving.registry import serving_folder
from models.serving.signature import read_public_key

CHECKPOINT_FOLDERS = ("execution.checkpointing.dir", "state.checkpoints.dir")  # the second is Flink 1's name

T = TypeVar("T")


@dataclass(frozen=True)
class Submission:
    """The client's arguments and environment that submit a job, and the same as one line that can be pasted."""

    argv: list[str]
    environment: dict[str, str]
    line: str


def submission(
    settings: Settings, runtime: Runtime, job: Job, from_savepoint: str | None = None, name: str = "", **config: object
) -> Submission:
    """Return what `flink run` needs; write the job's plan and configuration into the state folder.

    `name` is what its configuration is kept under, if not the job's. `config` replaces fields of `JobConfig`: a
    benchmark reads to an end, a test takes other topics.
    Raise `DefinitionError` with every problem of the definitions before anything is submitted.
    """
    if from_savepoint:
        refuse.refuse_lost(settings, job)
    config_path = _config_path(settings, name or job)
    arguments = ["--config", str(config_path)]
    if job == "features":
        next_plan = wanted_plan(settings, evolving=from_savepoint is not None)
        shelves.check_active(settings, next_plan)
        plan.save(next_plan, plan.wanted_path(settings.state_dir))
        arguments += ["--plan", str(plan.wanted_path(settings.state_dir))]
        project = next_plan.project
    else:
        project = served_project(settings)
        if running := plan.submitted(settings.state_dir):
            shelves.check_active(settings, running)
    contract = contract_jar()
    values: dict[str, object] = {
        "project": project,
        "feature_store_yaml": ""
        if definitions.online_store_type(settings) == "redis"
        else str(definitions.store_yaml(settings)),
        "facts": facts.contracts_of(settings),
        "model_public_key": read_public_key(settings.model_public_key),
        "jars": [contract.as_uri()] if settings.flink_rest_url else [],
    } | secret_of(settings, job, from_savepoint)
    kafka, redis = addresses.as_user(runtime.kafka_bootstrap, job), addresses.as_user(runtime.redis_url, users.JOB)
    JobConfig.of(settings, kafka, redis, **(values | config)).save(config_path)
    command = flink.command(settings)
    resume = ["-s", from_savepoint, *_drop_places(settings, job, from_savepoint)] if from_savepoint else []
    # Flink's client takes one -j; for a cluster of the user's own it is the Kafka connector's (see `JobConfig.jars`).
    jar = [] if settings.flink_rest_url else ["-j", str(contract)]
    own = ["-d", *resume, *jar, "-py", str(REPOSITORY / "jobs" / f"session_{job}.py"), *arguments]
    return Submission([*command.argv, *own], command.environment, command.line(*own))


def secret_of(settings: Settings, job: Job, from_savepoint: str | None) -> dict[str, object]:
    """Return the file of the secret for ids and its mark; nothing for a savepoint of a release that had none.

    State is found by keys that were made with the secret or without one, so it stays as it began.
    """
    if not from_savepoint:
        file = id_secret.made(settings.state_dir)
        return {"id_secret": str(file), "secret_mark": id_secret.mark_of(file)}
    mark = id_secret.mark_in(from_savepoint)
    if mark is None:
        mark = submissions.secret_mark(settings.state_dir, job)
    if not mark:
        return {}
    return {"id_secret": str(id_secret.kept(id_secret.path(settings.state_dir), mark)), "secret_mark": mark}


def _drop_places(settings: Settings, job: Job, savepoint: str) -> list[str]:
    """Return Flink's option to leave state behind, if views of facts changed: their topics are read again.

    The places in them are all that is left behind. What else a change would lose was refused before. Not so where the
    savepoint can't be read from here, as nobody knows its secret: then Flink refuses, and says so.
    """
    running = plan.submitted(settings.state_dir) if job == "features" else None
    if running is None or not running.facts or id_secret.mark_in(savepoint) is None:
        return []
    wanted = plan.load(plan.wanted_path(settings.state_dir))
    return [] if wanted.facts_digest() == running.facts_digest() else ["-n"]


def wanted_plan(settings: Settings, evolving: bool) -> plan.FeaturePlan:
    """Return the plan of what was applied; if `evolving`, in a form that takes the running job's state."""
    applied = definitions.from_registry(settings)
    next_plan = lint.checked(settings, applied)
    next_plan = msgspec.structs.replace(next_plan, services=_services(applied))
    running = plan.submitted(settings.state_dir)
    if not evolving or running is None:
        return next_plan
    if lost := changes.lost(changes.of_plan(running, next_plan)):
        raise DefinitionError("\n".join(map(str, lost)))
    return plan.evolve(running, next_plan)


def _config_path(settings: Settings, name: str) -> Path:
    return settings.state_dir.resolve() / "jobs" / f"{name}.config.json"


def served_project(settings: Settings) -> str:
    """Return the Feast project whose features the ranker reads, once the model is known to read what they are.

    Raises `ModelError` for a model that is refused, and what `check_context` raises.
    """
    bundle = load_bundle(serving_folder(settings.model_dir), read_public_key(settings.model_public_key))
    return check_context(settings, bundle)


def check_context(settings: Settings, bundle: Bundle) -> str:
    """Compare what the model reads with what the feature service gives, and return the project that holds the service.

    Raises `DefinitionError` unless both name the same features in the same order, `ServiceError` before `apply`.
    """
    running = plan.submitted(settings.state_dir)
    if running:
        project, services = running.project, running.services
    else:
        applied = definitions.from_registry(settings)
        project, services = applied.project, _services(applied)
    given = services.get(settings.context_service)
    if given != bundle.context_features:
        raise DefinitionError(
            f"feature service {settings.context_service!r} gives {given}, "
            f"but model {bundle.version} reads {bundle.context_features}",
            "liveshelf train makes a model that reads what the definition files say, and liveshelf submit features "
            "applies the files; or choose another model_dir or context_service",
        )
    return project


def _services(applied: definitions.Definitions) -> dict[str, list[str]]:
    return {service.name: [name for name, _ in service_inputs(service)] for service in applied.services}


def start(
    settings: Settings,
    runtime: Runtime,
    jobs: Sequence[Job],
    job_ids: dict[str, str],
    from_savepoint: str | None = None,
    accept_gap: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> None:
    """Submit jobs and wait until they run; `job_ids` is filled as it goes, and `tell` is told each step.

    A job that doesn't come up is cancelled, so that it keeps no task slot; so is one whose submission is interrupted.
    Raises `DefinitionError`, `SettingsError` or `ServiceError`.
    """
    try:
        refuse.refuse_second(settings, runtime, jobs)
    except requests.RequestException as error:
        raise ServiceError(f"Flink at {runtime.flink_rest_url} doesn't answer: {error}", "liveshelf status") from error
    if workers.needs_probe(settings):
        workers.check(settings, runtime.flink_rest_url)
    try:
        for job in jobs:
            tell(f"submitting {job}")
            job_ids[job] = submit(settings, runtime, job, from_savepoint, accept_gap)
        for job in jobs:
            tell(f"waiting until {job} runs")
            wait_running(runtime, job_ids[job], RUNNING_LIMIT_S)
    except BaseException:  # Ctrl-C too
        with suppress(requests.RequestException, ServiceError):  # a cluster that is gone: the first error says it
            for job in jobs:
                if is_coming_up(runtime, job):
                    cancel(settings, runtime, job)
                    job_ids.pop(job, None)
        raise


def submit(
    settings: Settings,
    runtime: Runtime,
    job: Job,
    from_savepoint: str | None = None,
    accept_gap: bool = False,
    **config: object,
) -> str:
    """Submit a job and return its id; raise `DefinitionError` or `ServiceError` with what Flink's client said."""
    refuse.refuse_unfit(runtime)
    if from_savepoint and not accept_gap:
        refuse.refuse_gap(settings, runtime, job)
    create_topics(settings, runtime)
    refuse.refuse_wide(settings, runtime)
    call = submission(settings, runtime, job, from_savepoint, "", **config)
    at_s = _mark_begun(runtime, job)
    job_id, output = submissions.run_client(call.argv, call.environment)
    if not job_id:
        raise ServiceError(f"Flink didn't take the {job} job:\n{cause(output)}", f"try by hand: {call.line}")
    if job == "features":
        began.save(settings.state_dir, _began(settings, from_savepoint))
        plan.keep_submitted(settings.state_dir)
    remember(settings, job, job_id, call, from_savepoint or "", at_s)
    return job_id


def remember(
    settings: Settings, name: str, job_id: str, call: Submission, from_savepoint: str, at_s: float
) -> submissions.Submitted:
    """Keep what a job was submitted with, so that it can be submitted again; return the note of it."""
    _keep_config(settings, name)
    argv = again(settings, name, call.argv, from_savepoint)
    own = checkpoint_folder(flink.cluster_config(settings)) if settings.flink_rest_url else ""
    note = submissions.Submitted(name, job_id, argv, call.environment, from_savepoint, at_s, own)
    submissions.note(settings.state_dir, note)
    return note


def checkpoint_folder(configuration: Mapping[str, str]) -> str:
    """Return the folder of checkpoints that the configuration of a user's own cluster names, "" if it names none."""
    return next((configuration[name] for name in CHECKPOINT_FOLDERS if configuration.get(name)), "")


def _began(settings: Settings, from_savepoint: str | None) -> began.Began:
    """Return from which events on each feature of the wanted plan counts that was added to a running job."""
    running = plan.submitted(settings.state_dir)
    if not from_savepoint or running is None:
        return {}
    next_plan = plan.load(plan.wanted_path(settings.state_dir))
    return began.after(
        began.read(settings.state_dir),
        [f"{view.name}:{output.name}" for view in running.views for output in view.outputs],
        {f"{view.name}:{output.name}": view.part for view in next_plan.views if view.part for output in view.outputs},
        began.offsets_in(from_savepoint, settings.events_topic),
    )


def side_by_side(do: Callable[[Job], T], jobs: Sequence[Job] = JOBS) -> dict[Job, T]:
    """Call `do` for each job at the same time; return the answers by job. Flink's client takes seconds for one job.

    Raise what it raised for one of them, once all have ended. Don't use it for a first submission after definitions
    changed: the rankings job is checked against the features job's plan, which must have been submitted before.
    """
    with ThreadPoolExecutor(len(JOBS)) as beside:
        return dict(zip(jobs, beside.map(do, jobs), strict=True))


def _mark_begun(runtime: Runtime, job: Job) -> float:
    """Tell the keeper since when Redis has all that the job writes; return that moment (epoch seconds)."""
    at_s = round(time.time(), 3)
    with closing(addresses.redis_client(runtime.redis_url)) as client:
        server = client.info("server")
        mark = submissions.begun_mark(server["run_id"], at_s)  # type: ignore[index]  # redis-py types it as async too
        client.set(submissions.BEGUN + job, mark)
    return at_s


def _keep_config(settings: Settings, name: str) -> None:
    """Keep the configuration of the job that was submitted now: a later dry run writes another one."""
    kept = submissions.config_path(settings.state_dir, name)
    partial = kept.with_suffix(".partial")
    shutil.copy(_config_path(settings, name), partial)  # with its mode: it may hold addresses with passwords
    partial.replace(kept)


def again(settings: Settings, name: str, argv: list[str], from_savepoint: str | None) -> list[str]:
    """Return the arguments that submit a job again, without a starting point.

    They name the files of this submission, which a later dry run doesn't replace.
    """
    kept_by_dry = {
        plan.wanted_path(settings.state_dir): plan.submitted_path(settings.state_dir),
        _config_path(settings, name): submissions.config_path(settings.state_dir, name),
    }
    files = {str(dry): str(kept) for dry, kept in kept_by_dry.items()}
    return [files.get(argument, argument) for argument in argv if argument not in ("-s", from_savepoint)]
