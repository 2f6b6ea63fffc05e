"""Test what loading a bundle imports."""

import subprocess
import sys

from jobs.settings import REPOSITORY


def test_loading_a_bundle_does_not_import_torch():
    code = "import sys, models.serving.bundle; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0
