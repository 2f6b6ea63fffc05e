"""The main path in the secure profile: same commands, same lists, and no secret outside the files that keep it."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from jobs.cluster import processes, runtime
from jobs.cluster.runtime import Runtime
from jobs.connect import addresses, flink_rest
from jobs.features.definitions import feature_store
from jobs.flow import id_secret
from jobs.lab.replay.produce import replay
from jobs.lab.replay.sources import read
from jobs.operate import running_jobs, submit
from jobs.operate.bring_up import bring_up
from jobs.person.traces import in_checkpoints, newest_checkpoints
from jobs.settings import Settings
from jobs.verify.run import verify
from liveshelf.reader import ShelfReader

# Where the secret for ids lies: its own file, and Flink's copies for workers.
IDS = re.compile(r"secret/ids|flink/tmp/[jt]m_[^/]+/blobStorage/.*")
# They hold a password each, and nobody but their owner may read them.
SECRET_FILES = {"feature_store.yaml", "apply/feature_store.yaml", "flink/conf/config.yaml"}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    settings = Settings(
        state_dir=tmp_path_factory.mktemp("secure"), profile="secure", kafka_port=0, redis_port=0, flink_port=0,
        checkpoint_interval_ms=2000, idle_timeout_s=0,
    )  # fmt: skip
    yield settings
    runtime.down(settings)


@pytest.fixture(scope="module")
def running(settings: Settings) -> Runtime:
    running = bring_up(settings)
    for each in submit.side_by_side(lambda job: submit.submit(settings, running, job)).values():
        running_jobs.wait_running(running, each, limit_s=180)
    return running


def test_views_become_features_and_lists_and_equal_the_oracle(settings: Settings, running: Runtime) -> None:
    events = read("eshop2008", since="2008-08-01")
    sent = replay(running.kafka_bootstrap, "events", events, watermark_delay_s=1, shift_to_now=True, limit=300)

    report = verify(settings, running, wait_s=180)

    assert report.ok, report.to_json()
    assert report.counts["read"] == sent.produced + sent.heartbeats
    visitor = next(iter(read("eshop2008", since="2008-08-01")))["visitor_id"]
    app = ShelfReader(addresses.redis_client(addresses.as_user(running.redis_url, "app")))
    assert app.get(visitor).state == "fresh"
    features = feature_store(settings).get_online_features(
        features=["visitor_session:view_count"], entity_rows=[{"visitor_id": visitor}]
    )
    assert features.to_dict()["view_count"][0] >= 1


def test_flink_answers_only_who_has_its_certificate(running: Runtime) -> None:
    """Flink answers only who has its certificate and takes no jar from the web."""
    base, certificates = addresses.rest(running.flink_rest_url)
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{base}/overview", verify=certificates["verify"], timeout=5)
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{base.replace('https', 'http')}/overview", timeout=5)
    features = flink_rest.ask(running.flink_rest_url, "/config")["features"]
    assert (features["web-submit"], features["web-cancel"], features["web-rescale"]) == (False, False, False)
    assert requests.get(f"{base}/jars", timeout=5, **certificates).status_code == 404


def test_only_metrics_and_beams_servers_listen_beyond_loopback(settings: Settings, running: Runtime) -> None:
    """Only Flink's metrics and Beam's servers listen on other than the loopback address."""
    metrics = {urlsplit(url).port for url in running.metrics_urls}  # the reporter knows no address to bind to
    listening = [
        (main_class(process), place.laddr.ip, place.laddr.port)
        for process in processes.owned(settings.state_dir)
        for place in process.net_connections(kind="tcp")
        if place.status == psutil.CONN_LISTEN and place.laddr.port not in metrics
    ]
    loopback = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert sum(ip in loopback for _, ip, _ in listening) > 5
    # Beam's ServerFactory binds what a TaskManager's Python workers connect to, and takes no address either.
    assert {name for name, ip, _ in listening if ip not in loopback} <= {"TaskManagerRunner"}, listening


def main_class(process: psutil.Process) -> str:
    """The Java class that a process runs, or the process' name."""
    classes = [word for word in process.cmdline() if word.startswith(("org.apache.flink.", "kafka."))]
    return classes[0].rpartition(".")[2] if classes else process.name()


def secrets_of(settings: Settings) -> dict[str, bytes]:
    """The passwords, and of each private key a line that no certificate has."""
    found = {}
    for file in (settings.state_dir / "secure").iterdir():
        content = file.read_bytes()
        if b"PRIVATE KEY" in content:
            found[file.name] = content.splitlines()[1]
        elif file.suffix not in (".pem", ".p12", ".acl"):
            found[file.name] = content
    return found | {"ids": id_secret.path(settings.state_dir).read_bytes()}


def rest_pages(running: Runtime) -> Iterator[tuple[str, bytes]]:
    """All that the REST interface tells of the cluster and the jobs, the logs too."""
    base, certificates = addresses.rest(running.flink_rest_url)
    jobs = [each["id"] for each in flink_rest.ask(running.flink_rest_url, "/jobs")["jobs"]]
    task_managers = [each["id"] for each in flink_rest.ask(running.flink_rest_url, "/taskmanagers")["taskmanagers"]]
    paths = ["/config", "/jobmanager/config", "/jobmanager/environment", "/jobmanager/log", "/jobs/overview"]
    for job in jobs:
        paths += [
            f"/jobs/{job}{part}" for part in ("", "/config", "/plan", "/jobmanager/config", "/checkpoints/config")
        ]
    for each in task_managers:
        paths += [f"/taskmanagers/{each}", f"/taskmanagers/{each}/log"]
    for path in paths:
        answer = requests.get(base + path, timeout=10, **certificates)
        assert answer.ok, (path, answer.text)
        yield f"REST {path}", answer.content


def command_lines(settings: Settings) -> Iterator[tuple[str, bytes]]:
    for process in processes.owned(settings.state_dir):
        told = [*process.cmdline(), *(f"{name}={value}" for name, value in process.environ().items())]
        yield f"process {process.pid} {process.name()}", " ".join(told).encode()


def files(settings: Settings) -> Iterator[tuple[str, bytes]]:
    """What lies in the state folder: logs, job arguments, checkpoints, savepoints, Flink's own copies of the job."""
    for folder, _, names in os.walk(settings.state_dir):
        for file in (Path(folder) / name for name in names):
            name = str(file.relative_to(settings.state_dir))
            if file.is_file() and not file.is_symlink() and not name.startswith("secure/") and name not in SECRET_FILES:
                yield name, file.read_bytes()


def test_no_secret_is_in_rest_logs_or_checkpoints(settings: Settings, running: Runtime) -> None:
    """No secret is in REST logs jobs command lines or checkpoints."""
    visitor = next(iter(read("eshop2008", since="2008-08-01")))["visitor_id"]
    newest = newest_checkpoints(settings, [running_jobs.running_job(running, "rankings") or ""])
    assert in_checkpoints(settings, newest, [visitor, "nobody"]) == {visitor}
    running_jobs.stop(settings, running, "rankings")  # its savepoint is looked through, too
    subprocess.run(["sync"], check=True)
    secrets = secrets_of(settings)
    looked = dict(rest_pages(running)) | dict(command_lines(settings)) | dict(files(settings))

    found = {
        (name, place) for name, secret in secrets.items() for place, content in looked.items() if secret in content
    }

    assert set(secrets) >= {"kafka-features", "redis-job", "flink-store-password", "kafka.pem", "rest.pem"}
    ids = {place for name, place in found if name == "ids"}
    assert found == {("ids", place) for place in ids if IDS.fullmatch(place)}
    assert "secret/ids" in ids
    assert len(ids) > 1, "Flink's copy was not looked at"
    modes = {place: oct((settings.state_dir / place).stat().st_mode & 0o077) for place in ids}
    assert modes == dict.fromkeys(ids, "0o0")
    # The search sees what it should: checkpoints, and the name of a secret's file in the job's arguments.
    assert any("/chk-" in place for place in looked)
    assert any("savepoint-" in place for place in looked)
    assert b"redis://job@" in b"".join(looked.values()) or b"rediss://job@" in b"".join(looked.values())
    running_jobs.stop(settings, running, "features", savepoint=False)
    assert running_jobs.running_job(running, "features") is None
    kept = {name: (settings.state_dir / name).stat().st_mode & 0o777 for name in SECRET_FILES}
    assert kept == dict.fromkeys(SECRET_FILES, 0o600)
