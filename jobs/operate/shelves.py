"""Compile the shelves of a feature repository against what its views and the topics of facts define."""

import time
from collections.abc import Sequence

from jobs.catalogue.columns import Snapshot
from jobs.contract.items import contracts
from jobs.contract.shelf_plan import ShelfPlan
from jobs.features.fact_views import KINDS, RESERVED
from jobs.features.plan import FeaturePlan
from jobs.settings import Settings
from jobs.shelves import compile as compiler
from jobs.shelves import selective
from jobs.shelves.items import Items
from jobs.shelves.known import Defined, Known, known
from jobs.shelves.load import FILE, load
from jobs.shelves.problems import Problem, Problems

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
