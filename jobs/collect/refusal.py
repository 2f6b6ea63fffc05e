"""Why a whole request isn't taken."""


class RequestRefusedError(Exception):
    """A whole request isn't taken.

    `code` is what the answer says, `retry_after_s` when a retry has a chance. The connection of a refused request whose
    body may not have been read is closed, or its rest would have to be read for nothing.
    """

    def __init__(self, status: int, code: str, retry_after_s: float = 0) -> None:
        super().__init__(code)
        self.status, self.code, self.retry_after_s = status, code, retry_after_s
