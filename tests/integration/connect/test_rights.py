"""The secure profile's Kafka and Redis, for real: each user does what it must, and is refused everything else."""

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis
from confluent_kafka import KafkaError, Producer
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError
from kafka.errors import KafkaError as KafkaPythonError
from typer.testing import CliRunner

from jobs.cli import app
from jobs.cluster import processes, runtime
from jobs.cluster.runtime import Runtime
from jobs.connect import addresses, consent_topic, kafka_admin, kafka_send
from jobs.connect.addresses import as_user
from jobs.connect.kafka_read import read_slice
from jobs.connect.redis_pipeline import Connection
from jobs.connect.users import Right
from jobs.contract.consent import Record
from jobs.contract.shelf import GATE
from jobs.errors import ServiceError, SettingsError
from jobs.features.online_store import entity_key
from jobs.lab.bench.collector_system import RunningCollector, event
from jobs.operate import apply as applying
from jobs.operate import doctor
from jobs.person import receipt
from jobs.rankings.gate_set import GateSet, Known, hash_of, version_of
from jobs.settings import Settings
from liveshelf.reader import ShelfReader

SHADOW_LIST = b"shelf-shadow:{v1}:home"  # of a canary, which no app reads
LIST, FEATURES = b"shelf:{v1}:home", entity_key("liveshelf", {"visitor_id": "v1"})


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    settings = Settings(state_dir=tmp_path_factory.mktemp("secure"), profile="secure", kafka_port=0, redis_port=0)
    yield settings
    runtime.down(settings)


@pytest.fixture(scope="module")
def running(settings: Settings) -> Runtime:
    running = runtime.up(settings, ("kafka", "redis"))
    applying.create_topics(settings, running)
    for topic in READERS:
        assert write(as_user(running.kafka_bootstrap, "admin"), topic)
    return running


def redis_as(running: Runtime, user: str) -> redis.Redis:
    return addresses.redis_client(as_user(running.redis_url, user))


# command → the users who may
REDIS: dict[tuple, set[str]] = {
    ("GET", LIST): {"app", "job", "admin"},
    ("GET", SHADOW_LIST): {"job", "admin"},
    ("SET", SHADOW_LIST, "1"): {"job", "admin"},
    ("HMGET", FEATURES, "a"): {"app", "job", "admin"},
    ("GET", "another:key"): {"admin"},
    ("HGETALL", b"\x01another_project"): {"admin"},
    ("SET", LIST, "1"): {"job", "admin"},
    ("HSET", FEATURES, "a", "1"): {"job", "admin"},
    ("PEXPIREAT", FEATURES, "99999999999999"): {"job", "admin"},
    ("SMEMBERS", "shelf:gate"): {"app", "job", "admin"},
    ("SADD", "shelf:gate", "1"): {"job", "admin"},
    ("SET", "another:key", "1"): {"admin"},
    ("DEL", LIST): {"admin"},
    ("EVAL", "return 1", "0"): {"job", "admin"},  # a script may do what its user may
    ("EVAL", "return redis.call('FLUSHALL')", "0"): {"admin"},
    ("KEYS", "*"): {"admin"},
    ("SCAN", "0"): {"admin"},
    ("FLUSHALL",): {"admin"},
    ("FLUSHDB",): {"admin"},
    ("CONFIG", "GET", "dir"): {"admin"},
    ("CONFIG", "SET", "maxmemory", "0"): {"admin"},
    ("DEBUG", "SLEEP", "0"): {"admin"},
    ("ACL", "LIST"): {"admin"},
    ("ACL", "WHOAMI"): {"admin"},
    ("CLIENT", "LIST"): {"admin"},
    ("INFO",): {"admin"},
    ("MONITOR",): set(),  # not sent as admin: it would never end
    ("SHUTDOWN",): set(),
    ("SCRIPT", "FLUSH"): {"admin"},
    ("FUNCTION", "LIST"): set(),  # Redis 6 has none
    ("SUBSCRIBE", "channel"): set(),
    ("REPLICAOF", "NO", "ONE"): {"admin"},
    ("BGREWRITEAOF",): {"admin"},
}


@pytest.mark.parametrize("user", ["app", "job", "admin"])
@pytest.mark.parametrize("command", REDIS, ids=lambda command: " ".join(map(str, command[:2])))
def test_a_redis_user_may_do_what_its_row_says(command: tuple, user: str, running: Runtime) -> None:
    """A Redis user may do what its row says and nothing else."""
    allowed = REDIS[command]
    if user == "admin" and not allowed:
        return
    with redis_as(running, user) as client:
        if user in allowed:
            client.execute_command(*command)
        else:
            refusal = r"(?i)no permission|unknown command|NOPERM|can't run this command"
            with pytest.raises(redis.exceptions.ResponseError, match=refusal):
                client.execute_command(*command)


def test_the_scripts_of_both_writers_run_as_job(running: Runtime) -> None:
    from jobs.features.online_store import WRITE_LUA
    from jobs.rankings.publish import SCRIPT

    with redis_as(running, "admin") as client:
        client.flushall()
    with redis_as(running, "job") as client:
        assert client.eval(SCRIPT.text, 1, LIST, "0" * 20, 99_999_999_999_999, 1, b"{}") == [1]
        packed = b"\x92\xa1f\xa1v"  # msgpack: ["f", "v"]
        row = (b"_v:s", b"1" * 26, b"99999999999999", packed)
        assert client.eval(WRITE_LUA, 1, FEATURES, *row) == 1
        assert client.evalsha(hashlib.sha1(WRITE_LUA.encode()).hexdigest(), 1, FEATURES, *row) == 1
    with redis_as(running, "app") as client:
        assert (client.get(LIST), client.hget(FEATURES, "f")) == (b"{}", b"v")
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.evalsha(redis.Redis().register_script(SCRIPT.text).sha, 1, LIST, "1" * 20, b"{}", 1)


def test_the_gate_is_the_jobs_to_write(running: Runtime) -> None:
    known = Known(1, "shelves-1", {"offers": 1})
    with redis_as(running, "admin") as client:
        client.flushall()
    gate = GateSet(as_user(running.redis_url, "job"), patience_s=30)
    assert gate.write(known, version_of(hash_of("a"), 1), [(hash_of("a"), "a")]) == "as_expected"
    assert gate.stored().members == ["a"]
    gate.close()
    with redis_as(running, "app") as client:
        assert ShelfReader(client).get("v1").state == "absent"
        assert client.smismember(GATE, ["a", "b"]) == [1, 0]


def test_a_job_goes_on_when_its_redis_password_changes(running: Runtime) -> None:
    """A job goes on when its Redis password is another and the old one is worth nothing."""
    to = addresses.Address.of(as_user(running.redis_url, "job"))
    secret, old = Path(to.secrets) / "redis-job", to.password("redis")
    job = Connection(str(to), patience_s=30)
    assert job.exchange([("SET", LIST, "before")]) == [True]
    with redis_as(running, "admin") as admin:
        try:
            admin.acl_setuser("job", enabled=True, reset_passwords=True, passwords=["+another"])
            admin.client_kill_filter(user="job")
            later = threading.Timer(0.5, secret.write_text, ["another"])
            later.start()
            assert job.exchange([("SET", LIST, "after")]) == [True]
            later.join()
            with pytest.raises(redis.AuthenticationError):
                redis.Redis.from_url(f"rediss://job:{old}@{to.servers}/0", ssl_ca_certs=to.file("ca.pem")).ping()
            assert admin.get(LIST) == b"after"
        finally:
            secret.write_text(old)
            admin.acl_setuser("job", enabled=True, reset_passwords=True, passwords=[f"+{old}"])


def test_redis_takes_nobody_without_tls_or_without_a_password(running: Runtime) -> None:
    to = addresses.Address.of(running.redis_url)
    with pytest.raises(redis.ConnectionError):
        redis.Redis.from_url(f"redis://{to.servers}/0").ping()
    authority = to.file("ca.pem")
    with pytest.raises(redis.AuthenticationError):
        redis.Redis.from_url(f"rediss://{to.servers}/0", ssl_ca_certs=authority).ping()
    with pytest.raises(redis.AuthenticationError):
        redis.Redis.from_url(f"rediss://app:wrong@{to.servers}/0", ssl_ca_certs=authority).ping()
    with pytest.raises(redis.ConnectionError, match="certificate verify failed"):
        redis.Redis.from_url(f"rediss://app:wrong@{to.servers}/0").ping()


def read(address: str, topic: str) -> bool:
    options = addresses.kafka_python(address) | {"group_id": None, "auto_offset_reset": "earliest"}
    with closing(KafkaConsumer(**options)) as reader:
        reader.assign([TopicPartition(topic, 0)])
        try:
            return bool(reader.poll(timeout_ms=3000))
        except TopicAuthorizationFailedError:
            return False


def write(address: str, topic: str) -> bool:
    told = []
    producer = Producer(addresses.librdkafka(address) | {"message.timeout.ms": 20_000, "log_level": 0})
    producer.produce(topic, b"x", b"x", partition=0, on_delivery=lambda error, _: told.append(error))
    producer.flush(30)
    assert told[0] is None or told[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    return told[0] is None


def join(address: str, group: str) -> bool:
    own = {"group_id": group, "enable_auto_commit": False}
    with closing(KafkaConsumer(**addresses.kafka_python(address), **own)) as member:
        try:
            member.committed(TopicPartition("events", 0))
        except GroupAuthorizationFailedError:
            return False
    return True


READERS = {
    "consent": {"features", "rankings", "collector", "cli", "admin"},
    "events": {"features", "rankings", "cli", "admin"},
    "events.dead": {"cli", "admin"},
    "events.late": {"cli", "admin"},
    "rankings": {"cli", "admin"},
    "items": {"features", "rankings", "cli", "admin"},
    "offers": {"features", "rankings", "cli", "admin"},
    "items.dead": {"cli", "admin"},
}
WRITERS = {
    "consent": {"collector", "cli", "admin"},
    "events": {"collector", "cli", "admin"},
    "events.dead": {"features", "admin"},
    "events.late": {"features", "admin"},
    "rankings": {"rankings", "admin"},
    "items": {"cli", "admin"},
    "offers": {"cli", "admin"},
    "items.dead": {"features", "admin"},
}
MEMBERS = {
    "liveshelf-features": {"features", "cli", "admin"},  # cli looks at what was read
    "liveshelf-rankings": {"rankings", "cli", "admin"},
    "liveshelf-canary": {"rankings", "admin"},
    "anything": {"admin"},
}
USERS = ("admin", "cli", "collector", "features", "rankings")


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize(
    ("does", "table"), [(read, READERS), (write, WRITERS), (join, MEMBERS)], ids=["read", "write", "join"]
)
def test_a_kafka_user_may_do_what_its_rows_say(
    does: Callable[[str, str], bool], table: dict[str, set[str]], user: str, running: Runtime
) -> None:
    """A Kafka user may do what its rows say and nothing else."""
    address = as_user(running.kafka_bootstrap, user)
    assert {name for name in table if does(address, name)} == {name for name in table if user in table[name]}


@pytest.mark.parametrize("user", ["cli", "collector"])
def test_only_admin_makes_topics_and_gives_rights(user: str, running: Runtime) -> None:
    address = as_user(running.kafka_bootstrap, user)
    with pytest.raises(ServiceError, match="TopicAuthorizationFailed"):
        kafka_admin.create_topics(address, {"mine": 1})
    with pytest.raises(ServiceError, match="ClusterAuthorizationFailed"):
        kafka_admin.grant(address, [Right(user, "topic", ("events",), ("ALL",))])


def test_kafka_takes_nobody_without_tls_without_password_or_with_apps(running: Runtime) -> None:
    to = addresses.Address.of(running.kafka_bootstrap)
    app = addresses.Address.of(running.redis_url)._replace(user="app").password("redis")
    known = addresses.kafka_python(running.kafka_bootstrap) | {"bootstrap_timeout_ms": 2000}
    KafkaAdminClient(**known).close()
    for wrong in (
        {"security_protocol": "PLAINTEXT"},
        {"security_protocol": "SSL"},
        {"security_protocol": "SASL_PLAINTEXT"},
        {"sasl_plain_password": "wrong"},
        {"sasl_plain_username": "app", "sasl_plain_password": app},
    ):
        with pytest.raises(KafkaPythonError):
            KafkaAdminClient(**known | wrong)
    assert processes.listens(to.servers)


def alone(running: Runtime, folder: Path, user: str) -> str:
    """Return Kafka's address for a process that has the secrets of one user and no other."""
    to = addresses.Address.of(running.kafka_bootstrap)
    for name in ("ca.pem", f"kafka-{user}"):
        shutil.copy(Path(to.secrets) / name, folder / name)
    return str(to._replace(user=user, secrets=str(folder)))


def test_collector_starts_with_its_own_secret_and_no_other(running: Runtime, tmp_path: Path) -> None:
    """It makes no topic. It reads what others wrote to the consent topic, or a denial might be left out."""
    address = alone(running, tmp_path, "collector")
    with RunningCollector(address, tmp_path) as collector:
        for _ in range(2):
            assert collector.post(event(visitor_id="anna"), consent="denied").status_code == 200
        visitor = collector.pseudonyms.of("anna")
        consent_topic.send(running.kafka_bootstrap, "consent", {visitor: Record("granted", time.time_ns() // 10**6)})
        assert collector.post(event(visitor_id="anna"), consent="denied").status_code == 200
    said = [json.loads(each.value)["state"] for each in read_slice(running.kafka_bootstrap, "consent").records
            if each.key == visitor.encode()]  # fmt: skip
    assert said == ["withdrawn", "granted", "withdrawn"]
    assert len(collector.log.read_text().splitlines()) == 2  # collecting, stopped


COMMANDS = (["consent", "withdraw", "anna"], ["replay", "eshop2008", "--limit", "5"])


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_commands_need_the_secret_of_cli_and_no_other(
    command: list[str], running: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVESHELF_KAFKA_BOOTSTRAP", alone(running, tmp_path, "cli"))
    monkeypatch.setenv("LIVESHELF_STATE_DIR", str(tmp_path / "state"))
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.stderr


def test_settings_of_topics_are_told_to_cli(running: Runtime, tmp_path: Path) -> None:
    """For doctor, and for the receipt of an erasure, which says how long records from before remain."""
    address = alone(running, tmp_path, "cli")
    own, place = Settings(state_dir=tmp_path / "state", kafka_bootstrap=address), Runtime(kafka_bootstrap=address)
    found = {check.name: check for check in doctor._consents(own, place, doctor._said(own, place))}
    assert found["consent topic"].ok, found
    assert set(receipt.retention_ms(address, ["events", "events.dead", "events.late", "rankings"])) == {
        "events", "events.dead", "events.late", "rankings",
    }  # fmt: skip


@pytest.mark.parametrize("fast", [False, True], ids=["kafka-python", "confluent-kafka"])
def test_both_kafka_clients_send_and_read(fast: bool, running: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(kafka_send.connect(as_user(running.kafka_bootstrap, "collector"), "events", fast)) as sender:
        sender.send(b"v1", b"{}", 1_700_000_000_000)
        sender.flush()
    if not fast:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert read_slice(running.kafka_bootstrap, "events").records[-1].value in (b"{}", b"x")


def test_doctor_finds_kafka_and_redis_in_order(running: Runtime, settings: Settings) -> None:
    found = {check.name: check for check in doctor.checks(settings)}
    assert (found["Kafka"].ok, found["Redis"].ok) == (True, True)
    assert "maxmemory-policy noeviction" in found["Redis"].found


def test_secrets_are_their_owners(settings: Settings, running: Runtime) -> None:
    folder = settings.state_dir / "secure"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}


def test_a_state_folder_keeps_its_profile(settings: Settings, running: Runtime, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="LIVESHELF_PROFILE=secure"):
        runtime.up(settings.model_copy(update={"profile": "plain"}), ("redis",))
    (tmp_path / "kafka" / "data").mkdir(parents=True)
    with pytest.raises(SettingsError, match="LIVESHELF_PROFILE=plain"):
        runtime.up(Settings(state_dir=tmp_path, profile="secure", redis_port=0), ("redis",))
