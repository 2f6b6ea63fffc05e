"""The alerts and the board name metrics that the jobs or Flink have, and sections that are there."""

import json
import re

from jobs.rankings.metrics import RankingMetrics
from jobs.settings import REPOSITORY
from tests.support.prometheus import BOARD, METRIC, alerts, rules

OURS = "flink_taskmanager_job_task_operator_"
# Flink's own, from its page "Metrics" and the Kafka connector's. tests/e2e/test_main_path.py finds them in a real run.
FLINKS = {
    f"{OURS}pendingRecords",
    f"{OURS}numRecordsIn",
    "flink_jobmanager_job_uptime",
    "flink_jobmanager_job_numRestarts",
    "flink_jobmanager_job_lastCheckpointCompletedTimestamp",
    "flink_taskmanager_Status_JVM_Memory_Heap_Used",
    "flink_taskmanager_Status_JVM_Memory_Heap_Max",
    "flink_taskmanager_Status_JVM_Memory_Metaspace_Used",
    "flink_taskmanager_Status_JVM_Memory_Metaspace_Max",
    "flink_taskmanager_Status_JVM_FileDescriptor_Open",
    "flink_taskmanager_Status_JVM_FileDescriptor_Max",
}


class Names:
    """A group of metrics that keeps their names."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def counter(self, name: str) -> None:
        self.names.add(name)


def own_metrics() -> set[str]:
    """Return the names that the operators in Python and Java give to Flink."""
    group = Names()
    RankingMetrics(group)
    java = "".join(file.read_text() for file in (REPOSITORY / "jobs" / "jvm" / "src").rglob("*.java"))
    named = re.findall(r'\.(?:counter|gauge)\("(\w+)"[,)]', java)
    checked = re.search(r'List\.of\(("read", "accepted")\)', java)
    assert checked
    return group.names | set(named) | {f"events_{name}" for name in re.findall(r"\w+", checked[1])}


def board_expressions() -> list[str]:
    board = json.loads(BOARD.read_text())
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


def test_every_metric_of_rules_and_board_exists() -> None:
    text = "\n".join([*board_expressions(), *(rule["expr"] for rule in rules())])
    own = {OURS + name for name in own_metrics()}
    assert {f"{OURS}lists_personal", f"{OURS}events_read", f"{OURS}consents_unread"} <= own
    assert set(METRIC.findall(text)) - own - FLINKS == set()


def test_each_metric_of_flink_that_is_listed_is_used() -> None:
    text = "\n".join([*board_expressions(), *(rule["expr"] for rule in rules())])
    assert FLINKS - set(METRIC.findall(text)) == set()


def test_the_latency_histogram_has_the_jobs_buckets() -> None:
    from jobs.rankings.metrics import LATENCY_BOUNDS_MS

    recorded = [rule for rule in rules() if rule.get("record") == "liveshelf:event_to_redis_ms_bucket:rate5m"]
    assert [rule["labels"]["le"] for rule in recorded] == [*map(str, LATENCY_BOUNDS_MS), "+Inf"]
    ends = [re.search(r"_le_(\w+)\{", rule["expr"])[1] for rule in recorded]
    assert ends == [*map(str, LATENCY_BOUNDS_MS), "inf"]


def test_every_recorded_number_that_is_read_is_recorded() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    read = set(
        re.findall(r"\bliveshelf:[\w:]+", "\n".join([*board_expressions(), *(rule["expr"] for rule in rules())]))
    )
    assert read == recorded


def test_every_alert_says_what_to_do_and_where() -> None:
    for rule in alerts():
        notes = rule["annotations"]
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert notes["summary"].endswith(".")
        assert notes["action"].endswith(".")
        page, _, anchor = notes["runbook"].partition("#")
        headings = re.findall(r"^#+ (.+)$", (REPOSITORY / page).read_text(), re.M)
        assert anchor in ["", *(re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings)]


def test_the_operators_page_lists_every_alert() -> None:
    page = (REPOSITORY / "jobs" / "operate" / "README.md").read_text()
    assert re.findall(r"^\| `(Liveshelf\w+)` \|", page, re.M) == [rule["alert"] for rule in alerts()]


def test_commands_that_alerts_name_exist() -> None:
    from jobs.cli import app

    names = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    groups = {
        group.name or (group.typer_instance and group.typer_instance.info.name) for group in app.registered_groups
    }
    called = {
        command for rule in alerts() for command in re.findall(r"`liveshelf (\w+)", rule["annotations"]["action"])
    }
    assert called
    assert called - names - groups == set()


def test_every_panel_reads_the_boards_data_source() -> None:
    board = json.loads(BOARD.read_text())
    assert [variable["name"] for variable in board["templating"]["list"]] == ["datasource"]
    assert {panel["datasource"]["uid"] for panel in board["panels"]} == {"${datasource}"}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
