"""Packages that a few commands need beyond what `make demo` installs: one check, before anything starts."""

from importlib.util import find_spec
from typing import NamedTuple

from jobs.errors import SettingsError


class Extra(NamedTuple):
    """An optional part of the installation: the modules that it brings, and the make target that installs it."""

    modules: tuple[str, ...]
    make_target: str


EXTRAS = {
    "train": Extra(("torch", "scipy", "onnx", "optuna", "mlflow", "matplotlib"), "make train-env"),
    "test": Extra(("confluent_kafka", "hypothesis"), "make test-env"),
}
TRAINING = EXTRAS["train"].modules


def require(what: str, *modules: str) -> None:
    """Raise SettingsError unless all `modules` are installed; the error names each missing one and its extra.

    `what` is the command or option that needs them, as a person writes it. Nothing is imported: torch takes seconds.
    """
    for name, extra in EXTRAS.items():
        missing = [module for module in modules if module in extra.modules and find_spec(module) is None]
        if missing:
            raise SettingsError(
                f"{what} needs {', '.join(missing)}", f"{extra.make_target}, or pip install 'liveshelf[{name}]'"
            )
