"""Read addresses and make clients. An address names the place, the user and the folder of secrets, never a secret.

    127.0.0.1:19092                                     Kafka, plain
    kafkas://cli@127.0.0.1:19092?secrets=/run/secrets   Kafka over TLS, SCRAM-SHA-512 as `cli`
    redis://127.0.0.1:16379/0                           Redis, as redis-py reads it
    rediss://job@127.0.0.1:16379/0?secrets=/run/secrets Redis over TLS as `job` (redis://job@… without TLS)
    redis+sentinel://10.0.0.1:26379,10.0.0.2:26379/shop/0
                                                        the Redis that Sentinels call `shop`; rediss+… for TLS
    https://127.0.0.1:18081?secrets=/run/secrets        Flink's REST interface, where both sides show a certificate

So an address may stand in job arguments, in what travels to workers, and in logs. A client reads the password when it
is made. The folder holds one password a file (`kafka-cli`, `redis-job`, …), and `ca.pem`, which signed the servers'
certificates. For Flink it holds `rest.pem`: key and certificate of both sides. Docker and Kubernetes mount secrets in
the same form. A server's certificate must name the server, whoever signed it.
"""

import json
import re
import stat
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import redis

from jobs.connect import sentinel
from jobs.errors import SettingsError
from liveshelf.key_file import FORBIDDEN_MODE

SECURE_KAFKA = "kafkas"
SENTINEL = "+sentinel"  # behind the scheme of an address that names Sentinels
MECHANISM = "SCRAM-SHA-512"
# Flink's connector brings Kafka's client under another name.
SHADED = "org.apache.flink.kafka.shaded.org.apache.kafka.common"
# For commands that talk to Redis. The slowest of them, a SCAN of a thousand keys, takes milliseconds.
CONNECT_S, ANSWER_S = 10.0, 60.0


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
        """Return the user's password for a service; raise `SettingsError` if the folder has none, or others read it.

        One newline at the end isn't part of it: editors and `echo` write one.
        """
        text = _secret(self.password_file(service)).read_bytes().decode()
        return text.removesuffix("\n").removesuffix("\r")

    def password_file(self, service: str) -> Path:
        """Return where the user's password for a service is."""
        return Path(self.secrets) / f"{service}-{self.user}"

    def file(self, name: str) -> str:
        """Return the path of one of the folder's files; raise `SettingsError` if it isn't there, or others write it."""
        file = Path(self.secrets) / name
        return str(_there(file, stat.S_IWGRP | stat.S_IWOTH) if name == "ca.pem" else _secret(file))


def _secret(file: Path) -> Path:
    return _there(file, FORBIDDEN_MODE)


def _there(file: Path, forbidden: int) -> Path:
    """Return a file of the folder; raise `SettingsError` if it isn't there, or has one of the forbidden modes."""
    if not file.is_file():
        raise SettingsError(
            f"there is no secret {file}", "put it there, or name another folder in the address: ?secrets="
        )
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & forbidden:
        raise SettingsError(f"{file} is open to others: its mode is {mode:o}", f"chmod 600 {file}")
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
    return where | {
        "properties.security.protocol": "SASL_SSL",
        "properties.ssl.truststore.type": "PEM",
        "properties.ssl.truststore.location": to.file("ca.pem"),
        "properties.sasl.mechanism": MECHANISM,
        "properties.sasl.jaas.config": _login_of_java(to),
        "properties.config.providers": "directory",
        "properties.config.providers.directory.class": f"{SHADED}.config.provider.DirectoryConfigProvider",
    }


def _login_of_java(to: Address) -> str:
    """Return the JAAS line of a Kafka user. Java puts the file's content between the quotes, just as it is."""
    if re.search(r'[:{}"\\\s]', to.secrets):
        raise SettingsError(
            f"the folder {to.secrets!r} can't stand in the login of Kafka's client in Flink", "use a plain path"
        )
    file = to.password_file("kafka")
    if file.is_file() and re.search(r'["\\\r\n]', _secret(file).read_bytes().decode()):  # only the workers may have it
        raise SettingsError(
            f"{file} holds a quote, a backslash or a newline, which break the login of Kafka's client in Flink",
            f"printf %s PASSWORD > {file}, with a password of other signs",
        )
    user = re.sub(r'(["\\])', r"\\\1", to.user)
    password = f"${{directory:{to.secrets}:kafka-{to.user}}}"
    return f'{SHADED}.security.scram.ScramLoginModule required username="{user}" password="{password}";'


class _Login(redis.CredentialProvider):
    """Name and password of a Redis user. They are read for each connection, so a new password needs no restart."""

    def __init__(self, to: Address) -> None:
        self._to = to
        self.get_credentials()  # raises at once if the folder has no such secret

    def get_credentials(self) -> tuple[str, str]:
        return self._to.user, self._to.password("redis")


def redis_client(address: str, **options: Any) -> redis.Redis:
    """Return a client of redis-py; raise `SettingsError` if the address' folder has no password of the user.

    Over TLS it checks the server's name, which redis-py doesn't do by itself, and it never waits for ever. What the
    address itself says about either wins.
    """
    to = Address.of(address)
    if to.scheme.endswith(SENTINEL):
        return _of_sentinels(address, options)
    limits: dict[str, Any] = {"socket_timeout": ANSWER_S}
    if to.scheme != "unix":
        limits["socket_connect_timeout"] = CONNECT_S
    if to.scheme == "rediss":
        limits["ssl_check_hostname"] = True
    if not to.secrets:
        return redis.Redis.from_url(address, **limits | options)
    return redis.Redis.from_url(str(to._replace(user="", secrets="")), **limits | _redis_options(to) | options)


def _of_sentinels(address: str, options: dict[str, Any]) -> redis.Redis:
    master, servers = _servers(address)
    pools = [redis_client(server, **options).connection_pool for server in servers]  # which connect to nothing yet
    hosts = [(pool.connection_kwargs["host"], pool.connection_kwargs["port"]) for pool in pools]
    said = {name: value for name, value in pools[0].connection_kwargs.items() if name not in ("host", "port")}
    is_tls = issubclass(pools[0].connection_class, redis.SSLConnection)
    return sentinel.primary_client(hosts, master, **said, **({"ssl": True} if is_tls else {}))


def _servers(address: str) -> tuple[str, list[str]]:
    """Return the primary's name, and for each Sentinel an address of one server that says all the rest of `address`."""
    parts = urlsplit(address)
    user, at, hosts = parts.netloc.rpartition("@")
    master, _, db = parts.path.strip("/").partition("/")
    if not master or not (db or "0").isdigit():
        raise SettingsError(
            f"{parts.scheme}://{hosts}{parts.path} names no primary",
            "write redis+sentinel://HOST:26379,HOST:26379/NAME/0, with the NAME that Sentinel monitors",
        )
    found = []
    for server in hosts.split(","):
        host, _, port = server.rpartition(":")
        if not host or not port.isdigit():
            raise SettingsError(f"{server!r} names no Sentinel", "write HOST:26379, with commas between several")
        one = {"scheme": parts.scheme.removesuffix(SENTINEL), "netloc": f"{user}{at}{server}", "path": f"/{db or 0}"}
        found.append(parts._replace(**one).geturl())
    return master, found


def feast_store(address: str) -> dict[str, str]:
    """Return the options of Feast's Redis store. They hold the password, so their file is a secret too.

    Raise `SettingsError` for what Feast would read as something else.
    """
    if not Address.of(address).scheme.endswith(SENTINEL):
        return {"connection_string": feast_redis(address)}
    master, servers = _servers(address)
    hosts, options = zip(*(feast_redis(server).split(",", 1) for server in servers), strict=True)
    text = ",".join([*hosts, options[0]])
    return {"redis_type": "redis_sentinel", "sentinel_master": master, "connection_string": text}


def feast_redis(address: str) -> str:
    """Return the `connection_string` of Feast's Redis store. It holds the password, so its file is a secret too.

    Raise `SettingsError` for what Feast would read as something else.
    """
    to = Address.of(address)
    parsed = redis.connection.parse_url(str(to._replace(secrets="")) if to.secrets else address)
    names = ["db", "username", "password", *sorted(name for name in parsed if name.startswith("ssl_"))]
    options = {name: str(parsed[name]) for name in names if name in parsed}
    if to.secrets:
        options |= {"password": to.password("redis")}
    if to.scheme == "rediss":
        checked = str(options.pop("ssl_check_hostname", True)).lower()
        options |= {"ssl": "true"} | ({"ssl_ca_certs": to.file("ca.pem")} if to.secrets else {})
        options |= {"ssl_check_hostname": checked}
    host, port = parsed.get("host", "127.0.0.1"), parsed.get("port", 6379)
    if "path" in parsed or re.search(r"[:,=$\s]", host):
        raise SettingsError(
            f"Feast can't reach Redis at {parsed.get('path', host)!r}: it takes a host's name or IPv4 address",
            "set LIVESHELF_REDIS_URL to redis://HOST:PORT/0",
        )
    for name, value in options.items():
        _check_for_feast(name, value)
    return ",".join([f"{host}:{port}", *(f"{name}={value}" for name, value in options.items())])


def _check_for_feast(name: str, value: str) -> None:
    """Raise `SettingsError` for a value that Feast reads as another one; it doesn't say the value itself.

    Feast fills in variables ($NAME), cuts its string at every comma, and reads each value as JSON if it can. A number
    comes back as a number, which redis-py sends as the same digits, unless it is 0, which it takes for no password.
    """
    try:
        read = json.loads(value)
    except json.JSONDecodeError:
        same = True
    except ValueError:  # more digits than Python reads
        same = False
    else:
        wanted = name.startswith("ssl") and value in ("true", "false")
        same = wanted or name == "db" or (type(read) is int and str(read) == value and read != 0)
    if not same or "," in value or re.search(r"\$[\w{]", value):
        raise SettingsError(
            f"Feast can't hold the {name} of LIVESHELF_REDIS_URL: it would read another one",
            f"choose a {name} without a comma or a dollar sign that isn't 0, another number, true, null or quoted",
        )


def _redis_options(to: Address) -> dict[str, Any]:
    # redis-py introduces itself with CLIENT SETINFO. The users here may not send it, and refusals would fill ACL LOG.
    options = {"credential_provider": _Login(to), "lib_name": None, "lib_version": None}
    return options | ({"ssl_ca_certs": to.file("ca.pem")} if to.scheme == "rediss" else {})


def rest(address: str) -> tuple[str, dict[str, Any]]:
    """Return the base URL of Flink's REST interface, and the arguments that `requests` takes beside it."""
    to = Address.of(address)
    base = str(to._replace(secrets="", path="")) if to.secrets else address.rstrip("/")
    return base, {"verify": to.file("rest.pem"), "cert": to.file("rest.pem")} if to.secrets else {}
