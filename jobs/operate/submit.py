"""From definitions to a running job: `feast apply`, the plan, and Flink's own client."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
import requests

from jobs.cluster import flink, redis
from jobs.cluster.runtime import Runtime, without_password
from jobs.connect import addresses, consent_topic, flink_rest, kafka_admin, users
from jobs.errors import DefinitionError, ServiceError, SettingsError
from jobs.features import changes, definitions, lint, plan
from jobs.features.explain import service_inputs
from jobs.flow import began, submissions
from jobs.flow.job_config import JobConfig
from jobs.flow.source import MAX_LETTER_BYTES
from jobs.jvm.build import contract_jar
from jobs.operate import served, workers
from jobs.settings import REPOSITORY, Settings
from models.serving.bundle import Bundle, load_bundle
from models.serving.registry import serving_folder
from models.serving.signature import read_public_key

T = TypeVar("T")
Job = Literal["features", "rankings"]
JOBS: tuple[Job, ...] = ("features", "rankings")
RUNNING = ("CREATED", "INITIALIZING", "RUNNING", "RESTARTING", "FAILING")
# Feast's own script may lie in another folder than Python. -P: the current folder's modules don't replace Feast's.
FEAST = (sys.executable, "-P", "-c", "from feast.cli.cli import cli; cli()")
RUNNING_LIMIT_S = 120.0  # a job that isn't up by then is cancelled; two idle cores take 6 s
SAVEPOINT_FOLDERS = ("execution.checkpointing.savepoint-dir", "state.savepoints.dir")  # the second is Flink 1's name
JOB_ID = re.compile(r"JobID ([0-9a-f]{32})")


@dataclass(frozen=True)
class Submission:
    """How a job is submitted: the client's arguments and environment, and the same as one line that can be pasted."""

    argv: list[str]
    environment: dict[str, str]
    line: str


def apply(settings: Settings, redis_url: str) -> None:
    """`feast apply` against the running system; 10 to 20 s of CPU, most of it Feast's imports, so run it beside `up`."""
    definitions.write_store_yaml(settings, addresses.as_user(redis_url, users.APP), definitions.store_yaml(settings))
    path = settings.state_dir.resolve() / "apply" / "feature_store.yaml"  # Feast deletes what is defined no more
    definitions.write_store_yaml(settings, redis_url, path)
    command = [*FEAST, "-c", str(settings.feature_repo.resolve()), "-f", str(path), "apply"]
    environment = os.environ | {"PYTHONWARNINGS": "ignore", "FEAST_USAGE": "False"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        reason = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise DefinitionError(
            f"feast apply failed: {' '.join(reason)}", f"correct {settings.feature_repo}/definitions.py"
        )


def submission(
    settings: Settings, runtime: Runtime, job: Job, from_savepoint: str | None = None, **config: object
) -> Submission:
    """What `flink run` needs; writes the job's plan and configuration beside the system's state.

    `config` overrides fields of `JobConfig` (a benchmark reads to an end, a test takes other topics).
    Raises `DefinitionError` with every problem of the definitions before anything is submitted.
    """
    if from_savepoint:
        refuse_lost(settings, job)
    config_path = _config_path(settings, job)
    arguments = ["--config", str(config_path)]
    project = "liveshelf"
    if job == "features":
        wanted = wanted_plan(settings, evolving=from_savepoint is not None)
        plan.save(wanted, plan.wanted_path(settings.state_dir))
        arguments += ["--plan", str(plan.wanted_path(settings.state_dir))]
        project = wanted.project
    contract = contract_jar()
    values: dict[str, object] = {
        "project": project,
        "context_features": context_features(settings) if job == "rankings" else [],
        "feature_store_yaml": ""
        if definitions.online_store_type(settings) == "redis"
        else str(definitions.store_yaml(settings)),
        "model_public_key": read_public_key(settings.model_public_key),
        "jars": [contract.as_uri()] if settings.flink_rest_url else [],
    }
    kafka, redis = addresses.as_user(runtime.kafka_bootstrap, job), addresses.as_user(runtime.redis_url, users.JOB)
    JobConfig.of(settings, kafka, redis, **(values | config)).save(config_path)
    command = flink.command(settings)
    resume = ["-s", from_savepoint] if from_savepoint else []
    # Flink's client takes one -j; for a cluster of the user's own it is the Kafka connector's (see `JobConfig.jars`).
    jar = [] if settings.flink_rest_url else ["-j", str(contract)]
    own = ["-d", *resume, *jar, "-py", str(REPOSITORY / "jobs" / f"session_{job}.py"), *arguments]
    return Submission([*command.argv, *own], command.environment, command.line(*own))


def wanted_plan(settings: Settings, evolving: bool) -> plan.FeaturePlan:
    """The plan of what was applied; when `evolving`, in a form that takes the running job's state."""
    known = definitions.from_registry(settings)
    wanted = lint.checked(known.project, settings.events_topic, known.views, known.entities)
    wanted = msgspec.structs.replace(wanted, services=_services(known))
    running = plan.submitted(settings.state_dir)
    if not evolving or running is None:
        return wanted
    if lost := changes.lost(changes.of_plan(running, wanted)):
        raise DefinitionError("\n".join(map(str, lost)))
    return plan.evolve(running, wanted)


def refuse_lost(settings: Settings, job: Job) -> None:
    """Raises `SettingsError` for settings with which the job can't go on from a savepoint."""
    before = changes.kept(settings.state_dir, job)
    if before and (lost := changes.lost(changes.of_settings(job, before, changes.Chosen.of(settings)))):
        raise SettingsError("\n".join(map(str, lost)))


def _config_path(settings: Settings, job: Job) -> Path:
    return settings.state_dir.resolve() / "jobs" / f"{job}.config.json"


def context_features(settings: Settings) -> list[str]:
    """What the model wants beside the session; raises `DefinitionError` unless the feature service gives just that."""
    bundle = load_bundle(serving_folder(settings.model_dir), read_public_key(settings.model_public_key))
    check_context(settings, bundle)
    return bundle.context_features


def check_context(settings: Settings, bundle: Bundle) -> None:
    """Raises `DefinitionError` unless the feature service gives what the model reads, `ServiceError` before `apply`."""
    running = plan.submitted(settings.state_dir)
    services = running.services if running else _services(definitions.from_registry(settings))
    given = services.get(settings.context_service)
    if given != bundle.context_features:
        raise DefinitionError(
            f"feature service {settings.context_service!r} gives {given}, "
            f"but model {bundle.version} reads {bundle.context_features}",
            "bring the service's features into the model's order, or choose another model_dir or context_service",
        )


def _services(known: definitions.Definitions) -> dict[str, list[str]]:
    return {service.name: [name for name, _ in service_inputs(service)] for service in known.services}


def submit(
    settings: Settings,
    runtime: Runtime,
    job: Job,
    from_savepoint: str | None = None,
    accept_gap: bool = False,
    **config: object,
) -> str:
    """Submit a job and return its id; raises `DefinitionError` or `ServiceError` with what Flink's client said."""
    refuse_evicting(runtime)
    if from_savepoint and not accept_gap:
        refuse_gap(settings, runtime, job)
    create_topics(settings, runtime)
    wanted = submission(settings, runtime, job, from_savepoint, **config)
    at_s = _mark_begun(runtime, job)
    done = subprocess.run(wanted.argv, capture_output=True, text=True, env=os.environ | wanted.environment)
    found = JOB_ID.search(done.stdout)
    if done.returncode or not found:
        raise ServiceError(
            f"Flink didn't take the {job} job:\n{_cause(done.stdout + done.stderr)}", f"try by hand: {wanted.line}"
        )
    if job == "features":
        began.save(settings.state_dir, _began(settings, from_savepoint))
        plan.keep_submitted(settings.state_dir)
    _keep_config(settings, job)
    argv = again(settings, job, wanted.argv, from_savepoint)
    note = submissions.Submitted(job, found[1], argv, wanted.environment, from_savepoint or "", at_s)
    submissions.note(settings.state_dir, note)
    return found[1]


def _began(settings: Settings, from_savepoint: str | None) -> began.Began:
    """Return from which events on each feature of the wanted plan counts that was added to a running job."""
    running = plan.submitted(settings.state_dir)
    if not from_savepoint or running is None:
        return {}
    wanted = plan.load(plan.wanted_path(settings.state_dir))
    return began.after(
        began.read(settings.state_dir),
        [f"{view.name}:{output.name}" for view in running.views for output in view.outputs],
        [f"{view.name}:{output.name}" for view in wanted.views if view.part for output in view.outputs],
        began.offsets_in(from_savepoint, settings.events_topic),
    )


def side_by_side(do: Callable[[Job], T], jobs: Sequence[Job] = JOBS) -> dict[Job, T]:
    """What `do` gives for each job; Flink's client takes seconds for one, on a core of its own.

    Raises what it raised for one of them, once all have ended. Not for a first submission after definitions changed: the
    rankings job is checked against the features job's plan, which must have been submitted before.
    """
    with ThreadPoolExecutor(len(JOBS)) as beside:
        return dict(zip(jobs, beside.map(do, jobs), strict=True))


def _mark_begun(runtime: Runtime, job: Job) -> float:
    """Tell the keeper since when Redis has all that the job will have written; that moment (epoch, seconds)."""
    at_s = round(time.time(), 3)
    with closing(addresses.redis_client(runtime.redis_url)) as client:
        mark = submissions.begun_mark(client.info("server")["run_id"], at_s)  # type: ignore[index]  # redis-py types it as async too
        client.set(submissions.BEGUN + job, mark)
    return at_s


def _keep_config(settings: Settings, job: Job) -> None:
    kept = submissions.config_path(settings.state_dir, job)
    partial = kept.with_suffix(".partial")
    shutil.copy(_config_path(settings, job), partial)  # with its mode: it may hold addresses with passwords
    partial.replace(kept)


def again(settings: Settings, job: Job, argv: list[str], from_savepoint: str | None) -> list[str]:
    """A submission's arguments without its starting point, with plan and configuration that no later dry run writes anew."""
    kept = {
        plan.wanted_path(settings.state_dir): plan.submitted_path(settings.state_dir),
        _config_path(settings, job): submissions.config_path(settings.state_dir, job),
    }
    kept = {str(wanted): str(own) for wanted, own in kept.items()}
    return [kept.get(each, each) for each in argv if each not in ("-s", from_savepoint)]


def refuse_evicting(runtime: Runtime) -> None:
    """Raises `ServiceError` for a Redis that throws keys away when it is full: nobody would notice what is gone."""
    policy = redis.eviction_policy(runtime.redis_url)
    if policy != "noeviction":
        address = without_password(runtime.redis_url)
        raise ServiceError(
            f"Redis at {address} evicts keys ({policy})", "redis-cli config set maxmemory-policy noeviction"
        )


def refuse_gap(settings: Settings, runtime: Runtime, job: Job) -> None:
    """Raises `ServiceError` where events were deleted since the job stopped: it would go on behind them without a word."""
    kafka = addresses.as_user(runtime.kafka_bootstrap, users.ADMIN)
    gaps = kafka_admin.deleted_unread(kafka, users.GROUPS[job], settings.events_topic)
    if gaps:
        raise ServiceError(
            f"{settings.events_topic} lost events before the {job} job read them: {kafka_admin.told(gaps)}",
            "raise the topic's retention.ms; --accept-gap goes on behind them, without a savepoint the job counts what is there",
        )


def create_topics(settings: Settings, runtime: Runtime) -> None:
    """The topics that don't exist yet, and in the secure profile who may use them.

    A letter holds a record as JSON, where each byte may take six: it may be larger.
    """
    kafka = addresses.as_user(runtime.kafka_bootstrap, users.ADMIN)
    plain, letters = (settings.events_topic, settings.rankings_topic), (settings.dead_topic, settings.late_topic)
    kafka_admin.create_topics(kafka, dict.fromkeys(plain, settings.topic_partitions))
    kafka_admin.create_topics(kafka, {settings.consent_topic: settings.topic_partitions}, consent_topic.TOPIC)
    larger = {"max.message.bytes": str(MAX_LETTER_BYTES)}
    kafka_admin.create_topics(kafka, dict.fromkeys(letters, settings.topic_partitions), larger)
    if settings.profile == "secure" and not settings.kafka_bootstrap:
        kafka_admin.grant(kafka, users.kafka_rights(settings))


def _cause(output: str) -> str:
    """The lines that say what went wrong: the Python error, or the innermost Java one."""
    lines = output.splitlines()
    python = [line for line in lines if re.match(r"(pyflink\.[\w.]+|[A-Za-z]+(Error|Exception|Exit)): ", line)]
    java = [line for line in lines if line.startswith("Caused by: ")]
    return "\n".join(python[:1] or java[-1:] or lines[-5:])


def running_job(runtime: Runtime, job: Job) -> str | None:
    """The id of the job of that kind that runs (or tries to)."""
    for each in flink_rest.ask(runtime.flink_rest_url, "/jobs/overview")["jobs"]:
        if each["name"] == f"liveshelf {job}" and each["state"] in RUNNING:
            return str(each["jid"])
    return None


def _runs(job: dict[str, Any]) -> bool:
    tasks = {vertex["status"] for vertex in job["vertices"]}
    return (job["state"] == "RUNNING" and tasks <= {"RUNNING", "FINISHED"}) or job["state"] == "FINISHED"


def wait_running(runtime: Runtime, job_id: str, limit_s: float = RUNNING_LIMIT_S) -> None:
    """Wait till all tasks of a job run; raises `ServiceError` with the job's own exception when it fails."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        job = flink_rest.ask(runtime.flink_rest_url, f"/jobs/{job_id}")
        if _runs(job):
            return
        if job["state"] in ("FAILED", "CANCELED"):
            break
        time.sleep(0.2)
    history = flink_rest.ask(runtime.flink_rest_url, f"/jobs/{job_id}/exceptions")["exceptionHistory"]["entries"]
    reason = history[0]["stacktrace"] if history else "no slot came free, or the cluster is too slow"
    raise ServiceError(
        f"job {job_id} doesn't run after {limit_s:g} s: {_cause(reason)}", "liveshelf status; liveshelf doctor"
    )


def start(
    settings: Settings,
    runtime: Runtime,
    jobs: Sequence[Job],
    job_ids: dict[str, str],
    from_savepoint: str | None = None,
    accept_gap: bool = False,
) -> None:
    """Submit jobs and wait until they run; `job_ids` is filled as it goes.

    A job that doesn't come up is cancelled, so that it keeps no task slot; so is one whose submission is interrupted.
    Raises `DefinitionError`, `SettingsError` or `ServiceError`.
    """
    refuse_second(settings, runtime, jobs)
    if workers.needs_probe(settings):
        workers.check(settings, runtime.flink_rest_url)
    try:
        for job in jobs:
            job_ids[job] = submit(settings, runtime, job, from_savepoint, accept_gap)
        for job in jobs:
            wait_running(runtime, job_ids[job], RUNNING_LIMIT_S)
    except BaseException:  # Ctrl-C too
        with suppress(requests.RequestException, ServiceError):  # a cluster that is gone: the first error says it
            for job in jobs:
                if _is_coming_up(runtime, job):
                    _cancel(settings, runtime, job)
                    job_ids.pop(job, None)
        raise


def refuse_second(settings: Settings, runtime: Runtime, jobs: Sequence[Job]) -> None:
    """Raise `SettingsError` if one of the jobs runs: two of a kind would both write everything."""
    job_ids = {job: job_id for job in jobs if (job_id := running_job(runtime, job))}
    if not job_ids:
        return
    what = " and ".join(f"a {job} job is running already: {job_id}" for job, job_id in job_ids.items())
    ways = [f"for the job that doesn't run: liveshelf submit {job}" for job in jobs if job not in job_ids]
    if "rankings" in job_ids and served.takes_versions_of(settings):
        ways.append("the rankings job serves each version that is activated, by itself: liveshelf status says which")
    ways += [
        f'to submit the {job} job anew, with other settings: liveshelf submit {job} --from-savepoint "$(liveshelf stop {job})"'
        for job in job_ids
    ]
    raise SettingsError(what, "\n       ".join(ways))


def _is_coming_up(runtime: Runtime, job: Job) -> bool:
    """Return True if a job was taken and doesn't run yet. One that runs already may go on."""
    job_id = running_job(runtime, job)
    return job_id is not None and not _runs(flink_rest.ask(runtime.flink_rest_url, f"/jobs/{job_id}"))


def _cancel(settings: Settings, runtime: Runtime, job: Job) -> None:
    job_id = running_job(runtime, job)
    submissions.forget(settings.state_dir, job)  # or the keeper would start it again
    if job_id:
        flink_rest.cancel(runtime.flink_rest_url, job_id)
        flink_rest.wait_gone(runtime.flink_rest_url, job_id)


def stop(settings: Settings, runtime: Runtime, job: Job, savepoint: bool = True) -> str:
    """Stop a job, with a savepoint (whose path is returned) or without ("")."""
    job_id = running_job(runtime, job)
    if job_id is None:
        raise ServiceError(f"no {job} job is running", "liveshelf status")
    if not savepoint:
        _cancel(settings, runtime, job)
        return ""
    folder = savepoint_folder(settings, job)
    note = submissions.noted_job(settings.state_dir, job)
    submissions.forget(settings.state_dir, job)
    done = flink.command(settings, "stop").run("--savepointPath", folder, job_id)
    savepoint_path = re.search(r"Savepoint completed\. Path: (\S+)", done.stdout)
    if done.returncode or not savepoint_path:
        if note:
            submissions.note(settings.state_dir, note)  # it runs on, and must be started again if it is lost
        raise ServiceError(f"the {job} job wasn't stopped:\n{_cause(done.stdout + done.stderr)}", "liveshelf status")
    flink_rest.wait_gone(runtime.flink_rest_url, job_id)
    return savepoint_path[1]


def savepoint_folder(settings: Settings, job: Job) -> str:
    """Return where the cluster keeps savepoints; raise `SettingsError` if a cluster of the user's own says nothing."""
    if not settings.flink_rest_url:
        return str(flink.folder(settings.state_dir) / "savepoints")
    return own_savepoint_folder(flink.cluster_config(settings), settings.flink_rest_url, job)


def own_savepoint_folder(configuration: Mapping[str, str], rest_url: str, job: Job) -> str:
    """Return the folder that a cluster's configuration names; raise `SettingsError` if it names none."""
    folder = next((configuration[name] for name in SAVEPOINT_FOLDERS if configuration.get(name)), "")
    if not folder:
        raise SettingsError(
            f"the Flink cluster at {rest_url} has no folder for savepoints",
            f"set {SAVEPOINT_FOLDERS[0]} in the cluster's config.yaml, or: liveshelf stop {job} --no-savepoint",
        )
    return folder
