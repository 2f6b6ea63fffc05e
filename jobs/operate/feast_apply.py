"""Run `feast` with the arguments, and note which topics and fields of item facts the applied views read.

    python -P -m jobs.operate.feast_apply FILE -c REPOSITORY -f FEATURE_STORE_YAML apply

Feast takes seconds to import, so the note is made in the same process. Commands read it without Feast.
"""

import sys
from pathlib import Path

import msgspec
from feast import FeatureStore
from feast.cli.cli import cli

from jobs.features.definitions import of_facts
from jobs.features.fact_views import topic_of


def main() -> None:
    file, *arguments = sys.argv[1:]
    try:
        cli(arguments)
    except SystemExit as end:
        if end.code:
            raise
    note(Path(file), Path(arguments[arguments.index("-f") + 1]))


def note(file: Path, feature_store_yaml: Path) -> None:
    """Write the types of the fields that views of facts have, by topic and field."""
    fields: dict[str, dict[str, str]] = {}
    for view in of_facts(FeatureStore(fs_yaml_file=feature_store_yaml).list_feature_views()):
        fields.setdefault(topic_of(view), {}).update((field.name, str(field.dtype)) for field in view.features)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_bytes(msgspec.json.encode(fields))
    partial.replace(file)


if __name__ == "__main__":
    main()
