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


def put(client: redis.Redis, visitor: str, shelf: str = "home", fallback: str | None = None, **more: object) -> None:
    now_ms = time.time_ns() // 1_000_000
    value = {
        "version": "00000000000000000005", "items": ["a"], "scores": [2.5], "model": "m-1", "event_time_ms": now_ms,
        "computed_at_ms": now_ms, "session_events": 3, "fallback": fallback, "list_id": "0-5",
    }  # fmt: skip
    client.set(f"shelf:{{{visitor}}}:{shelf}", json.dumps(value | more))


def test_without_an_id_visitors_with_a_list_are_named(client: redis.Redis) -> None:
    """Neither a list of another shelf nor the mark of an erased visitor counts."""
    for visitor in ("anna", "Zoë", "a:b}c"):
        put(client, visitor)
    put(client, "elsewhere", shelf="mail")
    put(client, "gone", fallback="erased")
    put(client, "item/7")
    put(client, "place/PL")
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


def test_an_unknown_shelf_is_named() -> None:
    result = show("anna", "prodct")
    assert result.exit_code == 3
    assert "no published version has a shelf 'prodct'\n  fix: one of home" in result.stderr


def test_a_value_that_is_no_list_is_an_error(client: redis.Redis) -> None:
    client.set("shelf:{anna}:home", "[")
    result = show("anna")
    assert result.exit_code == 1
    assert "error: shelf:{…}:home holds no list of liveshelf's" in result.stderr


def test_without_any_list_that_is_said(client: redis.Redis) -> None:
    assert "no visitor has a list" in show("nobody").stdout
    result = show()
    assert (result.exit_code, result.stdout) == (0, "")
    assert "liveshelf replay" in result.stderr


def test_a_list_of_a_shelf_is_shown_with_its_reasons(client: redis.Redis) -> None:
    """Its items are the shipped model's, which knows their names by their ids."""
    reasons = {"why": [1, 19, 0], "seen": ["C1"], "because": [0, -1, -1], "about": ["C1"], "shelves": "shelves-1"}
    put(client, "anna", "product", items=["A2", "B4", "P1"], scores=[3.0, 2.0, 1.0], spare=1, **reasons)

    shown = json.loads(show("anna", "product", "--json").stdout)
    assert (shown["shelf"], shown["about"], shown["shelves"]) == ("product", ["C1"], "shelves-1")
    assert [(item["item_id"], item["why"], item["instead"], item["because"]) for item in shown["items"]] == [
        ("A2", "together", 0, "C1"),
        ("B4", "popular", 1, None),
    ]
    lines = show("anna", "product").stdout.splitlines()
    assert lines[1] == "shelf product, about C1, shelves-1"
    assert ["together, because of" in lines[3], lines[4].endswith("popular instead")] == [True, True]
    assert "anna: no list of home" in show("anna").stdout
    assert "visitors with a list: anna" in show("nobody", "product").stdout
