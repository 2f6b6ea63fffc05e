"""Read addresses and make clients. An address names the place, the user and the folder of secrets, never a secret.

    127.0.0.1:19092                                     Kafka, plain
    kafkas://cli@127.0.0.1:19092?secrets=/run/secrets   Kafka over TLS, SCRAM-SHA-512 as `cli`
    redis://127.0.0.1:16379/0                           Redis, as redis-py reads it
    rediss://job@127.0.0.1:16379/0?secrets=/run/secrets Redis over TLS as `job` (redis://job@… without TLS)
    https://127.0.0.1:18081?secrets=/run/secrets        Flink's REST interface, where both sides show a certificate

So an address may stand in job arguments, in what travels to workers, and in logs. A client reads the password when it
is made. The folder holds one password a file, without a newline at its end (`kafka-cli`, `redis-job`, …), and
`ca.pem`, which signed the servers' certificates. For Flink it holds `rest.pem`: key and certificate of both sides.
Docker and Kubernetes mount secrets in the same form.
"""

from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import redis

from jobs.errors import SettingsError

SECURE_KAFKA = "kafkas"
MECHANISM = "SCRAM-SHA-512"
# Flink's connector brings Kafka's client under another name.
SHADED = "org.apache.flink.kafka.shaded.org.apache.kafka.common"


class Address(NamedTuple):
    """The parts of an address; `user` and `secrets` are empty where there are none."""

    scheme: str
    user: str
    servers: str  # host:port, or several with commas
    path: str
    secrets: str

    @classmethod
    def of(cls, text: str) -> "Address":
        if "://" not in text:
            return cls("", "", text, "", "")
        parts = urlsplit(text)
        user, _, servers = parts.netloc.rpartition("@")
        return cls(parts.scheme, user, servers, parts.path, parse_qs(parts.query).get("secrets", [""])[0])

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        secrets = f"?secrets={self.secrets}" if self.secrets else ""
        return f"{self.scheme}://{user}{self.servers}{self.path}{secrets}" if self.scheme else self.servers

    def password(self, service: str) -> str:
        """Return the user's password for a service; raise `SettingsError` if the folder has none."""
        return _secret(Path(self.secrets) / f"{service}-{self.user}").read_text()

    def file(self, name: str) -> str:
        """Return the path of one of the folder's files; raise `SettingsError` if it isn't there."""
        return str(_secret(Path(self.secrets) / name))


def _secret(file: Path) -> Path:
    if not file.is_file():
        raise SettingsError(
            f"there is no secret {file}", "put it there, or name another folder in the address: ?secrets="
        )
    return file


def as_user(address: str, user: str) -> str:
    """Return the same address for another user. An address without secrets has no user and stays as it is."""
    parts = Address.of(address)
    return str(parts._replace(user=user)) if parts.secrets else address


def servers(address: str) -> list[str]:
    """Return host:port of each server."""
    return Address.of(address).servers.split(",")


def kafka_python(address: str) -> dict[str, Any]:
    """Return the arguments of kafka-python's clients."""
    to = Address.of(address)
    where: dict[str, Any] = {"bootstrap_servers": servers(address)}
    if to.scheme != SECURE_KAFKA:
        return where
    return where | {
        "security_protocol": "SASL_SSL",
        "ssl_cafile": to.file("ca.pem"),
        "sasl_mechanism": MECHANISM,
        "sasl_plain_username": to.user,
        "sasl_plain_password": to.password("kafka"),
    }


def librdkafka(address: str) -> dict[str, str]:
    """Return the arguments of confluent-kafka's clients."""
    to = Address.of(address)
    where = {"bootstrap.servers": to.servers}
    if to.scheme != SECURE_KAFKA:
        return where
    return where | {
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": to.file("ca.pem"),
        "sasl.mechanism": MECHANISM,
        "sasl.username": to.user,
        "sasl.password": to.password("kafka"),
    }


def flink_table(address: str) -> dict[str, str]:
    """Return the options of a Kafka table of Flink SQL. They name the secret's file, and the client there reads it."""
    to = Address.of(address)
    where = {"properties.bootstrap.servers": to.servers}
    if to.scheme != SECURE_KAFKA:
        return where
    password = f"${{directory:{to.secrets}:kafka-{to.user}}}"
    login = f'{SHADED}.security.scram.ScramLoginModule required username="{to.user}" password="{password}";'
    return where | {
        "properties.security.protocol": "SASL_SSL",
        "properties.ssl.truststore.type": "PEM",
        "properties.ssl.truststore.location": to.file("ca.pem"),
        "properties.sasl.mechanism": MECHANISM,
        "properties.sasl.jaas.config": login,
        "properties.config.providers": "directory",
        "properties.config.providers.directory.class": f"{SHADED}.config.provider.DirectoryConfigProvider",
    }


class _Login(redis.CredentialProvider):
    """Name and password of a Redis user. They are read for each connection, so a new password needs no restart."""

    def __init__(self, to: Address) -> None:
        self._to = to
        self.get_credentials()  # raises at once if the folder has no such secret

    def get_credentials(self) -> tuple[str, str]:
        return self._to.user, self._to.password("redis")


def redis_client(address: str, **options: Any) -> redis.Redis:
    """Return a client of redis-py; raise `SettingsError` if the address' folder has no password of the user."""
    to = Address.of(address)
    if not to.secrets:
        return redis.Redis.from_url(address, **options)
    return redis.Redis.from_url(str(to._replace(user="", secrets="")), **_redis_options(to), **options)


def feast_redis(address: str) -> str:
    """Return the `connection_string` of Feast's Redis store. It holds the password, so its file is a secret too."""
    to = Address.of(address)
    parsed = redis.connection.parse_url(str(to._replace(secrets="")) if to.secrets else address)
    names = ["db", "username", "password", *sorted(name for name in parsed if name.startswith("ssl_"))]
    options = {name: parsed[name] for name in names if name in parsed}
    if to.secrets:
        options |= {"password": to.password("redis")}
    if to.scheme == "rediss":
        options |= {"ssl": "true"} | ({"ssl_ca_certs": to.file("ca.pem")} if to.secrets else {})
    where = f"{parsed.get('host', '127.0.0.1')}:{parsed.get('port', 6379)}"
    return ",".join([where, *(f"{name}={value}" for name, value in options.items())])


def _redis_options(to: Address) -> dict[str, Any]:
    # redis-py introduces itself with CLIENT SETINFO. The users here may not send it, and refusals would fill ACL LOG.
    options = {"credential_provider": _Login(to), "lib_name": None, "lib_version": None}
    return options | ({"ssl_ca_certs": to.file("ca.pem")} if to.scheme == "rediss" else {})


def rest(address: str) -> tuple[str, dict[str, Any]]:
    """Return the base URL of Flink's REST interface, and the arguments that `requests` takes beside it."""
    to = Address.of(address)
    base = str(to._replace(secrets="", path="")) if to.secrets else address.rstrip("/")
    return base, {"verify": to.file("rest.pem"), "cert": to.file("rest.pem")} if to.secrets else {}
