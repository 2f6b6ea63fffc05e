"""rebuild, resume, keep: bring back what Redis or Flink has lost."""

from typing import Annotated

import typer

from jobs.commands.shared import load_settings, note
from jobs.errors import ServiceError


def register(app: typer.Typer) -> None:
    for command in (rebuild, resume, keep):
        app.command()(command)


def rebuild(
    features: Annotated[bool, typer.Option(help="Also restart the features job from the topic's beginning.")] = True,
) -> None:
    """Fill Redis again: lists from the topic `rankings`, features by reading the events from the beginning.

    It replaces nothing that is newer, so it may run beside the jobs. The embedded cluster does it by itself when Redis
    was restarted or emptied, and then only from the point where Redis' data ends.

    \b
    Examples:
      liveshelf rebuild
      liveshelf rebuild --no-features
    """
    from jobs.cluster import runtime
    from jobs.connect.redis_pipeline import Connection
    from jobs.flow import submissions
    from jobs.operate import rebuild as rebuilding

    settings = load_settings()
    running = runtime.attach(settings)
    connection = Connection(running.redis_url)
    lists = rebuilding.lists(submissions.config(settings.state_dir, "rankings"), connection)
    connection.close()
    note(f"{lists:,} lists were missing or old and are written")
    if features:
        job = submissions.noted_job(settings.state_dir, "features")
        if job is None:
            raise ServiceError(
                "no features job should be running", "liveshelf submit features, which reads from the beginning"
            )
        again = rebuilding.features(settings.state_dir, running.flink_rest_url, job)
        note(f"features job {again.job_id} reads the events from the beginning; liveshelf verify says when it is done")


def resume() -> None:
    """Start the jobs that the JobManager has forgotten, each from its newest checkpoint.

    The embedded cluster does it by itself.

    \b
    Example, after a JobManager without high availability came back:
      liveshelf resume
    """
    from jobs.cluster import runtime
    from jobs.flow import submissions
    from jobs.operate.keep import Keeper

    settings = load_settings()
    running = runtime.attach(settings, ("flink",))
    count = Keeper(settings.state_dir, running.flink_rest_url).resume(submissions.noted(settings.state_dir))
    note(f"{count} jobs started again")


def keep() -> None:
    """Resume and rebuild whenever it is needed, until it is ended: for a Flink cluster of your own.

    A cluster with Flink's own high availability doesn't need it for its jobs, but still for Redis.

    \b
    Example, beside the cluster:
      LIVESHELF_FLINK_REST_URL=http://flink:8081 liveshelf keep
    """
    from jobs.cluster import runtime
    from jobs.operate.keep import keep as keep_going

    settings = load_settings()
    keep_going(settings.state_dir, runtime.attach(settings, ("flink",)).flink_rest_url)
