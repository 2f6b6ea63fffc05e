"""An address names the place, the user and the folder of secrets; clients get the password, and nothing else does."""

from pathlib import Path
from urllib.parse import quote

import pytest
from redis import Redis, SSLConnection
from redis.connection import Connection
from redis.sentinel import SentinelConnectionPool

from jobs.connect import addresses, users
from jobs.connect.addresses import as_user
from jobs.errors import SettingsError


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    for name in ("kafka-cli", "redis-job", "ca.pem", "rest.pem"):
        (tmp_path / name).write_text(f"the {name}")
        (tmp_path / name).chmod(0o600)
    return tmp_path


def test_a_plain_kafka_is_host_and_port_for_every_client() -> None:
    assert addresses.kafka_python("a:1,b:2") == {"bootstrap_servers": ["a:1", "b:2"]}
    assert addresses.librdkafka("a:1,b:2") == {"bootstrap.servers": "a:1,b:2"}
    assert addresses.flink_table("a:1,b:2") == {"properties.bootstrap.servers": "a:1,b:2"}


def test_python_clients_of_secure_kafka_get_password_from_users_file(secrets: Path) -> None:
    address = f"kafkas://cli@a:1,b:2?secrets={secrets}"

    options = addresses.kafka_python(address)
    assert options["bootstrap_servers"] == ["a:1", "b:2"]
    assert (options["security_protocol"], options["sasl_mechanism"]) == ("SASL_SSL", "SCRAM-SHA-512")
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("cli", "the kafka-cli")
    assert options["ssl_cafile"] == str(secrets / "ca.pem")
    fast = addresses.librdkafka(address)
    assert (fast["bootstrap.servers"], fast["sasl.username"], fast["sasl.password"]) == (
        "a:1,b:2",
        "cli",
        "the kafka-cli",
    )


def test_what_flink_is_told_names_file_and_holds_no_password(secrets: Path) -> None:
    options = addresses.flink_table(f"kafkas://cli@a:1?secrets={secrets}")

    assert f'username="cli" password="${{directory:{secrets}:kafka-cli}}"' in options["properties.sasl.jaas.config"]
    assert "the kafka-cli" not in str(options)


@pytest.mark.parametrize(("scheme", "kind"), [("redis", Connection), ("rediss", SSLConnection)])
def test_redis_gets_user_password_and_over_tls_the_authority(scheme: str, kind: type, secrets: Path) -> None:
    client = addresses.redis_client(f"{scheme}://job@h:7/3?secrets={secrets}", socket_timeout=4)

    pool = client.connection_pool
    told = pool.connection_kwargs
    assert isinstance(client, Redis)
    assert pool.connection_class is kind
    expected = {"host": "h", "port": 7, "db": 3, "socket_timeout": 4}
    assert {name: told[name] for name in expected} == expected
    assert told["credential_provider"].get_credentials() == ("job", "the redis-job")
    assert not {"username", "password"} & told.keys()
    assert told.get("ssl_ca_certs") == (str(secrets / "ca.pem") if scheme == "rediss" else None)
    assert told.get("ssl_check_hostname") == (True if scheme == "rediss" else None)


def test_redis_of_ones_own_may_hold_everything_in_its_url() -> None:
    told = addresses.redis_client("rediss://me:mine@h:7/0?ssl_ca_certs=/ca.pem").connection_pool.connection_kwargs
    assert (told["username"], told["password"], told["ssl_ca_certs"]) == ("me", "mine", "/ca.pem")


def test_feasts_connection_string_has_what_the_client_has(secrets: Path) -> None:
    address = f"rediss://job@h:7/3?secrets={secrets}"
    expected = f"h:7,db=3,username=job,password=the redis-job,ssl=true,ssl_ca_certs={secrets}/ca.pem"
    expected += ",ssl_check_hostname=true"
    assert addresses.feast_redis(address) == expected
    assert addresses.feast_redis("redis://h:7/3") == "h:7,db=3"
    own = addresses.feast_redis("rediss://:p@h:7?ssl_ca_certs=/ca.pem")
    assert own == "h:7,password=p,ssl_ca_certs=/ca.pem,ssl=true,ssl_check_hostname=true"


def test_an_address_of_sentinels_names_user_primary_and_database(secrets: Path) -> None:
    pool = addresses.redis_client(f"rediss+sentinel://job@a:1,b:2/shop/3?secrets={secrets}").connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    assert pool.service_name == "shop"
    told = [each.connection_pool.connection_kwargs for each in pool.sentinel_manager.sentinels]
    assert [(each["host"], each["port"], each["ssl_ca_certs"]) for each in told] == [
        ("a", 1, str(secrets / "ca.pem")),
        ("b", 2, str(secrets / "ca.pem")),
    ]
    assert pool.connection_kwargs["db"] == 3
    assert pool.connection_kwargs["credential_provider"].get_credentials() == ("job", "the redis-job")
    own = addresses.redis_client("redis+sentinel://me:p%40ss@a:1/shop").connection_pool.connection_kwargs
    assert (own["username"], own["password"], own["db"]) == ("me", "p@ss", 0)


def test_what_an_address_of_sentinels_says_itself_wins() -> None:
    address = "rediss+sentinel://me:mine@a:1,[::1]:2/shop/3?ssl_ca_certs=/ca.pem&socket_timeout=4"
    pool = addresses.redis_client(address, socket_timeout=5, socket_keepalive=True).connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    expected = {"username": "me", "password": "mine", "db": 3, "ssl_ca_certs": "/ca.pem", "ssl_check_hostname": True}
    expected |= {"socket_timeout": 4, "socket_connect_timeout": addresses.CONNECT_S, "socket_keepalive": True}
    assert {name: pool.connection_kwargs.get(name) for name in expected} == expected
    asked = [each.connection_pool.connection_kwargs for each in pool.sentinel_manager.sentinels]
    assert [(each["host"], each["port"], each["ssl_ca_certs"]) for each in asked] == [
        ("a", 1, "/ca.pem"),
        ("::1", 2, "/ca.pem"),
    ]
    with pytest.raises(SettingsError, match="it takes a host's name or IPv4 address"):
        addresses.feast_store(address)


def test_feast_is_told_of_sentinels_too(secrets: Path) -> None:
    assert addresses.feast_store("redis://h:7/3") == {"connection_string": "h:7,db=3"}
    assert addresses.feast_store(f"redis+sentinel://job@a:1,b:2/shop/3?secrets={secrets}") == {
        "redis_type": "redis_sentinel",
        "sentinel_master": "shop",
        "connection_string": "a:1,b:2,db=3,username=job,password=the redis-job",
    }


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("redis+sentinel://a:1", "names no primary"),
        ("redis+sentinel://a:1/0/shop", "names no primary"),
        ("redis+sentinel://a,b:1/shop/0", "'a' names no Sentinel"),
        ("redis+sentinel://a:x/shop/0", "'a:x' names no Sentinel"),
    ],
)
def test_an_address_of_sentinels_that_says_too_little(address: str, what: str) -> None:
    for client in (addresses.redis_client, addresses.feast_store):
        with pytest.raises(SettingsError, match=what):
            client(address)


# Feast cuts its string at commas, reads JSON, and fills in variables. Each was tried with Feast's own reader.
@pytest.mark.parametrize(
    "password",
    ["pa,ss", "x,db=5", "true", "null", "1e5", '"quoted"', "[]", "-0", "1.0", "0", "NaN", "9" * 5000, "$HOME", "${X}"],
)
def test_a_password_that_feast_reads_otherwise_is_refused(password: str) -> None:
    with pytest.raises(SettingsError, match="Feast can't hold the password") as refused:
        addresses.feast_redis(f"redis://app:{quote(password, safe='')}@h:7/0")
    assert password not in refused.value.what or password in "0,-0"


@pytest.mark.parametrize("password", ["plain", "a=b", "p@ss#w/rd?&%", "12345678", "0012", "dollar$", "{x"])
def test_a_password_that_feast_reads_right_is_taken(password: str) -> None:
    told = addresses.feast_redis(f"redis://app:{quote(password, safe='')}@h:7/0")
    assert told == f"h:7,db=0,username=app,password={password}"


@pytest.mark.parametrize("url", ["unix:///run/redis.sock", "redis://[::1]:7/0"])
def test_a_place_that_feast_cant_reach_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="Feast can't reach Redis at"):
        addresses.feast_redis(url)


def test_every_client_of_redis_has_a_limit_of_time() -> None:
    told = addresses.redis_client("redis://h:7/0").connection_pool.connection_kwargs
    assert (told["socket_connect_timeout"], told["socket_timeout"]) == (10, 60)
    own = addresses.redis_client("redis://h:7/0?socket_timeout=3").connection_pool.connection_kwargs
    assert own["socket_timeout"] == 3


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o666])
@pytest.mark.parametrize("name", ["redis-job", "kafka-cli", "rest.pem"])
def test_a_secret_that_others_may_read_is_refused(secrets: Path, name: str, mode: int) -> None:
    (secrets / name).chmod(mode)
    read = {
        "redis-job": lambda: addresses.redis_client(f"redis://job@h:7/0?secrets={secrets}"),
        "kafka-cli": lambda: addresses.librdkafka(f"kafkas://cli@h:7?secrets={secrets}"),
        "rest.pem": lambda: addresses.rest(f"https://h:7?secrets={secrets}"),
    }
    with pytest.raises(SettingsError, match=f"{name} is open to others: its mode is {mode:o}"):
        read[name]()


def test_an_authority_that_others_may_change_is_refused(secrets: Path) -> None:
    (secrets / "ca.pem").chmod(0o644)
    addresses.librdkafka(f"kafkas://cli@h:7?secrets={secrets}")
    (secrets / "ca.pem").chmod(0o646)
    with pytest.raises(SettingsError, match=r"ca\.pem is open to others"):
        addresses.librdkafka(f"kafkas://cli@h:7?secrets={secrets}")


@pytest.mark.parametrize("text", ["word", "word\n", "word\r\n"])
def test_one_newline_is_no_part_of_a_password(secrets: Path, text: str) -> None:
    (secrets / "redis-job").write_bytes(text.encode())
    assert addresses.Address.of(f"redis://job@h:7/0?secrets={secrets}").password("redis") == "word"
    (secrets / "redis-job").write_bytes(b"word\n\n")
    assert addresses.Address.of(f"redis://job@h:7/0?secrets={secrets}").password("redis") == "word\n"


@pytest.mark.parametrize("text", ["word\n", 'a"b', "a\\b"])
def test_a_password_that_breaks_flinks_login_is_refused(secrets: Path, text: str) -> None:
    (secrets / "kafka-cli").write_text(text)
    with pytest.raises(SettingsError, match="kafka-cli holds a quote, a backslash or a newline"):
        addresses.flink_table(f"kafkas://cli@h:7?secrets={secrets}")


def test_users_name_cant_leave_its_quotes_in_flinks_login(secrets: Path) -> None:
    login = addresses.flink_table(f'kafkas://a" debug="x@h:7?secrets={secrets}')["properties.sasl.jaas.config"]
    assert 'username="a\\" debug=\\"x"' in login


@pytest.mark.parametrize("project", ["shop ~*", "a\nuser b on", "*", ""])
def test_a_project_that_widens_redis_rights_is_refused(project: str) -> None:
    with pytest.raises(SettingsError, match="can't stand in Redis' rights"):
        users.redis_acl(dict.fromkeys(users.REDIS_USERS, "00"), project)


def test_flinks_rest_interface_with_secrets_shows_and_wants_a_certificate(secrets: Path) -> None:
    file = str(secrets / "rest.pem")
    assert addresses.rest(f"https://h:8?secrets={secrets}") == ("https://h:8", {"verify": file, "cert": file})
    assert addresses.rest("http://h:8/flink/") == ("http://h:8/flink", {})


def test_another_user_is_another_address_only_where_there_are_users() -> None:
    assert as_user("kafkas://cli@a:1,b:2?secrets=/s", "features") == "kafkas://features@a:1,b:2?secrets=/s"
    assert as_user("rediss://admin@h:7/3?secrets=/s", "job") == "rediss://job@h:7/3?secrets=/s"
    assert as_user("127.0.0.1:1", "features") == "127.0.0.1:1"
    assert as_user("redis://:mine@h:7/0", "job") == "redis://:mine@h:7/0"


def test_a_secret_that_isnt_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=rf"no secret {tmp_path}/ca.pem"):
        addresses.kafka_python(f"kafkas://cli@a:1?secrets={tmp_path}")
