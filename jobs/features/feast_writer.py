"""Write feature rows to any online store that Feast knows, through Feast's own interface.

`redis_writer.py` is the way to Redis. Feast promises less than the script there: most of its stores replace whatever
they hold, and its Redis store drops a row whose event time equals the stored one. So this module reads the stored event
times first and leaves older rows out, as exactly as the store keeps times (SQLite keeps whole seconds). Rows of equal
time go to the store, where the later one stays. Read and write are two steps. That is safe, because a keyed stream has
one writer an entity; only a worker that outlived its own failure could come between. The store itself expires rows.
"""

import warnings
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from jobs.features.online_store import ENCODERS, Row
from jobs.features.plan import FeaturePlan, Operator, ViewPlan
from jobs.features.redis_writer import WriteCounts

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class FeastWriter:
    """Write the rows of all operators of a plan whose views were applied."""

    def __init__(self, feature_store_yaml: str, plan: FeaturePlan) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Feast says of every stream feature view that it is experimental
            from feast import FeatureStore  # seconds and 200 MB: only where this writer is chosen
            from feast.infra.provider import get_provider

            store = FeatureStore(fs_yaml_file=Path(feature_store_yaml))
            self._config = store.config
            self._provider = get_provider(store.config)
            names = {view.name for view in plan.views}
            facts = [view.name for operator in plan.fact_operators() for view in operator.views]
            self._tables = {name: store.get_stream_feature_view(name) for name in names}
            self._tables |= {name: store.get_feature_view(name) for name in facts}
        self._operators = {operator.key: operator for operator in plan.writers()}
        # Feast knows one event time a view: of a view in parts, a newer row of one part would hide another part's.
        self._compared = {*(name for name in names if len(plan.parts(name)) == 1), *facts}

    def write(self, rows: Sequence[tuple[str, Row]]) -> WriteCounts:
        """Write each (operator, row) unless a newer one is there; raise what the store raises."""
        grouped: dict[str, list[Row]] = {}
        for key, row in rows:
            grouped.setdefault(key, []).append(row)
        written = sum(self._write_operator(self._operators[key], group) for key, group in grouped.items())
        return WriteCounts(written, len(rows) - written)

    def erase(self, entities: Sequence[tuple[str, str, int]]) -> int:
        """Replace each (operator, entity)'s values by nulls; return how many.

        Feast can't delete one entity in every store.
        """
        for key, entity, before_ms in entities:
            for view in self._operators[key].views:
                names = [output.name for output in view.outputs if not output.dropped]
                stored = self._stored_times(view, [_entity_key(view.entity, entity)])[0]
                if stored is not None and stored < EPOCH + timedelta(milliseconds=before_ms):
                    row = (_entity_key(view.entity, entity), _nulls(names), stored, None)
                    self._provider.online_write_batch(self._config, self._tables[view.name], [row], None)
        return len(entities)

    def remove(self, tombstones: Sequence[tuple[str, str, int, int]]) -> int:
        """Replace each (operator, item)'s facts by nulls, as of the tombstone's time; return how many.

        A row stays, with the time of the tombstone.
        """
        for key, item_id, time_ms, _offset in tombstones:
            for view in self._operators[key].views:
                entity, time = _entity_key(view.entity, item_id), EPOCH + timedelta(milliseconds=time_ms)
                stored = self._stored_times(view, [entity])[0]
                if stored is not None and stored <= time:
                    row = (entity, _nulls(output.name for output in view.outputs), time, None)
                    self._provider.online_write_batch(self._config, self._tables[view.name], [row], None)
        return len(tombstones)

    def _write_operator(self, operator: Operator, rows: list[Row]) -> int:
        """Write each view of the rows; return the rows that any view took."""
        values, first, taken = [msgspec.json.decode(row.payload) for row in rows], 0, 0
        for view in operator.views:
            end = first + len(view.outputs)
            taken = max(taken, self._write_view(view, rows, [each[first:end] for each in values]))
            first = end
        return taken

    def _write_view(self, view: ViewPlan, rows: list[Row], values: list[list[Any]]) -> int:
        table = self._tables[view.name]
        keys = [_entity_key(view.entity, row.entity) for row in rows]
        newest = self._stored_times(view, keys)
        data = [
            (key, _values(view, found), _time(row), None)
            for key, row, found, stored in zip(keys, rows, values, newest, strict=True)
            if stored is None or stored <= _time(row)
        ]
        if data:
            self._provider.online_write_batch(self._config, table, data, None)
        return len(data)

    def _stored_times(self, view: ViewPlan, keys: list[Any]) -> list[datetime | None]:
        if view.name not in self._compared:
            return [None] * len(keys)
        features = [output.name for output in view.outputs if not output.dropped]
        return [time for time, _ in self._provider.online_read(self._config, self._tables[view.name], keys, features)]

    def close(self) -> None:
        """Do nothing: Feast's stores keep their connections until the process ends."""


def _entity_key(join_key: str, entity: str) -> Any:
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    return EntityKey(join_keys=[join_key], entity_values=[Value(string_val=entity)])


def _values(view: ViewPlan, values: list[Any]) -> dict[str, Any]:
    from feast.protos.feast.types.Value_pb2 import Value

    return {
        output.name: Value.FromString(b"" if value is None else ENCODERS[output.dtype](value))
        for output, value in zip(view.outputs, values, strict=True)
        if not output.dropped
    }


def _nulls(names: Iterable[str]) -> dict[str, Any]:
    from feast.protos.feast.types.Value_pb2 import Value

    return {name: Value() for name in names}


def _time(row: Row) -> datetime:
    return EPOCH + timedelta(milliseconds=row.event_time_ms)
