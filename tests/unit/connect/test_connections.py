"""An address names the place, the user and the folder of secrets; clients get the password, and nothing else does."""

from pathlib import Path

import pytest
from redis import Redis, SSLConnection
from redis.connection import Connection

from jobs.connect import addresses
from jobs.connect.addresses import as_user
from jobs.errors import SettingsError


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    for name in ("kafka-cli", "redis-job", "ca.pem", "rest.pem"):
        (tmp_path / name).write_text(f"the {name}")
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


def test_redis_of_ones_own_may_hold_everything_in_its_url() -> None:
    told = addresses.redis_client("rediss://me:mine@h:7/0?ssl_ca_certs=/ca.pem").connection_pool.connection_kwargs
    assert (told["username"], told["password"], told["ssl_ca_certs"]) == ("me", "mine", "/ca.pem")


def test_feasts_connection_string_has_what_the_client_has(secrets: Path) -> None:
    address = f"rediss://job@h:7/3?secrets={secrets}"
    expected = f"h:7,db=3,username=job,password=the redis-job,ssl=true,ssl_ca_certs={secrets}/ca.pem"
    assert addresses.feast_redis(address) == expected
    assert addresses.feast_redis("redis://h:7/3") == "h:7,db=3"
    assert (
        addresses.feast_redis("rediss://:p@h:7?ssl_ca_certs=/ca.pem") == "h:7,password=p,ssl_ca_certs=/ca.pem,ssl=true"
    )


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
