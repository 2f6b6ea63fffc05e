"""Every client over TLS looks who signed the server's certificate, for which name, and until when.

The servers are sockets that end the handshake and then read. What a client sends after the handshake is already meant
for the server, so a client that has sent something has trusted it.
"""

import asyncio
import datetime
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import kafka
import pytest
import redis
import requests
from confluent_kafka.admin import AdminClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from jobs.connect import addresses
from jobs.jvm import build
from liveshelf import AsyncShelfReader, ShelfReader

Signed = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]
JAVA: dict[str, str] = {}  # the class path of the Java client, once a test wants it
WRONG = ("another authority", "another name", "expired")


def certificate(name: str, signer: Signed | None = None, *, days: int = 30) -> Signed:
    """A certificate for a host's name, signed by `signer` or by itself; it ends in `days`, which may be over."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    issuer, own = (signer[0].subject, signer[1]) if signer else (subject, key)
    made = (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=60))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    )
    return made.sign(own, hashes.SHA256()), key


def pem(signed: Signed) -> bytes:
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return signed[1].private_bytes(*form) + signed[0].public_bytes(serialization.Encoding.PEM)


class Server:
    """Shakes hands at `port` with its certificate, and remembers in `heard` the first bytes of each client."""

    def __init__(self, chain: Path) -> None:
        self.heard: list[bytes] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(chain)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):  # closed: the test is over
            while True:
                threading.Thread(target=self._hear, args=self._socket.accept()[:1], daemon=True).start()

    def _hear(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        with suppress(OSError), self._context.wrap_socket(connection, server_side=True) as secured:
            if first := secured.recv(64):
                self.heard.append(first)
                while secured.recv(64):  # and never an answer
                    pass

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("secrets")
    authority = certificate("authority")
    files = {
        "ca.pem": authority[0].public_bytes(serialization.Encoding.PEM),
        "right": pem(certificate("localhost", authority)),
        "another authority": pem(certificate("localhost", certificate("authority"))),
        "another name": pem(certificate("elsewhere.example", authority)),
        "expired": pem(certificate("localhost", authority, days=-1)),
        "redis-job": b"word",
        "kafka-cli": b"word",
        # REST clients know the server's own certificate, so it is in the file of those that they trust.
        "rest.pem": pem(certificate("client", authority)) + authority[0].public_bytes(serialization.Encoding.PEM),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o600)
    return folder


@pytest.fixture
def server(secrets: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    server = Server(secrets / request.param)
    yield server
    server.close()


def with_redis_py(port: int, secrets: Path) -> None:
    addresses.redis_client(f"rediss://job@localhost:{port}/0?secrets={secrets}", socket_timeout=3).ping()


def with_redis_url(port: int, secrets: Path) -> None:
    addresses.redis_client(f"rediss://localhost:{port}/0?ssl_ca_certs={secrets}/ca.pem&socket_timeout=3").ping()


def with_feast(port: int, secrets: Path) -> None:
    from feast.infra.online_stores.redis import RedisOnlineStore

    text = addresses.feast_redis(f"rediss://job@localhost:{port}/0?secrets={secrets}")
    (node,), options = RedisOnlineStore._parse_connection_string(text)
    redis.Redis(**node, **options, socket_timeout=3).ping()


def url_of_the_pages(port: int, secrets: Path) -> str:
    """The address of jobs/connect/README.md, with this test's places."""
    page = (Path(addresses.__file__).parent / "README.md").read_text()
    (shown,) = [line.split('"')[1] for line in page.splitlines() if 'ShelfReader("rediss://' in line]
    return shown.replace("host:16379", f"localhost:{port}").replace("ca.pem", f"{secrets}/ca.pem")


def with_the_reader(port: int, secrets: Path) -> None:
    ShelfReader(url_of_the_pages(port, secrets)).get("v")


def with_the_async_reader(port: int, secrets: Path) -> None:
    asyncio.run(AsyncShelfReader(f"rediss://localhost:{port}/0?ssl_ca_certs={secrets}/ca.pem").get("v"))


def with_the_pages_url_alone(port: int, secrets: Path) -> None:
    redis.Redis.from_url(url_of_the_pages(port, secrets), socket_timeout=3).ping()


def with_kafka_python(port: int, secrets: Path) -> None:
    told = addresses.kafka_python(f"kafkas://cli@localhost:{port}?secrets={secrets}")
    kafka.KafkaAdminClient(**told, bootstrap_timeout_ms=2000).close()


def with_librdkafka(port: int, secrets: Path) -> None:
    told = addresses.librdkafka(f"kafkas://cli@localhost:{port}?secrets={secrets}")
    AdminClient(told | {"log_level": 0}).list_topics(timeout=2)


def with_flinks_kafka_client(port: int, secrets: Path) -> None:
    told = addresses.flink_table(f"kafkas://cli@localhost:{port}?secrets={secrets}")
    lines = [f"{name.removeprefix('properties.')}={value}" for name, value in told.items()]
    build.run_beside(JAVA["classpath"], "KafkaTlsCheck", port, told="\n".join(lines))


def with_rest(port: int, secrets: Path) -> None:
    base, certificates = addresses.rest(f"https://localhost:{port}?secrets={secrets}")
    requests.get(f"{base}/overview", timeout=3, **certificates)


CLIENTS = [
    with_redis_py,
    with_redis_url,
    with_feast,
    with_the_reader,
    with_the_async_reader,
    with_the_pages_url_alone,
    with_kafka_python,
    with_librdkafka,
    with_flinks_kafka_client,
    with_rest,
]
EACH_CLIENT = pytest.mark.parametrize("connect", CLIENTS, ids=lambda connect: connect.__name__)


@pytest.fixture(autouse=True)
def java(request: pytest.FixtureRequest) -> None:
    """Compile the Java client for the tests that use it."""
    if "with_flinks_kafka_client" in request.node.name:
        JAVA["classpath"] = request.getfixturevalue("java_checks")


@EACH_CLIENT
@pytest.mark.parametrize("server", ["right"], indirect=True)
def test_a_client_speaks_to_the_server_that_it_means(connect: Callable, server: Server, secrets: Path) -> None:
    with suppress(Exception):  # the server never answers
        connect(server.port, secrets)
    assert server.heard


@EACH_CLIENT
@pytest.mark.parametrize("server", WRONG, indirect=True)
def test_a_client_tells_nothing_to_another_server(connect: Callable, server: Server, secrets: Path) -> None:
    """No password, no name and no request reach a server whose certificate isn't right."""
    with suppress(Exception):
        connect(server.port, secrets)
    assert server.heard == []


@pytest.mark.parametrize("reader", [with_the_reader, with_the_async_reader], ids=["sync", "async"])
@pytest.mark.parametrize("server", ["right"], indirect=True)
def test_a_reader_doesnt_wait_for_a_silent_server(reader: Callable, server: Server, secrets: Path) -> None:
    with pytest.raises(redis.TimeoutError):
        reader(server.port, secrets)
