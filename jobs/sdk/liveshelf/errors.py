"""Errors that a person can act on. The command line's others are in `jobs/errors.py`."""


class LiveshelfError(Exception):
    """Name the thing that is wrong and its value (`what`), and the way out (`fix`)."""

    exit_code = 1

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(what if not fix else f"{what}\n  fix: {fix}")
        self.what = what
        self.fix = fix


class SettingsError(LiveshelfError):
    """A setting, an argument or a key file is wrong."""

    exit_code = 2
