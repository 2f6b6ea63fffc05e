"""Sign a bundle's manifest, which holds the sha256 of its other files, with Ed25519, and check the signature.

Keys are PEM files, as `openssl genpkey -algorithm ed25519` writes them, or `liveshelf models key`.
"""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.errors import ModelError, SettingsError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNATURE = "manifest.sig"  # 64 bytes
HOW = "ask somebody with the private key for liveshelf models sign BUNDLE --key FILE"


def new_key(file: Path) -> Path:
    """Write a private key that only its owner can read, and the public key beside it; return the public key's path.

    Raises SettingsError if one of the files exists: a key that was overwritten can't be got back.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key, public = Ed25519PrivateKey.generate(), file.with_name(f"{file.name}.pub")
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    contents = {
        file: key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain),
        public: key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo),
    }
    for path, mode in ((file, 0o600), (public, 0o644)):
        try:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as opened:
                opened.write(contents[path])
        except FileExistsError as error:
            raise SettingsError(f"{path} is there already", "name another file") from error
        except OSError as error:
            fix = "name a file in a folder that is there"
            raise SettingsError(f"{path} can't be written: {error.strerror}", fix) from error
    return public


def read_public_key(file: Path | None) -> str:
    """Return the PEM text of the setting `model_public_key`, "" for none. Raises SettingsError if it isn't a key."""
    if file is None:
        return ""
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"model_public_key {file} can't be read: {error}", "name a key's .pub file") from error
    _public(text)
    return text


def signature_of(manifest: bytes, key_file: Path) -> bytes:
    """Return the signature of a bundle's manifest. Raises SettingsError for a file that is no private key."""
    return read_private_key(key_file).sign(manifest)


def sign(folder: Path, manifest: bytes, key_file: Path) -> None:
    """Write the signature of a bundle's manifest into `folder`.

    A link that stands in its place is replaced, and what it leads to is left alone. Raises SettingsError for a file
    that is no private key.
    """
    signed = signature_of(manifest, key_file)
    coming = folder / f".{SIGNATURE}.{time.time_ns()}"
    with open(os.open(coming, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb") as opened:
        opened.write(signed)
    coming.replace(folder / SIGNATURE)


def read_private_key(key_file: Path) -> "Ed25519PrivateKey":
    """Return the key of a PEM file. Raises SettingsError for a file that is no Ed25519 private key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(key_file.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise SettingsError(
            f"{key_file} isn't a private key: {error}", "liveshelf models key FILE makes one"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(f"{key_file} isn't an Ed25519 key", "liveshelf models key FILE makes one")
    return key


def check(file: Path, manifest: bytes, signature: bytes, public_key: str) -> None:
    """Check that the key's owner has signed `manifest`. Raises ModelError if `signature` says otherwise."""
    from cryptography.exceptions import InvalidSignature

    try:
        _public(public_key).verify(signature, manifest)
    except InvalidSignature as error:
        raise ModelError(f"{file} isn't signed with the key of model_public_key", HOW) from error


def _public(text: str):  # its class is cryptography's, which is imported only where keys are used
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SettingsError(f"model_public_key isn't a public key: {error}", "name a key's .pub file") from error
    if not isinstance(key, Ed25519PublicKey):
        raise SettingsError("model_public_key isn't an Ed25519 key", "liveshelf models key FILE makes one")
    return key
