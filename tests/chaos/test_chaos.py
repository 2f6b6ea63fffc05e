"""One real system, hurt in four ways at once; the whole pr profile is `liveshelf chaos`."""

from pathlib import Path

from jobs.lab.chaos import processes, services
from jobs.lab.chaos.run import Act, run
from jobs.lab.chaos.stage import Scenario, Stage


def a_bad_minute(stage: Stage, _dose: float) -> None:
    processes.die_unnoticed(stage, 1)
    services.script_flush(stage, 1)
    services.redis_down(stage, 5)


def test_nothing_is_lost_after_four_faults_under_hard_traffic(tmp_path: Path, record_property) -> None:
    """The faults: a hung job, a dead task manager, forgotten scripts, and a Redis that is away."""
    scenario = Scenario("lean", "a bad minute", a_bad_minute, "of each", traffic_s=25)
    result = run(tmp_path / "system", [Act(scenario, 1, 1, 1000)], print)
    (outcome,) = result["outcomes"]
    record_property("recovery, s", outcome["recovery_s"])
    assert outcome["error"] == ""
    assert outcome["checks"] == {
        "runs again within 60 s": True,
        "both jobs start again, once a hang": True,
        "no restart": True,
    }
    assert [outcome[name] for name in ("lost", "phantom", "differing", "falls")] == [0, 0, 0, 0], outcome["examples"]
    assert outcome["compared"] > 5_000
    assert outcome["poison"] == 205
    assert result["ok"]
