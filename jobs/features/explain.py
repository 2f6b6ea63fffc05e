"""Explain what a definition becomes: the SQL, the state that is kept for each key, and the fields in Redis."""

from typing import Any, NamedTuple

from jobs.contract import events
from jobs.contract.items import contracts
from jobs.errors import DefinitionError
from jobs.features import lint, sql
from jobs.features.definitions import from_files
from jobs.features.online_store import feature_field
from jobs.features.plan import FeaturePlan, Operator, Output, ViewPlan
from jobs.features.problem import closest
from jobs.settings import Settings

A_MARK = "0123456789abcdef"  # of the secret for ids; each system has its own


def explain_view(settings: Settings, name: str) -> str:
    """Return a page on one view, from the definition files; raise `DefinitionError` if they or the name are wrong."""
    known = from_files(settings)
    plan = lint.checked(settings, known)
    facts = {view.name: (each.topic, view) for each in plan.facts for view in each.views}
    if name in facts:
        return _of_facts(*facts[name], next(each for each in plan.fact_operators() if facts[name][1] in each.views))
    view = next((view for view in plan.views if view.name == name), None)
    if view is None:
        names = [view.name for view in plan.views] + list(facts)
        raise DefinitionError(f"no view {name!r}", f"defined are {', '.join(names)}")
    operator = next(each for each in plan.operators() if view in each.views)
    state = f"State per key\n{_state(view, settings.max_window_events)}"
    statements = _statements(operator, plan, settings)
    return "\n\n".join([_head(view, plan), statements, state, _fields(view, operator)])


def _of_facts(topic: str, view: ViewPlan, operator: Operator) -> str:
    """Return a page on a view of item facts."""
    head = f"{view.name}: per {view.entity}, its newest record in the topic {topic}"
    state = (
        "State\n  none: the job keeps its place in the topic. After a change of such views it reads the topics again"
    )
    workers = "Workers of the rankings job follow the topic themselves (jobs/catalogue/README.md)"
    return "\n\n".join([head, state, workers, _fields(view, operator, "record's offset")])


def explain_service(settings: Settings, name: str) -> str:
    """Return the ordered inputs that a feature service gives the scorer."""
    known = from_files(settings)
    service = next((service for service in known.services if service.name == name), None)
    if service is None:
        raise DefinitionError(
            f"no feature service {name!r}", f"defined are {', '.join(each.name for each in known.services)}"
        )
    inputs = service_inputs(service)
    lines = [f"{place:3}  {feature:40} {dtype}" for place, (feature, dtype) in enumerate(inputs)]
    return "\n".join([f"{name}: the model's `context` input, float32 [batch, {len(inputs)}]", *lines])


def service_inputs(service: Any) -> list[tuple[str, str]]:
    """Return ("view:feature", dtype) of each input of a feature service, in its order."""
    return [
        (f"{projection.name_to_use()}:{feature.name}", str(feature.dtype))
        for projection in service.feature_view_projections
        for feature in projection.features
    ]


def columns_table() -> str:
    """Return the columns that an aggregation may take."""
    rows = [(field.name, events.SQL_TYPE[field.kind], field.doc) for field in events.FIELDS]
    rows += [(column.name, column.sql_type, column.doc) for column in events.DERIVED]
    return "\n".join(f"{name:24} {kind:8} {doc}" for name, kind, doc in rows)


class EntityFeature(NamedTuple):
    """A feature of an entity: its name, its type, its view, and what it is."""

    name: str
    dtype: str
    view: str
    doc: str


def features_of(settings: Settings, entity: str) -> list[EntityFeature]:
    """Return all features of an entity, from the definition files; raise `DefinitionError` if they or it are wrong."""
    known = from_files(settings)
    keys = {each.name: each.join_key for each in known.entities}
    if entity not in keys:
        near = closest(entity, keys)
        raise DefinitionError(f"no entity {entity!r}", f"{near}defined are {', '.join(sorted(keys))}")
    plan = lint.checked(settings, known)
    fields = {
        field.name: field.doc
        for each in contracts(settings.items_topic, settings.offers_topic)
        for field in each.fields
    }
    of_facts = [
        EntityFeature(output.name, output.dtype, view.name, f"{fields.get(output.name, 'fact')} (topic {each.topic})")
        for each in plan.facts
        for view in each.views
        for output in view.outputs
        if view.entity == keys[entity]
    ]
    of_events = [
        EntityFeature(
            output.name, output.dtype, view.name, f"{output.function} of {output.column} {_window(view, output)}"
        )
        for view in plan.views
        for output in view.outputs
        if view.entity == keys[entity]
    ]
    return sorted([*of_facts, *of_events])


def _window(view: ViewPlan, output: Output) -> str:
    return "in the session" if view.frame == "session" else f"in {output.window_ms / 1000:g} s"


def features_table(features: list[EntityFeature]) -> str:
    """Return features as lines."""
    return "\n".join(f"{each.name:24} {each.dtype:14} {each.view:18} {each.doc}" for each in features)


def _head(view: ViewPlan, plan: FeaturePlan) -> str:
    frame = {
        "session": f"the session, gap {view.gap_ms / 1000:g} s; a row at each event",
        "range": f"{', '.join(f'{w / 1000:g} s' for w in view.windows_ms())} up to each event",
        "slide": f"{', '.join(f'{w / 1000:g} s' for w in view.windows_ms())} sliding by {view.slide_ms / 1000:g} s; "
        "a row when it changes",
    }[view.frame]
    return f"{view.name}: per {view.entity}, {frame}\nfresh to {plan.delay_ms} ms of event time (watermark delay)"


def _statements(operator: Operator, plan: FeaturePlan, settings: Settings) -> str:
    cap = settings.max_window_events
    steps = {
        "sequenced": sql.sequenced(plan),
        "counted": sql.counted(plan, settings.dedup_horizon_s, keyed=True),
        "facts": sql.facts(plan),
        f"{operator.key}_events": sql.operator_events(operator, sql.column_types(), keyed=True),
        f"feature rows of {', '.join(view.name for view in operator.views)}": sql.operator_rows(operator, cap, A_MARK),
    }
    return "\n\n".join(f"-- {name}\n{_wrapped(query)}" for name, query in steps.items())


def _wrapped(query: str) -> str:
    for word in (" FROM ", " WHERE ", " WINDOW ", " features => ", " cap => ", " on_time => "):
        query = query.replace(word, f"\n{word.lstrip()}")
    return query.replace("; ", ";\n  ")


def _state(view: ViewPlan, cap: int) -> str:
    distinct = sorted({output.column for output in view.outputs if output.function == "count_distinct"})
    if view.frame == "session":
        last = [f"the last {output.n} values of {output.column}" for output in view.outputs if output.n]
        lines = [f"{len(view.outputs) - len(last)} running aggregates of the session", *last]
        lines += [f"each {column} of the session, up to {cap:,}, which is where its count stops" for column in distinct]
        lines.append("events that wait for the watermark")
        gone = f"gone {view.gap_ms / 1000:g} s after the last event"
    else:
        longest = max(view.windows_ms())
        gone = f"gone {longest / 1000:g} s after the last event"
        lines = [f"{len(view.outputs)} running aggregates"]
        if view.frame == "range":
            lines.append(
                f"the newest {cap:,} events of the last {longest / 1000:g} s, once for all windows; none holds more"
            )
            lines.append("events that wait for the watermark")
        else:
            lines += [f"up to {longest // view.slide_ms} slides in which something happened"]
            lines += [f"each {column} of the last {longest / 1000:g} s, with its last slide" for column in distinct]
    return "\n".join(f"  {line}" for line in [*lines, gone])


def _fields(view: ViewPlan, operator: Operator, version: str = "event time, sequence") -> str:
    lines = [
        f"  {feature_field(view.name, output.name).hex()}  {output.dtype:14} {output.name}" for output in view.outputs
    ]
    since = "record" if operator.of_facts else "event"
    expiry = f"expires {view.ttl_ms / 86_400_000:g} days after its {since}" if view.ttl_ms else "doesn't expire"
    head = f"Redis: a hash per {view.entity}, named by Feast's serialized entity key; {expiry}"
    return "\n".join([head, *lines, f"  _ts:{view.name}  {since} time", f"  _v:{operator.key}  version ({version})"])
