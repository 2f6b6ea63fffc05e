"""The refusal of a whole request."""


class RequestRefusedError(Exception):
    """A whole request is refused.

    `code` is the answer's text, `retry_after_s` when a retry has a chance. The connection is closed if the body may not
    have been read: otherwise its rest would have to be read for nothing.
    """

    def __init__(self, status: int, code: str, retry_after_s: float = 0) -> None:
        super().__init__(code)
        self.status, self.code, self.retry_after_s = status, code, retry_after_s
