"""Compile the shelves of a feature repository against what its views and the topics of facts define."""

import time
from collections.abc import Iterator, Sequence

import msgspec

from jobs.catalogue.columns import Snapshot
from jobs.contract.items import contracts
from jobs.contract.shelf_plan import ShelfPlan, VisitorFeature
from jobs.errors import DefinitionError
from jobs.features.fact_views import KINDS, RESERVED
from jobs.features.plan import FeaturePlan, submitted
from jobs.settings import Settings
from jobs.shelves import compile as compiler
from jobs.shelves import selective
from jobs.shelves.items import Items
from jobs.shelves.known import KIND_OF_DTYPE, Defined, Known, known
from jobs.shelves.load import FILE, load
from jobs.shelves.problems import Problem, Problems
from jobs.shelves.versions import ShelfVersions
from jobs.versions.folder import ACTIVE

ITEM_ID, VISITOR_ID, CATEGORY = "item_id", "visitor_id", "category"


def known_of(settings: Settings, features: FeaturePlan) -> Known:
    """Return what rules may read, as the definitions say it: their facts needn't be applied yet."""
    own = {
        each.topic: {
            output.name: KINDS[output.dtype]
            for view in each.views
            for output in view.outputs
            if output.dtype in KINDS and output.name not in RESERVED
        }
        for each in features.facts
    }
    facts = contracts(settings.items_topic, settings.offers_topic, own)
    by_entity = {entity: _defined(features, entity) for entity in (ITEM_ID, VISITOR_ID, CATEGORY)}
    return known(facts, by_entity[ITEM_ID], by_entity[VISITOR_ID], by_entity[CATEGORY])


def _defined(features: FeaturePlan, entity: str) -> Sequence[Defined]:
    return [
        Defined(view.name, output.name, output.dtype, output.function, output.column, output.window_ms)
        for view in features.views
        if view.entity == entity
        for output in view.outputs
        if not output.dropped
    ]


def lint(settings: Settings, known_: Known, snapshot: Snapshot | None = None) -> tuple[ShelfPlan, list[Problem]]:
    """Return the plan of the repository's shelves, and every problem. With facts, rules that let few items through too.

    Raises DefinitionError for a file that can't be run.
    """
    plan, found = compiler.compiled(load(settings.feature_repo / FILE), known_)
    problems = Problems()
    problems.found += found
    if snapshot is not None and not any(not each.is_warning for each in found):
        selective.check(plan, Items(list(snapshot.rows)[: snapshot.size], snapshot), time.time() * 1000, problems)
        plan = selective.with_classes(plan, problems)
    return plan, problems.found


def check_active(settings: Settings, features: FeaturePlan) -> None:
    """Raise DefinitionError if the active shelves read features of visitors that would have another type."""
    versions = ShelfVersions(settings.shelves_folder)
    if not (versions.folder / ACTIVE).is_file():
        return
    try:
        version, shelves = versions.serving()
    except DefinitionError:
        return  # no version can be read, so none serves
    check_types(version, shelves, features)


def check_running(settings: Settings, version: str, shelves: ShelfPlan) -> None:
    """Raise DefinitionError if the features job gives features that a version reads another type."""
    features = submitted(settings.state_dir)
    if features is not None:
        check_types(version, shelves, features)


def check_types(version: str, shelves: ShelfPlan, features: FeaturePlan) -> None:
    """Raise DefinitionError unless the visitors' features that shelves read have the types that they were made for.

    A feature that isn't there at all isn't known of anybody, and has its default.
    """
    dtypes = {
        (view.name, output.name): output.dtype
        for view in features.views
        for output in view.outputs
        if view.entity == VISITOR_ID and not output.dropped
    }
    wrong = []
    for feature in shelves.visitor:
        dtype = dtypes.get((feature.view, feature.name))
        if dtype is None or _is_of(feature, dtype):
            continue
        names = ", ".join(shelf.name for shelf in shelves.shelves if _reads(msgspec.to_builtins(shelf), feature.name))
        wrong.append(
            f"{names or 'the shop'}: visitor.{feature.name} ({feature.view}) is of type {dtype}, "
            f"and {version} was made for type {feature.kind}"
        )
    if wrong:
        raise DefinitionError(
            "\n".join(wrong),
            "name the feature of the other type differently; or activate shelves that don't read it, submit features, "
            "then publish and activate shelves that do",
        )


def _is_of(feature: VisitorFeature, dtype: str) -> bool:
    """Return True if rules that read one type can read the other: a number is a number."""
    kinds = {feature.kind, KIND_OF_DTYPE.get(dtype)}
    return len(kinds) == 1 or kinds == {"int", "float"}


def _reads(part: object, name: str) -> bool:
    """Return True if a part of a plan, as plain data, reads a visitor's feature."""
    return any(
        (each.get("type"), each.get("of"), each.get("name")) == ("feature", "visitor", name) or each.get("list") == name
        for each in _dicts(part)
    )


def _dicts(part: object) -> Iterator[dict[str, object]]:
    if isinstance(part, dict):
        yield part
    for each in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _dicts(each)
