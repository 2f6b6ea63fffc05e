"""List the ranker's context features: those of the feature service that the setting `context_service` names.

The feature repository is the only place that lists them. Training asks here. The manifest of a bundle keeps the list of
its model, and `submit` compares it with the service that was applied.
"""

from typing import Any

from jobs.errors import DefinitionError
from jobs.features.definitions import from_files
from jobs.features.explain import service_inputs
from jobs.settings import Settings

NUMBERS = ("Int32", "Int64", "Float32", "Float64", "Bool", "UnixTimestamp")
VISITOR = ["visitor_id"]


def ranker_inputs(settings: Settings) -> list[str]:
    """Return the features that a model trained now reads, each "view:feature", from the definition files.

    Raises `DefinitionError` if the files or the service are missing, and for a feature that the ranker can't read: one
    that isn't a number, or isn't a visitor's.
    """
    definitions = from_files(settings)
    services = {service.name: service for service in definitions.services}
    name = settings.context_service
    if name not in services:
        raise DefinitionError(
            f"there is no feature service {name!r} in {settings.feature_repo}",
            f"define it, or set context_service to one of {', '.join(sorted(services)) or 'those that you define'}",
        )
    join_keys = {entity.name: entity.join_key for entity in definitions.entities}
    views = {view.name: view for view in (*definitions.views, *definitions.facts)}
    inputs = service_inputs(services[name])
    for feature, dtype in inputs:
        view = views.get(feature.partition(":")[0])
        if view is not None and _keys(view, join_keys) != VISITOR:
            raise DefinitionError(
                f"feature service {name!r} gives {feature}, which is kept for each {', '.join(view.entities)}",
                "the ranker reads a visitor's features only; take it out of the service",
            )
        if dtype not in NUMBERS:
            raise DefinitionError(
                f"feature service {name!r} gives {feature}, which is a {dtype}",
                "the ranker reads numbers only; take it out of the service",
            )
    return [feature for feature, _ in inputs]


def _keys(view: Any, join_keys: dict[str, str]) -> list[str]:
    return [join_keys.get(entity, entity) for entity in view.entities]
