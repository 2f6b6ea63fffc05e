"""Look at a Python from inside. The text of this file travels to a TaskManager, so it needs the standard library only."""

import importlib
import importlib.metadata
import json
import platform
import socket
import sys


def report(modules: list[str], packages: list[str]) -> str:
    """Return as JSON: the Python and its machine, why each of `modules` can't be imported, versions of `packages`."""
    missing, versions = {}, {}
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:  # a broken package may raise anything
            missing[module] = f"{type(error).__name__}: {error}"
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = ""
    return json.dumps(
        {
            "executable": sys.executable,
            "python": platform.python_version(),
            "machine": socket.gethostname(),
            "missing": missing,
            "versions": versions,
        }
    )
