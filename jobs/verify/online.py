"""What stands in Feast's online store, read as an app reads it, against the rows that the oracle expects."""

import math
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from jobs.verify.features import Key, Row, Value
from jobs.verify.report import Report
from jobs.verify.sample import Sample
from jobs.verify.views import View

if TYPE_CHECKING:  # importing Feast takes seconds
    import redis
    from feast import FeatureStore

CHUNK = 500  # entities a call: 27,000 entities then take 55 calls, and an answer stays below 20,000 values
RELATIVE, ABSOLUTE = 1e-9, 1e-6  # sums of doubles in another order; a mean of 10^9 values differs by less

Rows = dict[str, dict[Key, Row]]  # by view


def by_keys(views: Iterable[View]) -> dict[tuple[str, ...], list[View]]:
    """Views that share their join keys share an online row, and are read together."""
    groups: dict[tuple[str, ...], list[View]] = {}
    for view in views:
        groups.setdefault(view.keys, []).append(view)
    return groups


def read_rows(store: "FeatureStore", views: list[View], entities: Collection[Key]) -> Rows:
    """The stored rows of `views`, which share their join keys; an entity without a row isn't in the answer."""
    rows: Rows = {view.name: {} for view in views}
    references = [f"{view.name}:{each.feature}" for view in views for each in view.aggregates]
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

    columns = {each.feature: vectors[f"{view.name}__{each.feature}"] for each in view.aggregates}
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


def compare_view(report: Report, view: View, expected: Mapping[Key, Row], found: Mapping[Key, Row]) -> None:
    """Each expected row's time and values; a missing row differs in its time, a row too many counts as such."""
    for entity, row in expected.items():
        stored, label = found.get(entity), _label(entity)
        stored_ms = stored.event_time_ms if stored else None
        report.compare(f"{view.name}:event_time_ms", label, row.event_time_ms, stored_ms)
        for feature, value in row.values.items():
            stored_value = stored.values[feature] if stored else None
            report.compare(f"{view.name}:{feature}", label, value, stored_value, same_value(value, stored_value))
    for entity in found.keys() - expected.keys():
        report.compare(f"{view.name}:event_time_ms", _label(entity), None, found[entity].event_time_ms)


def same_value(expected: Value, found: Value) -> bool:
    """Equal, or for numbers of which one is a float: within 1e-9 of each other, or 1e-6 near zero."""
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
    expected: Mapping[tuple[str, ...], Collection[Key]],
    sample: Sample,
) -> None:
    """Every entity of the sample that stands in Redis for this project and these join keys is one that the oracle expects.

    `expected` maps join keys to entities. Looks at all keys of the Redis server (SCAN).
    """
    from feast.infra.key_encoding_utils import deserialize_entity_key, serialize_entity_key_prefix

    project = store.config.project.encode()
    prefixes = {names: serialize_entity_key_prefix(list(names)) for names in expected}
    wanted = {names: {_redis_key(names, each, project) for each in entities} for names, entities in expected.items()}
    for key in client.scan_iter(match=b"*" + project, count=1000):
        for names, prefix in prefixes.items():
            if not key.startswith(prefix):
                continue
            try:
                entity = deserialize_entity_key(key[: -len(project)])
            except ValueError:  # a project whose name ends like this one
                continue
            values = tuple(getattr(each, each.WhichOneof("val")) for each in entity.entity_values)
            if not sample.holds(*values):
                continue
            known = key in wanted[names]
            report.compare(f"keys:{','.join(names)}", _label(values), "an entity" if known else None, "an entity")


def _redis_key(names: tuple[str, ...], entity: Key, project: bytes) -> bytes:
    from feast.infra.key_encoding_utils import serialize_entity_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value as Proto

    values = [Proto(string_val=each) if isinstance(each, str) else Proto(int64_val=each) for each in entity]
    return serialize_entity_key(EntityKey(join_keys=names, entity_values=values)) + project


def _label(entity: Key) -> str:
    return ",".join(map(str, entity))
