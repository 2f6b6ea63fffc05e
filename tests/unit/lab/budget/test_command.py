"""`liveshelf plan`, as it is called."""

import json

from typer.testing import CliRunner

from jobs.cli import app

SIZE = ["plan", "--visitors", "1000", "--events-per-second", "10", "--items", "500"]


def test_a_plan_is_printed_for_people_and_programs() -> None:
    printed, as_json = (CliRunner().invoke(app, [*SIZE, *more]) for more in ([], ["--json"]))
    assert printed.exit_code == as_json.exit_code == 0
    plan = json.loads(as_json.stdout)
    assert plan["asked"]["daily_events"] == 864_000
    assert len(plan["quantities"]) == 10
    for quantity in plan["quantities"]:
        assert f"\n{quantity['name']}: " in printed.stdout
        assert all(origin in printed.stdout for origin in quantity["origins"])


def test_a_size_that_makes_no_sense_ends_with_two() -> None:
    answer = CliRunner().invoke(app, [*SIZE, "--daily-visitors", "1001"])
    assert answer.exit_code == 2
    assert "--daily-visitors 1,001 is more than --visitors 1,000" in answer.stderr


def test_a_file_that_is_no_profile_ends_with_six() -> None:
    answer = CliRunner().invoke(app, [*SIZE, "--from", "README.md"])
    assert answer.exit_code == 6
    assert "README.md can't be read" in answer.stderr
