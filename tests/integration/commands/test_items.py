"""The commands of the catalogue on a real broker: load, set, show, export, remove, and letters sent again."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.cli import app
from jobs.cluster import runtime
from jobs.connect import fact_topics, kafka_admin, kafka_send
from jobs.connect.kafka_read import read_slice
from jobs.contract import items
from jobs.errors import ServiceError
from jobs.operate import doctor, facts, refuse
from jobs.settings import Settings

OFFERS = items.FactContract("offers", items.OFFER_FIELDS)


@pytest.fixture(scope="module")
def broker(kafka_settings: Settings, bootstrap: str) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIVESHELF_STATE_DIR", str(kafka_settings.state_dir))
        fact_topics.create(bootstrap, ("items", "offers"))
        kafka_admin.create_topics(bootstrap, {"items.dead": 1})
        yield bootstrap


def call(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["items", *arguments])
    assert result.exit_code == 0, result.output + str(result.exception)
    return result.stdout


def test_topics_are_compacted_have_one_partition_and_the_brokers_clock(broker: str):
    for found in kafka_admin.configs(broker, ("items", "offers")):
        assert {name: found[name] for name in fact_topics.TOPIC} == fact_topics.TOPIC
    assert kafka_admin.end_offsets(broker, "offers").keys() == {0}


def test_doctor_and_status_name_what_is_wrong_with_topics(broker: str, kafka_settings: Settings):
    """Those of the shop's own included, of which the applied definitions were noted."""
    noted = facts.path(kafka_settings)
    noted.parent.mkdir(exist_ok=True)
    try:
        noted.write_text('{"margins": {"margin": "Float64"}, "wide": {"width": "Int64"}, "offers": {"stock": "Int64"}}')
        kafka_admin.create_topics(broker, {"wide": 2})
        checks = {check.name: check for check in doctor._facts(kafka_settings, runtime.current(kafka_settings))}
        assert {name: check.ok for name, check in checks.items()} == {
            "topic items": True, "topic offers": True, "topic margins": False, "topic wide": False,
        }  # fmt: skip
        assert (checks["topic margins"].found, checks["topic margins"].fix) == ("it isn't there", "liveshelf apply")
        assert checks["topic wide"].found.startswith("it has 2 partitions")
        with pytest.raises(ServiceError, match="topic 'wide' has 2 partitions"):
            refuse.refuse_wide(kafka_settings, runtime.current(kafka_settings))
        status = CliRunner().invoke(app, ["status", "--json"])
        assert json.loads(status.stdout)["fact_topics"].keys() == {"items", "offers", "margins", "wide"}
    finally:
        noted.unlink()


def test_what_is_loaded_set_and_removed_is_shown_and_exported(broker: str, tmp_path: Path):
    assert json.loads(call("load", "eshop2008", "--json")) == {"items": 217, "written": {"items": 217, "offers": 217}}
    assert json.loads(call("load", "eshop2008", "--json"))["written"] == {"items": 0, "offers": 0}

    stock = tmp_path / "stock.csv"
    stock.write_text("item_id,stock,currency\nB4,3,\nnew,1,EUR\n")
    dry = json.loads(call("load", str(stock), "--dry-run", "--json"))
    assert dry == json.loads(call("load", str(stock), "--json")) == {"items": 2, "written": {"items": 0, "offers": 2}}

    call("set", "B4", "--stock", "0", "--title", 'a "skirt"')
    shown = json.loads(call("show", "B4", "--json"))
    assert shown["topics"]["offers"]["fields"] == {
        "price_minor": 5200, "stock": 0, "status": "active", "on_offer": False,
    }  # fmt: skip
    ends = kafka_admin.end_offsets(broker, "offers")
    assert (shown["topics"]["offers"]["partition"], shown["topics"]["offers"]["offset"]) == (0, ends[0] - 1)
    assert 'title "a \\"skirt\\""' in call("show", "B4")

    call("remove", "A1", "new")
    assert "nothing is known of item 'A1'" in CliRunner().invoke(app, ["items", "show", "A1"]).output
    exported = {row["item_id"]: row for row in map(json.loads, call("export", "--json").splitlines())}
    assert len(exported) == 216
    assert exported["B4"]["title"] == 'a "skirt"'

    again = tmp_path / "all.csv"
    again.write_text(call("export"))
    assert json.loads(call("load", str(again), "--json")) == {"items": 216, "written": {"items": 0, "offers": 0}}
    assert next(csv.DictReader(io.StringIO(again.read_text())))["on_offer"] in ("true", "false")


def test_nothing_is_written_of_a_file_with_a_wrong_row(broker: str, tmp_path: Path):
    file = tmp_path / "items.csv"
    file.write_text("item_id,stock\n1,5\n2,five\n")
    before = kafka_admin.end_offsets(broker, "offers")
    result = CliRunner().invoke(app, ["items", "load", str(file)])
    assert "line 3" in result.output
    assert kafka_admin.end_offsets(broker, "offers") == before


def test_a_refused_record_is_sent_again_unless_superseded(broker: str):
    sender = kafka_send.connect(broker, "offers", fast=False)
    for item in ("old", "mended"):
        sender.send(item.encode(), b'{"stock": "5"}', 1)
    sender.send(b"old", b'{"stock": 1}', 1)
    sender.flush()
    sender.close()
    refused = [record for record in read_slice(broker, "offers").records if record.value == b'{"stock": "5"}']
    sender = kafka_send.connect(broker, "items.dead", fast=False)
    for record in refused:
        letter = {
            "reason": "wrong_type", "field": "stock", "original": record.value.decode(), "original_base64": None,
            "topic": "offers", "partition": 0, "offset": record.offset, "refused_at_ms": 1,
            "key": record.key.decode(), "key_base64": None,
        }  # fmt: skip
        sender.send(None, json.dumps(letter).encode(), 1)
    sender.flush()
    sender.close()

    place = f"offers/0-{refused[1].offset}"
    assert place in call("dead", "list", "--reason", "wrong_type")
    assert "wrong_type: stock" in call("dead", "show", place)
    still = json.loads(call("dead", "replay", "--json"))
    assert still["refused"] == {"a newer record of the item": 1, "wrong_type stock": 1}
    assert json.loads(call("dead", "replay", "--set", "stock=5", "--json"))["sent"] == 1
    known = fact_topics.read(broker, OFFERS)
    assert (known["old"].fields, known["mended"].fields) == ({"stock": 1}, {"stock": 5})


def test_how_items_trend_is_not_the_shops_to_say(broker: str, kafka_settings: Settings, tmp_path: Path):
    """The rankings job says it. A shop's user mayn't write there in the secure profile."""
    noted = facts.path(kafka_settings)
    noted.parent.mkdir(exist_ok=True)
    try:
        noted.write_text('{"trends": {"trend": "Float64"}}')
        fact_topics.create(broker, ["trends"])
        (tmp_path / "one.jsonl").write_text('{"item_id": "steady", "stock": 3}')
        assert "trends" not in call("load", str(tmp_path / "one.jsonl"))
        assert CliRunner().invoke(app, ["items", "set", "steady", "--trend", "9"]).exit_code == 2
        assert "trend" not in call("export").splitlines()[0]
        assert "trends: nothing" in call("show", "steady")
        call("remove", "steady")
        assert sum(kafka_admin.end_offsets(broker, "trends").values()) == 0
    finally:
        noted.unlink()
