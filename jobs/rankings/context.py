"""Read the features of a batch of visitors from Feast's online store, in one pipelined exchange."""

import struct
from collections.abc import Callable, Sequence

import numpy as np
import redis

from jobs.connect.redis_pipeline import PATIENCE_S, Connection
from jobs.errors import ServiceError, SettingsError
from jobs.features.online_store import entity_key, feature_field
from jobs.rankings.arrays import Floats

_DOUBLE, _FLOAT = struct.Struct("<d"), struct.Struct("<f")


def _varint(data: bytes) -> int:
    """Return a protobuf varint as a signed 64-bit number; a negative int32 has ten bytes, too."""
    number = 0
    for place, byte in enumerate(data):
        number |= (byte & 0x7F) << 7 * place
    return number - (1 << 64) if number >> 63 else number


NULL_TAG = 0x98  # the first of two bytes of null_val's tag, field 19; no number's tag begins with it

# feast.types.Value is a oneof, so a number is one field: a tag byte (number << 3 | wire type), then the payload.
# Decoded by hand: `import feast` takes seconds and 200 MB in every worker.
_DECODERS: dict[int, Callable[[bytes], float]] = {
    3 << 3: _varint,  # int32_val
    4 << 3: _varint,  # int64_val
    5 << 3 | 1: lambda data: _DOUBLE.unpack(data)[0],  # double_val
    6 << 3 | 5: lambda data: _FLOAT.unpack(data)[0],  # float_val
    7 << 3: _varint,  # bool_val
    8 << 3: _varint,  # unix_timestamp_val
}


def decode_number(value: bytes | None) -> float:
    """Return the number in a serialized feast.types.Value, 0.0 for a missing or null one, as in training.

    Raises ValueError for a value that isn't a number.
    """
    if not value or value[0] == NULL_TAG:
        return 0.0
    decode = _DECODERS.get(value[0])
    if decode is None:
        raise ValueError(f"field {value[0] >> 3} of feast.types.Value isn't a number")
    return float(decode(value[1:]))


class ContextReader:
    """Read the same features for every batch, in the order of `features` ("view:feature")."""

    def __init__(self, redis_url: str, project: str, features: Sequence[str], patience_s: float = PATIENCE_S) -> None:
        self._connection = Connection(redis_url, patience_s)
        self._project = project
        self._features = list(features)
        self._fields = [feature_field(*_split(feature)) for feature in features]

    @property
    def width(self) -> int:
        """Return C, the number of features."""
        return len(self._features)

    def read(self, visitor_ids: Sequence[str]) -> Floats:
        """Return float32 [B, C]: the newest value of each feature, 0.0 for missing and null ones.

        Raises ServiceError if Redis is away for too long, SettingsError for a feature that isn't a number.
        """
        if not self._fields or not visitor_ids:
            return np.zeros((len(visitor_ids), len(self._fields)), np.float32)
        keys = [entity_key(self._project, {"visitor_id": visitor_id}) for visitor_id in visitor_ids]
        replies = self._connection.exchange([("HMGET", key, *self._fields) for key in keys])
        values: list[list[float]] = []
        for reply in replies:
            if isinstance(reply, redis.ResponseError):
                raise ServiceError(
                    f"Redis refused to read a visitor's features: {reply}",
                    "LIVESHELF_REDIS_URL must name the online store of the feature repository",
                ) from reply
            assert isinstance(reply, list), "HMGET answers with a list"
            values.append(self._decode(reply))
        return np.array(values, np.float32)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _decode(self, values: Sequence[bytes | None]) -> list[float]:
        try:
            return list(map(decode_number, values))
        except ValueError:
            return [self._decode_named(feature, value) for feature, value in zip(self._features, values, strict=True)]

    def _decode_named(self, feature: str, value: bytes | None) -> float:
        try:
            return decode_number(value)
        except ValueError as error:
            raise SettingsError(f"{feature}: {error}", "the ranker's features are numbers; name another one") from error


def _split(feature: str) -> tuple[str, str]:
    view, separator, name = feature.partition(":")
    if not (view and separator and name):
        raise SettingsError(
            f"{feature!r} isn't a feature", "write view:feature, for example visitor_session:view_count"
        )
    return view, name
