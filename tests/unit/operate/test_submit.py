"""A job is submitted only if it can go on from where it should."""

import pytest

from jobs.cluster.runtime import Runtime
from jobs.contract import shelf_plan
from jobs.errors import DefinitionError, SettingsError
from jobs.features import plan
from jobs.flow import submissions
from jobs.flow.job_config import JobConfig
from jobs.operate import running_jobs, shelves, submit
from jobs.settings import Settings
from jobs.shelves.versions import ShelfVersions


@pytest.mark.parametrize("job", submit.JOBS)
def test_job_does_not_go_on_from_savepoint_in_another_topic(job: submit.Job, tmp_path):
    before = JobConfig.of(Settings(), "kafka:1", "redis://redis", project="shop")
    before.save(submissions.config_path(tmp_path, job))
    with pytest.raises(SettingsError, match=f"{job} job.consent_topic: consent became asked"):
        submit.submission(Settings(state_dir=tmp_path, consent_topic="asked"), Runtime(), job, "savepoint")


def test_a_restarted_job_has_what_it_was_submitted_with(tmp_path):
    """A job that is started again has what it was submitted with whatever a dry run wrote since."""
    settings, wanted = Settings(state_dir=tmp_path), plan.wanted_path(tmp_path)
    config = tmp_path / "jobs" / "features.config.json"
    argv = [
        "flink",
        "run",
        "-d",
        "-s",
        "file:///first",
        "-py",
        "job.py",
        "--config",
        str(config),
        "--plan",
        str(wanted),
    ]
    kept = [str(submissions.config_path(tmp_path, "features")), str(plan.submitted_path(tmp_path))]
    assert submit.again(settings, "features", argv, "file:///first") == [
        *("flink", "run", "-d", "-py", "job.py", "--config", kept[0], "--plan", kept[1]),
    ]
    assert not {str(config), str(wanted)} & set(kept)


def test_a_savepoint_goes_where_the_cluster_keeps_them():
    both = {"execution.checkpointing.savepoint-dir": "s3://new", "state.savepoints.dir": "s3://old"}
    assert running_jobs.own_savepoint_folder(both, "http://flink", "features") == "s3://new"
    assert (
        running_jobs.own_savepoint_folder({"state.savepoints.dir": "s3://old"}, "http://flink", "features")
        == "s3://old"
    )


def test_cluster_without_a_folder_for_savepoints_is_told_which_option():
    with pytest.raises(SettingsError, match=r"http://flink has no folder.*\n.*execution.checkpointing.savepoint-dir"):
        running_jobs.own_savepoint_folder({"rest.port": "8081"}, "http://flink", "features")


def test_an_error_of_the_jobs_python_is_told_before_javas():
    said = [
        "Traceback (most recent call last):",
        "jobs.errors.ModelError: model.onnx is truncated",
        "org.apache.flink.client.program.ProgramInvocationException: The program caused an error",
        "Caused by: java.lang.RuntimeException: Python process exits with code: 1",
    ]
    assert running_jobs.cause("\n".join(said)) == said[1]
    assert running_jobs.cause("\n".join(said[2:])) == said[3]


def _features(dtype: str) -> plan.FeaturePlan:
    output = plan.Output("visits", "count", "item_id", dtype)
    return plan.FeaturePlan("shop", "events", 0, [plan.ViewPlan("visitor_days", "visitor_id", "range", [output], 0)])


def _often() -> shelf_plan.ShelfPlan:
    visits = shelf_plan.Feature("visitor", "visits", "int")
    rule = shelf_plan.Rule(shelf_plan.Compare(">", visits, shelf_plan.Literals([3])), "V")
    source = shelf_plan.Source(kind="session")
    return shelf_plan.ShelfPlan(
        shelves=[
            shelf_plan.Shelf(name="home", take=[source], size=20),
            shelf_plan.Shelf(name="often", take=[source], where=rule, size=20),
        ],
        visitor=[shelf_plan.VisitorFeature("visits", "visitor_days", "int", 0)],
    )


def test_features_of_another_type_than_shelves_read_are_refused(tmp_path):
    settings, file = Settings(state_dir=tmp_path), tmp_path / "shelves.py"
    file.touch()
    versions = ShelfVersions(settings.shelves_folder)
    shelves.check_active(settings, _features("String"))  # no shelves are active
    version = versions.publish(_often(), file)
    versions.activate(version)

    what = rf"often: visitor.visits \(visitor_days\) is of type String, and {version} was made for type int"
    with pytest.raises(DefinitionError, match=what):
        shelves.check_active(settings, _features("String"))
    shelves.check_active(settings, _features("Float64"))  # a number is a number


def test_shelves_that_read_another_type_are_not_activated(tmp_path):
    settings, file = Settings(state_dir=tmp_path), tmp_path / "shelves.py"
    file.touch()
    plan.submitted_path(tmp_path).parent.mkdir(parents=True, exist_ok=True)
    plan.save(_features("Array(String)"), plan.submitted_path(tmp_path))
    versions = ShelfVersions(settings.shelves_folder, lambda *which: shelves.check_running(settings, *which))
    version = versions.publish(_often(), file)

    with pytest.raises(DefinitionError, match=r"often: visitor.visits .* is of type Array\(String\)"):
        versions.activate(version)
    with pytest.raises(DefinitionError, match="no active version"):
        versions.active()
