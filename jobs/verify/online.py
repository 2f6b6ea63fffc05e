"""Compare the rows in Feast's online store, read as an app reads them, with the rows that the oracle expects."""

import math
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from jobs.verify.expiry import Fate
from jobs.verify.features import Key, Row, Value
from jobs.verify.parts import Expected
from jobs.verify.report import Kind, Report
from jobs.verify.sample import Sample
from jobs.verify.views import View

if TYPE_CHECKING:  # importing Feast takes seconds
    import redis
    from feast import FeatureStore

CHUNK = 500  # entities a call: 27,000 entities then take 55 calls, and an answer stays below 20,000 values
RELATIVE, ABSOLUTE = 1e-9, 1e-6  # sums of doubles in another order; a mean of 10^9 values differs by less

BY_TTL = "may have expired, and wasn't found"
UNKNOWN_BEGINNING = "counts from a savepoint on that can't be read"

Rows = dict[str, dict[Key, Row]]  # by view


def by_keys(views: Iterable[View]) -> dict[tuple[str, ...], list[View]]:
    """Group views by their join keys: those of one group share an online row, and are read together."""
    groups: dict[tuple[str, ...], list[View]] = {}
    for view in views:
        groups.setdefault(view.keys, []).append(view)
    return groups


def read_rows(store: "FeatureStore", views: list[View], entities: Collection[Key]) -> Rows:
    """Return the stored rows of `views`, which share their join keys. An entity without a row isn't in the answer."""
    rows: Rows = {view.name: {} for view in views}
    references = [f"{view.name}:{aggregate.feature}" for view in views for aggregate in view.aggregates]
    names, ordered = views[0].keys, sorted(entities, key=repr)
    for begin in range(0, len(ordered), CHUNK):
        chunk = ordered[begin : begin + CHUNK]
        asked = [dict(zip(names, entity, strict=True)) for entity in chunk]
        answer = store.get_online_features(features=references, entity_rows=asked, full_feature_names=True).proto
        vectors = dict(zip(answer.metadata.feature_names.val, answer.results, strict=True))
        for view in views:
            rows[view.name] |= _rows_of(view, chunk, vectors)
    return rows


def _rows_of(view: View, entities: list[Key], vectors: Mapping) -> dict[Key, Row]:
    from feast.type_map import feast_value_type_to_python_type as to_python

    features = [aggregate.feature for aggregate in view.aggregates]
    columns = {feature: vectors[f"{view.name}__{feature}"] for feature in features}
    any_column = next(iter(columns.values()))
    rows = {}
    for place, entity in enumerate(entities):
        stamp = any_column.event_timestamps[place]
        # Feast rebuilds the time from a double, so the last of its nanoseconds are noise.
        event_time_ms = stamp.seconds * 1000 + round(stamp.nanos / 1_000_000)
        if event_time_ms:  # Feast gives 1970 for a row that isn't there
            values = {feature: to_python(column.values[place]) for feature, column in columns.items()}
            rows[entity] = Row(event_time_ms, values)
    return rows


def compare_view(
    report: Report, view: View, expected: Expected, stored: Mapping[Key, Row], fates: Mapping[Key, Fate]
) -> None:
    """Compare each expected row's time and values with the stored row.

    A missing row differs in its time and in its values. A row that has outlived its time to live must be absent; one
    whose time to live is nearly over is compared if it is there.
    """
    for entity, row in expected.rows.items():
        fate, found = fates.get(entity, "stands"), stored.get(entity)
        if fate == "gone":
            found_ms = found.event_time_ms if found else None
            report.compare(f"{view.name}:ttl", _label(entity), None, found_ms, kind="outlived")
        elif fate == "either" and found is None:
            report.not_compared[BY_TTL] += 1 + len(row.values)
        else:
            _compare_row(report, view, entity, expected, found)
    for entity in stored.keys() - expected.rows.keys():
        found_ms = stored[entity].event_time_ms
        report.compare(f"{view.name}:event_time_ms", _label(entity), None, found_ms, kind="extra_row")


def _compare_row(report: Report, view: View, entity: Key, expected: Expected, found: Row | None) -> None:
    row, label = expected.rows[entity], _label(entity)
    times_ms = expected.times_ms.get(entity, {row.event_time_ms})
    if expected.unknown:
        report.not_compared[UNKNOWN_BEGINNING] += 1 + len(expected.unknown)
        kind: Kind = "wrong_value" if found else "missing_row"
    else:
        found_ms = found.event_time_ms if found else None
        kind = _kind(times_ms, found_ms)
        equal = found_ms in times_ms
        report.compare(f"{view.name}:event_time_ms", label, row.event_time_ms, found_ms, equal, kind=kind)
    for feature, value in row.values.items():
        if feature not in expected.unknown:
            found_value = found.values[feature] if found else None
            same = same_value(value, found_value)
            report.compare(f"{view.name}:{feature}", label, value, found_value, same, kind=kind)


def _kind(expected_ms: Collection[int], found_ms: int | None) -> Kind:
    if found_ms is None:
        return "missing_row"
    if found_ms in expected_ms:
        return "wrong_value"
    return "older_row" if found_ms < max(expected_ms) else "newer_row"


def same_value(expected: Value, found: Value) -> bool:
    """Return True if values are equal; where one is a float, within 1e-9 of each other, or 1e-6 near zero."""
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(map(same_value, expected, found))
    numbers = isinstance(expected, int | float) and isinstance(found, int | float)
    if numbers and (isinstance(expected, float) or isinstance(found, float)):
        return math.isclose(expected, found, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    return expected == found


def compare_keys(
    report: Report,
    store: "FeatureStore",
    client: "redis.Redis",
    expected: Mapping[tuple[str, ...], Mapping[Key, Fate]],
    sample: Sample,
) -> None:
    """Check that every entity in Redis is expected, as far as it is of this project, these join keys and the sample.

    `expected` gives by join keys each entity and its fate; one that must be gone may not have a key. Looks at all keys
    of the Redis server (SCAN).
    """
    from feast.infra.key_encoding_utils import deserialize_entity_key, serialize_entity_key_prefix

    project = store.config.project.encode()
    prefixes = {names: serialize_entity_key_prefix(list(names)) for names in expected}
    fate_by_key = {
        names: {_redis_key(names, entity, project): fate for entity, fate in fates.items()}
        for names, fates in expected.items()
    }
    for key in client.scan_iter(match=b"*" + project, count=1000):
        for names, prefix in prefixes.items():
            if not key.startswith(prefix):
                continue
            try:
                entity = deserialize_entity_key(key[: -len(project)])
            except ValueError:  # a project whose name ends like this one
                continue
            values = tuple(getattr(value, value.WhichOneof("val")) for value in entity.entity_values)
            if not sample.holds(*values):
                continue
            fate = fate_by_key[names].get(key)
            wanted = "an entity" if fate in ("stands", "either") else None
            kind: Kind = "outlived" if fate == "gone" else "extra_row"
            report.compare(f"keys:{','.join(names)}", _label(values), wanted, "an entity", kind=kind)


def _redis_key(names: tuple[str, ...], entity: Key, project: bytes) -> bytes:
    from feast.infra.key_encoding_utils import serialize_entity_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value as Proto

    values = [Proto(string_val=part) if isinstance(part, str) else Proto(int64_val=part) for part in entity]
    return serialize_entity_key(EntityKey(join_keys=names, entity_values=values)) + project


def _label(entity: Key) -> str:
    return ",".join(map(str, entity))
