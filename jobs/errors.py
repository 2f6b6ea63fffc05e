"""Every error that a person meets: it names the thing, the value and the way out.

LiveshelfError (exit code 1)
├── SettingsError      a setting or an argument is wrong (exit code 2)
├── DefinitionError    a Feast definition can't be compiled (exit code 3)
├── ServiceError       Kafka, Redis, Flink or the registry doesn't answer (exit code 4)
├── ModelError         a model bundle is refused (exit code 5)
├── DataError          an input file can't be read (exit code 6)
└── MismatchError      `verify` found differences (exit code 7)
"""

from liveshelf.errors import LiveshelfError, SettingsError

__all__ = [
    "DataError",
    "DefinitionError",
    "LiveshelfError",
    "MismatchError",
    "ModelError",
    "ServiceError",
    "SettingsError",
]


class DefinitionError(LiveshelfError):
    exit_code = 3


class ServiceError(LiveshelfError):
    exit_code = 4


class ModelError(LiveshelfError):
    exit_code = 5


class DataError(LiveshelfError):
    exit_code = 6


class MismatchError(LiveshelfError):
    exit_code = 7


def was_interrupted(error: BaseException | None) -> bool:
    """Return True if Ctrl-C, or a signal that ends a process, is at the bottom of an error.

    Clients that are closed in the middle of their work raise errors of their own.
    """
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None
