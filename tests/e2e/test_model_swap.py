"""Versions change under load on a real cluster: each list is whole, and of the version that it names."""

import hashlib
import itertools
import json
import shutil
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import redis
from typer.testing import CliRunner

from jobs.cli import app
from jobs.connect import flink_rest
from jobs.connect.kafka_read import read_slice
from jobs.contract.events import Event
from jobs.lab.replay.produce import ReplayReport, replay
from jobs.lab.replay.sources import read
from jobs.operate import doctor
from jobs.settings import REPOSITORY
from jobs.verify.classify import classify
from jobs.verify.lists import Session, current_sessions, rank
from jobs.verify.run import verify
from jobs.verify.shelf import read_lists, same_items, same_scores
from models.serving.registry import ACTIVE, Active, Registry
from tests.support.waiting import eventually

ESHOP = REPOSITORY / "models" / "artifacts" / "eshop"
DELAY_S = 1  # the definitions' watermark delay
PAUSE_S = 2.5  # from one activation to the next
# At 1,000 events/s a busy machine falls behind without end, and shows no version. `liveshelf bench` has that load.
EVENTS_PER_S = 250


def publish(registry: Registry, folder: Path, number: int) -> str:
    """The packaged network, whose items have changed their names by 40 places: its lists are others than the rest's."""
    copy = Path(shutil.copytree(ESHOP, folder / f"bundle-{number}"))
    vocabulary = json.loads((copy / "vocabulary.json").read_bytes())
    items = vocabulary["items"][40 * number :] + vocabulary["items"][: 40 * number]
    (copy / "vocabulary.json").write_text(json.dumps(vocabulary | {"items": items}))
    manifest = json.loads((copy / "manifest.json").read_bytes())
    manifest["files"]["vocabulary.json"] = hashlib.sha256((copy / "vocabulary.json").read_bytes()).hexdigest()
    (copy / "manifest.json").write_text(json.dumps(manifest | {"name": f"shop{number}"}))
    return registry.publish(copy)


class Shop:
    """The clicks of eshop2008 in their order, `EVENTS_PER_S` of them, from a thread until the block ends."""

    def __init__(self, scenario) -> None:
        self.scenario, self.sent = scenario, ReplayReport()
        self._latest: deque[str] = deque(maxlen=20 * EVENTS_PER_S)  # on a busy machine a list takes its time
        self._closed, self._thread = threading.Event(), ThreadPoolExecutor(1)
        self._redis = redis.Redis.from_url(scenario.runtime.redis_url)

    def __enter__(self) -> "Shop":
        self._replay = self._thread.submit(
            replay, self.scenario.runtime.kafka_bootstrap, self.scenario.settings.events_topic, self._clicks(),
            speed=1, watermark_delay_s=DELAY_S, on_event=lambda event: self._latest.append(event["visitor_id"]),
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self.sent = self._replay.result()
        self._thread.shutdown()
        self._redis.close()

    def _clicks(self) -> Iterator[Event]:
        clicks = itertools.takewhile(lambda _: not self._closed.is_set(), read("eshop2008"))
        first = next(clicks)
        began_ms = time.time_ns() // 1_000_000
        for number, click in enumerate(itertools.chain([first], clicks)):
            yield click | {"event_time_ms": began_ms + number * 1000 // EVENTS_PER_S}

    def serves(self, active: Active) -> Active:
        """Waits until a list of this activation stands, and then out the pause to the next.

        How soon it stands is measured by `liveshelf bench`: a busy machine took more than 5 s.
        """
        eventually(lambda: self.shows(active), within_s=60)
        time.sleep(max(0.0, active.activated_at_ms / 1000 + PAUSE_S - time.time()))
        return active

    def shows(self, active: Active) -> bool:
        stored = read_lists(self._redis, list(self._latest)[::25], self.scenario.settings.ranker.shelf)
        lists = map(msgspec.json.decode, stored.values())
        return any(
            each["model"] == active.version and each["computed_at_ms"] >= active.activated_at_ms for each in lists
        )


def command(*arguments: str) -> Any:
    answer = CliRunner().invoke(app, [*arguments, "--json"])
    assert answer.exit_code == 0, answer.stderr
    return json.loads(answer.stdout)


def refuse(scenario, registry: Registry, broken: str) -> None:
    """Have a version refused whose files broke after it was activated, when `activate` has no say any more."""
    now = registry.active()
    (registry.folder / broken / "model.onnx").write_bytes(
        (registry.folder / broken / "model.onnx").read_bytes()[:100_000]
    )
    forced = Active(broken, time.time_ns() // 1_000_000, [*now.before, now.version])
    (registry.folder / "coming").write_bytes(msgspec.json.encode(forced))
    (registry.folder / "coming").replace(registry.folder / ACTIVE)
    eventually(lambda: command("status")["model"]["state"] == "refused")
    assert command("status")["model"]["version"] == broken
    (check,) = [check for check in doctor.checks(scenario.settings) if check.name == "model bundle"]
    assert (check.ok, check.fix) == (False, "liveshelf models rollback")
    eventually(lambda: counter(scenario, "models_refused") == 1)


def counter(scenario, name: str) -> int:
    return flink_rest.operator_counter(scenario.runtime.metrics_urls, name)


def test_no_list_is_lost_while_versions_come_and_go(scenario, tmp_path, monkeypatch):
    """No list is lost or of half a model while ten versions are activated one refused and two rolled back."""
    registry = Registry(tmp_path / "versions")
    *versions, broken = [publish(registry, tmp_path, number) for number in range(4)]
    served = [registry.activate(versions[0])]
    scenario.settings = scenario.settings.model_copy(update={"model_dir": registry.folder})
    monkeypatch.setenv("LIVESHELF_STATE_DIR", str(scenario.settings.state_dir))
    monkeypatch.setenv("LIVESHELF_MODEL_DIR", str(registry.folder))
    scenario.start()
    with Shop(scenario) as shop:
        eventually(lambda: shop.shows(served[0]), within_s=60)
        for number in range(1, 11):
            served.append(shop.serves(registry.activate(versions[number % 3])))
            if number == 5:
                refuse(scenario, registry, broken)
        served += [shop.serves(registry.rollback()) for _ in range(2)]
    report = verify(scenario.settings, scenario.runtime, wait_s=60)
    assert report.ok, report.to_json()
    assert (report.counts["counted"], report.counts["late"]) == (shop.sent.events, 0)
    shown = command("status")["model"]
    assert {"state": "active", "version": served[-1].version, "reason": "", "fix": ""}.items() <= shown.items()
    assert [counter(scenario, name) for name in ("models_taken", "models_refused")] == [12, 1]
    assert scenario.failures() == []
    check_log(scenario, registry, served, shop.sent.events)


def check_log(scenario, registry: Registry, served: list[Active], events: int) -> None:
    """Every list that was ever published, also those that newer ones have replaced."""
    records = read_slice(scenario.runtime.kafka_bootstrap, scenario.settings.rankings_topic).records
    lists = sorted((msgspec.json.decode(record.value) for record in records), key=lambda each: each["computed_at_ms"])
    batches = [(name, list(group)) for name, group in itertools.groupby(lists, key=lambda each: each["model"])]
    assert [name for name, _ in batches] == [each.version for each in served]
    for active, (_, group) in zip(served[1:], batches[1:], strict=True):
        assert group[0]["computed_at_ms"] >= active.activated_at_ms
    # An event has no list of its own only where a later one of its visitor came in the same batch.
    assert len({each["list_id"] for each in lists}) == len(lists) == events - counter(scenario, "rows_superseded")
    assert wrong_lists(lists, sessions_at_each_event(scenario), registry) == []


def sessions_at_each_event(scenario) -> dict[str, Session]:
    """By list id, the session that the event's visitor was in."""
    events = read_slice(scenario.runtime.kafka_bootstrap, scenario.settings.events_topic)
    arrivals, sessions = defaultdict(list), {}
    for entry in classify(events.records, DELAY_S * 1000).of_kind("counted"):
        visitor, (partition, offset) = entry.event["visitor_id"], entry.record.position
        arrivals[visitor].append(entry)
        sessions[f"{partition}-{offset}"] = current_sessions(
            arrivals[visitor], scenario.settings.ranker.session_gap_s * 1000
        )[visitor]
    return sessions


def wrong_lists(lists: list[dict], sessions: dict[str, Session], registry: Registry) -> list[dict]:
    """Those that the version they name wouldn't have made of their event's session, by the oracle."""
    made: dict[str, dict[str, dict]] = defaultdict(dict)
    for each in lists:
        made[each["model"]][each["list_id"]] = each
    wrong = []
    for version, group in made.items():
        contexts = {list_id: each["context"] for list_id, each in group.items()}
        oracle = rank({list_id: sessions[list_id] for list_id in group}, contexts, registry.bundle(version))
        for list_id, each in group.items():
            expected, items = oracle[list_id], each["items"]
            whole = len(items) == 20 and each["fallback"] == expected.fallback
            if not (whole and same_items(expected, items, 20) and same_scores(expected, items, each["scores"])):
                wrong.append(each)
    return wrong
