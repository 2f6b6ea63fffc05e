"""The embedded services, started for real on free ports in a temporary state folder."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis
import requests
from kafka import KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError

from jobs.cluster import flink, processes, runtime
from jobs.connect import flink_rest, kafka_admin
from jobs.errors import ServiceError, SettingsError
from jobs.operate import doctor
from jobs.settings import REPOSITORY, Settings
from tests.support.waiting import eventually

COPY_SQL = """\
import sys
from pyflink.table import EnvironmentSettings, TableEnvironment

table_env = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
for name in ("copied_from", "copied_to"):
    table_env.execute_sql(
        f"CREATE TABLE {name} (word STRING) WITH ('connector'='kafka', 'topic'='{name}', 'format'='json', "
        f"'scan.startup.mode'='earliest-offset', 'properties.bootstrap.servers'='{sys.argv[1]}')"
    )
table_env.execute_sql("INSERT INTO copied_to SELECT UPPER(word) FROM copied_from")
"""


def settings_in(state_dir: Path, **changed: object) -> Settings:
    return Settings(state_dir=state_dir, kafka_port=0, redis_port=0, flink_port=0, **changed)


def mentions(state_dir: Path) -> list[psutil.Process]:
    """Processes that name the state folder in their command line or environment, found without the code's marks."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if process.pid != psutil.Process().pid and any(str(state_dir) in word for word in words):
            found.append(process)
    return found


def java_with(state_dir: Path, main_class: str) -> psutil.Process:
    (process,) = [process for process in mentions(state_dir) if main_class in " ".join(processes.words(process))]
    return process


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    settings = settings_in(tmp_path_factory.mktemp("system"))
    runtime.up(settings)
    yield settings
    runtime.down(settings)


@pytest.fixture(scope="module")
def running(settings: Settings) -> runtime.Runtime:
    return runtime.attach(settings)


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    """A folder for one test's own system, which is stopped even if the test fails."""
    yield tmp_path / "own"
    runtime.down(settings_in(tmp_path / "own"))


def test_a_second_up_starts_nothing(settings: Settings, running: runtime.Runtime) -> None:
    assert runtime.up(settings) == running


def test_status_counts_the_slots_that_settings_ask_for(settings: Settings) -> None:
    status = runtime.status(settings)

    assert {status[service]["state"] for service in runtime.SERVICES} == {"running"}
    assert status["flink"]["task_managers"] == 1
    assert status["flink"]["slots_total"] == settings.slots_per_task_manager == 2


def test_doctor_finds_the_services_in_order(settings: Settings) -> None:
    found = {check.name: check for check in doctor.checks(settings)}

    names = ("Java", "jars", "port of kafka", "port of redis", "port of flink", "Kafka", "Redis", "Flink")
    assert [name for name in names if not found[name].ok] == []
    assert "maxmemory-policy noeviction" in found["Redis"].found


def test_doctor_says_what_to_do_where_nothing_runs(tmp_path: Path) -> None:
    found = {check.name: check for check in doctor.checks(settings_in(tmp_path, model_dir=tmp_path / "none"))}

    for service in ("Kafka", "Redis", "Flink"):
        assert (found[service].ok, found[service].found, found[service].fix) == (False, "not running", "liveshelf up")
    assert not found["model bundle"].ok


def test_making_a_topic_twice_keeps_its_records(running: runtime.Runtime) -> None:
    kafka_admin.create_topics(running.kafka_bootstrap, {"kept": 3})
    producer = KafkaProducer(bootstrap_servers=running.kafka_bootstrap)
    producer.send("kept", b"one", partition=2).get(timeout=10)
    producer.close()

    kafka_admin.create_topics(running.kafka_bootstrap, {"kept": 3, "added": 1})

    assert kafka_admin.end_offsets(running.kafka_bootstrap, "kept") == {0: 0, 1: 0, 2: 1}
    assert kafka_admin.end_offsets(running.kafka_bootstrap, "added") == {0: 0}


def test_a_message_of_two_megabytes_is_accepted(running: runtime.Runtime) -> None:
    kafka_admin.create_topics(running.kafka_bootstrap, {"large": 1})
    producer = KafkaProducer(bootstrap_servers=running.kafka_bootstrap, max_request_size=4 * 1024 * 1024)
    producer.send("large", b"x" * 2_000_000).get(timeout=10)
    producer.close()

    assert kafka_admin.end_offsets(running.kafka_bootstrap, "large") == {0: 1}


def test_a_topic_that_nobody_made_is_an_error(running: runtime.Runtime) -> None:
    producer = KafkaProducer(bootstrap_servers=running.kafka_bootstrap, max_block_ms=2000)
    with pytest.raises(KafkaError):
        producer.send("evnets", b"lost").get(timeout=5)
    producer.close()

    with pytest.raises(ServiceError, match="no topic 'evnets'"):
        kafka_admin.end_offsets(running.kafka_bootstrap, "evnets")


def test_a_full_redis_refuses_writes_and_evicts_nothing(running: runtime.Runtime) -> None:
    client = redis.Redis.from_url(running.redis_url)
    client.set("kept", "value")
    client.config_set("maxmemory", "1")
    with pytest.raises(redis.ResponseError, match="maxmemory"):
        client.set("refused", "value")
    client.config_set("maxmemory", "0")

    assert client.get("kept") == b"value"


def test_printed_line_submits_job_that_reads_kafka_without_naming_jars(
    settings: Settings, running: runtime.Runtime, tmp_path: Path
) -> None:
    bootstrap = running.kafka_bootstrap
    kafka_admin.create_topics(bootstrap, {"copied_from": 1, "copied_to": 1})
    producer = KafkaProducer(bootstrap_servers=bootstrap)
    producer.send("copied_from", b'{"word":"shelf"}').get(timeout=10)
    producer.close()
    job = tmp_path / "upper_case.py"
    job.write_text(COPY_SQL)

    line = flink.command(settings).line("-d", "-py", str(job), bootstrap)
    submitted = subprocess.run(line, shell=True, capture_output=True, text=True, cwd="/", check=False)

    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    consumer = KafkaConsumer(
        "copied_to", bootstrap_servers=bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=30_000
    )
    assert next(consumer).value == b'{"word":"SHELF"}'
    consumer.close()
    assert [job["state"] for job in runtime.status(settings)["flink"]["jobs"]] == ["RUNNING"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example:8081"},
        {"Origin": "http://evil.example:8081", "Host": "evil.example:8081", "Sec-Fetch-Site": "same-origin"},
    ],
    ids=lambda headers: ", ".join(headers.values()),
)
def test_flink_answers_no_page_of_another_site(
    headers: dict[str, str], settings: Settings, running: runtime.Runtime
) -> None:
    url = running.flink_rest_url
    form = {"request": (None, '{"jobGraphFileName":"a","jobJarFileNames":[]}'), "a": ("a.jar", b"x" * 100_000)}
    assert requests.get(f"{url}/overview", headers=headers, timeout=10).status_code == 403
    assert requests.post(f"{url}/jobs", files=form, headers=headers, timeout=10).status_code == 403
    assert requests.get(f"{url}/jobs/{'0' * 32}/yarn-cancel", headers=headers, timeout=10).status_code == 403
    assert uploaded(settings) == []


def uploaded(settings: Settings) -> list[Path]:
    """The files that the REST interface has taken and not let go of."""
    folders = list((settings.state_dir / "flink" / "tmp").glob("flink-web-*/flink-web-upload"))
    assert folders
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]


def test_flinks_page_takes_no_jar(settings: Settings, running: runtime.Runtime) -> None:
    url = running.flink_rest_url
    form = {"jarfile": ("job.jar", b"x", "application/x-java-archive")}
    own = requests.get(f"{url}/overview", headers={"Origin": url, "Sec-Fetch-Site": "same-origin"}, timeout=10)
    assert (own.status_code, own.headers.get("access-control-allow-origin")) == (200, url)
    answer = requests.post(f"{url}/jars/upload", files=form, timeout=10)
    assert (answer.status_code, "POST request not allowed" in answer.text) == (400, True)
    eventually(lambda: uploaded(settings) == [], within_s=10)
    assert requests.get(f"{url}/jars", timeout=10).status_code == 404
    features = flink_rest.ask(url, "/config")["features"]
    assert (features["web-submit"], features["web-cancel"], features["web-rescale"]) == (False, False, False)


def test_a_killed_task_manager_comes_back_with_its_slots(settings: Settings, running: runtime.Runtime) -> None:
    def task_managers() -> dict[str, int]:
        listed = flink_rest.ask(running.flink_rest_url, "/taskmanagers")["taskmanagers"]
        return {each["id"]: each["slotsNumber"] for each in listed}

    (before,) = task_managers()
    java_with(settings.state_dir, "TaskManagerRunner").send_signal(signal.SIGKILL)

    eventually(lambda: any(each != before and slots == 2 for each, slots in task_managers().items()), within_s=60)
    eventually(lambda: set(task_managers()) - {before} == set(task_managers()), within_s=60)


def test_a_killed_job_manager_comes_back_too(settings: Settings, running: runtime.Runtime) -> None:
    killed = java_with(settings.state_dir, "StandaloneSessionClusterEntrypoint")
    killed.send_signal(signal.SIGKILL)

    eventually(lambda: not killed.is_running())
    eventually(lambda: flink_rest.answers(running.flink_rest_url, slots=2), within_s=90)


def test_a_taken_port_is_named_with_its_holder(state_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        settings = Settings(state_dir=state_dir, redis_port=port)
        with pytest.raises(ServiceError, match=rf"port {port} for Redis is taken by pid \d+.*\n.*LIVESHELF_REDIS_PORT"):
            runtime.up(settings, what=["redis"])

    assert mentions(state_dir) == []


def test_a_state_folder_with_a_blank_is_refused(state_dir: Path) -> None:
    with pytest.raises(SettingsError, match="my shop"):
        runtime.up(settings_in(state_dir / "my shop"), what=["flink"])

    assert mentions(state_dir) == []


def test_two_state_folders_live_side_by_side(running: runtime.Runtime, state_dir: Path) -> None:
    second = settings_in(state_dir)
    own = runtime.up(second, what=["redis"])
    redis.Redis.from_url(own.redis_url).set("only", "here")

    assert redis.Redis.from_url(running.redis_url).get("only") is None
    runtime.down(second)
    assert redis.Redis.from_url(running.redis_url).ping()


def test_redis_and_kafka_keep_their_data_over_down_and_up(state_dir: Path) -> None:
    settings = settings_in(state_dir)
    what = ["kafka", "redis"]
    first = runtime.up(settings, what)
    redis.Redis.from_url(first.redis_url).set("kept", "value")
    kafka_admin.create_topics(first.kafka_bootstrap, {"kept": 2})
    runtime.down(settings)

    second = runtime.up(settings, what)

    assert redis.Redis.from_url(second.redis_url).get("kept") == b"value"
    assert kafka_admin.end_offsets(second.kafka_bootstrap, "kept") == {0: 0, 1: 0}
    runtime.down(settings)


def test_redis_of_the_users_own_is_neither_started_nor_stopped(running: runtime.Runtime, state_dir: Path) -> None:
    settings = settings_in(state_dir, redis_url=running.redis_url)
    used = runtime.up(settings, what=["redis"])

    assert used.redis_url == running.redis_url
    assert used.pids == {}
    assert running.redis_url not in (state_dir / "runtime.json").read_text()
    assert runtime.down(settings) == 0
    assert redis.Redis.from_url(running.redis_url).ping()


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, redis_url="redis://:secret@127.0.0.1:1/0")

    shown = [repr(runtime.current(settings)), str(runtime.status(settings)), str(doctor.checks(settings))]
    assert [text for text in shown if "secret" in text] == []


def test_an_interrupted_up_stops_what_it_had_started(state_dir: Path) -> None:
    program = (
        "import signal, sys; from pathlib import Path\n"
        "from jobs.settings import Settings; from jobs.cluster import runtime\n"
        # a shell that runs the tests in its background has set SIGINT to be ignored, and children inherit that
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "runtime.up(Settings(state_dir=Path(sys.argv[1]), kafka_port=0, redis_port=0, flink_port=0))"
    )
    starting = subprocess.Popen([sys.executable, "-c", program, state_dir], cwd=REPOSITORY, stderr=subprocess.DEVNULL)
    services = ("kafka", "redis", "flink")
    eventually(lambda: all(processes.owned(state_dir, service) for service in services), within_s=60)

    starting.send_signal(signal.SIGINT)

    assert starting.wait(timeout=30) != 0
    assert mentions(state_dir) == []
    with pytest.raises(ServiceError, match="nothing is running"):
        runtime.attach(settings_in(state_dir))


def test_down_leaves_no_process(settings: Settings) -> None:
    assert len(mentions(settings.state_dir)) >= 5  # broker, Redis, supervisor, JobManager, TaskManager

    assert runtime.down(settings) >= 5

    assert mentions(settings.state_dir) == []
    assert not (settings.state_dir / "runtime.json").exists()
