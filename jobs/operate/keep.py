"""Bring back what Flink and Redis can't bring back by themselves: `python -m jobs.operate.keep STATE_DIR REST_URL`.

Flink's JobManager remembers its jobs only with ZooKeeper or Kubernetes. One that restarts without them gets its jobs
from here, each from its newest checkpoint. A job that waits for a dead Python worker is started again (`hung.py`).

Redis may lose writes that a checkpoint counts as done: a second of them by its append-only file, more by a failover,
all by FLUSHALL. Flink doesn't send them again. So the keeper writes a mark into Redis at each look: "complete: this run
of the server, at this time". A server that restarted has another run id, and the mark tells up to when its data
survived. A server that was emptied has no mark.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from jobs.cluster.archive import Archives
from jobs.connect import addresses, flink_rest, kafka_admin, users
from jobs.connect.redis_pipeline import Connection
from jobs.errors import LiveshelfError, ServiceError
from jobs.flow import submissions
from jobs.flow.submissions import Submitted
from jobs.operate import rebuild
from jobs.operate.hung import Hung

LOOK_EVERY_S = 0.5
MARK = "liveshelf:complete"  # holds "<run id> <epoch seconds>"
NO_RUN = "-"  # while a repair is on its way
# One script, because the server may restart, or someone empty it, between any two commands.
LOOK = """
local info = redis.call('INFO', 'server')
local run = string.match(info, 'run_id:(%x+)')
local mark = redis.call('GET', KEYS[1]) or ''
if string.sub(mark, 1, #run) == run then redis.call('SET', KEYS[1], run .. ' ' .. ARGV[1]) end
return {run, mark, string.match(info, 'uptime_in_seconds:(%d+)')}
"""
DONE = """
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], run .. ' ' .. ARGV[2])
return 1
"""
REPAIR_PATIENCE_S = 60.0


class Keeper:
    """Look at the jobs and at Redis, again and again, and bring back what is lost."""

    def __init__(self, state_dir: Path, rest_url: str) -> None:
        self._state_dir, self._rest_url = state_dir, rest_url
        self._hung = Hung(state_dir, rest_url)
        self._archives = Archives(state_dir)

    def look(self) -> None:
        """Look once. A service that doesn't answer raises nothing: it may answer the next time."""
        noted = submissions.noted(self._state_dir)
        try:
            if noted and self.resume(noted) == 0:
                for done in (self._hung.mend(noted), self._archives.look()):
                    if done:
                        _say(done)
                self.repair(noted)
        except (LiveshelfError, requests.RequestException, OSError) as error:
            _say(f"will try again: {error}")
            time.sleep(2)

    def resume(self, noted: list[Submitted]) -> int:
        """Start the jobs that the JobManager doesn't know, from their newest checkpoints; return their number."""
        states = {job["jid"]: job["state"] for job in flink_rest.ask(self._rest_url, "/jobs/overview")["jobs"]}
        for submitted in noted:
            if states.get(submitted.job_id) in flink_rest.ENDED:  # by someone's will: not ours to start
                submissions.forget(self._state_dir, submitted.job)
        lost = [submitted for submitted in noted if submitted.job_id not in states]
        with ThreadPoolExecutor(2) as beside:
            list(beside.map(self._start, lost))
        return len(lost)

    def repair(self, noted: list[Submitted]) -> bool:
        """Bring back what Redis has lost since it was complete; return True if it had lost anything.

        A canary's lists stay lost: they are there to be compared with what comes.
        """
        noted = [submitted for submitted in noted if submitted.job != submissions.CANARY]
        if not noted:
            return False
        look = self._redis(noted[0], patience_s=0.1)
        try:
            (reply,) = look.exchange([("EVAL", LOOK, 1, MARK, _now())])
        except ServiceError:
            return False  # Redis is away: the jobs wait for it, and so does the keeper
        finally:
            look.close()
        if isinstance(reply, Exception):
            raise ServiceError(
                f"Redis refuses to say whether it is complete: {reply}", "allow INFO, GET and SET in scripts"
            )
        run_id, mark, uptime_s = (part.decode() for part in reply)
        if mark.startswith(run_id):
            return False
        self._rebuild(noted, run_id, float(mark.split(" ")[1]) if mark else 0.0, time.time() - float(uptime_s))
        return True

    def _rebuild(self, noted: list[Submitted], run_id: str, before_s: float, since_s: float) -> None:
        started_s, begun = time.monotonic(), f"{NO_RUN} {before_s:.3f}"
        connection = self._redis(noted[0], REPAIR_PATIENCE_S)
        try:
            connection.exchange([("SET", MARK, begun)])
            lists_first = sorted(noted, key=lambda job: job.job != "rankings")  # they are back in seconds
            for submitted in lists_first:
                if submitted.job == "rankings":
                    count = rebuild.lists(
                        submissions.config(self._state_dir, "rankings"), connection, int(before_s * 1000)
                    )
                    _say(f"Redis is another or an emptied one: {count} lists written again")
                    continue
                (mark,) = connection.exchange([("GET", submissions.BEGUN + submitted.job)])
                kept = mark == submissions.begun_mark(run_id, submitted.at_s).encode()
                if not submissions.writes_again(self._state_dir, submitted, before_s, since_s, kept):
                    again = rebuild.features(self._state_dir, self._rest_url, submitted, before_s)
                    _say(f"features are written again from {again.restored_from or 'the beginning'}")
            connection.exchange([("EVAL", DONE, 1, MARK, begun, _now())])
        finally:
            connection.close()
        _say(f"repaired in {time.monotonic() - started_s:.1f} s")

    def _redis(self, submitted: Submitted, patience_s: float) -> Connection:
        """Connect as admin where Redis has users: a job's user may not read the run id and not set the mark."""
        return Connection(
            addresses.as_user(submissions.config(self._state_dir, submitted.job).redis_url, users.ADMIN), patience_s
        )

    def _start(self, submitted: Submitted) -> None:
        """Start a job from its newest checkpoint that can be read; raise the last `ServiceError` if none can."""
        started_s, failed = time.monotonic(), ServiceError(f"{submitted.job} has nowhere to start from")
        for start in submissions.starts(self._state_dir, submitted):
            try:
                submissions.start_again(self._state_dir, submitted, start)
            except ServiceError as error:
                flink_rest.ask(self._rest_url, "/overview")  # raises if it is the JobManager that can't
                _say(f"{submitted.job} can't go on from {start or 'the beginning'}: {error.what}")
                failed = error
                continue
            self._tell_gap(submitted)
            took_s = time.monotonic() - started_s
            return _say(
                f"the JobManager had lost {submitted.job}: it goes on from {start or 'the beginning'}, {took_s:.1f} s"
            )
        raise failed

    def _tell_gap(self, submitted: Submitted) -> None:
        """Log events that were lost before the job read them. The job runs all the same: lists matter more."""
        config = submissions.config(self._state_dir, submitted.job)
        kafka = addresses.as_user(config.kafka_bootstrap, users.CLI)
        gaps = kafka_admin.deleted_unread(
            kafka, users.GROUPS.get(submitted.job, users.CANARY_GROUP), config.events_topic
        )
        if gaps:
            lost = f"EVENTS LOST: {config.events_topic} had deleted them before {submitted.job} read them"
            _say(f"{lost}: {kafka_admin.told(gaps)}")


def _now() -> str:
    return f"{time.time():.3f}"


def _say(what: str) -> None:
    print(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {what}", flush=True)


def keep(state_dir: Path, rest_url: str) -> None:
    """Look at the jobs and at Redis until the process is ended."""
    keeper = Keeper(state_dir, rest_url)
    while True:
        keeper.look()
        time.sleep(LOOK_EVERY_S)


if __name__ == "__main__":
    keep(Path(sys.argv[1]), sys.argv[2])
