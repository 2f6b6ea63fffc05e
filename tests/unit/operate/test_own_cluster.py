"""What a cluster of the user's own says of itself, and what a job takes from it."""

from jobs.cluster import flink_config
from jobs.operate import submit


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
