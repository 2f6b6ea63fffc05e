"""Hold what a submitted job is told: plain values, shipped as one JSON file that only its owner can read."""

import os
from pathlib import Path

import msgspec
from pyflink.common import Configuration

from jobs.connect import addresses
from jobs.contract.consent import Mode
from jobs.contract.items import FactContract
from jobs.contract.ranker_settings import RankerSettings
from jobs.flow import id_secret, saved_config
from jobs.settings import MAX_PARALLELISM, MAX_WINDOW_EVENTS, Settings

FOLDERS = ("model_dir", "shelves_dir")  # of the ranker


class JobConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses, topics, limits and knobs of one job. `jobs/settings.py` describes them.

    Jobs are started again from files that an older release saved, so a new field needs a default.
    """

    kafka_bootstrap: str
    redis_url: str
    events_topic: str
    dead_topic: str
    late_topic: str
    rankings_topic: str
    consent_topic: str
    consent: Mode
    project: str
    ranker: RankerSettings
    max_clock_skew_s: int
    dedup_horizon_s: int
    bundle_ms: int
    bundle_rows: int
    checkpoint_interval_ms: int
    parallelism: int
    idle_timeout_s: int
    max_window_events: int = MAX_WINDOW_EVENTS
    # File with the secret for ids, and its mark; "" for a job that goes on from a release without one.
    id_secret: str = ""
    secret_mark: str = ""
    history_ttl_s: int = 2 * 86_400  # of a visitor's history for lists, after its last event, by the clock on the wall
    facts: list[FactContract] = []  # topics of item facts
    items_dead_topic: str = "items.dead"
    source_options: dict[str, str] = {}
    feature_store_yaml: str = ""  # given when the online store isn't Redis
    shadow: bool = False  # a canary: the rankings job beside the live one, with lists under keys of its own
    jars: list[str] = []  # what a cluster of the user's own lacks, beside the one jar that `flink run -j` takes

    @classmethod
    def of(cls, settings: Settings, kafka_bootstrap: str, redis_url: str, **more: object) -> "JobConfig":
        """Return the configuration that settings and the addresses of the running services give.

        `more` holds the fields that settings don't have, and may replace any other, those of `ranker` included. A
        folder among them becomes absolute, as those of the settings are: workers have other working directories.
        """
        values = {name: getattr(settings, name) for name in cls.__struct_fields__ if hasattr(settings, name)}
        of_ranker = {name: more.pop(name) for name in RankerSettings.__struct_fields__ if name in more}
        of_ranker |= {name: os.path.abspath(str(of_ranker[name])) for name in FOLDERS if of_ranker.get(name)}
        values["ranker"] = msgspec.structs.replace(settings.ranker, **of_ranker)
        return cls(**(values | more | {"kafka_bootstrap": kafka_bootstrap, "redis_url": redis_url}))

    @property
    def keyed(self) -> bool:
        """Return True if ids are hashed under a secret wherever state is found by them."""
        return bool(self.secret_mark)

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1))

    @classmethod
    def load(cls, path: Path) -> "JobConfig":
        """Read a saved configuration. The secret's file may lie beside it: a mounted folder holds all of a job."""
        config = saved_config.read(path, cls)
        beside = path.with_name(id_secret.NAME)
        if config.keyed and not Path(config.id_secret).is_file() and beside.is_file():
            return msgspec.structs.replace(config, id_secret=str(beside.resolve()))
        return config


def base_configuration(
    config: JobConfig, name: str, bundle_ms: int, state_ttl_s: int = 0, flush_ms: int = 1
) -> Configuration:
    """Return what both jobs set, beyond the cluster's own defaults.

    Rows wait `flush_ms` at most on their way to the next task, and `bundle_ms` for others before Python gets them.

    `reuse-optimize-block-with-digest` makes the planner compute what several statements share once: without it, every
    statement reads and parses the topic again. `uid.generation` names operators by their order in the graph, so that
    what is added behind them leaves them their state (see `features/plan.py`, `evolve`).
    """
    values = {
        "pipeline.name": name,
        "parallelism.default": str(config.parallelism),
        "pipeline.max-parallelism": str(MAX_PARALLELISM),
        "execution.checkpointing.interval": f"{config.checkpoint_interval_ms} ms",
        "execution.buffer-timeout.interval": f"{flush_ms} ms",
        "python.fn-execution.bundle.time": str(bundle_ms),
        "python.fn-execution.bundle.size": str(config.bundle_rows),
        "python.fn-execution.arrow.batch.size": str(config.bundle_rows),
        "python.fn-execution.memory.managed": "false",
        "table.optimizer.reuse-optimize-block-with-digest-enabled": "true",
        "table.exec.uid.generation": "ALWAYS",
        "table.local-time-zone": "UTC",
        "table.exec.state.ttl": f"{state_ttl_s} s",
        "table.exec.source.idle-timeout": f"{config.idle_timeout_s} s",
        "pipeline.global-job-parameters": _flow_map(_consent_parameters(config)),
    }
    if config.keyed:
        values["pipeline.cached-files"] = id_secret.cached_files(
            id_secret.kept(Path(config.id_secret), config.secret_mark)
        )
    configuration = Configuration()
    for key, value in values.items():
        configuration.set_string(key, value)
    return configuration


def _consent_parameters(config: JobConfig) -> dict[str, str]:
    """Return what `Consents.java` reads: parameters of the job, as a function's arguments show in Flink's web page."""
    kafka = {
        name.removeprefix("properties."): value for name, value in addresses.flink_table(config.kafka_bootstrap).items()
    }
    return {
        "liveshelf.consent.topic": config.consent_topic,
        "liveshelf.consent.required": str(config.consent == "required").lower(),
        "liveshelf.consent.kafka": msgspec.json.encode(kafka).decode(),
    }


def _flow_map(values: dict[str, str]) -> str:
    """Return a map as Flink reads one from text: YAML in one line, of which JSON is a part."""
    return msgspec.json.encode(values).decode()
