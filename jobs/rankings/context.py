"""Read the features of a batch of visitors from Feast's online store, in one pipelined exchange."""

import logging
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import redis

from jobs.connect.redis_pipeline import PATIENCE_S, Connection
from jobs.contract.shelf_plan import Kind, VisitorFeature
from jobs.errors import ServiceError, SettingsError
from jobs.features.online_store import entity_key, feature_field
from jobs.rankings.arrays import Floats

LOG = logging.getLogger(__name__)
_DOUBLE, _FLOAT = struct.Struct("<d"), struct.Struct("<f")


def _varint(data: bytes) -> int:
    """Return a protobuf varint as a signed 64-bit number; a negative int32 has ten bytes, too."""
    number = 0
    for place, byte in enumerate(data):
        number |= (byte & 0x7F) << 7 * place
    return number - (1 << 64) if number >> 63 else number


STRING_TAG, STRINGS_TAG, BOOL_TAG = 2 << 3 | 2, 12 << 3 | 2, 7 << 3  # string_val, string_list_val, bool_val
NULL_TAG = 0x98  # the first of two bytes of null_val's tag, field 19; no number's tag begins with it

# feast.types.Value is a oneof, so a number is one field: a tag byte (number << 3 | wire type), then the payload.
# Decoded by hand: `import feast` takes seconds and 200 MB in every worker.
# By tag: what messages call the number, and what reads it.
_NUMBERS: dict[int, tuple[str, Callable[[bytes], float]]] = {
    3 << 3: ("an int", _varint),  # int32_val
    4 << 3: ("an int", _varint),  # int64_val
    5 << 3 | 1: ("a float", lambda data: _DOUBLE.unpack(data)[0]),  # double_val
    6 << 3 | 5: ("a float", lambda data: _FLOAT.unpack(data)[0]),  # float_val
    BOOL_TAG: ("a bool", _varint),  # bool_val
    8 << 3: ("an int", _varint),  # unix_timestamp_val
}
NAMES = {STRING_TAG: "a string", STRINGS_TAG: "strings"} | {tag: name for tag, (name, _) in _NUMBERS.items()}


def decode_number(value: bytes | None) -> float:
    """Return the number in a serialized feast.types.Value, 0.0 for a missing or null one, as in training.

    Raises ValueError for a value that isn't a number.
    """
    if not value or value[0] == NULL_TAG:
        return 0.0
    if value[0] not in _NUMBERS:
        raise ValueError(f"field {value[0] >> 3} of feast.types.Value isn't a number")
    _, decode = _NUMBERS[value[0]]
    return float(decode(value[1:]))


# The tags of each kind of feature. A whole number may stand where a fraction is meant, and the other way round.
_NUMBER_TAGS = tuple(tag for tag in _NUMBERS if tag != BOOL_TAG)
TAGS: dict[Kind, tuple[int, ...]] = {
    "string": (STRING_TAG,),
    "strings": (STRINGS_TAG,),
    "bool": (BOOL_TAG,),
    "int": _NUMBER_TAGS,
    "float": _NUMBER_TAGS,
}


def decode_value(value: bytes | None, kind: Kind) -> float | str | list[str] | None:
    """Return the number, text or list of texts in a serialized feast.types.Value, None for a missing or null one.

    Raises ValueError for a value of another kind, or one that is cut short.
    """
    if not value or value[0] == NULL_TAG:
        return None
    if value[0] not in TAGS[kind]:
        raise ValueError(f"rules read a feature of type {kind}, and the store holds {NAMES.get(value[0], 'another')}")
    try:
        return _decoded(value)
    except (IndexError, struct.error) as error:
        raise ValueError(f"its value is cut short: {error}") from error


def _decoded(value: bytes) -> float | str | list[str]:
    if value[0] == STRING_TAG:
        length, begin = _length(value, 1)
        return value[begin : begin + length].decode()
    if value[0] == STRINGS_TAG:
        length, at = _length(value, 1)
        texts, end = [], at + length
        while at < end:  # a StringList: its texts are fields 1, too
            length, at = _length(value, at + 1)
            texts.append(value[at : at + length].decode())
            at += length
        return texts
    return decode_number(value)


def _length(data: bytes, at: int) -> tuple[int, int]:
    """Return the varint at a place, and the place behind it."""
    end = at
    while data[end] & 0x80:
        end += 1
    return _varint(data[at : end + 1]), end + 1


class ContextReader:
    """Read the same features for every batch, in the order of `features` ("view:feature").

    `of_rules` are those that rules of shelves read; they may be texts and lists. A value of another type than the rules
    were written for isn't known: the store keeps it until its visitor's next event, after the definitions changed.
    """

    def __init__(
        self,
        redis_url: str,
        project: str,
        features: Sequence[str],
        patience_s: float = PATIENCE_S,
        of_rules: Sequence[VisitorFeature] = (),
    ) -> None:
        self._connection = Connection(redis_url, patience_s)
        self._project = project
        self._features = list(features)
        self._of_rules = [feature for feature in of_rules if feature.view]
        self._told: set[str] = set()  # features of rules whose values were of another type
        self._fields = [feature_field(*_split(feature)) for feature in features]
        self._fields += [feature_field(feature.view, feature.name) for feature in self._of_rules]

    @property
    def width(self) -> int:
        """Return C, the number of features."""
        return len(self._features)

    def read(self, visitor_ids: Sequence[str]) -> Floats:
        """Return float32 [B, C]: the newest value of each feature, 0.0 for missing and null ones.

        Raises ServiceError if Redis is away for too long, SettingsError for a feature that isn't a number.
        """
        return self.read_all(visitor_ids)[0]

    def read_all(self, visitor_ids: Sequence[str]) -> tuple[Floats, list[dict[str, Any]]]:
        """Return what `read` returns, and for each visitor the features of rules that are known, by name."""
        if not self._fields or not visitor_ids:
            return np.zeros((len(visitor_ids), self.width), np.float32), [{} for _ in visitor_ids]
        keys = [entity_key(self._project, {"visitor_id": visitor_id}) for visitor_id in visitor_ids]
        replies = self._connection.exchange([("HMGET", key, *self._fields) for key in keys])
        values: list[list[float]] = []
        known: list[dict[str, Any]] = []
        for reply in replies:
            if isinstance(reply, redis.ResponseError):
                raise ServiceError(
                    f"Redis refused to read a visitor's features: {reply}",
                    "LIVESHELF_REDIS_URL must name the online store of the feature repository",
                ) from reply
            assert isinstance(reply, list), "HMGET answers with a list"
            values.append(self._decode(reply[: self.width]))
            known.append(self._decode_rules(reply[self.width :]))
        return np.array(values, np.float32).reshape(len(values), self.width), known

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _decode(self, values: Sequence[bytes | None]) -> list[float]:
        try:
            return list(map(decode_number, values))
        except ValueError:
            return [self._decode_named(feature, value) for feature, value in zip(self._features, values, strict=True)]

    def _decode_rules(self, values: Sequence[bytes | None]) -> dict[str, Any]:
        found = {}
        for feature, value in zip(self._of_rules, values, strict=True):
            try:
                decoded = decode_value(value, feature.kind)
            except ValueError as error:
                if feature.name not in self._told:
                    LOG.warning("%s:%s isn't known of some visitors: %s", feature.view, feature.name, error)
                self._told.add(feature.name)
                continue
            if decoded is not None:
                found[feature.name] = decoded
        return found

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
