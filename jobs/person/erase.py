"""Erase people: send control records, wait until the jobs have obeyed them, and write a receipt for each person."""

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import redis

from jobs.cluster.runtime import Runtime
from jobs.connect import addresses, consent_topic, kafka_admin
from jobs.contract import consent
from jobs.errors import ServiceError
from jobs.features import plan
from jobs.flow.checkpoint import UnknownLayoutError
from jobs.flow.submissions import CANARY
from jobs.operate import running_jobs, submit
from jobs.person import receipt, traces
from jobs.person.heard_of import heard_of
from jobs.person.ids import Visitor
from jobs.person.receipt import Receipt
from jobs.settings import Settings

LIMIT_S = 60.0
PAUSE_S = 0.5
NOT_FOUND = "erased, looked for and not found"
UNSEEN = (
    "erased by the running jobs; their checkpoints can't be read from this machine, so nothing was looked for in them"
)
STOPPED = "no job runs; one that is submitted later obeys the erasure before its first event"


class Copy(Protocol):
    """A copy of what the topics hold of visitors, such as the lake."""

    name: str

    def holding(self, visitor_ids: Sequence[str]) -> set[str]:
        """Return the visitors of whom it holds rows."""

    def erase(self, visitor_ids: Sequence[str]) -> str:
        """Take out what the topic of consents says may not be there any more; return what a receipt says of it."""


@dataclass(frozen=True)
class Erased:
    """What became of one person: a receipt and its file, or None if nothing was known of the person."""

    visitor: Visitor
    receipt: Receipt | None = None
    path: Path | None = None


def erase(
    settings: Settings,
    runtime: Runtime,
    visitors: Sequence[Visitor],
    limit_s: float = LIMIT_S,
    copies: Sequence[Copy] = (),
) -> list[Erased]:
    """Erase visitors from state, Redis, offline files and copies; return what became of each, in their order.

    Of whom nothing is known gets no receipt and no record. What a visitor does from now on counts again, unless consent
    was withdrawn. Where consent is required, it counts after a new grant.
    Raises ServiceError if something is still there after `limit_s`. The control record stays, and jobs that run later
    obey it.
    """
    consents = consent_topic.read(runtime.kafka_bootstrap, settings.consent_topic, settings.consent)
    found = heard_of(settings, runtime, consents, _newest(settings, runtime), visitors)
    sought = [each for visitor in visitors for each in visitor.sought]
    found = found.union(*(copy.holding(sought) for copy in copies))
    known = [visitor for visitor in visitors if found.intersection(visitor.sought)]
    if not known:
        return [Erased(visitor) for visitor in visitors]
    ids = [each for visitor in known for each in (*visitor.ids, *found.intersection(visitor.older))]
    started_s, here_ms = time.monotonic(), time.time_ns() // 1_000_000
    at_ms = _send(settings, runtime, ids)
    files = traces.offline_files(settings)
    rows = {path: traces.erase_offline(path, ids) for path in files}
    copied = {copy.name: copy.erase(ids) for copy in copies}
    checkpoints, looked = _wait(settings, runtime, ids, here_ms, started_s + limit_s)
    erased = {
        "redis": NOT_FOUND,
        "redis' files": _rewritten(runtime.redis_url),
        "state": looked,
        **{str(path): f"{count} rows of {len(known)} visitors" for path, count in rows.items()},
        **copied,
    }
    longest_ms = _longest_ms(settings)
    remains = receipt.remaining(settings, runtime.kafka_bootstrap, at_ms, here_ms, checkpoints, longest_ms)
    seconds = round(time.monotonic() - started_s, 1)
    made = {
        visitor: Receipt(receipt.subject(settings, visitor.name), at_ms, seconds, erased, remains) for visitor in known
    }
    stored = {visitor: receipt.store(settings, one) for visitor, one in made.items()}
    return [Erased(visitor, made.get(visitor), stored.get(visitor)) for visitor in visitors]


def _send(settings: Settings, runtime: Runtime, ids: Collection[str]) -> int:
    """Write the control records, and return their time, by the broker's clock. They say where the events topic ends.

    Raises ServiceError if they don't hold.
    """
    kafka, topic = runtime.kafka_bootstrap, settings.consent_topic
    follower = consent_topic.Follower(kafka, topic, settings.consent)
    consents, at_ms = follower.now(), consent_topic.now_ms(kafka, topic)
    ends = kafka_admin.end_offsets(kafka, settings.events_topic)
    before = {str(partition): offset for partition, offset in ends.items()}
    withdrawn = {visitor_id for visitor_id in ids if _is_withdrawn(consents.latest(visitor_id))}
    earlier_ms = {visitor_id: _erased_ms(consents.of(visitor_id)) for visitor_id in ids}
    records = {visitor_id: consent.Record("erased", at_ms, before, visitor_id in withdrawn) for visitor_id in ids}
    consent_topic.send(kafka, topic, records)
    follower.now()
    unheard = sum(_erased_ms(consents.of(visitor_id)) <= earlier_ms[visitor_id] for visitor_id in ids)
    if unheard:
        raise ServiceError(f"the erasure of {unheard} of {len(ids)} ids doesn't hold", "liveshelf doctor; then again")
    return at_ms


def _erased_ms(records: Iterable[consent.Record]) -> int:
    """Return the time of the newest erasure, 0 if there is none."""
    return max((record.at_ms for record in records if record.state == "erased"), default=0)


def _is_withdrawn(latest: consent.Record | None) -> bool:
    return latest is not None and latest.after == "withdrawn"


def _wait(
    settings: Settings, runtime: Runtime, ids: Sequence[str], here_ms: int, deadline_s: float
) -> tuple[list[Path], str]:
    """Wait until neither Redis nor the newest checkpoints hold anything of them.

    Return these checkpoints, each of which was made after `here_ms` by this machine's clock, and how they were looked
    through. Raises ServiceError at `deadline_s` (monotonic clock).
    """
    shadows = [key for visitor_id in ids for key in traces.shadow_keys(settings, visitor_id)]
    with addresses.redis_client(runtime.redis_url) as client:
        while True:
            jobs = _job_ids(runtime)
            if shadows and running_jobs.running_job(runtime, CANARY) is None:
                client.unlink(*shadows)  # no job is left to obey
            checkpoints = traces.newest_checkpoints(settings, jobs)
            in_redis = traces.in_redis(settings, client, ids)
            are_new = are_newer(checkpoints, here_ms)
            in_state, looked = looked_through(settings, jobs, checkpoints, ids) if are_new else (set(ids), "")
            if not in_redis and not in_state:
                return checkpoints, looked
            left = "Redis" if in_redis else "the newest checkpoints"
            if time.monotonic() > deadline_s:
                raise ServiceError(
                    f"{left} still hold something of {len(in_redis | in_state)} of {len(ids)} ids",
                    "the jobs erase it as soon as they run: liveshelf status; then erase again for the receipt",
                )
            time.sleep(PAUSE_S)


def are_newer(checkpoints: Sequence[Path], at_ms: int) -> bool:
    """Return True if all checkpoints were made after a time. One that a newer has replaced says nothing yet."""
    try:
        return all((path / "_metadata").stat().st_mtime * 1000 >= at_ms for path in checkpoints)
    except FileNotFoundError:
        return False


def looked_through(
    settings: Settings, jobs: Sequence[str], checkpoints: Sequence[Path], ids: Sequence[str]
) -> tuple[set[str], str]:
    """Return whose state the checkpoints still hold, and what a receipt may say of them."""
    if not jobs:
        return set(), STOPPED
    if len(checkpoints) < len(jobs):
        return set(), UNSEEN
    try:
        found = traces.in_checkpoints(settings, checkpoints, ids)
    except UnknownLayoutError:
        return set(), UNSEEN
    except FileNotFoundError:  # a newer one has taken its place: look again
        return set(ids), ""
    return found, f"{NOT_FOUND} in the newest checkpoints of {len(checkpoints)} jobs"


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


def _newest(settings: Settings, runtime: Runtime) -> list[Path]:
    return traces.newest_checkpoints(settings, _job_ids(runtime))


def _job_ids(runtime: Runtime) -> list[str]:
    kinds = (*submit.JOBS, CANARY)
    return [job_id for job_id in (running_jobs.running_job(runtime, kind) for kind in kinds) if job_id]


def _longest_ms(settings: Settings) -> int:
    """Return the longest window of the views over anything but visitors."""
    running = plan.submitted(settings.state_dir)
    others = [view for view in running.views if view.entity != traces.PERSON] if running else []
    return max((window_ms for view in others for window_ms in view.windows_ms()), default=0)
