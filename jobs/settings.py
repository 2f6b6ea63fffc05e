"""Settings: one typed object, read in one place, from `LIVESHELF_*` variables and `liveshelf.toml`.

A setting may name a service of the user's own (`kafka_bootstrap`, `redis_url`, `flink_rest_url`). liveshelf uses such a
service as it is, and never starts or stops it.
"""

import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

import msgspec
from pydantic import Field, SecretStr, create_model, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from jobs.contract.ranker_settings import RankerSettings
from jobs.errors import SettingsError

# The checkout, or the site-packages that the wheel was installed into.
REPOSITORY = Path(__file__).resolve().parent.parent
IN_CHECKOUT = (REPOSITORY / "pyproject.toml").is_file()
SHIPPED_FEATURE_REPO = REPOSITORY / "feature_repo"
MAX_WINDOW_EVENTS = 5000  # a day of a visitor who clicks every 17 s without sleep; 0.2 to 0.4 MB of state
# The number of key groups into which a job's state is divided from its first checkpoint on. Flink chooses the same
# number up to parallelism 85. Above that it would begin with more, and its state could be restored with those only.
MAX_PARALLELISM = 128
TASK_HEAP_MB = 1536


RENAMED = {"channel": "shelf"}  # settings of release 0.1.0, with the name of today


def default_feature_repo() -> Path:
    """Return the folder `feature_repo` of the current folder if Feast's files are in it, else the shipped one."""
    own = Path("feature_repo")
    return own if (own / "feature_store.yaml").is_file() else SHIPPED_FEATURE_REPO


def fields_of(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the described fields of a struct as fields of a pydantic model, with their limits and defaults."""
    hints, fields = get_type_hints(struct, include_extras=True), {}
    for field in msgspec.structs.fields(struct):
        for meta in getattr(hints[field.name], "__metadata__", ()):
            limits = {name: getattr(meta, name) for name in ("gt", "ge", "lt", "le", "min_length", "pattern")}
            fields[field.name] = (field.type, Field(field.default, description=meta.description, **limits))
    return fields


if TYPE_CHECKING:
    RankerFields = BaseSettings  # a type checker reads the ranker's settings from `Settings.ranker`
else:
    RankerFields = create_model("RankerFields", __base__=BaseSettings, **fields_of(RankerSettings))


class Settings(RankerFields):
    """The settings of a run. Units are in the names. Those of the ranker stand in `RankerSettings`."""

    model_config = SettingsConfigDict(
        env_prefix="LIVESHELF_", toml_file="liveshelf.toml", extra="forbid", validate_default=True
    )

    state_dir: Path = Field(Path(".liveshelf"), description="where the embedded services keep data, logs and pid files")
    feature_repo: Path = Field(
        default_factory=default_feature_repo,
        description="folder with the Feast definitions; ./feature_repo if there is one, else the shipped one",
    )
    model_dir: Path = Field(
        REPOSITORY / "models" / "artifacts" / "eshop",
        description="model bundle that the ranker serves, or a registry of versions",
    )
    model_public_key: Path | None = Field(
        None, description="Ed25519 public key (PEM): only bundles that were signed with its private key are served"
    )
    shelves_dir: Path | None = Field(
        None, description="folder of the published versions of shelves; empty: `shelves` in the state folder"
    )
    tracking_dir: Path = Field(
        Path(".liveshelf/mlflow"), description="MLflow's store of trainings, and the recipes that were tried"
    )

    profile: Literal["plain", "secure"] = Field(
        "plain", description="secure: the embedded services use TLS, passwords and rights (jobs/connect/README.md)"
    )
    # Addresses with users and secrets: see jobs/connect/addresses.py.
    kafka_bootstrap: str = Field("", description="host:port of a Kafka of your own; empty: an embedded broker")
    redis_url: SecretStr = Field(
        SecretStr(""), description="redis://… of your own, or redis+sentinel://…; empty: embedded"
    )
    flink_rest_url: str = Field("", description="http://host:port of a Flink cluster of your own; empty: embedded")
    worker_python: str = Field(
        "", description="Python of the TaskManagers' workers, as they find it; empty: the cluster's python.executable"
    )

    kafka_port: int = Field(19092, description="port of the embedded broker (0: a free one)")
    redis_port: int = Field(16379, description="port of the embedded Redis (0: a free one)")
    flink_port: int = Field(18081, description="REST port of the embedded Flink (0: a free one)")
    metrics_port: int = Field(0, description="first port of Flink's Prometheus reporter (0: free ones)")
    task_managers: int = Field(1, ge=1, description="embedded TaskManagers")
    slots_per_task_manager: int = Field(2, ge=1, description="task slots of each embedded TaskManager")
    task_heap_mb: int = Field(
        TASK_HEAP_MB, ge=256, description="MiB of heap that each embedded TaskManager has for state (`liveshelf plan`)"
    )

    events_topic: str = "events"
    dead_topic: str = "events.dead"
    late_topic: str = "events.late"
    rankings_topic: str = "rankings"
    consent_topic: str = "consent"
    items_topic: str = Field("items", description="what the shop's items are: a record an item, compacted")
    offers_topic: str = Field("offers", description="their price, stock and status: a record an item, compacted")
    trends_topic: str = Field("trends", description="how items trend: the rankings job's own facts about them")
    items_dead_topic: str = Field(
        "items.dead", description="records of these two, and of like topics, that were refused"
    )
    consent: Literal["assumed", "required"] = Field(
        "assumed",
        description="whether a visitor of whom the consent topic says nothing is personalized; withdrawn never is",
    )
    topic_partitions: int = Field(2, ge=1, description="partitions of each topic that liveshelf creates")

    lake: str = Field(
        "", description="where `liveshelf lake` writes the topics as Parquet: a folder, or s3://BUCKET/FOLDER"
    )
    lake_interval_s: float = Field(60, ge=1, description="time between two runs of `liveshelf lake`")
    lake_compact_after_s: float = Field(
        600, ge=0, description="silence after which the files of an hour of a partition become one"
    )

    pseudonym_keys: Path | None = Field(
        None, description="file with the keys of visitors' pseudonyms (`liveshelf keys new` makes it)"
    )

    max_clock_skew_s: int = Field(300, ge=0, description="how far in the future an event may lie")
    dedup_horizon_s: int = Field(
        86400, gt=0, description="a visitor's same event_id within this time (of event time) counts once"
    )
    max_window_events: int = Field(
        MAX_WINDOW_EVENTS,
        gt=0,
        le=1_000_000,
        description="newest events that a time window of one entity holds, and distinct values that a session counts",
    )
    list_stale_s: int = Field(1800, gt=0, description="age from which the reader calls a list stale")
    context_service: str = Field("ranker_context", description="feature service whose values the ranker reads")
    bundle_ms: int = Field(5, ge=1, description="python.fn-execution.bundle.time of the rankings job")
    bundle_rows: int = Field(1000, ge=1, description="python.fn-execution.bundle.size")
    checkpoint_interval_ms: int = Field(10_000, ge=100, description="time between checkpoints")
    idle_timeout_s: int = Field(
        30, ge=0, description="silence after which a partition no longer holds features back (0: never)"
    )
    parallelism: int = Field(
        1, ge=1, le=MAX_PARALLELISM, description="parallelism of a submitted job; its state can't be divided further"
    )

    collector_host: str = Field("127.0.0.1", description="address that the collector listens on")
    collector_port: int = Field(18090, description="its port (0: a free one)")
    collector_admin_port: int = Field(18091, description="port of /healthz and /metrics, on the loopback address only")
    collector_write_keys: Path | None = Field(None, description="file with the keys that may write, lines `name key`")
    collector_origins: str = Field(
        "", description="pages that may send, such as https://shop.example,https://m.shop.example"
    )
    collector_proxies: str = Field(
        "", description="addresses and networks of the proxies whose X-Forwarded-For is believed, such as 10.0.0.0/8"
    )
    collector_country_database: Path | None = Field(None, description=".mmdb file with countries (none: no country)")
    collector_key_events_per_s: float = Field(2000, gt=0, description="events that a write key may send")
    collector_address_requests_per_s: float = Field(50, gt=0, description="requests that an address may send")
    collector_address_events_per_s: float = Field(200, gt=0, description="events that an address may send")
    collector_key_new_per_s: float = Field(
        3,
        gt=0,
        description="what a page's key may bring, and 20,000 times as many at once: a third each are new visitors, new"
        " items and categories (some 3,500 bytes of the features job's heap for a day), denials",
    )
    collector_address_new_per_s: float = Field(
        1, gt=0, description="of each of the three kinds that an address may bring, and 1,000 times as many at once"
    )
    collector_items: Path | None = Field(
        None, description="file of the items, one a line, that events may name beside those of the model (none: any)"
    )
    storefront_port: int = Field(0, description="port of the shop's page, on the loopback address only (0: a free one)")
    collector_max_event_age_s: int = Field(7 * 86400, gt=0, description="how old an event may be that is sent late")

    @property
    def ranker(self) -> RankerSettings:
        """Return the settings of the ranker as a job holds them, without the public key, which `submit` reads."""
        values = {name: getattr(self, name) for name in RankerFields.model_fields}
        return RankerSettings(model_dir=str(self.model_dir.resolve()), shelves_dir=str(self.shelves_folder), **values)

    @property
    def shelves_folder(self) -> Path:
        """Return the absolute path of the published versions of shelves."""
        return (self.shelves_dir or self.state_dir / "shelves").resolve()

    @model_validator(mode="before")
    @classmethod
    def _refuse_old_names(cls, given: dict[str, object]) -> dict[str, object]:
        """Raise `SettingsError` for a setting that was renamed: under its old name it would be ignored."""
        variables = {name.upper() for name in os.environ}
        for old, new in RENAMED.items():
            before, now = f"LIVESHELF_{old.upper()}", f"LIVESHELF_{new.upper()}"
            if old in given or before in variables:
                raise SettingsError(f"the setting {old} ({before}) is now called {new}", f"set {new} or {now} instead")
        return given

    @field_validator("*")
    @classmethod
    def _absolute(cls, value: Any) -> Any:
        """Make a path absolute: it reaches workers and other processes, which have other working directories.

        Links stay: a mounted secret or a `current` model is a link that is changed later.
        """
        return Path(os.path.abspath(value)) if isinstance(value, Path) else value

    @field_validator("kafka_bootstrap", "flink_rest_url", "redis_url")
    @classmethod
    def _absolute_secrets(cls, address: str | SecretStr) -> str | SecretStr:
        """Make the folder absolute that an address names (`?secrets=FOLDER`, see `jobs/connect/addresses.py`)."""
        if isinstance(address, SecretStr):
            return SecretStr(_with_absolute_secrets(address.get_secret_value()))
        return _with_absolute_secrets(address)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: arguments win over variables, variables over the file."""
        return init_settings, env_settings, _SettingsFile(settings_cls)


class _SettingsFile(TomlConfigSettingsSource):
    """liveshelf.toml, which an editor on Windows may have begun with a byte order mark."""

    def _read_file(self, file_path: Any) -> dict[str, Any]:
        return tomllib.loads(file_path.read_text(encoding="utf-8-sig"))


def _with_absolute_secrets(address: str) -> str:
    return re.sub(r"(?<=[?&]secrets=)[^&]+", lambda folder: os.path.abspath(folder[0]), address)
