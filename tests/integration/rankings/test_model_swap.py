"""A running operator takes activated versions between two batches, and refuses every broken one while it goes on."""

import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import redis

from jobs.contract.ranker_settings import RankerSettings
from jobs.rankings import operator
from jobs.settings import REPOSITORY
from models.serving.bundle import load_bundle
from models.serving.registry import ACTIVE, Registry
from tests.support.clock import Clock

ESHOP = REPOSITORY / "models" / "artifacts" / "eshop"
CLOCK = Clock()


class Shop:
    """An operator on a registry, and visitors who click all the time."""

    def __init__(self, registry: Registry, redis_url: str, counters: dict) -> None:
        config = operator.RankConfig(RankerSettings(model_dir=str(registry.folder)), redis_url, "liveshelf")
        self.operator, self.counters, self.offset = operator.RankSessions(config), counters, 0
        self.operator.open(self.counters)

    def click(self) -> list[dict]:
        """The log records of one batch of 20 visitors."""
        items = load_items()
        rows = range(self.offset, self.offset + 20)
        histories = [f"{CLOCK.now_ms}\x1fview\x1f{items[row % len(items)]}\x1fe{row}\x1f" for row in rows]
        records = self.operator.eval(
            pd.Series([f"v{row}" for row in rows]),
            pd.Series([0] * 20),
            pd.Series(list(rows)),
            pd.Series(histories),
            pd.Series([CLOCK.now_ms] * 20),
            pd.Series([None] * 20, dtype=object),
            pd.Series(["view"] * 20),
            pd.Series([CLOCK.now_ms] * 20),
        )
        self.offset += 20
        return [json.loads(record) for record in records]

    def click_until(self, condition: Callable[[list[dict]], bool], seconds: float = 10.0) -> list[list[dict]]:
        batches, deadline = [], time.monotonic() + seconds
        while True:
            batches.append(self.click())
            if condition(batches[-1]):
                return batches
            assert time.monotonic() < deadline, "it didn't happen"


def load_items() -> list[str]:
    return json.loads((ESHOP / "vocabulary.json").read_text())["items"]


def publish_renamed(registry: Registry, folder: Path, name: str) -> str:
    """The packaged model under another name, which makes it another version."""
    copy = Path(shutil.copytree(ESHOP, folder / name))
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"name": name}))
    return registry.publish(copy)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "versions")


def test_ten_activations_and_two_rollbacks_change_lists_between_two_batches(
    registry: Registry, tmp_path: Path, redis_url: str, client: redis.Redis, counters: dict
) -> None:
    versions = [publish_renamed(registry, tmp_path, f"shop{number}") for number in range(3)]
    registry.activate(versions[0])
    shop = Shop(registry, redis_url, counters)
    served = [versions[0]]
    for number in range(1, 11):
        served.append(registry.activate(versions[number % 3]).version)
        batches = shop.click_until(lambda batch: batch[0]["model"] == served[-1])
        for batch in batches:  # never two versions in a batch, never one that wasn't active
            assert {record["model"] for record in batch} in ({served[-2]}, {served[-1]})
    for _ in range(2):
        served.append(registry.rollback().version)
        shop.click_until(lambda batch: batch[0]["model"] == served[-1])
    shop.operator.close()
    assert shop.counters["models_taken"] == 12
    assert shop.counters["models_refused"] == 0
    assert shop.counters["lists_written"] == shop.counters["batch_rows"] == shop.offset  # no event without its list
    assert json.loads(client.get("shelf:{v0}:home"))["model"] == versions[0]


def truncated(version: Path) -> None:
    data = (version / "model.onnx").read_bytes()
    (version / "model.onnx").write_bytes(data[: len(data) // 2])


def edited(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def edit(version: Path) -> None:
        manifest = json.loads((version / "manifest.json").read_text())
        change(manifest)
        (version / "manifest.json").write_text(json.dumps(manifest))

    return edit


BREAKAGES = {
    "a truncated model": truncated,
    "a missing model": lambda version: (version / "model.onnx").unlink(),
    "a vocabulary that was edited": lambda version: (version / "vocabulary.json").write_text("{}"),
    "a manifest that is no JSON": lambda version: (version / "manifest.json").write_text("{"),
    "another input": edited(lambda manifest: manifest["inputs"][0].update(name="products")),
    "another number of items": edited(lambda manifest: manifest.update(n_items=5)),
    "other golden scores": edited(lambda manifest: manifest["golden"]["outputs"]["scores"][0].__setitem__(0, 99.0)),
    "a context feature without a view": edited(lambda manifest: manifest["context_features"].__setitem__(0, "views")),
    "another model's files": edited(lambda manifest: manifest.update(name="somebody-else")),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_broken_version_is_refused_and_the_old_one_goes_on(
    registry: Registry, tmp_path: Path, redis_url: str, client: redis.Redis, counters: dict, breakage: str
) -> None:
    good, bad = (publish_renamed(registry, tmp_path, name) for name in ("good", "bad"))
    registry.activate(good)
    shop = Shop(registry, redis_url, counters)
    BREAKAGES[breakage](registry.folder / bad)
    # Past `activate`, which would refuse it: as if the files had broken afterwards.
    (registry.folder / ACTIVE).write_text(json.dumps({"version": bad, "activated_at_ms": 1, "before": [good]}))
    batches = shop.click_until(lambda _: shop.counters["models_refused"] == 1)
    shop.operator.close()
    assert {record["model"] for batch in batches for record in batch} == {good}
    assert registry.refused().version == bad
    assert load_bundle(registry.folder / good).version == good


def test_loading_a_version_doesnt_hold_a_batch_up(
    registry: Registry, tmp_path: Path, redis_url: str, client: redis.Redis, counters: dict
) -> None:
    first, second = (publish_renamed(registry, tmp_path, name) for name in ("first", "second"))
    registry.activate(first)
    shop = Shop(registry, redis_url, counters)
    shop.click()
    release = threading.Event()
    load = shop.operator._models._registry.bundle
    shop.operator._models._registry.bundle = lambda version: release.wait(10) and load(version)
    registry.activate(second)
    loading = lambda _: shop.operator._models._loading is not None  # noqa: E731
    shop.click_until(loading)
    assert {record["model"] for _ in range(20) for record in shop.click()} == {first}
    release.set()
    shop.click_until(lambda batch: batch[0]["model"] == second)
    shop.operator.close()
