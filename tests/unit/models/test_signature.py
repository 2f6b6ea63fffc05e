"""With a public key only bundles that its owner signed are served, and only a bundle's own files are read."""

import json
import os
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from typer.testing import CliRunner, Result

from jobs.cli import app
from jobs.errors import ModelError, SettingsError
from jobs.rankings.model_source import ModelSource
from models.serving.bundle import load_bundle, read_content, read_manifest
from models.serving.registry import Registry
from models.serving.signature import new_key, read_public_key, sign


@pytest.fixture
def folder(eshop_bundle_folder: Path, tmp_path: Path) -> Path:
    """A copy of the committed bundle."""
    return Path(shutil.copytree(eshop_bundle_folder, tmp_path / "bundle"))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    new_key(tmp_path / "key")
    return tmp_path / "key"


@pytest.fixture
def public(key: Path) -> str:
    return read_public_key(key.with_name("key.pub"))


def test_unsigned_bundles_are_taken_only_where_no_key_is_set(folder: Path, key: Path, public: str) -> None:
    """A signed bundle is taken and an unsigned one only where no key is set."""
    with pytest.raises(ModelError, match=r"bundle isn't signed(.|\n)*liveshelf models sign"):
        load_bundle(folder, public)
    assert load_bundle(folder).version.startswith("eshop-")
    sign(folder, (folder / "manifest.json").read_bytes(), key)
    assert load_bundle(folder, public).version == load_bundle(folder).version


def test_a_private_key_is_its_owners_and_never_overwritten(key: Path) -> None:
    assert key.stat().st_mode & 0o777 == 0o600
    with pytest.raises(SettingsError, match="is there already"):
        new_key(key)


@pytest.mark.parametrize("broken", ["manifest", "weights", "signature", "empty", "another key's"])
def test_what_was_changed_after_it_was_signed_is_refused(broken: str, folder: Path, key: Path, public: str) -> None:
    sign(folder, (folder / "manifest.json").read_bytes(), key)
    manifest, signature, model = folder / "manifest.json", folder / "manifest.sig", folder / "model.onnx"
    reason = "manifest.json isn't signed with the key"
    if broken == "manifest":
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"name": "other"}))
    elif broken == "weights":
        model.write_bytes(model.read_bytes()[:-1] + b"\0")
        reason = "model.onnx .* has sha256"
    elif broken == "signature":
        signature.write_bytes(bytes([signature.read_bytes()[0] ^ 1]) + signature.read_bytes()[1:])
    elif broken == "empty":
        signature.write_bytes(b"")
    else:
        new_key(key.with_name("theirs"))
        sign(folder, (folder / "manifest.json").read_bytes(), key.with_name("theirs"))
    with pytest.raises(ModelError, match=reason):
        load_bundle(folder, public)


def test_a_key_of_another_kind_is_named(tmp_path: Path, folder: Path) -> None:
    key = generate_private_key(SECP256R1())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    for name, content in (("elliptic", private), ("elliptic.pub", public), ("text", b"no key")):
        (tmp_path / name).write_bytes(content)
    for name in ("elliptic.pub", "text", "absent"):
        with pytest.raises(SettingsError, match=r"model_public_key"):
            read_public_key(tmp_path / name)
    for name in ("elliptic", "text", "absent"):
        with pytest.raises(SettingsError, match=name):
            sign(folder, (folder / "manifest.json").read_bytes(), tmp_path / name)


def test_registry_with_a_key_takes_and_serves_signed_versions_only(
    folder: Path, key: Path, public: str, tmp_path: Path
):
    careless, strict = Registry(tmp_path / "versions"), Registry(tmp_path / "versions", public_key=public)
    with pytest.raises(ModelError, match="isn't signed"):
        strict.publish(folder)
    version = careless.publish(folder)
    with pytest.raises(ModelError, match="isn't signed"):
        strict.activate(version)
    careless.activate(version)
    with pytest.raises(ModelError, match=r"no version in .* can be served(.|\n)*isn't signed"):
        ModelSource(tmp_path / "versions", public_key=public)

    sign(folder, (folder / "manifest.json").read_bytes(), key)
    shutil.rmtree(tmp_path / "versions")
    strict.activate(strict.publish(folder))
    assert ModelSource(tmp_path / "versions", public_key=public).bundle.version == version


def test_a_registry_with_the_private_key_signs_what_it_publishes(
    folder: Path, key: Path, public: str, tmp_path: Path
) -> None:
    registry = Registry(tmp_path / "versions", public_key=public, signing_key=key)
    assert registry.bundle(registry.publish(folder)).version.startswith("eshop-")


@pytest.mark.parametrize("name", ["model.onnx", "vocabulary.json", "manifest.json", "manifest.sig"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_file_that_isnt_the_bundles_own_is_refused(
    name: str, kind: str, folder: Path, key: Path, public: str
) -> None:
    sign(folder, (folder / "manifest.json").read_bytes(), key)
    elsewhere = (folder / name).rename(folder.with_name("elsewhere"))
    if kind == "link":
        (folder / name).symlink_to(elsewhere)
    else:
        os.mkfifo(folder / name)
    with pytest.raises(ModelError, match=f"{name} {'is a link' if kind == 'link' else 'isn.t a plain file'}"):
        load_bundle(folder, public)


def test_a_signature_that_leads_nowhere_is_no_absent_one(folder: Path, public: str) -> None:
    (folder / "manifest.sig").symlink_to(folder.with_name("nowhere"))
    for read in (read_content, lambda bundle: read_manifest(bundle, public)):
        with pytest.raises(ModelError, match=r"manifest.sig is a link"):
            read(folder)


def test_signing_writes_through_no_link(folder: Path, key: Path, public: str) -> None:
    theirs = folder.with_name("theirs")
    for before in (None, b"somebody's"):
        if before:
            theirs.write_bytes(before)
        (folder / "manifest.sig").unlink(missing_ok=True)
        (folder / "manifest.sig").symlink_to(theirs)
        sign(folder, (folder / "manifest.json").read_bytes(), key)
        assert (theirs.read_bytes() if before else theirs.exists()) == (before or False)
        assert load_bundle(folder, public)


def test_what_is_broken_is_never_signed(folder: Path, key: Path, tmp_path: Path) -> None:
    (folder / "model.onnx").write_bytes(b"broken")
    with pytest.raises(ModelError, match="has sha256"):
        Registry(tmp_path / "versions", signing_key=key).publish(folder)
    assert call("sign", folder, "--key", key).exit_code == 5
    assert not (folder / "manifest.sig").exists()


def test_version_that_is_a_link_or_lies_elsewhere_is_refused(folder: Path, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "versions")
    version = registry.publish(folder)
    (registry.folder / version).rename(tmp_path / version)
    (registry.folder / version).symlink_to(tmp_path / version)
    with pytest.raises(ModelError, match=f"{version} is a link"):
        registry.activate(version)
    for outside in (f"../{version}", str(tmp_path / version), "..", "."):
        with pytest.raises(ModelError, match="there is no version"):
            registry.activate(outside)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["models", *map(str, arguments)])


def test_the_command_line_makes_a_key_signs_and_publishes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVESHELF_MODEL_DIR", str(tmp_path / "versions"))
    monkeypatch.setenv("LIVESHELF_STATE_DIR", str(tmp_path / "state"))
    public = call("key", tmp_path / "key").stdout.strip()
    monkeypatch.setenv("LIVESHELF_MODEL_PUBLIC_KEY", public)
    refused = call("publish", folder)
    assert (refused.exit_code, "isn't signed" in refused.stderr) == (5, True)
    assert call("sign", folder, "--key", tmp_path / "key").exit_code == 0
    published = call("publish", folder, "--activate")
    assert (published.exit_code, published.stdout.strip()) == (0, load_bundle(folder).version)
