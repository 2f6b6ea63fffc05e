"""Look for a visitor in Redis, in the newest checkpoints and in offline files."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import redis
import yaml

from jobs.contract.shelf import SHADOW, shelf_key
from jobs.errors import ServiceError, SettingsError
from jobs.features import plan, sql
from jobs.features.online_store import entity_key
from jobs.flow import checkpoint, id_secret, submissions
from jobs.operate import show
from jobs.settings import Settings

PERSON = "visitor_id"
RANKINGS_OPERATOR = "histories"  # its uid in `jobs/session_rankings.py`


def redis_keys(settings: Settings, visitor_id: str) -> list[bytes]:
    """Return the Redis keys of a visitor's lists, those of a canary included, and of the online features."""
    project = yaml.safe_load((settings.feature_repo / "feature_store.yaml").read_text())["project"]
    lists = [shelf_key(visitor_id, name).encode() for name in show.shelf_names(settings)]
    return [*lists, *shadow_keys(settings, visitor_id), entity_key(project, {PERSON: visitor_id})]


def shadow_keys(settings: Settings, visitor_id: str) -> list[bytes]:
    """Return the Redis keys of the lists that a canary has for a visitor."""
    return [shelf_key(visitor_id, name, SHADOW).encode() for name in show.canary_shelf_names(settings)]


def in_redis(settings: Settings, client: redis.Redis, visitor_ids: Sequence[str]) -> set[str]:
    """Return the visitors who have a key in Redis; a mark that expires by itself counts too."""
    keys = [(visitor_id, key) for visitor_id in visitor_ids for key in redis_keys(settings, visitor_id)]
    pipeline = client.pipeline(transaction=False)
    for _, key in keys:
        pipeline.exists(key)
    answers = pipeline.execute(raise_on_error=False)  # redis-py's own error would name the key
    refusal = next((answer for answer in answers if isinstance(answer, redis.RedisError)), None)
    if refusal:
        raise ServiceError(
            f"Redis refused to look for a visitor's keys: {refusal}", "let the user of LIVESHELF_REDIS_URL read"
        )
    return {visitor_id for (visitor_id, _), exists in zip(keys, answers, strict=True) if exists}


def newest_checkpoints(settings: Settings, job_ids: Iterable[str]) -> list[Path]:
    """Return the newest completed checkpoint of each job, as far as checkpoints are on this machine."""
    notes = {note.job_id: note for note in submissions.noted(settings.state_dir)}
    jobs = [notes.get(job_id, submissions.Submitted("", job_id, [], {})) for job_id in job_ids]
    return [path for job in jobs for path in submissions.checkpoints(settings.state_dir, job)[:1]]


def in_checkpoints(settings: Settings, checkpoints: Iterable[Path], visitor_ids: Sequence[str]) -> set[str]:
    """Return the visitors of whom the jobs keep state in these checkpoints.

    A visitor has state where an operator of visitors has the id as a key. The same text as an item or as a part of
    another id is no trace. Where a view of something else keeps visitors' ids among its values, those count too.
    Raises `UnknownLayoutError` for a checkpoint that can't be read, and FileNotFoundError for one that has vanished.
    """
    values = {visitor_id: checkpoint.value_of(visitor_id) for visitor_id in visitor_ids}
    by_visitor, keeping = _operators(settings)
    found: set[str] = set()
    for folder in checkpoints:
        uids, states = checkpoint.read(folder)
        known = {uid: id_secret.operator_and_mark(uid) for uid in uids}
        if by_visitor.isdisjoint(operator for operator, _ in known.values()):
            raise checkpoint.UnknownLayoutError(f"{folder} has none of the operators {sorted(by_visitor)}")
        for mark in {mark for operator, mark in known.values() if operator in by_visitor}:
            keys = _keys(settings, mark, visitor_ids)
            found |= checkpoint.holding(
                [s for s in states if known[s.uid][0] in by_visitor and known[s.uid][1] == mark], keys
            )
        found |= checkpoint.holding([state for state in states if known[state.uid][0] in keeping], values)
    return found


def _keys(settings: Settings, mark: str, visitor_ids: Sequence[str]) -> dict[str, bytes]:
    """Return the key of each visitor's state. Without the secret that made it, nobody can say what a key would be."""
    if not mark:
        return {visitor_id: checkpoint.key_of(visitor_id) for visitor_id in visitor_ids}
    try:
        secret = id_secret.kept(id_secret.path(settings.state_dir), mark)
    except SettingsError as lost:
        raise checkpoint.UnknownLayoutError(str(lost)) from lost
    return {each: checkpoint.key_of(each, id_secret.key_of(secret, each)) for each in visitor_ids}


def _operators(settings: Settings) -> tuple[set[str], set[str]]:
    """Return the operators whose keys are visitors, and those that keep visitors' ids as values."""
    running = plan.submitted(settings.state_dir)
    operators = running.operators() if running else []
    by_visitor = {operator.key for operator in operators if operator.entity == PERSON}
    keeping = {operator.key for operator in operators if operator.entity != PERSON and sql.keeps_ids(operator)}
    return by_visitor | {RANKINGS_OPERATOR}, keeping


def in_files(paths: Iterable[Path], visitor_ids: Iterable[str]) -> set[str]:
    """Return the visitors whose id is somewhere in the bytes of files or folders. A file that vanishes holds nobody."""
    encoded = {visitor_id: visitor_id.encode() for visitor_id in visitor_ids}
    present: set[str] = set()
    for path in _files(paths):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue
        present |= {visitor_id for visitor_id, sought in encoded.items() if sought in content}
    return present


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        yield from (file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def views_of_visitors(settings: Settings) -> list[Any]:
    """Return Feast's views over visitors, as they are applied, or else as they are defined."""
    from jobs.features import definitions

    applied = definitions.store_yaml(settings).is_file()
    known = definitions.from_registry(settings) if applied else definitions.from_files(settings)
    return [view for view in known.views if PERSON in view.join_keys]


def offline_files(settings: Settings) -> list[Path]:
    """Return the Parquet files of views over visitors, the `batch_source` of each in Feast, as far as they exist."""
    from jobs.features import offline

    paths = {offline.local_path(settings.feature_repo, view) for view in views_of_visitors(settings)}
    return sorted(path for path in paths if path and path.is_file())


def offline_rows(path: Path, visitor_ids: Sequence[str]) -> list[dict]:
    return pq.read_table(path, filters=[(PERSON, "in", list(visitor_ids))]).to_pylist()


def erase_offline(path: Path, visitor_ids: Sequence[str]) -> int:
    """Write the file again without these visitors, in one step; return how many rows were erased."""
    table = pq.read_table(path)
    kept = table.filter(pc.invert(pc.is_in(table[PERSON], value_set=pa.array(visitor_ids, pa.string()))))
    if kept.num_rows < table.num_rows:
        partial = path.with_suffix(".partial")
        pq.write_table(kept, partial)
        os.replace(partial, path)
    return table.num_rows - kept.num_rows
