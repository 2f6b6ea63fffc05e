"""A new version of the rankings job beside the live one, and in its place; an upgrade that fails goes back."""

import json
from collections.abc import Iterator

import pytest
import redis

from jobs.connect import addresses
from jobs.connect.kafka_read import read_slice
from jobs.contract.shelf import LISTS, SHADOW, shelf_key
from jobs.errors import ServiceError, SettingsError
from jobs.flow import submissions
from jobs.operate import canary, running_jobs, submit, upgrade
from jobs.operate.served import served
from jobs.person import erase as erasing
from jobs.person import known
from jobs.person.ids import ids_of
from jobs.verify.run import verify
from liveshelf.reader import ShelfReader
from tests.e2e.test_person import now_ms, send, view, wait_for_state
from tests.support.waiting import eventually

PEOPLE = ("anna", "bert", "cleo")
SHORT = {"list_size": 10}  # the new version: its lists are the first half of the live ones


@pytest.fixture
def no_canary_stays(scenario) -> Iterator[None]:
    yield
    canary.end(scenario.settings, scenario.runtime)


def click(scenario, number: int, *people: str) -> None:
    send(scenario, [view(visitor, number, now_ms()) for visitor in people])


def stored(client: redis.Redis, lists: str, visitor: str) -> dict:
    return json.loads(client.get(shelf_key(visitor, "home", lists)) or b"{}")


def compared(scenario, count: int) -> canary.Status:
    """Return the canary's status once `count` lists can be compared."""

    def enough() -> canary.Status | None:
        seen = canary.status(scenario.settings, scenario.runtime)
        return seen if seen.lists.compared == count else None

    return eventually(enough, within_s=60)


@pytest.mark.usefixtures("no_canary_stays")
def test_a_canary_shadows_then_takes_the_live_jobs_place(scenario):
    """Erasure reaches its lists, `verify` and `status` see the live job only, and state goes on after promotion."""
    scenario.start()
    settings, runtime = scenario.settings, scenario.runtime
    client = addresses.redis_client(runtime.redis_url)
    new = settings.model_copy(update=SHORT)
    with pytest.raises(SettingsError, match="task slots"):
        canary.start(settings.model_copy(update={"parallelism": 9}), runtime)
    click(scenario, 1, *PEOPLE)
    for visitor in PEOPLE:
        wait_for_state(scenario, visitor, "fresh")
    live_id = running_jobs.running_job(runtime, "rankings")

    canary.start(new, runtime)
    assert canary.status(settings, runtime).lists.behind == 0  # it needn't have what was made before it began
    click(scenario, 2, *PEOPLE)
    seen = compared(scenario, 3)
    assert (seen.state, seen.errors) == ("RUNNING", [])
    assert (seen.lists.equal, seen.lists.overlap) == (0, 0.5)
    for visitor in PEOPLE:
        live, shadow = (stored(client, lists, visitor) for lists in (LISTS, SHADOW))
        assert (len(live["items"]), shadow["items"]) == (20, live["items"][:10])
        assert live["session_events"] == shadow["session_events"] == 2  # with the live job's state
    logged = read_slice(runtime.kafka_bootstrap, settings.rankings_topic).records
    assert [len(json.loads(record.value)["items"]) for record in logged] == [20] * 6
    assert served(settings, [{"id": live_id, "name": "liveshelf rankings", "state": "RUNNING"}]).job_id == live_id
    report = verify(settings, runtime, wait_s=60)
    assert report.ok, report.to_json()[:4000]

    (anna,) = ids_of(settings, ["anna"], False)
    assert [each.name for each in known.find(settings, runtime, anna).shelves] == ["home", "home (canary)"]
    (erased,) = erasing.erase(settings, runtime, [anna])
    assert "3 jobs" in erased.receipt.erased["state"]
    assert {key.decode() for key in client.scan_iter(f"{SHADOW}:*")} == {
        shelf_key(visitor, "home", SHADOW) for visitor in ("bert", "cleo")
    }

    promoted = canary.promote(settings, runtime)
    assert (running_jobs.running_job(runtime, "rankings"), live_id == promoted) == (promoted, False)
    assert running_jobs.running_job(runtime, submissions.CANARY) is None
    assert list(client.scan_iter(f"{SHADOW}:*")) == []
    click(scenario, 3, "bert")
    bert = eventually(lambda: (lists := stored(client, LISTS, "bert"))["session_events"] == 3 and lists, within_s=60)
    assert len(bert["items"]) == 10
    assert list(client.scan_iter(f"{SHADOW}:*")) == []
    with pytest.raises(ServiceError, match="no canary"):
        canary.status(settings, runtime)


@pytest.mark.usefixtures("no_canary_stays")
def test_the_old_version_serves_again_where_an_upgrade_fails(scenario):
    """The failed one asks for more slots than there are. The next upgrade succeeds."""
    scenario.start("rankings")
    settings, runtime = scenario.settings, scenario.runtime
    click(scenario, 1, "bert")
    wait_for_state(scenario, "bert", "fresh")
    told: list[str] = []

    def too_wide(savepoint: str) -> str:
        job_id = submit.submit(settings.model_copy(update={"parallelism": 9} | SHORT), runtime, "rankings", savepoint)
        running_jobs.wait_running(runtime, job_id, limit_s=2)
        return job_id

    before = submissions.config_path(settings.state_dir, "rankings").read_bytes()
    with pytest.raises(ServiceError, match=r"the old one runs again as [0-9a-f]{32}"):
        upgrade.replace(settings, runtime, "rankings", too_wide, told.append)
    assert told[-1] == "the new rankings job didn't start; submitting the old one again"
    assert submissions.config_path(settings.state_dir, "rankings").read_bytes() == before
    click(scenario, 2, "bert")
    reader = ShelfReader(runtime.redis_url)
    eventually(lambda: reader.get("bert").session_events == 2, within_s=60)
    assert len(reader.get("bert").items) == 20

    job_id = upgrade.upgrade(settings.model_copy(update=SHORT), runtime, "rankings")
    assert running_jobs.running_job(runtime, "rankings") == job_id
    click(scenario, 3, "bert")
    eventually(lambda: reader.get("bert").session_events == 3, within_s=60)
    assert len(reader.get("bert").items) == 10
