"""Letters in a real broker: refused events are listed, shown and sent again; late ones are listed and shown."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.cli import app
from jobs.cluster import runtime
from jobs.connect import consent_topic, kafka_admin, kafka_send
from jobs.connect.kafka_read import read_slice
from jobs.contract import consent
from jobs.settings import Settings
from liveshelf import pseudonyms

EVENT = {"schema_version": 1, "event_id": "e1", "event_type": "view", "visitor_id": "é1", "item_id": "i"}
DUE, FAR = EVENT | {"event_time_ms": 1_700_000_000_000}, EVENT | {"event_time_ms": 4_000_000_000_000}


def letter(offset: int, reason: str, field: str, original: bytes, partition: int = 0) -> bytes:
    """A record as the features job writes it."""
    text = None if reason == "not_utf8" else original.decode()
    encoded = base64.b64encode(original).decode() if text is None else None
    return json.dumps({
        "reason": reason, "field": field, "original": text, "original_base64": encoded, "topic": "events",
        "partition": partition, "offset": offset, "refused_at_ms": 1,
    }).encode()  # fmt: skip


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = Settings(state_dir=tmp_path_factory.mktemp("dead"), kafka_port=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIVESHELF_STATE_DIR", str(settings.state_dir))
        try:
            address = runtime.up(settings, ["kafka"]).kafka_bootstrap
            kafka_admin.create_topics(address, {"events": 2, "events.dead": 2, "events.late": 2, "consent": 1})
            sender = kafka_send.connect(address, "events.dead", fast=False)
            for number in (3, 3):  # at-least-once: the same letter twice
                sender.send(None, letter(number, "future_event_time", "event_time_ms", json.dumps(DUE).encode()), 1)
            sender.send(None, letter(4, "future_event_time", "event_time_ms", json.dumps(FAR).encode()), 1)
            sender.send(None, letter(5, "not_utf8", "", b"\xff\x00"), 1)
            sender.send(None, letter(6, "wrong_type", "quantity", json.dumps(DUE | {"quantity": "2"}).encode()), 1)
            sender.flush()
            sender.close()
            sender = kafka_send.connect(address, "events.late", fast=False)
            for partition, offset in ((0, 7), (1, 8), (1, 8), (1, 9)):
                sender.send(None, letter(offset, "late", "event_time_ms", json.dumps(DUE).encode(), partition), 1)
            sender.flush()
            sender.close()
            yield address
        finally:
            runtime.down(settings)


def call(*arguments: str, group: str = "dead") -> str:
    result = CliRunner().invoke(app, (group, *arguments))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_letters_are_counted_once_by_reason(bootstrap: str) -> None:
    lines = call().splitlines()
    assert lines[0].split()[:2] == ["2", "future_event_time"]
    assert [line.split()[:2] for line in lines[1:]] == [["1", "not_utf8"], ["1", "wrong_type"]]
    assert [each["offset"] for each in json.loads(call("list", "--json"))] == [3, 4, 5, 6]
    assert "0-5  \\xff\\x00" in call("list", "--reason", "not_utf8")


def test_one_letter_is_shown_with_its_bytes(bootstrap: str) -> None:
    assert "b'\\xff\\x00'" in call("show", "0-5")
    assert CliRunner().invoke(app, ["dead", "show", "0-99"]).exit_code == 6


def test_late_events_are_counted_once_by_partition_and_hour(bootstrap: str) -> None:
    assert call(group="late").splitlines() == [
        "       1  partition 0, events of 2023-11-14 22:00 UTC, late  such as 0-7",
        "       2  partition 1, events of 2023-11-14 22:00 UTC, late  such as 1-8",
    ]
    assert [each["offset"] for each in json.loads(call("list", "--json", group="late"))] == [7, 8, 9]
    listed = call("list", "--partition", "1", group="late")
    assert "1-9  {" in listed
    assert "0-7" not in listed


def test_one_late_event_is_shown_with_its_bytes(bootstrap: str) -> None:
    assert call("show", "1-8", group="late").startswith(
        "late: event_time_ms\nfrom topic events, partition 1, offset 8\n"
    )
    missing = CliRunner().invoke(app, ["late", "show", "0-4"])
    assert missing.exit_code == 6
    assert "liveshelf late list" in missing.stderr


def test_what_the_contract_takes_now_is_sent_as_producers_send(bootstrap: str) -> None:
    before = len(read_slice(bootstrap, "events").records)
    dry = json.loads(call("replay", "--reason", "future_event_time", "--dry-run", "--json"))
    assert dry == {"letters": 2, "ready": 1, "sent": 0, "refused": {"future_event_time event_time_ms": 1}}
    assert json.loads(call("replay", "--reason", "future_event_time", "--json"))["sent"] == 1
    records = read_slice(bootstrap, "events").records
    assert len(records) == before + 1
    newest = next(each for each in records if json.loads(each.value) == DUE)
    assert newest.key == "é1".encode()
    assert newest.timestamp_ms == 1_700_000_000_000


def test_a_correction_reaches_only_the_named_field(bootstrap: str) -> None:
    sent = json.loads(call("replay", "--field", "quantity", "--set", "quantity=2", "--json"))
    assert (sent["letters"], sent["sent"]) == (1, 1)
    values = [json.loads(each.value) for each in read_slice(bootstrap, "events").records]
    assert DUE | {"quantity": 2} in values


def test_a_replay_of_letters_revives_nobody_and_keeps_ids_pseudonyms(
    bootstrap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was erased since isn't sent again. An id that a person types is stored as the collector stores it."""
    file = tmp_path / "pseudonym.keys"
    pseudonyms.add_key(file)
    monkeypatch.setenv("LIVESHELF_PSEUDONYM_KEYS", str(file))
    call("replay", "--field", "quantity", "--set", "quantity=3", "--set", "visitor_id=anna@shop", "--set", "user_id=u1")
    keys = pseudonyms.Pseudonyms.read(file)
    sent = DUE | {"quantity": 3, "visitor_id": keys.of("anna@shop"), "user_id": keys.of("u1", "user_id")}
    records = read_slice(bootstrap, "events").records
    assert sent in [json.loads(each.value) for each in records]
    assert b"anna" not in b"".join(each.value for each in records)

    ends = {str(partition): 10 for partition in (0, 1)}
    erased = consent.Record("erased", 1_700_000_000_001, ends)
    consent_topic.send(bootstrap, "consent", {"é1": erased})
    again = json.loads(call("replay", "--reason", "future_event_time", "--json"))
    assert (again["letters"], again["sent"]) == (2, 0)
    assert again["refused"]["no consent, or erased since"] == 1
