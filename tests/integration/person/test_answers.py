"""What a person is told and given, from a real Kafka and Redis: all of the person's own, and nothing of others."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from kafka import KafkaProducer
from typer.testing import CliRunner, Result

from jobs.cli import app
from jobs.cluster import runtime
from jobs.connect import consent_topic, kafka_admin
from jobs.connect.kafka_read import Position, Record, read_slice, stream
from jobs.contract import consent
from jobs.contract.shelf_plan import Shelf, ShelfPlan, Source
from jobs.person import erase, heard_of, traces
from jobs.person.ids import ids_of
from jobs.settings import REPOSITORY, Settings
from jobs.shelves.versions import ShelfVersions
from liveshelf import pseudonyms
from tests.support.clock import Clock

TOPICS = {"events": 2, "events.dead": 1, "events.late": 1, "rankings": 1}
CLOCK = Clock()
# Each id as it stands in JSON: by Java, by Python, by PHP, by Go.
ESCAPED = [
    ("zoé", '"zoé"'.encode()), ("zoé", rb'"zo\u00e9"'), ("user/17", b'"user/17"'), ("user/17", rb'"user\/17"'),
    ("a<b", rb'"a\u003cb"'), ("s2224", b'"s2224"'), ("s22240", b'"s22240"'), ("../x", rb'"..\/x"'), ("1", b'"1"'),
]  # fmt: skip


def event(visitor: bytes, number: int, more: bytes = b"") -> bytes:
    head = b'{"schema_version":1,"event_type":"view","event_time_ms":%d,"item_id":"1","event_id":"e%d","visitor_id":'
    return head % (CLOCK.now_ms + number, number) + visitor + more + b"}"


def letter(original: bytes, offset: int, reason: str = "wrong_type") -> bytes:
    return json.dumps({
        "reason": reason, "field": "", "original": original.decode(), "original_base64": None, "topic": "events",
        "partition": 0, "offset": offset, "refused_at_ms": 1,
    }).encode()  # fmt: skip


def logged(visitor: str, offset: int) -> bytes:
    value = {"visitor_id": visitor, "shelf": "home", "partition": 1, "offset": offset, "items": ["1"]}
    return json.dumps(value | {"event_time_ms": CLOCK.now_ms + offset}).encode()


def records() -> Iterator[tuple[str, bytes | None, bytes | None]]:
    """Topic, key and value. Keys are missing or another visitor's, as a careless producer's are."""
    for number, (_, text) in enumerate(ESCAPED):
        yield "events", (None, b"web", b"1")[number % 3], event(text, number)
    for number in (100, 101, 102):  # others, who name our visitors in free text, and in fields that aren't the visitor
        named = b',"query":"zo\xc3\xa9 and web have my illness","channel":"web","user_id":"s2224","session_id":"1"'
        yield "events", b"zo\xc3\xa9", event(b'"other%d"' % number, number, named)
        yield "events.dead", None, letter(event(b'"other%d"' % number, number, named + b',"quantity":"web"'), number)
        yield "events.late", None, letter(event(b'"other%d"' % number, number, named), number, "late")
    yield "events.dead", None, letter(event(rb'"zo\u00e9"', 200, b',"quantity":"1"'), 200)
    yield "events.late", None, letter(event(rb'"user\/17"', 201), 201, "late")
    yield "events.dead", None, letter(event(b"1", 202), 202)
    yield "events.dead", None, b"no letter"
    yield "rankings", b"other", logged("zoé", 300)
    yield "rankings", b"zo\xc3\xa9", logged("other", 301)
    yield "rankings", b"zo\xc3\xa9", None


@pytest.fixture(scope="module")
def settings(kafka_settings: Settings, redis_url: str) -> Iterator[Settings]:
    bootstrap = runtime.current(kafka_settings).kafka_bootstrap
    kafka_admin.create_topics(bootstrap, TOPICS)
    kafka_admin.create_topics(bootstrap, {"consent": 1}, consent_topic.TOPIC)
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all")
    for topic, key, value in records():
        producer.send(topic, key=key, value=value, timestamp_ms=CLOCK.now_ms)
    producer.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIVESHELF_STATE_DIR", str(kafka_settings.state_dir))
        patch.setenv("LIVESHELF_REDIS_URL", redis_url)
        yield Settings()


def call(*arguments: str, given: str | bytes | None = None) -> Result:
    result = CliRunner().invoke(app, arguments, input=given)
    assert result.exit_code == 0, result.output
    return result


def shown(visitor: str, *options: str) -> dict[str, Any]:
    return json.loads(call("person", "show", "--json", *options, "--", visitor).stdout)


def offsets(letters: list[dict[str, Any]]) -> list[int]:
    return [each["offset"] for each in letters]


@pytest.mark.parametrize(
    ("visitor", "events", "letters", "lists"),
    [
        ("zoé", ["e0", "e1"], [200], [300]),
        ("user/17", ["e2", "e3"], [201], []),
        ("a<b", ["e4"], [], []),
        ("s2224", ["e5"], [], []),
        ("s22240", ["e6"], [], []),
        ("1", ["e8"], [202], []),
        ("web", [], [], []),
        ("my illness", [], [], []),
        ("EUR", [], [], []),
    ],
)
def test_a_person_is_shown_their_own_and_nobody_elses(
    visitor: str, events: list[str], letters: list[int], lists: list[int], settings: Settings
) -> None:
    person = shown(visitor)
    assert sorted(each["event_id"] for each in person["events"]) == events
    assert (offsets(person["letters"]), offsets(person["lists"])) == (letters, lists)


def test_of_an_unknown_person_nothing_is_said_to_be_known(settings: Settings) -> None:
    assert "nothing is known of 'web'" in call("person", "show", "web").stderr
    assert "nothing is known" not in call("person", "show", "zoé").stderr


def test_an_export_is_named_as_receipts_name_the_person(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One folder for each, below the present one, whatever the id; none for nobody. Too long an id is refused."""
    monkeypatch.chdir(tmp_path)
    for visitor in ("../x", "user/17"):
        call("person", "export", visitor)
    assert "nothing is known of 'web'" in call("person", "export", "web").stderr
    folders = sorted(tmp_path.iterdir())
    assert [each.name[16:] for each in folders] == ["-export", "-export"]
    assert all(int(each.name[:16], 16) >= 0 for each in folders)
    assert not (tmp_path.parent / "x-export").exists()
    counted = sorted(len((each / "events.jsonl").read_text().splitlines()) for each in folders)
    assert counted == [1, 2]
    assert CliRunner().invoke(app, ["person", "export", "x" * 300]).exit_code == 2
    for folder in ("models/artifacts/answer", "jobs/answer"):  # it would be in each wheel and image
        assert CliRunner().invoke(app, ["person", "export", "zoé", "--to", str(REPOSITORY / folder)]).exit_code == 2


def test_lists_and_letters_are_judged_when_events_are_gone(settings: Settings) -> None:
    """As the jobs judge their events: by place for an erasure, by time, or by when an unreadable one was refused."""
    bootstrap, now_ms = bootstrap_of(settings), CLOCK.now_ms
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all")
    for visitor in ("dora", "emil"):
        text = json.dumps(visitor).encode()
        producer.send("rankings", value=logged(visitor, 500))
        producer.send("events.late", value=letter(event(text, 501), 501, "late"))
        producer.send("events.dead", value=letter(b'{"visitor_id":%s,"event_time_ms":"soon"}' % text, 502))
        producer.send("events.dead", value=letter(event(text, 20_000_000), 503))  # of tomorrow
    producer.close()
    person = shown("dora")
    assert (len(person["lists"]), len(person["letters"]), person["hidden_events"]) == (1, 3, 0)
    said = {"dora": consent.Record("erased", now_ms, {"0": 503, "1": 503}), "emil": consent.Record("withdrawn", now_ms)}
    consent_topic.send(bootstrap, "consent", said)
    for visitor, letters in (("dora", [503]), ("emil", [])):
        person = shown(visitor)
        assert (person["lists"], offsets(person["letters"])) == ([], letters)
        assert person["hidden_events"] == 4 - len(letters)


@pytest.mark.parametrize("wrong_by_ms", [-3_600_000, 3_600_000])
def test_a_wrong_clock_delays_no_ones_word(
    wrong_by_ms: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour behind, or ahead: what a page has said a moment before doesn't outlive it, and nothing is unreadable."""
    visitor, bootstrap, now_ns = f"fred-{wrong_by_ms}", bootstrap_of(settings), time.time_ns
    consent_topic.send(bootstrap, "consent", {visitor: consent.Record("granted", now_ns() // 1_000_000)})
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() + wrong_by_ms * 1_000_000)
    for command, state in (("withdraw", "withdrawn"), ("grant", "granted")):
        call("consent", command, visitor)
        found = consent_topic.read(bootstrap, "consent", "assumed")
        assert (found.latest(visitor).state, list(found.unread)) == (state, [])
        assert abs(found.latest(visitor).at_ms - now_ns() // 1_000_000) < 600_000
    at_ms = erase._send(settings, runtime.current(settings), [visitor])
    found = consent_topic.read(bootstrap, "consent", "assumed")
    assert (found.latest(visitor).state, found.latest(visitor).at_ms, list(found.unread)) == ("erased", at_ms, [])
    assert found.verdict(visitor, -1, 0, at_ms - 1) == "forgotten"


def test_an_id_may_come_from_standard_input(settings: Settings) -> None:
    person = json.loads(call("person", "show", "-", "--json", given="zo\u00e9\r\n").stdout)
    assert (person["visitor_id"], len(person["events"])) == ("zoé", 2)
    two = CliRunner().invoke(app, ["person", "show", "-"], input="anna\nbert\n")
    assert (two.exit_code, "anna" in two.output) == (2, False)


def test_a_list_shows_events_of_any_key_and_escape(settings: Settings, client: redis.Redis) -> None:
    records = {each.position: each for each in read_slice(bootstrap_of(settings), "events").records}
    place = next(place for place, each in records.items() if b'"e1"' in (each.value or b""))
    put(client, "zoé", f"{place[0]}-{place[1]}")
    listed = json.loads(call("show", "zoé", "--json").stdout)
    own = [number for number in (0, 1) if _is_up_to(records, f'"e{number}"'.encode(), place)]
    assert [each["event_id"] for each in listed["events"]] == [f"e{number}" for number in own]


def _is_up_to(records: dict[Position, Record], text: bytes, place: Position) -> bool:
    """Return True if the record that holds `text` lies in the partition of `place`, there or before it."""
    ((partition, offset),) = (position for position, each in records.items() if text in (each.value or b""))
    return partition == place[0] and offset <= place[1]


def bootstrap_of(settings: Settings) -> str:
    return runtime.current(settings).kafka_bootstrap


def put(client: redis.Redis, visitor: str, list_id: str, event_time_ms: int | None = None, shelf: str = "home") -> None:
    event_time_ms = CLOCK.now_ms if event_time_ms is None else event_time_ms
    value = {
        "version": "00000000000000000005", "items": [], "scores": [], "model": "m-1", "event_time_ms": event_time_ms,
        "computed_at_ms": CLOCK.now_ms, "session_events": 3, "fallback": None, "list_id": list_id,
    }  # fmt: skip
    client.set(f"shelf:{{{visitor}}}:{shelf}", json.dumps(value))


@pytest.fixture
def both_keys(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Two keys in rotation; the fixture gives an id's pseudonyms."""
    file = tmp_path / "pseudonym.keys"
    pseudonyms.add_key(file)
    pseudonyms.add_key(file)
    monkeypatch.setenv("LIVESHELF_PSEUDONYM_KEYS", str(file))
    return pseudonyms.Pseudonyms.read(file).all_of


def test_with_two_keys_a_person_is_found_under_both(
    settings: Settings, client: redis.Redis, both_keys: Callable[[str], list[str]]
) -> None:
    """Events under the older key, the newer list under the current one, and one under the id from before the keys."""
    current, older = both_keys("petra@shop")
    producer = KafkaProducer(bootstrap_servers=bootstrap_of(settings), acks="all")
    for number, visitor in enumerate((current, older, "petra@shop"), 400):
        producer.send("events", key=visitor.encode(), value=event(json.dumps(visitor).encode(), number))
    producer.close()
    put(client, older, "0-9999", CLOCK.now_ms - 5)
    put(client, current, "0-9999", CLOCK.now_ms)
    person = shown("petra@shop")
    assert sorted(each["event_id"] for each in person["events"]) == ["e400", "e401", "e402"]
    assert person["shelf"]["visitor_id"] == current
    assert json.loads(call("show", "petra@shop", "--json").stdout)["visitor_id"] == current
    assert [each["event_id"] for each in shown(older, "--pseudonym")["events"]] == ["e401"]
    assert shown(older, "--no-pseudonym")["events"] == []  # somebody whom the shop calls so
    assert CliRunner().invoke(app, ["person", "show", older]).exit_code == 2


def test_with_keys_consent_is_written_under_pseudonyms_only(
    settings: Settings, client: redis.Redis, both_keys: Callable[[str], list[str]]
) -> None:
    """An id from before the keys gets a record too if something stands under it, if only an event."""
    put(client, "olga", "0-1")
    producer = KafkaProducer(bootstrap_servers=bootstrap_of(settings), acks="all")
    producer.send("events", value=event(b'"ulla"', 600))
    producer.close()
    call("consent", "withdraw", "-", given="quentin@shop\nolga\nulla\n")
    found = consent_topic.read(bootstrap_of(settings), "consent", "assumed")
    assert {*found.visitors()} >= {*both_keys("quentin@shop"), *both_keys("olga"), "olga", *both_keys("ulla"), "ulla"}
    assert "quentin@shop" not in found.visitors()
    for pseudonym in both_keys("quentin@shop"):
        assert [each.state for each in found.of(pseudonym)] == ["withdrawn"]


def test_the_audit_log_tells_what_was_done_about_one_visitor(
    settings: Settings, client: redis.Redis, both_keys: Callable[[str], list[str]]
) -> None:
    call("consent", "withdraw", "rosa@shop")
    call("consent", "grant", "--pseudonym", both_keys("rosa@shop")[1])
    for given in ("rosa@shop", "-"):
        found = json.loads(call("audit", "show", "--visitor", given, "--json", given="rosa@shop").stdout)
        assert [each["action"] for each in found] == ["consent withdrawn", "consent granted"]
    assert json.loads(call("audit", "show", "--visitor", "nobody", "--json").stdout) == []
    assert "rosa" not in (settings.state_dir / "audit.jsonl").read_text()


def test_only_who_is_known_anywhere_can_be_erased(settings: Settings, client: redis.Redis) -> None:
    """By consent, by Redis, by an event, a letter or a logged list: each is enough, and none is nothing."""
    put(client, "in-redis", "0-1")
    bootstrap = bootstrap_of(settings)
    consent_topic.send(bootstrap, "consent", {"said": consent.Record("granted", CLOCK.now_ms)})
    visitors = ids_of(settings, ["in-redis", "said", "zoé", "a<b", "1", "web", "s222", "s22240", "my illness"])
    consents = consent_topic.read(bootstrap, "consent", "assumed")
    found = heard_of.heard_of(settings, runtime.current(settings), consents, [], visitors)
    assert found == {"in-redis", "said", "zoé", "a<b", "1", "s22240"}


def test_lists_of_all_published_shelves_are_a_persons(settings: Settings, client: redis.Redis, tmp_path: Path) -> None:
    """Also those of a version that isn't active any more. Who has a list anywhere can be erased."""
    versions = ShelfVersions(settings.shelves_folder)
    for names in (["home", "retired"], ["home", "product"]):
        shelves = [Shelf(name=name, take=[Source(kind="session")], size=2) for name in names]
        source = tmp_path / "shelves.py"
        source.write_text("")
        versions.activate(versions.publish(ShelfPlan(shelves=shelves), source))
    for shelf in ("product", "retired", "nobodys"):
        put(client, "paula", "0-1", shelf=shelf)

    person = shown("paula")
    assert (person["shelf"]["state"], [each["name"] for each in person["shelves"]]) == (
        "absent",
        ["product", "retired"],
    )
    lines = call("person", "show", "paula").stdout.splitlines()
    assert [line.split(":")[0] for line in lines if line.startswith("list")] == [
        "list      product",
        "list      retired",
    ]
    call("person", "export", "paula", "--to", str(tmp_path / "paula"))
    rows = [json.loads(line) for line in (tmp_path / "paula" / "list.jsonl").read_text().splitlines()]
    assert [row["name"] for row in rows] == ["product", "retired"]
    assert traces.in_redis(settings, client, ["paula", "nobody"]) == {"paula"}
    client.delete("shelf:{paula}:product")
    assert traces.in_redis(settings, client, ["paula"]) == {"paula"}
    client.delete("shelf:{paula}:retired")
    assert traces.in_redis(settings, client, ["paula"]) == set()


def test_a_topic_is_read_record_by_record(settings: Settings) -> None:
    bootstrap = bootstrap_of(settings)
    whole = read_slice(bootstrap, "events").records
    assert sorted(stream(bootstrap, "events"), key=lambda each: each.position) == whole
    assert list(stream(bootstrap, "none-such", must_exist=False)) == []
