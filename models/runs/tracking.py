"""Record each training as a run in MLflow, and its bundle as a version in MLflow's registry of models.

Everything lies in one folder: `mlflow.db`, `artifacts/`, and `trials.db` with the recipes that Optuna tried. MLflow's
versions record what was trained. Which version serves is decided in models/serving/registry.py alone; `liveshelf models
publish` brings one there. This module needs MLflow, which no worker has.
"""

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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
    """Record one training: its recipe, its epochs, and at the end its quality, its pictures and its bundle."""

    def __init__(self, client: "MlflowClient", run_id: str) -> None:
        self._client, self.run_id = client, run_id
        self.curve: list[Epoch] = []
        self.failed: Exception | None = None  # the first thing that couldn't be recorded

    def recipe(self, values: dict[str, str | int | float]) -> None:
        """Record settings by name."""
        for name, value in values.items():
            self._try(self._client.log_param, _key(name), value)

    def _try(self, record: Callable[..., object], name: str, value: Any, **more: Any) -> None:
        """Record a value. What can't be recorded doesn't end hours of training; `failed` keeps why."""
        if self.failed is None:
            try:
                record(self.run_id, name, value, **more)
            except Exception as error:  # as in finish_or_tell
                self.failed = error

    def epoch(self, part: str, number: int, values: dict[str, float]) -> None:
        """Record the values of an epoch, and keep them for the curves."""
        self.curve.append(Epoch(part, number, values))
        for name, value in values.items():
            self._try(self._client.log_metric, _key(f"{part}/{name}"), value, step=number)

    def finish(self, reports: dict[str, dict], bundle: Path, name: str) -> str:
        """Record the reports (see train_bundle), register the bundle under `name`, and return its version there.

        `shipped/…` holds the settings of the bundle: it may have learned for fewer epochs than the recipe says.

        Raises ModelError for a bundle that a worker would refuse.
        """
        if self.failed is not None:
            raise self.failed
        checked = load_bundle(bundle)
        self.recipe({f"shipped/{setting}": value for setting, value in checked.manifest["training"].items()})
        for scorer, values in reports.items():
            for metric in ("recall@20", "mrr@20", "ndcg@20"):
                self._client.log_metric(self.run_id, _key(f"test/{scorer}/{metric}"), values[metric])
        self._client.log_dict(self.run_id, reports, "report.json")
        with tempfile.TemporaryDirectory() as folder:
            for picture in draw(Path(folder), name, self.curve, reports):
                self._client.log_artifact(self.run_id, str(picture), "pictures")
        for part in PARTS:
            self._client.log_artifact(self.run_id, str(bundle / part), "bundle")
        return self._register(name, checked.version)

    def finish_or_tell(
        self, reports: dict[str, dict], bundle: Path, name: str, store: Path, tell: Callable[[str], None]
    ) -> None:
        """Do `finish` and tell the version. If that fails, the bundle is there all the same, and that is told."""
        try:
            version = self.finish(reports, bundle, name)
        except Exception as error:  # MLflow, SQLAlchemy, sqlite and matplotlib raise classes of their own
            tell(f"{store} could not record the bundle, which {bundle} holds all the same: {_short(error)}")
            self.failed = error
            return
        tell(f"{store} holds the run, and the bundle as version {version} of {name}")

    def _register(self, name: str, version: str) -> str:
        if not self._client.search_registered_models(f"name = '{name}'"):
            self._client.create_registered_model(name)
        source = f"{self._client.get_run(self.run_id).info.artifact_uri}/bundle"
        tags = {"liveshelf_version": version}  # as `liveshelf models list` names it
        return str(self._client.create_model_version(name, source, self.run_id, tags=tags).version)


@contextmanager
def recorded(folder: Path, name: str) -> Iterator[Run]:
    """Open a run in the store in `folder`, which is made if need be. A run that raises stays, as failed or killed.

    Raises SettingsError if the folder can't be written.
    """
    client = _client(folder)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    artifacts = (folder / "artifacts").resolve().as_uri()
    place = experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT, artifacts)
    run = Run(client, client.create_run(place, run_name=name).info.run_id)
    status = "FAILED"
    try:
        yield run
        status = "FAILED" if run.failed else "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        with suppress(Exception):  # as in finish_or_tell; a status must not hide why a training ended
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
    """Run `train_bundle` with a bar, as a run in the folder `store`, and return its reports and its curve.

    `how` holds the other arguments of `train_bundle`.
    """
    from models.session.train import train_bundle  # torch

    with recorded(store, name) as run, bar() as step:
        watch = Watch(step, run.recipe, run.epoch)
        reports = train_bundle(sessions, out, name, source, tell=tell, watch=watch, store=store, **how)
        run.finish_or_tell(reports, out, name, store, tell)
    return reports, run.curve


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
    """Run `learn.train_on` as a run in the folder `store`; `how` holds its other arguments."""
    from models.session.learn import train_on  # torch

    base = load_bundle(folder)
    name = base.manifest["name"]
    with recorded(store, name) as run:
        run.recipe({"from": base.version, "new sessions": len(sessions)})
        judgement = train_on(folder, sessions, out, source, tell=tell, epoch=run.epoch, **how)
        run.finish_or_tell(judgement._asdict(), out, name, store, tell)
    return judgement


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


def _short(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__


def _key(name: str) -> str:
    """Return a name without signs that MLflow refuses, such as @: `test/model/recall_20`."""
    return re.sub(r"[^\w./ -]", "_", name)
