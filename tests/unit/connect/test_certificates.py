"""The secure profile's certificates are good for what their owner does, and for nothing else."""

import socket
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from jobs.cluster import secure

SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    secure._certificates(tmp_path)
    return tmp_path


def test_a_certificate_says_what_it_is_good_for(secrets: Path) -> None:
    found = {}
    for name in ("kafka", "redis", "rest"):
        certificate = x509.load_pem_x509_certificate((secrets / f"{name}.pem").read_bytes())
        found[name] = set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert found == {"kafka": {SERVER, CLIENT}, "redis": {SERVER}, "rest": {SERVER, CLIENT}}


@pytest.mark.parametrize(("name", "accepted"), [("kafka", True), ("redis", False)])
def test_a_server_takes_only_clients_certificates(name: str, accepted: bool, secrets: Path) -> None:
    """The broker's own listener asks its clients for a certificate; Redis' isn't one."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(secrets / "kafka.pem")
    server.load_verify_locations(secrets / "ca.pem")
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context(cafile=str(secrets / "ca.pem"))
    client.load_cert_chain(secrets / f"{name}.pem")
    one, other = socket.socketpair()
    told = []

    def serve() -> None:
        try:
            with server.wrap_socket(one, server_side=True) as connection:
                told.append(connection.recv(5) == b"hello")
        except ssl.SSLError:
            told.append(False)
            one.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(other, server_hostname="127.0.0.1") as connection:
            connection.sendall(b"hello")
    except OSError:
        pass  # the server hung up
    thread.join(10)
    assert told == [accepted]
