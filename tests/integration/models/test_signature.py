"""Test that keys and signatures of another maker, openssl, are taken."""

import shutil
import subprocess
from pathlib import Path

import pytest

from models.serving.bundle import load_bundle
from models.serving.signature import read_public_key, sign


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs the openssl command, as another maker of keys")
def test_an_ed25519_key_of_openssls_making_signs_too(eshop_bundle_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(eshop_bundle_folder, tmp_path / "bundle"))
    theirs, public = tmp_path / "theirs", tmp_path / "theirs.pub"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", theirs], check=True)
    subprocess.run(["openssl", "pkey", "-in", theirs, "-pubout", "-out", public], check=True)
    sign(folder, (folder / "manifest.json").read_bytes(), theirs)
    assert load_bundle(folder, read_public_key(public))
    verify = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin"]
    told = subprocess.run([*verify, "-in", folder / "manifest.json", "-sigfile", folder / "manifest.sig"], check=False)
    assert told.returncode == 0
