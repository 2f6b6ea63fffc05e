"""Replace a running job by a new one that takes its state: stop with a savepoint, submit from it, or go back."""

from collections.abc import Callable
from contextlib import suppress

import requests

from jobs.cluster.runtime import Runtime
from jobs.errors import ServiceError, SettingsError, was_interrupted
from jobs.features import plan
from jobs.flow import began, submissions
from jobs.operate import refuse, submit, workers
from jobs.operate.running_jobs import RUNNING_LIMIT_S, Job, cancel, running_job, stop, wait_running
from jobs.settings import Settings

Tell = Callable[[str], None]


def upgrade(settings: Settings, runtime: Runtime, job: Job, tell: Tell = lambda line: None) -> str:
    """Submit a running job again with the definitions, settings and code of now; return the new job's id.

    What can be refused is refused before the old job is stopped. Raises what `submit.start` raises, and what `replace`
    does.
    """
    if running_job(runtime, job) is None:
        raise ServiceError(f"no {job} job is running", f"liveshelf submit {job}")
    refuse.refuse_gap(settings, runtime, job)
    submit.submission(settings, runtime, job, "the savepoint to come")
    if workers.needs_probe(settings):
        workers.check(settings, runtime.flink_rest_url)

    def submit_new(savepoint: str) -> str:
        tell(f"submitting {job}")
        job_id = submit.submit(settings, runtime, job, savepoint)
        wait_running(runtime, job_id, RUNNING_LIMIT_S)
        return job_id

    return replace(settings, runtime, job, submit_new, tell)


def replace(
    settings: Settings, runtime: Runtime, job: Job, submit_new: Callable[[str], str], tell: Tell = lambda line: None
) -> str:
    """Stop the running job, call `submit_new` with its savepoint, and return the id of the job that runs then.

    If `submit_new` raises, the old job is submitted again from the same savepoint, with the files that it had. Then
    `ServiceError` says so, with the reason. Raises `SettingsError` for a job that another state folder submitted, as
    nobody here could submit it again.
    """
    old, job_id = submissions.noted_job(settings.state_dir, job), running_job(runtime, job)
    if old is None or old.job_id != job_id:
        raise SettingsError(
            f"the {job} job {job_id} wasn't submitted from {settings.state_dir}, and couldn't be submitted again",
            "set LIVESHELF_STATE_DIR to the folder that it was submitted from",
        )
    paths = [submissions.config_path(settings.state_dir, job)]
    if job == "features":
        paths += [plan.submitted_path(settings.state_dir), began.path(settings.state_dir)]
    files = {path: path.read_bytes() for path in paths if path.is_file()}
    tell(f"stopping {job} with a savepoint")
    savepoint = stop(settings, runtime, job)
    tell(f"savepoint {savepoint}")
    try:
        return submit_new(savepoint)
    except BaseException as error:  # Ctrl-C too: nobody would be served
        tell(f"the new {job} job didn't start; submitting the old one again")
        with suppress(requests.RequestException, ServiceError):  # it may never have been taken
            cancel(settings, runtime, job)
        for path, content in files.items():
            path.write_bytes(content)
        again = submissions.start_again(settings.state_dir, old, savepoint)
        wait_running(runtime, again.job_id, RUNNING_LIMIT_S)
        if was_interrupted(error):
            raise
        raise ServiceError(
            f"the new {job} job didn't start, and the old one runs again as {again.job_id}, from {savepoint}:\n{error}",
            "mend what it says; nothing was lost",
        ) from error
