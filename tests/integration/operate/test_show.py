"""Which visitors can be looked at: `liveshelf show` names some who have a list in a real Redis."""

import json
import time
from pathlib import Path

import pytest
import redis
from typer.testing import CliRunner, Result

from jobs.cli import app


@pytest.fixture(autouse=True)
def this_redis(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVESHELF_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("LIVESHELF_REDIS_URL", redis_url)


def show(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["show", *arguments])


def put(client: redis.Redis, visitor: str, shelf: str = "home", fallback: str | None = None) -> None:
    now_ms = time.time_ns() // 1_000_000
    value = {
        "version": "00000000000000000005", "items": ["a"], "scores": [2.5], "model": "m-1", "event_time_ms": now_ms,
        "computed_at_ms": now_ms, "session_events": 3, "fallback": fallback, "list_id": "0-5",
    }  # fmt: skip
    client.set(f"shelf:{{{visitor}}}:{shelf}", json.dumps(value))


def test_without_an_id_visitors_with_a_list_are_named(client: redis.Redis) -> None:
    """Neither a list of another shelf nor the mark of an erased visitor counts."""
    for visitor in ("anna", "Zoë", "a:b}c"):
        put(client, visitor)
    put(client, "elsewhere", shelf="mail")
    put(client, "gone", fallback="erased")
    result = show("--json")
    assert result.exit_code == 0, result.output
    assert sorted(json.loads(result.stdout)) == ["Zoë", "a:b}c", "anna"]
    assert sorted(show().stdout.split()) == ["Zoë", "a:b}c", "anna"]


def test_of_many_visitors_five_are_named(client: redis.Redis) -> None:
    for number in range(2_500):
        client.set(f"features:{number}", "x")
        put(client, f"v{number}")
    assert len(json.loads(show("--json").stdout)) == 5


def test_an_unknown_visitor_is_told_who_has_a_list(client: redis.Redis) -> None:
    put(client, "anna")
    result = show("nobody")
    assert result.exit_code == 0
    assert "nobody: no list" in result.stdout
    assert "visitors with a list: anna" in result.stdout


def test_without_any_list_that_is_said(client: redis.Redis) -> None:
    assert "no visitor has a list" in show("nobody").stdout
    result = show()
    assert (result.exit_code, result.stdout) == (0, "")
    assert "liveshelf replay" in result.stderr
