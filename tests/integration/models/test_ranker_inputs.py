"""A feature owner edits `ranker_context`, trains anew, and the model is accepted: no Python is changed."""

import json
import shutil
from pathlib import Path

import msgspec
import pandas as pd
import pytest
from typer.testing import CliRunner

pytest.importorskip("torch", reason="torch isn't installed: pip install 'liveshelf[train]'")
pytest.importorskip("mlflow", reason="MLflow isn't installed: pip install 'liveshelf[train]'")

from jobs.cli import app
from jobs.errors import DefinitionError
from jobs.features import definitions, lint, plan
from jobs.features.ranker_inputs import ranker_inputs
from jobs.operate import submit
from jobs.settings import SHIPPED_FEATURE_REPO, Settings
from models.serving.bundle import load_bundle
from models.serving.registry import Registry

SHIPPED = """        visitor_session[["view_count", "duration_s", "mean_price_minor"]],
        visitor_activity[["views_1h"]],
"""
EDITED = """        visitor_activity[["carts_5m", "spend_minor_24h"]],
        visitor_session[["bounce", "duration_s", "distinct_items"]],
"""
EIGHT_MS = 1_714_550_400_000  # 2024-05-01T08:00:00Z
FEATURES = [
    "visitor_activity:carts_5m",
    "visitor_activity:spend_minor_24h",
    "visitor_session:bounce",
    "visitor_session:duration_s",
    "visitor_session:distinct_items",
]


def repo(folder: Path, service: str) -> Path:
    """A copy of the shipped feature repository with other features in `ranker_context`."""
    shutil.copytree(SHIPPED_FEATURE_REPO, folder, ignore=shutil.ignore_patterns("__pycache__", "data"))
    text = (folder / "definitions.py").read_text()
    assert SHIPPED in text
    (folder / "definitions.py").write_text(text.replace(SHIPPED, service))
    store = folder / "feature_store.yaml"
    store.write_text(store.read_text().replace("project: liveshelf", "project: shop"))
    return folder


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A system of its own whose feature owner has edited the service."""
    settings = Settings(
        state_dir=tmp_path / "state",
        feature_repo=repo(tmp_path / "repo", EDITED),
        model_dir=tmp_path / "versions",
        tracking_dir=tmp_path / "mlflow",
    )
    for name in ("state_dir", "feature_repo", "model_dir", "tracking_dir"):
        monkeypatch.setenv(f"LIVESHELF_{name.upper()}", str(getattr(settings, name)))
    return settings


def training_set(file: Path, features: list[str]) -> Path:
    """60 visitors who click item after item, with made values of the features at each click."""
    rows = [
        {"visitor_id": f"v{visitor}", "event_type": "view", "event_time_ms": EIGHT_MS + visitor * 10_000 + place,
         "item_id": f"i{(visitor + place) % 12}"} | {feature.replace(":", "__"): place for feature in features}
        for visitor in range(60) for place in range(4)
    ]  # fmt: skip
    pd.DataFrame(rows).to_parquet(file)
    return file


def applied(settings: Settings) -> plan.FeaturePlan:
    """The plan of what the definition files say, as `submit features` keeps it."""
    known = definitions.from_files(settings)
    views = lint.checked(settings, known)
    services = {service.name: [name for name, _ in submit.service_inputs(service)] for service in known.services}
    return msgspec.structs.replace(views, services=services)


def train(*arguments: str) -> tuple[int, str]:
    answer = CliRunner().invoke(app, ["train", *arguments])
    return answer.exit_code, answer.stderr


def test_an_edited_feature_service_is_trained_published_and_accepted(settings: Settings, tmp_path: Path) -> None:
    file, out = training_set(tmp_path / "set.parquet", FEATURES), tmp_path / "shop"
    code, told = train("--sessions", str(file), "--out", str(out), "--minutes", "0.1")
    assert code == 0, told
    assert "60 sessions, 60 of them with context" in told
    bundle = load_bundle(out)
    assert bundle.context_features == bundle.manifest["context_features"] == FEATURES
    assert next(tensor for tensor in bundle.manifest["inputs"] if tensor["name"] == "context")["shape"][1] == 5

    published = CliRunner().invoke(app, ["models", "publish", str(out), "--activate"])
    assert published.exit_code == 0, published.stderr
    assert Registry(settings.model_dir).active().version == bundle.version
    plan.save(applied(settings), plan.submitted_path(settings.state_dir))
    assert submit.served_project(settings) == "shop"

    shipped = Settings(feature_repo=SHIPPED_FEATURE_REPO)
    plan.save(applied(shipped), plan.submitted_path(settings.state_dir))
    with pytest.raises(DefinitionError, match=r"reads \['visitor_activity:carts_5m'.*\n  fix: liveshelf train"):
        submit.served_project(settings)


def test_training_set_without_one_of_features_is_refused_by_name(settings: Settings, tmp_path: Path) -> None:
    file = training_set(tmp_path / "set.parquet", FEATURES[1:])
    code, told = train("--sessions", str(file), "--out", str(tmp_path / "shop"))
    assert code == 6
    assert "no column for visitor_activity:carts_5m" in told


def test_a_version_with_other_inputs_is_not_learned_on_from(settings: Settings, tmp_path: Path) -> None:
    file = training_set(tmp_path / "set.parquet", FEATURES)
    eshop = str(Path(__file__).parents[3] / "models" / "artifacts" / "eshop")
    code, told = train("--sessions", str(file), "--out", str(tmp_path / "next"), "--from", eshop)
    assert code == 5
    assert "train anew without --from" in told


@pytest.mark.parametrize(
    ("service", "problem"),
    [
        ('visitor_session[["last_category"]],\n', "visitor_session:last_category, which is a String"),
        ('item_activity[["views_1h"]],\n', "item_activity:views_1h, which is kept for each item"),
    ],
)
def test_what_the_ranker_cannot_read_is_refused(service: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=problem):
        ranker_inputs(Settings(feature_repo=repo(tmp_path / "repo", service)))


def test_an_undefined_service_is_named_with_the_defined_ones() -> None:
    """A service that is not defined is named with those that are."""
    with pytest.raises(DefinitionError, match=r"no feature service 'gone' .*\n  fix: .* ranker_context"):
        ranker_inputs(Settings(context_service="gone"))


def test_the_shipped_service_gives_what_the_shipped_models_read() -> None:
    artifacts = Path(__file__).parents[3] / "models" / "artifacts"
    for name in ("eshop", "serenade"):
        manifest = json.loads((artifacts / name / "manifest.json").read_text())
        assert manifest["context_features"] == ranker_inputs(Settings())
