"""`liveshelf learn` on a real topic: what is new there becomes the version that serves, once."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

pytest.importorskip("torch", reason="torch isn't installed: pip install 'liveshelf[train]'")

from jobs.cli import app
from jobs.cluster import runtime
from jobs.connect import consent_topic, kafka_admin, kafka_send
from jobs.contract.consent import Record
from jobs.learn.loop import Loop, Outcome, learned_until_s
from jobs.learn.triggers import Triggers
from jobs.learn.visits import Tail, Visits
from jobs.settings import Settings
from models.clicks.dataset import Event
from models.serving.registry import Registry
from models.session.recipe import Recipe
from models.session.train import train_bundle

START_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
RING = 30


def walk(start: int, step: int) -> list[str]:
    return [f"sku-{(start + step * place) % RING}" for place in range(5)]


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker, and a registry whose model knows that item n + 1 follows item n."""
    folder = tmp_path_factory.mktemp("learn")
    settings = Settings(state_dir=folder / "state", kafka_port=0)
    sessions = [[Event(item, "view", 0.0) for item in walk(row, 1)] for row in range(200)]
    train_bundle(sessions, folder / "shop", "shop", {}, recipe=Recipe(epochs=5, batch_rows=16), tell=lambda _: None)
    registry = Registry(folder / "versions")
    registry.activate(registry.publish(folder / "shop"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIVESHELF_STATE_DIR", str(settings.state_dir))
        patch.setenv("LIVESHELF_MODEL_DIR", str(registry.folder))
        patch.setenv("LIVESHELF_TRACKING_DIR", str(settings.state_dir / "mlflow"))
        try:
            address = runtime.up(settings, ["kafka"]).kafka_bootstrap
            kafka_admin.create_topics(address, {"events": 2})
            kafka_admin.create_topics(address, {"consent": 1}, consent_topic.TOPIC)
            yield address
        finally:
            runtime.down(settings)


def send(bootstrap: str, step: int, begin_ms: int, count: int = 300) -> None:
    """Visitors of five clicks each, and a heartbeat that ends the sessions."""
    sender = kafka_send.connect(bootstrap, "events", fast=False)
    for row in range(count):
        for place, item in enumerate(walk(row * 7, step)):
            at_ms = begin_ms + row * 1000 + place * 100
            event: dict[str, Any] = {
                "schema_version": 1, "event_id": f"{begin_ms}-{row}-{place}", "event_type": "view",
                "event_time_ms": at_ms, "visitor_id": f"v{begin_ms}-{row}", "item_id": item,
            }  # fmt: skip
            sender.send(event["visitor_id"].encode(), json.dumps(event).encode(), at_ms)
    beat = {"schema_version": 1, "event_type": "heartbeat", "event_time_ms": begin_ms + HOUR_MS}
    sender.send(None, json.dumps(beat).encode(), begin_ms + HOUR_MS)
    sender.flush()
    sender.close()


def learn() -> dict:
    result = CliRunner().invoke(app, ("learn", "--once"))
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.splitlines()[-1])


def serving(registry: Path) -> str:
    return Registry(registry).active().version


def test_new_sessions_are_learned_from_once(bootstrap: str) -> None:
    folder = Settings().model_dir
    send(bootstrap, step=7, begin_ms=START_MS)
    first = learn()
    assert (first["sessions"], first["problem"]) == (300, "")
    assert first["after"]["mrr@20"] > first["before"]["mrr@20"] + 0.2
    assert serving(folder) == first["version"] != first["began_from"]

    again = learn()  # as a new process: where it stands is told by the version
    assert (again["sessions"], again["version"]) == (0, "")
    assert "0 sessions" in again["problem"]

    begin_ms = START_MS + 2 * HOUR_MS
    send(bootstrap, step=11, begin_ms=begin_ms)
    second = learn_after(bootstrap, {f"v{begin_ms}-{row}": Record("withdrawn", begin_ms + 1) for row in range(100)})
    assert (second.sessions, second.began_from) == (200, first["version"])
    assert serving(folder) == second.version != ""


def learn_after(bootstrap: str, records: dict[str, Record]) -> Outcome:
    """Read what is new, hear what visitors say since, and learn."""
    settings = Settings()
    registry = Registry(settings.model_dir)
    consents = consent_topic.Follower(bootstrap, settings.consent_topic, settings.consent)
    until_s = learned_until_s(registry)
    tail, visits = Tail(bootstrap, settings.events_topic, 0, consents.now), Visits(1800, until_s)
    loop = Loop(registry, tail, visits, consents.now, Triggers(), lambda _: None, settings.tracking_dir)
    try:
        loop.catch_up()
        consent_topic.send(bootstrap, settings.consent_topic, records)
        return loop.learn("asked to")
    finally:
        tail.close()
