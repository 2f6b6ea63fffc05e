"""What MLflow keeps of a training, read back by a client of its own."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("mlflow", reason="MLflow isn't installed: pip install 'liveshelf[train]'")

from jobs.errors import SettingsError
from models.runs.tracking import EXPERIMENT, recorded
from models.serving.bundle import load_bundle

FOUND = {
    name: {"recall@20": recall, "mrr@20": 0.25, "ndcg@20": 0.5, "pairs": 8, "intervals": {"recall@20": [0.1, 0.9]}}
    for name, recall in (("model", 0.75), ("popular", 0.125))
}


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def client(store):
    from mlflow import MlflowClient

    uri = f"sqlite:///{store / 'mlflow.db'}"
    return MlflowClient(uri, uri)


def runs(client):
    return client.search_runs(
        [client.get_experiment_by_name(EXPERIMENT).experiment_id], order_by=["attributes.start_time ASC"]
    )


def test_run_keeps_recipe_epochs_table_the_pictures_and_the_bundle(store, client, eshop_bundle_folder):
    with recorded(store, "shop") as run:
        run.recipe({"loss": "bpr_max", "epochs": 2})
        run.epoch("teaching part", 1, {"loss": 4.5, "mrr@20": 0.125})
        run.epoch("teaching part", 2, {"loss": 4.25, "mrr@20": 0.25})
        run.finish(FOUND, eshop_bundle_folder, "shop")
    (kept,) = runs(client)
    assert (kept.info.run_name, kept.info.status) == ("shop", "FINISHED")
    assert {name: value for name, value in kept.data.params.items() if "/" not in name} == {
        "loss": "bpr_max",
        "epochs": "2",
    }
    assert kept.data.params["shipped/memory"] == "sessions"  # as in the packaged bundle's manifest
    assert kept.data.params["shipped/newcomers_recall_20"]  # MLflow refuses an @
    losses = client.get_metric_history(kept.info.run_id, "teaching part/loss")
    assert [(each.step, each.value) for each in losses] == [(1, 4.5), (2, 4.25)]
    assert kept.data.metrics["test/model/recall_20"] == 0.75
    assert kept.data.metrics["test/popular/mrr_20"] == 0.25
    names = [file.path for folder in ("bundle", "pictures") for file in client.list_artifacts(kept.info.run_id, folder)]
    assert names == [
        "bundle/manifest.json", "bundle/model.onnx", "bundle/vocabulary.json",
        "pictures/shop-comparison.png", "pictures/shop-curves.png",
    ]  # fmt: skip


def test_each_training_of_name_is_version_that_can_be_published(
    store, client, eshop_bundle_folder, tmp_path, monkeypatch
):
    from mlflow.artifacts import download_artifacts

    for expected in ("1", "2"):
        with recorded(store, "shop") as run:
            run.epoch("all sessions", 1, {"loss": 1.0})
            assert run.finish(FOUND, eshop_bundle_folder, "shop") == expected
    version = client.get_model_version("shop", "2")
    assert version.run_id == run.run_id
    monkeypatch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)
    folder = download_artifacts("models:/shop/2", dst_path=str(tmp_path / "got"))
    assert load_bundle(folder).version == version.tags["liveshelf_version"] == load_bundle(eshop_bundle_folder).version


def test_a_store_that_breaks_neither_hides_nor_loses_the_bundle(store, client, eshop_bundle_folder, monkeypatch):
    told: list[str] = []

    def broken(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with recorded(store, "shop") as run:
        monkeypatch.setattr(run._client, "log_metric", broken)
        run.epoch("teaching part", 1, {"loss": 4.5})  # hours of training go on
        run.finish_or_tell(FOUND, eshop_bundle_folder, "shop", store, told.append)
    assert told == [
        f"{store} could not record the bundle, which {eshop_bundle_folder} holds all the same: "
        "[Errno 28] No space left on device"
    ]
    assert [each.info.status for each in runs(client)] == ["FAILED"]


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_training_that_ends_early_keeps_its_recipe(store, client, error, status):
    """A training that ends early keeps its recipe and says how it ended."""

    def train():
        with recorded(store, "shop") as run:
            run.recipe({"epochs": 12})
            raise error

    with pytest.raises(error):
        train()
    (kept,) = runs(client)
    assert (kept.info.status, kept.data.params) == (status, {"epochs": "12"})


def test_a_folder_that_cant_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(SettingsError, match=r"file/store can't be made .*\n.*LIVESHELF_TRACKING_DIR"),
        recorded(tmp_path / "file" / "store", "shop"),
    ):
        pass


ALONE = """
import socket, sys
from pathlib import Path
def refuse(*arguments, **_):
    print("asked for", arguments[0], flush=True)
    raise OSError("no network here")
socket.getaddrinfo = refuse
from models.runs.tracking import recorded
with recorded(Path(sys.argv[1]), "shop") as run:
    run.recipe({"epochs": 1})
import time; time.sleep(1)
"""


def test_nothing_is_sent_to_anyone(store):
    # MLflow tells nothing in tests and in CI by itself, so it is asked outside of them.
    quiet = ("PYTEST_CURRENT_TEST", "CI", "GITHUB_ACTIONS", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK")
    environment = {name: value for name, value in os.environ.items() if name not in quiet}
    done = subprocess.run(
        [sys.executable, "-c", ALONE, store], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
