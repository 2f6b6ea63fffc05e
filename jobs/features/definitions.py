"""Read what the feature repository defines: from its files (before `feast apply`) or the registry (after it)."""

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from jobs.connect import addresses
from jobs.errors import DefinitionError, ServiceError, SettingsError
from jobs.features.online_store import KEY_VERSION
from jobs.settings import IN_CHECKOUT, SHIPPED_FEATURE_REPO, Settings


class Definitions(NamedTuple):
    """Feast objects of one repository."""

    project: str
    views: list[Any]
    entities: list[Any]
    services: list[Any]
    facts: Sequence[Any] = ()  # plain `FeatureView`s that read a Kafka topic


def store_yaml(settings: Settings) -> Path:
    """Return the file of Feast's configuration for the running system; `write_store_yaml` writes it."""
    return settings.state_dir.resolve() / "feature_store.yaml"


def registry(settings: Settings) -> Path:
    """Return Feast's registry of this system: `apply` writes it, and the file of the repository's own isn't used."""
    return settings.state_dir.resolve() / "registry.db"


def write_store_yaml(settings: Settings, redis_url: str, path: Path) -> None:
    """Write the repository's own `feature_store.yaml` to `path`, with this system's Redis and registry in it."""
    import yaml

    configuration = _own_store_yaml(settings.feature_repo)
    if configuration["online_store"]["type"] == "redis":
        configuration["online_store"] |= addresses.feast_store(redis_url)
    configuration["registry"] = str(registry(settings))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(configuration))


def online_store_type(settings: Settings) -> str:
    """Return Feast's name of the online store that the repository asks for."""
    return str(_own_store_yaml(settings.feature_repo)["online_store"]["type"])


def _own_store_yaml(folder: Path) -> dict[str, Any]:
    """Return the repository's `feature_store.yaml`; raise DefinitionError for a file that isn't one."""
    import yaml

    file = folder / "feature_store.yaml"
    try:
        configuration: dict[str, Any] = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())  # YAML's errors have several lines
        raise DefinitionError(
            f"{file} can't be read: {reason}", "correct it, or liveshelf init for a new one"
        ) from error
    try:
        complete = bool(configuration["project"] and configuration["online_store"]["type"])
    except (KeyError, TypeError):
        complete = False
    if not complete:
        raise DefinitionError(f"{file} names no project or no type of online_store", "compare feature_repo's own")
    keys = configuration.get("entity_key_serialization_version", KEY_VERSION)
    if keys != KEY_VERSION:
        what = f"{file}: entity_key_serialization_version is {keys!r}, and keys are written in version {KEY_VERSION}"
        raise DefinitionError(what, f"entity_key_serialization_version: {KEY_VERSION}, or Feast would find no entity")
    return configuration


def copy_shipped(target: Path) -> None:
    """Copy the shipped feature repository to the folder `target`; raise `SettingsError` if something is there."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise SettingsError(f"{target} is there already", "name another folder, or move that one away")
    ignored = shutil.ignore_patterns("__pycache__", "data")
    try:
        shutil.copytree(SHIPPED_FEATURE_REPO, target, ignore=ignored, dirs_exist_ok=True)
    except OSError as error:
        raise SettingsError(f"{target} can't be written: {error}", "name a folder that you may write to") from error


def refuse_shipped(settings: Settings) -> None:
    """Raise `SettingsError` if the definitions are the installed package's, where nothing may be written."""
    if not IN_CHECKOUT and settings.feature_repo == SHIPPED_FEATURE_REPO:
        raise SettingsError(
            f"{settings.feature_repo} is a part of the installed package, and nothing is written there",
            "liveshelf init copies it into this folder; then call the same command again",
        )


def from_files(settings: Settings) -> Definitions:
    """Return what the definition files say now; raise `DefinitionError` if they can't be imported."""
    with _inside(settings.feature_repo):
        project = str(_own_store_yaml(settings.feature_repo)["project"])
        from feast.repo_operations import parse_repo

        try:
            contents = parse_repo(Path.cwd())
        except Exception as error:  # whatever a person's file raises is theirs to read
            raise DefinitionError(
                f"{settings.feature_repo} can't be imported: {type(error).__name__}: {error}",
                "correct the definitions file",
            ) from error
    facts = of_facts(contents.feature_views)
    return Definitions(project, contents.stream_feature_views, contents.entities, contents.feature_services, facts)


def of_facts(views: list[Any]) -> list[Any]:
    """Return the views that the features job fills. Feast itself fills the others, from their batch sources."""
    return [view for view in views if type(view).__name__ == "FeatureView" and _reads_kafka(view)]


def _reads_kafka(view: Any) -> bool:
    return type(view.stream_source).__name__ == "KafkaSource"


def feature_store(settings: Settings) -> Any:
    """Return the stock Feast `FeatureStore` of the running system; raise `ServiceError` before the first `apply`."""
    path = store_yaml(settings)
    if not path.is_file():
        raise ServiceError(
            f"{path} isn't there: nothing has been applied", "liveshelf up, then liveshelf submit features"
        )
    from feast import FeatureStore

    return FeatureStore(fs_yaml_file=path)


def from_registry(settings: Settings) -> Definitions:
    """Return what was applied."""
    store = feature_store(settings)
    return Definitions(
        store.project,
        store.list_stream_feature_views(),
        store.list_entities(),
        store.list_feature_services(),
        of_facts(store.list_feature_views()),
    )


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Work inside the repository, as Feast's import wants it; forget the imported modules afterwards."""
    if not (folder / "feature_store.yaml").is_file():
        raise DefinitionError(
            f"{folder} holds no feature_store.yaml", "name the feature repository (setting feature_repo)"
        )
    before, known = Path.cwd(), set(sys.modules)
    os.chdir(folder)
    sys.path.insert(0, str(Path.cwd()))
    try:
        yield
    finally:
        sys.path.remove(str(Path.cwd()))
        os.chdir(before)
        for name in set(sys.modules) - known:
            module_file = getattr(sys.modules[name], "__file__", None)
            if module_file and Path(module_file).is_relative_to(folder.resolve()):
                del sys.modules[name]
