"""What a cluster of the user's own says of itself, and what a job takes from it."""

import pytest

from jobs.cluster import flink_config
from jobs.operate import doctor, submit


def test_a_job_takes_the_clusters_options_of_checkpoints() -> None:
    cluster = {
        "execution.checkpointing.unaligned.enabled": "true",
        "rest.port": "8081",
        "execution.target": "remote",
    }
    assert flink_config.of_cluster(cluster) == {"execution.checkpointing.unaligned.enabled": "true"}


def test_the_folder_of_checkpoints_is_found_under_both_names() -> None:
    assert submit.checkpoint_folder({"execution.checkpointing.dir": "s3://b/c"}) == "s3://b/c"
    assert submit.checkpoint_folder({"state.checkpoints.dir": "file:///c"}) == "file:///c"
    assert submit.checkpoint_folder({"rest.port": "8081"}) == ""


@pytest.mark.parametrize(
    ("configuration", "ok", "found"),
    [
        ({}, False, "1 of a job are kept"),  # Flink's own default
        ({"execution.checkpointing.num-retained": "5"}, False, "5 of a job are kept"),
        ({"execution.checkpointing.num-retained": "6"}, True, "6 of a job are kept"),
        ({"state.checkpoints.num-retained": "7"}, True, "7 of a job are kept"),
    ],
)
def test_a_cluster_must_keep_checkpoints_from_before_a_loss(
    configuration: dict[str, str], ok: bool, found: str
) -> None:
    check = doctor.old_checkpoints(configuration)
    assert (check.ok, check.found) == (ok, found)
    assert bool(check.fix) != ok
