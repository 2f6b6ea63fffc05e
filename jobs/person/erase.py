"""Erase people: send one control record for each, wait until the jobs have obeyed it, and write receipts."""

import time
from collections.abc import Sequence
from pathlib import Path

import redis

from jobs.cluster.runtime import Runtime
from jobs.connect import addresses, consent_topic, kafka_admin
from jobs.contract import consent
from jobs.errors import ServiceError
from jobs.features import plan
from jobs.operate import running_jobs, submit
from jobs.person import receipt, traces
from jobs.settings import Settings

LIMIT_S = 60.0
PAUSE_S = 0.5
NOT_FOUND = "erased, looked for and not found"
UNSEEN = "erased by the running jobs; their checkpoints aren't on this machine, so nothing was looked for in them"


def erase(
    settings: Settings, runtime: Runtime, visitor_ids: Sequence[str], limit_s: float = LIMIT_S
) -> list[tuple[receipt.Receipt, Path]]:
    """Erase visitors from state, Redis and offline files; return each one's receipt and its file, in their order.

    What a visitor does from now on counts again, unless consent was withdrawn. Where consent is required, it counts
    after a new grant.
    Raises ServiceError if something is still there after `limit_s`. The control record stays, and jobs that run later
    obey it.
    """
    started_s, at_ms = time.monotonic(), time.time_ns() // 1_000_000
    ends = kafka_admin.end_offsets(runtime.kafka_bootstrap, settings.events_topic)
    before = {str(partition): offset for partition, offset in ends.items()}
    consents = consent_topic.read(runtime.kafka_bootstrap, settings.consent_topic, settings.consent)
    withdrawn = {visitor for visitor in visitor_ids if _is_withdrawn(consents.latest(visitor))}
    records = {visitor: consent.Record("erased", at_ms, before, visitor in withdrawn) for visitor in visitor_ids}
    consent_topic.send(runtime.kafka_bootstrap, settings.consent_topic, records)
    files = traces.offline_files(settings)
    rows = {path: traces.erase_offline(path, visitor_ids) for path in files}
    checkpoints = _wait(settings, runtime, visitor_ids, at_ms, started_s + limit_s)
    erased = {
        "redis": NOT_FOUND,
        "redis' files": _rewritten(runtime.redis_url),
        "state": f"{NOT_FOUND} in the newest checkpoints of {len(checkpoints)} jobs" if checkpoints else UNSEEN,
        **{str(path): f"{count} rows of {len(visitor_ids)} visitors" for path, count in rows.items()},
    }
    remains = receipt.remaining(settings, runtime.kafka_bootstrap, at_ms, checkpoints, _longest_ms(settings))
    seconds = round(time.monotonic() - started_s, 1)
    receipts = [
        receipt.Receipt(receipt.subject(settings, visitor_id), at_ms, seconds, erased, remains)
        for visitor_id in visitor_ids
    ]
    return [(one, receipt.store(settings, one)) for one in receipts]


def _is_withdrawn(latest: consent.Record | None) -> bool:
    return latest is not None and latest.after == "withdrawn"


def _wait(
    settings: Settings, runtime: Runtime, visitor_ids: Sequence[str], at_ms: int, deadline_s: float
) -> list[Path]:
    """Wait until neither Redis nor the newest checkpoints hold anything of them, and return these checkpoints.

    Each of them was made after `at_ms`. Raises ServiceError at `deadline_s` (monotonic clock).
    """
    with addresses.redis_client(runtime.redis_url) as client:
        while True:
            checkpoints = traces.newest_checkpoints(settings, _job_ids(runtime))
            in_redis = traces.in_redis(settings, client, visitor_ids)
            too_old = [path for path in checkpoints if (path / "_metadata").stat().st_mtime * 1000 < at_ms]
            in_state = set(visitor_ids) if too_old else set()
            if not in_redis and not too_old:
                in_state = traces.in_files(checkpoints, visitor_ids)
            if not in_redis and not in_state:
                return checkpoints
            left = "Redis" if in_redis else "the newest checkpoints"
            if time.monotonic() > deadline_s:
                raise ServiceError(
                    f"{left} still hold something of {len(in_redis | in_state)} of {len(visitor_ids)} visitors",
                    "the jobs erase it as soon as they run: liveshelf status; then erase again for the receipt",
                )
            time.sleep(PAUSE_S)


def _rewritten(redis_url: str) -> str:
    """Ask Redis to rewrite its append-only file, which holds old values until then; return the server's answer."""
    with addresses.redis_client(redis_url) as client:
        try:
            if not client.info("persistence").get("aof_enabled"):
                return "no append-only file; snapshots and backups are the server's owner's"
            client.bgrewriteaof()
        except redis.ResponseError as error:
            return f"not rewritten ({error}): BGREWRITEAOF takes old values out of the append-only file"
    return "the append-only file is being rewritten without old values"


def _job_ids(runtime: Runtime) -> list[str]:
    return [job_id for job_id in (running_jobs.running_job(runtime, kind) for kind in submit.JOBS) if job_id]


def _longest_ms(settings: Settings) -> int:
    """Return the longest window of the views over anything but visitors."""
    running = plan.submitted(settings.state_dir)
    others = [view for view in running.views if view.entity != traces.PERSON] if running else []
    return max((window_ms for view in others for window_ms in view.windows_ms()), default=0)
