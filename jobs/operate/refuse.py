"""What speaks against submitting a job now."""

from collections.abc import Sequence

from jobs.cluster import redis
from jobs.cluster.runtime import Runtime, without_password
from jobs.connect import addresses, kafka_admin, users
from jobs.errors import ServiceError, SettingsError
from jobs.features import changes
from jobs.operate import facts, served
from jobs.operate.running_jobs import Job, running_job
from jobs.settings import Settings


def refuse_second(settings: Settings, runtime: Runtime, jobs: Sequence[Job]) -> None:
    """Raise `SettingsError` if one of the jobs runs: two of a kind would both write everything."""
    job_ids = {job: job_id for job in jobs if (job_id := running_job(runtime, job))}
    if not job_ids:
        return
    what = " and ".join(f"a {job} job is running already: {job_id}" for job, job_id in job_ids.items())
    ways = [f"for the job that doesn't run: liveshelf submit {job}" for job in jobs if job not in job_ids]
    if "rankings" in job_ids and served.takes_versions_of(settings):
        ways.append("the rankings job serves each version that is activated, by itself: liveshelf status says which")
    for job in job_ids:
        ways.append(f"to submit the {job} job again, with other settings: liveshelf submit {job} --upgrade")
    raise SettingsError(what, "\n       ".join(ways))


def refuse_unfit(runtime: Runtime) -> None:
    """Raise `ServiceError` if Redis throws keys away when it is full, or holds a part of them only.

    Nobody would notice which are gone.
    """
    found, fix = redis.fitness(runtime.redis_url)
    if fix:
        raise ServiceError(f"Redis at {without_password(runtime.redis_url)} {found}", fix)


def refuse_wide(settings: Settings, runtime: Runtime) -> None:
    """Raise `ServiceError` if a topic of item facts has several partitions: no offset would say what is newer."""
    kafka = addresses.as_user(runtime.kafka_bootstrap, users.ADMIN)
    for topic, count in kafka_admin.partitions(kafka, [each.topic for each in facts.contracts_of(settings)]).items():
        if count > 1:
            raise ServiceError(
                f"topic {topic!r} has {count} partitions: nobody could say which record of an item counts",
                "make it anew with one partition, and load it again",
            )


def refuse_gap(settings: Settings, runtime: Runtime, job: Job) -> None:
    """Raise `ServiceError` if Kafka deleted events that the job hadn't read: the job would go on behind the gap."""
    kafka = addresses.as_user(runtime.kafka_bootstrap, users.ADMIN)
    gaps = kafka_admin.deleted_unread(kafka, users.GROUPS[job], settings.events_topic)
    if gaps:
        raise ServiceError(
            f"{settings.events_topic} lost events before the {job} job read them: {kafka_admin.told(gaps)}",
            "raise the topic's retention.ms; go on behind the gap with --accept-gap, or begin anew without a savepoint",
        )


def refuse_lost(settings: Settings, job: Job) -> None:
    """Raise `SettingsError` for settings with which the job can't go on from a savepoint."""
    before = changes.kept(settings.state_dir, job)
    if before and (lost := changes.lost(changes.of_settings(job, before, changes.Chosen.of(settings)))):
        raise SettingsError("\n".join(map(str, lost)))
