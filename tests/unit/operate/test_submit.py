"""A job is submitted only if it can go on from where it should."""

import pytest

from jobs.cluster.runtime import Runtime
from jobs.errors import SettingsError
from jobs.features import plan
from jobs.flow import submissions
from jobs.flow.job_config import JobConfig
from jobs.operate import running_jobs, submit
from jobs.settings import Settings


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
