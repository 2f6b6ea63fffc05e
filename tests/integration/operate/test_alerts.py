"""A real Prometheus with the project's rules: each alert fires when its numbers are bad, and clears when they aren't.

The numbers come from an exporter under the names of a real run (tests/unit/test_alerts.py holds them to the code).
Windows are 3 s here. `promtool` tests the rules with their own times.
"""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.settings import REPOSITORY
from tests.support import prometheus
from tests.support.prometheus import Exporter, Prometheus
from tests.support.waiting import eventually

pytestmark = pytest.mark.skipif(
    not (prometheus.program("prometheus") and prometheus.program("promtool")), reason=prometheus.MISSING
)

TASK = "flink_taskmanager_job_task_operator"
JVM = "flink_taskmanager_Status_JVM"
FEATURES, RANKINGS = "liveshelf_features", "liveshelf_rankings"
SOURCE = {"job_name": RANKINGS, "operator_name": "Source: records"}
MIB = 1 << 20


class Shop:
    """A shop of 100 events/s whose numbers are all good, and each of which can be made bad."""

    def __init__(self) -> None:
        self.exporter = Exporter()
        for job in (FEATURES, RANKINGS):
            self.exporter.set("flink_jobmanager_job_uptime", 1, job_name=job)
            self.checkpoint(job, age_s=5)
            self.exporter.set("flink_jobmanager_job_numRestarts", 0, job_name=job)
            self.events(job, accepted=100, refused=0)
            self.exporter.set(f"{TASK}_consents_unread", 0, job_name=job)
        self.lag(waiting=10)
        self.lists(personal=100, popular=0)
        self.written(100)
        self.late(0)
        self.exporter.grow(f"{TASK}_batch_rows", 150, job_name=RANKINGS)
        self.exporter.grow(f"{TASK}_rows_superseded", 50, job_name=RANKINGS)
        self.models_refused(0)
        self.bad_canary()
        self.jvm(metaspace_mib=120, heap_mib=300, descriptors=170)

    def checkpoint(self, job: str, age_s: float) -> None:
        name = "flink_jobmanager_job_lastCheckpointCompletedTimestamp"
        self.exporter.set(name, (time.time() - age_s) * 1000, job_name=job)
        self.exporter.grow(name, 1000, job_name=job)

    def restarts(self, count: float) -> None:
        self.exporter.set("flink_jobmanager_job_numRestarts", count, job_name=RANKINGS)

    def events(self, job: str, accepted: float, refused: float) -> None:
        self.exporter.grow(f"{TASK}_events_read", accepted + refused, job_name=job)
        self.exporter.grow(f"{TASK}_events_accepted", accepted, job_name=job)

    def lag(self, waiting: float, read_per_second: float = 100) -> None:
        self.exporter.set(f"{TASK}_pendingRecords", waiting, **SOURCE)
        self.exporter.grow(f"{TASK}_numRecordsIn", read_per_second, **SOURCE)

    def lists(self, personal: float, popular: float) -> None:
        self.exporter.grow(f"{TASK}_lists_personal", personal, job_name=RANKINGS)
        self.exporter.grow(f"{TASK}_lists_popular", popular, job_name=RANKINGS)

    def written(self, per_second: float) -> None:
        self.exporter.grow(f"{TASK}_lists_written", per_second, job_name=RANKINGS)

    def late(self, share: float) -> None:
        self.exporter.grow(f"{TASK}_event_to_redis_ms_le_1000", 100 * (1 - share), job_name=RANKINGS)
        self.exporter.grow(f"{TASK}_event_to_redis_ms_le_inf", 100, job_name=RANKINGS)

    def models_refused(self, count: float, attempt: str = "0") -> None:
        self.exporter.set(f"{TASK}_models_refused", count, job_name=RANKINGS, task_attempt_num=attempt)

    def bad_canary(self) -> None:
        """Let a canary's lists be bad in each way, and written: that is nothing that visitors see."""
        for name in ("batch_rows", "lists_popular", "lists_written", "event_to_redis_ms_le_inf", "models_refused"):
            self.exporter.grow(f"{TASK}_{name}", 1000, job_name="liveshelf_canary")

    def jvm(self, metaspace_mib: float, heap_mib: float, descriptors: float) -> None:
        for kind, used, limit in (("Metaspace", metaspace_mib, 512), ("Heap", heap_mib, 1536)):
            self.exporter.set(f"{JVM}_Memory_{kind}_Used", used * MIB)
            self.exporter.set(f"{JVM}_Memory_{kind}_Max", limit * MIB)
        self.exporter.set(f"{JVM}_FileDescriptor_Open", descriptors)
        self.exporter.set(f"{JVM}_FileDescriptor_Max", 20_000)


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop()


@pytest.fixture(scope="module")
def standby() -> Exporter:
    """Stand for a TaskManager that runs no job."""
    return Exporter()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, shop: Shop, standby: Exporter) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    with (
        prometheus.served(shop.exporter) as target,
        prometheus.served(standby) as other,
        prometheus.running(folder, [target, other]) as server,
    ):
        eventually(lambda: server.values("liveshelf:refused_share") == [0, 0])
        yield server


def lose_a_job(shop: Shop) -> None:
    shop.exporter.drop("flink_jobmanager_job_uptime", job_name=RANKINGS)


def find_the_job(shop: Shop) -> None:
    shop.exporter.set("flink_jobmanager_job_uptime", 1, job_name=RANKINGS)


Change = Callable[[Shop], None]
# Alert, what makes its numbers bad, and what mends them.
FAULTS: list[tuple[str, Change, Change]] = [
    ("LiveshelfJobMissing", lose_a_job, find_the_job),
    ("LiveshelfCheckpointAge", lambda shop: shop.checkpoint(FEATURES, 180), lambda shop: shop.checkpoint(FEATURES, 5)),
    ("LiveshelfRestarts", lambda shop: shop.restarts(20), lambda _: None),
    ("LiveshelfLag", lambda shop: shop.lag(waiting=10_000), lambda shop: shop.lag(waiting=10)),
    ("LiveshelfLag", lambda shop: shop.lag(waiting=10, read_per_second=0), lambda shop: shop.lag(waiting=10)),
    ("LiveshelfRefusals", lambda shop: shop.events(FEATURES, 100, 20), lambda shop: shop.events(FEATURES, 100, 0)),
    (
        "LiveshelfConsentsUnread",
        lambda shop: shop.exporter.set(f"{TASK}_consents_unread", 1, job_name=RANKINGS),
        lambda shop: shop.exporter.set(f"{TASK}_consents_unread", 0, job_name=RANKINGS),
    ),
    ("LiveshelfLateLists", lambda shop: shop.late(0.5), lambda shop: shop.late(0)),
    ("LiveshelfStaleLists", lambda shop: shop.written(0), lambda shop: shop.written(100)),
    ("LiveshelfFallbackShare", lambda shop: shop.lists(20, 80), lambda shop: shop.lists(100, 0)),
    ("LiveshelfModelRefused", lambda shop: shop.models_refused(1), lambda _: None),
    ("LiveshelfModelRefused", lambda shop: shop.models_refused(1, attempt="1"), lambda _: None),
    ("LiveshelfMetaspace", lambda shop: shop.jvm(450, 300, 170), lambda shop: shop.jvm(120, 300, 170)),
    ("LiveshelfHeap", lambda shop: shop.jvm(120, 1400, 170), lambda shop: shop.jvm(120, 300, 170)),
    ("LiveshelfDescriptors", lambda shop: shop.jvm(120, 300, 19_000), lambda shop: shop.jvm(120, 300, 170)),
]


@pytest.mark.parametrize(("alert", "fault", "mend"), FAULTS, ids=[alert for alert, *_ in FAULTS])
def test_alert_fires_alone_and_clears(server: Prometheus, shop: Shop, alert: str, fault: Change, mend: Change) -> None:
    eventually(lambda: server.firing() == {})
    fault(shop)
    eventually(lambda: list(server.firing()) == [alert])
    mend(shop)
    eventually(lambda: server.firing() == {})


def test_an_address_that_fails_is_named_until_it_answers(server: Prometheus, standby: Exporter) -> None:
    eventually(lambda: server.firing() == {})
    standby.is_broken = True
    eventually(lambda: list(server.firing()) == ["LiveshelfUnreachable"])
    (alert,) = server.firing()["LiveshelfUnreachable"]
    assert alert["annotations"]["summary"] == f"Flink's metrics at {alert['labels']['instance']} don't answer."
    standby.is_broken = False
    eventually(lambda: server.firing() == {})


def test_every_alert_is_tried_here() -> None:
    tried = {alert for alert, *_ in FAULTS} | {"LiveshelfUnreachable"}
    assert {rule["alert"] for rule in prometheus.alerts()} == tried


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)


def test_promtool_finds_no_fault_in_rules_and_configuration() -> None:
    for kind, file in (("rules", prometheus.RULES), ("config", prometheus.RULES.with_name("prometheus.yaml"))):
        done = promtool("check", kind, file)
        assert done.returncode == 0, done.stdout + done.stderr


def test_rules_hold_with_their_own_times() -> None:
    done = promtool("test", "rules", REPOSITORY / "tests" / "fixtures" / "alerts.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
