"""The records of `events.dead` and `events.late`: an event that wasn't counted, the reason, and its bytes. Pure."""

import base64

import msgspec


class Letter(msgspec.Struct):
    """An event in `events.dead` or `events.late`, and its place in the events topic."""

    reason: str
    field: str
    original: str | None
    original_base64: str | None
    topic: str
    partition: int
    offset: int

    @property
    def position(self) -> tuple[int, int]:
        """Partition and offset of the event in the events topic."""
        return self.partition, self.offset

    @property
    def verdict(self) -> tuple[str, str]:
        return self.reason, self.field

    @property
    def bytes(self) -> bytes:
        """The event's bytes. An empty event may be null in both fields."""
        return exact(self.original, self.original_base64)


def exact(text: str | None, in_base64: str | None) -> bytes:
    """Return the bytes that a letter holds in two fields: as text, or as base64 where they aren't UTF-8."""
    return base64.b64decode(in_base64) if in_base64 is not None else (text or "").encode()
