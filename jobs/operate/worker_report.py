"""Look at a Python from inside. This file's text travels to a TaskManager, so it imports the standard library only."""

import importlib
import importlib.metadata
import importlib.util
import json
import platform
import socket
import sys


def report(packages: list[str], modules: list[str], distributions: list[str]) -> str:
    """Return as JSON: the Python, its machine, what is missing there and why, and the versions of `distributions`.

    `packages` are looked for and not imported, as Feast alone takes 10 s to import. If all are there, `modules` are
    imported: they show what is broken.
    """
    missing = {package: "not installed" for package in packages if importlib.util.find_spec(package) is None}
    for module in [] if missing else modules:
        try:
            importlib.import_module(module)
        except Exception as error:  # a broken package may raise anything
            missing[module] = f"{type(error).__name__}: {error}"
    versions = {}
    for distribution in distributions:
        try:
            versions[distribution] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            versions[distribution] = ""
    seen = {"executable": sys.executable, "python": platform.python_version(), "machine": socket.gethostname()}
    return json.dumps(seen | {"missing": missing, "versions": versions})
