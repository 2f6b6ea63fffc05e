"""A model of another shop is told when it is activated, from the events of a real Kafka."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from jobs.cli import app
from jobs.cluster import runtime
from jobs.connect import kafka_admin, kafka_send
from jobs.settings import REPOSITORY, Settings

SENT_MS = 1_700_000_000_000
BUNDLE = REPOSITORY / "models" / "artifacts" / "eshop"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A system with Kafka only, and an empty folder of versions."""
    for name in [name for name in os.environ if name.startswith("LIVESHELF_")]:
        monkeypatch.delenv(name)
    for name, value in {"STATE_DIR": tmp_path / "state", "MODEL_DIR": tmp_path / "versions", "KAFKA_PORT": 0}.items():
        monkeypatch.setenv(f"LIVESHELF_{name}", str(value))
    monkeypatch.chdir(tmp_path)
    settings = Settings()
    try:
        runtime.up(settings, ["kafka"])
        yield settings
    finally:
        runtime.down(settings)


def send_views(settings: Settings, items: list[str]) -> None:
    bootstrap = runtime.current(settings).kafka_bootstrap
    kafka_admin.create_topics(bootstrap, {settings.events_topic: 2})
    with closing(kafka_send.connect(bootstrap, settings.events_topic, fast=False)) as sender:
        for number, item in enumerate(items):
            event: dict[str, Any] = {
                "schema_version": 1,
                "event_id": f"e-{number}",
                "event_type": "view",
                "event_time_ms": SENT_MS + number,
                "visitor_id": f"v-{number % 7}",
                "item_id": item,
            }
            sender.send(event["visitor_id"].encode(), msgspec.json.encode(event), SENT_MS + number)
        sender.flush()


def activate() -> str:
    result = CliRunner().invoke(app, ["models", "publish", str(BUNDLE), "--activate"])
    assert result.exit_code == 0
    return result.stderr


def test_a_model_that_knows_no_newest_item_is_warned_of(settings: Settings) -> None:
    assert "warning" not in activate()  # there is no topic yet
    send_views(settings, [f"of-another-shop-{number}" for number in range(30)])
    assert "knows the item of 0 (0%) of the newest 30 events with an item in topic events" in activate()

    known = msgspec.json.decode((BUNDLE / "vocabulary.json").read_bytes())["items"]
    send_views(settings, known[:20])
    assert "warning" not in activate()
