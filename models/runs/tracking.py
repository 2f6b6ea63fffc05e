"""Each training as a run in MLflow, and its bundle as a version in MLflow's registry of models.

Everything lies in one folder: `mlflow.db`, `artifacts/`, and `trials.db`, the recipes that Optuna tried. MLflow's
versions are the record of what was trained; which one serves is said by models/serving/registry.py alone, and a version goes
there by `liveshelf models publish`. Needs MLflow, which no worker has.
"""

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.errors import SettingsError
from models.clicks.dataset import Session
from models.runs.pictures import Epoch, draw
from models.serving.bundle import load_bundle
from models.serving.registry import PARTS
from models.session.watch import Watch, bar

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from models.session.learn import Judgement

EXPERIMENT = "liveshelf train"
SILENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # without it MLflow tells its makers of each run created and model registered
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",  # a line for each of some 50 migrations of a new store
}


class Run:
    """One training: its recipe, its epochs, and at the end what it is worth, its pictures and its bundle."""

    def __init__(self, client: "MlflowClient", run_id: str) -> None:
        self._client, self.run_id = client, run_id
        self.curve: list[Epoch] = []

    def recipe(self, values: dict[str, str | int | float]) -> None:
        for name, value in values.items():
            self._client.log_param(self.run_id, name, value)

    def epoch(self, part: str, number: int, values: dict[str, float]) -> None:
        """Kept for the curves too."""
        self.curve.append(Epoch(part, number, values))
        for name, value in values.items():
            self._client.log_metric(self.run_id, _key(f"{part}/{name}"), value, step=number)

    def finish(self, found: dict[str, dict], bundle: Path, name: str) -> str:
        """Record what was `found` (see train_bundle) and register the bundle under `name`; its version there.

        What shipped may have learned for fewer epochs than the recipe says, and has a memory: `shipped/…` tells that.

        Raises ModelError for a bundle that a worker would refuse.
        """
        checked = load_bundle(bundle)
        self.recipe({f"shipped/{setting}": value for setting, value in checked.manifest["training"].items()})
        for scorer, values in found.items():
            for metric in ("recall@20", "mrr@20", "ndcg@20"):
                self._client.log_metric(self.run_id, _key(f"test/{scorer}/{metric}"), values[metric])
        self._client.log_dict(self.run_id, found, "report.json")
        with tempfile.TemporaryDirectory() as folder:
            for picture in draw(Path(folder), name, self.curve, found):
                self._client.log_artifact(self.run_id, str(picture), "pictures")
        for part in PARTS:
            self._client.log_artifact(self.run_id, str(bundle / part), "bundle")
        return self._register(name, checked.version)

    def _register(self, name: str, version: str) -> str:
        if not self._client.search_registered_models(f"name = '{name}'"):
            self._client.create_registered_model(name)
        source = f"{self._client.get_run(self.run_id).info.artifact_uri}/bundle"
        tags = {"liveshelf_version": version}  # as `liveshelf models list` names it
        return str(self._client.create_model_version(name, source, self.run_id, tags=tags).version)


@contextmanager
def recorded(folder: Path, name: str) -> Iterator[Run]:
    """A run in the store in `folder`, which is made if it isn't there; one that raises is kept as failed or killed.

    Raises SettingsError where the folder can't be written.
    """
    client = _client(folder)
    known = client.get_experiment_by_name(EXPERIMENT)
    artifacts = (folder / "artifacts").resolve().as_uri()
    experiment = known.experiment_id if known else client.create_experiment(EXPERIMENT, artifact_location=artifacts)
    run = Run(client, client.create_run(experiment, run_name=name).info.run_id)
    status = "FAILED"
    try:
        yield run
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        client.set_terminated(run.run_id, status)


def train_recorded(
    store: Path,
    sessions: list[Session],
    out: Path,
    name: str,
    source: dict[str, str],
    *,
    tell: Callable[[str], None],
    **how: Any,
) -> tuple[dict[str, dict], list[Epoch]]:
    """`train_bundle` with a bar, as a run in the folder `store`: its reports, and its curve; `how` goes to it."""
    from models.session.train import train_bundle  # torch

    with recorded(store, name) as run, bar() as step:
        watch = Watch(step, run.recipe, run.epoch)
        found = train_bundle(sessions, out, name, source, tell=tell, watch=watch, store=store, **how)
        version = run.finish(found, out, name)
    tell(f"{store} holds the run, and the bundle as version {version} of {name}")
    return found, run.curve


def learn_recorded(
    store: Path,
    folder: Path,
    sessions: list[Session],
    out: Path,
    source: dict[str, Any],
    *,
    tell: Callable[[str], None],
    **how: Any,
) -> "Judgement":
    """`learn.train_on` as a run in the folder `store`; `how` goes to it."""
    from models.session.learn import train_on  # torch

    known = load_bundle(folder)
    name = known.manifest["name"]
    with recorded(store, name) as run:
        run.recipe({"from": known.version, "new sessions": len(sessions)})
        judged = train_on(folder, sessions, out, source, tell=tell, epoch=run.epoch, **how)
        version = run.finish(judged._asdict(), out, name)
    tell(f"{store} holds the run, and the bundle as version {version} of {name}")
    return judged


def _client(folder: Path) -> "MlflowClient":
    os.environ.update(SILENT)  # read when MLflow is imported
    try:
        from mlflow import MlflowClient  # 2 s of CPU
    except ImportError as error:
        raise SettingsError(
            f"training needs {error.name}", "make train-env, or pip install 'liveshelf[train]'"
        ) from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"{folder} can't be made ({error.strerror})", "set LIVESHELF_TRACKING_DIR to a folder that can be written"
        ) from error
    store = f"sqlite:///{(folder / 'mlflow.db').resolve()}"
    return MlflowClient(tracking_uri=store, registry_uri=store)


def _key(name: str) -> str:
    """MLflow's names have no @ and some more signs: `test/model/recall_20`."""
    return re.sub(r"[^\w./ -]", "_", name)
