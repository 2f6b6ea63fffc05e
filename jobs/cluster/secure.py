"""Make the files of the `secure` profile: certificates, passwords, and files that servers read.

They are made once, in `STATE_DIR/secure`, and only their owner can read them. No openssl binary is needed. Passwords
and certificates live as long as the state folder, because Kafka's storage is formatted with its users.
"""

import datetime
import hashlib
import ipaddress
import os
from pathlib import Path
from secrets import token_urlsafe

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from jobs.connect import users
from jobs.errors import SettingsError
from jobs.settings import Settings

Key = ec.EllipticCurvePrivateKey
VALID_DAYS = 3650
STORE_PASSWORD = "flink-store-password"  # the name of a file; Java's stores want a password
FLINK_INTERNAL, FLINK_REST = "flink", "rest"
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
# A broker and Flink's processes also speak to themselves. Redis' certificate opens no connection to any of them.
USES = {"kafka": [SERVER, CLIENT], "redis": [SERVER], FLINK_INTERNAL: [SERVER, CLIENT], FLINK_REST: [SERVER, CLIENT]}


def folder(settings: Settings) -> Path:
    return settings.state_dir.resolve() / "secure"


def secrets(settings: Settings) -> Path | None:
    """Return the folder of secrets in the profile `secure`, else None."""
    return folder(settings) if settings.profile == "secure" else None


def prepare(settings: Settings) -> None:
    """Make the folder's files if the profile is `secure` and they aren't there.

    Raise `SettingsError` if the state folder belongs to a system of the other profile.
    """
    place, secure = folder(settings), settings.profile == "secure"
    other = (settings.state_dir / "kafka" / "data").is_dir() and not place.is_dir() if secure else place.is_dir()
    if other:
        kept = "plain" if secure else "secure"
        raise SettingsError(
            f"{settings.state_dir} holds a system of the profile {kept}, and the setting profile is {settings.profile}",
            f"set LIVESHELF_PROFILE={kept}, or LIVESHELF_STATE_DIR to another folder",
        )
    if secure and not place.is_dir():
        coming = place.with_name(f"secure.{os.getpid()}")
        coming.mkdir(parents=True, mode=0o700)
        _fill(coming, _project(settings))
        coming.rename(place)


def _project(settings: Settings) -> str:
    return str(yaml.safe_load((settings.feature_repo / "feature_store.yaml").read_text())["project"])


def _fill(place: Path, project: str) -> None:
    _certificates(place)
    for name in (*(f"kafka-{user}" for user in users.KAFKA_USERS), *(f"redis-{user}" for user in users.REDIS_USERS)):
        _write(place / name, token_urlsafe(32).encode())
    hashed = {user: hashlib.sha256((place / f"redis-{user}").read_bytes()).hexdigest() for user in users.REDIS_USERS}
    _write(place / "redis-users.acl", users.redis_acl(hashed, project).encode())


def _certificates(place: Path) -> None:
    """Make a certificate for Kafka and one for Redis, from an authority whose key is thrown away at once.

    Flink's processes share one certificate and trust no other, not even one from the same authority. Its REST interface
    and its clients share another one in the same way.
    """
    authority, authority_key = _certificate("liveshelf", None)
    _write(place / "ca.pem", _pem(authority))
    for name in ("kafka", "redis"):
        certificate, key = _certificate(name, (authority, authority_key))
        _write(place / f"{name}.pem", _pem_key(key) + _pem(certificate))
    password = token_urlsafe(32).encode()
    _write(place / STORE_PASSWORD, password)
    locked = serialization.BestAvailableEncryption(password)
    for name in (FLINK_INTERNAL, FLINK_REST):
        certificate, key = _certificate(name, None)
        _write(
            place / f"{name}.p12", pkcs12.serialize_key_and_certificates(name.encode(), key, certificate, None, locked)
        )
        trusted = [pkcs12.PKCS12Certificate(certificate, name.encode())]
        _write(place / f"{name}-trusted.p12", pkcs12.serialize_java_truststore(trusted, locked))
        if name == FLINK_REST:
            _write(place / f"{name}.pem", _pem_key(key) + _pem(certificate))


def _certificate(name: str, authority: tuple[x509.Certificate, Key] | None) -> tuple[x509.Certificate, Key]:
    """Return a certificate for the loopback address and its key, signed by `authority` or else by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    here = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    issuer, signer = (authority[0].subject, authority[1]) if authority else (subject, key)
    builder = (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(here), critical=False)
    )
    if name in USES:
        builder = builder.add_extension(x509.ExtendedKeyUsage(USES[name]), critical=True)
    return builder.sign(signer, hashes.SHA256()), key


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _pem_key(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(file: Path, content: bytes) -> None:
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(content)
