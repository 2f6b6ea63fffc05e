"""P: people ask to be forgotten while things break."""

from concurrent.futures import ThreadPoolExecutor

from jobs.contract.events import Event
from jobs.flow import submissions
from jobs.lab.chaos import processes
from jobs.lab.chaos.stage import Scenario, Stage
from jobs.lab.chaos.traffic import clicks
from jobs.operate import rebuild
from jobs.person import erase, ids, traces

ERASED_LIMIT_S = 180.0  # with a TaskManager's death in it; without, a minute is the limit (tests/e2e/test_person.py)
OWN = "~"  # in the ids of visitors who come in one block of traffic only


def own_visitors(seed: int, block: int, count: int, start_ms: int) -> list[Event]:
    """Return clicks of visitors whom no other block has."""
    events = clicks(seed, block, count, start_ms)
    return [event | {"visitor_id": f"{event['visitor_id']}{OWN}{seed}.{block}"} for event in events]


def erase_some(stage: Stage, count: float) -> None:
    """Erase some of a block's visitors while others click, the TaskManager dies and Redis forgets its scripts.

    Afterwards the features job reads the topic again from its beginning.
    """
    system = stage.system
    stage.traffic.join()
    system.wait_read()
    own = [visitor for visitor in stage.sampler.visitors() if OWN in visitor]
    victims = stage.rng.sample(own, int(count))
    stage.sampler.leave(victims)
    stage.traffic = stage.go_on()
    with ThreadPoolExecutor(1) as beside:
        asked_for = ids.ids_of(system.settings, victims)
        asked = beside.submit(erase.erase, system.settings, system.direct, asked_for, ERASED_LIMIT_S)
        processes.kill_task_manager(stage, 1)
        with system.redis() as client:
            client.script_flush()
        receipts = [each.receipt for each in asked.result() if each.receipt]
    stage.check("a receipt for each", len(receipts) == len(victims))
    stage.recovery_s.append(receipts[0].seconds)
    _check_no_trace(stage, victims, "after the erasure")
    stage.traffic.join()
    (note,) = (job for job in submissions.noted(system.state_dir) if job.job == "features")
    rebuild.features(system.state_dir, system.running.flink_rest_url, note)
    system.wait_working()
    system.wait_read()
    _check_no_trace(stage, victims, "after a replay from 0")


def _check_no_trace(stage: Stage, victims: list[str], when: str) -> None:
    system = stage.system
    system.wait_checkpoint(2)
    with system.redis() as client:
        stage.check(f"nothing in Redis {when}", not traces.in_redis(system.settings, client, victims))
    checkpoints = traces.newest_checkpoints(system.settings, system.job_ids())
    stage.check(f"two checkpoints {when}", len(checkpoints) == 2)
    stage.check(
        f"nothing in the newest checkpoints {when}", not traces.in_checkpoints(system.settings, checkpoints, victims)
    )
    logs = [system.state_dir / "flink" / "log", *system.state_dir.glob("*/*.log")]
    stage.check("nobody in the logs", not traces.in_files(logs, victims))


SCENARIOS = (
    Scenario(
        "P1",
        "visitors erased while things break, then a replay from 0",
        erase_some,
        "visitors",
        0,
        100,
        25,
        own_visitors,
    ),
)
