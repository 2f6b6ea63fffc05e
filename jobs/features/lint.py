"""Compile Feast definitions to a plan, or name every mistake in them with its view, its field and its fix."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, NamedTuple, get_args

import msgspec

from jobs.contract import events
from jobs.errors import DefinitionError
from jobs.features import changes, fact_views, offline, plan
from jobs.features.changes import Change
from jobs.features.definitions import Definitions, from_files
from jobs.features.fact_views import BY_DEFAULT, Topics
from jobs.features.online_store import ENCODERS, feature_field
from jobs.features.plan import FeaturePlan, Frame, Output, ViewPlan
from jobs.features.problem import Problem, closest
from jobs.settings import Settings

FUNCTIONS = (
    "sum",
    "count",
    "min",
    "max",
    "mean",
    "std",
    "count_distinct",
    "first",
    "last",
    "last_N",
    "span",
    "is_single",
)
SLIDING = ("sum", "count", "mean", "std", "count_distinct")
NUMERIC_ONLY = ("sum", "mean", "std", "span")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
LAST_N = re.compile(r"last_([1-9]\d{0,2})")
COLUMN_TYPES = {field.name: events.SQL_TYPE[field.kind] for field in events.FIELDS} | {
    column.name: column.sql_type for column in events.DERIVED
}
FEAST_TYPE = {"STRING": "String", "BIGINT": "Int64", "DOUBLE": "Float64"}
MAX_SLIDES = 1440
KEY_TYPE = "String"  # of entities: the type is part of the key (see online_store.STRING_TYPE)
READS = "the job reads {} (setting events_topic); facts of another topic are a FeatureView without aggregations"
NO_AGGREGATION = "facts aren't aggregated: write a FeatureView without aggregations, tags and timestamp_field"
UNDECLARED = "UNKNOWN"  # Feast's value_type of an entity that was given none


def compile_views(
    project: str, topic: str, views: list[Any], entities: list[Any], topics: Topics = BY_DEFAULT
) -> tuple[FeaturePlan, list[Problem]]:
    """Return the plan of Feast `StreamFeatureView`s and every problem; with a problem the plan means nothing."""
    by_name = {entity.name: entity for entity in entities}
    plans, problems = [], []
    for view in sorted(views, key=lambda view: view.name):
        compiled, found = _ViewCompiler(view, topic, by_name, topics).compile()
        plans.append(compiled)
        problems += found
    delays = {view.name: _delay_ms(view) for view in views}
    if len(set(delays.values())) > 1:
        name, other = sorted(delays, key=delays.__getitem__)[:: len(delays) - 1]
        problems.append(
            Problem(
                other,
                "watermark_delay_threshold",
                f"is {delays[other]} ms, but {name}'s is {delays[name]} ms: one job reads one topic with one delay",
                "give all views' sources the same delay",
            )
        )
    if not views:
        problems.append(Problem("", "", "no StreamFeatureView is defined", "define one in feature_repo/definitions.py"))
    return FeaturePlan(project, topic, max(delays.values(), default=0), plans), problems + _collisions(
        plans
    ) + _expiries(plans)


def compiled(settings: Settings, known: Definitions) -> tuple[FeaturePlan, list[Problem]]:
    """Return the plan of all views and every problem; with a problem the plan means nothing."""
    topics = Topics.of(settings)
    facts, faults = fact_views.compile_facts(known.facts, known.entities, topics)
    of_events, problems = compile_views(known.project, settings.events_topic, known.views, known.entities, topics)
    of_facts = [view for each in facts for view in each.views]
    shared = (*_collisions([*of_events.views, *of_facts]), *_expiries([*of_events.views, *of_facts]))
    every = [*problems, *faults, *fact_views.twice(of_events.views, facts), *shared]
    return msgspec.structs.replace(of_events, facts=facts), list(dict.fromkeys(every))


def checked(settings: Settings, known: Definitions) -> FeaturePlan:
    """Return the plan of all views; raise `DefinitionError` with every problem."""
    plan, problems = compiled(settings, known)
    if problems:
        raise DefinitionError("\n".join(map(str, problems)))
    return plan


class Findings(NamedTuple):
    """Every problem, and the changes that a savepoint carries over."""

    problems: list[Problem]
    carried: list[Change]


def lint(settings: Settings) -> Findings:
    """Find what is wrong with the definition files, and what changes do to the state of the running jobs."""
    known = from_files(settings)
    wanted, problems = compiled(settings, known)
    problems += [Problem(*fault) for fault in offline.faults(settings.feature_repo, known.views)]
    if problems:
        return Findings(problems, [])
    found = _changes(settings, wanted)
    lost = [Problem(each.view, each.field, f"{each.what}: {each.state}", each.fix) for each in changes.lost(found)]
    return Findings(lost, [each for each in found if not each.fix])


def _changes(settings: Settings, wanted: FeaturePlan) -> list[Change]:
    running = plan.submitted(settings.state_dir)
    found = changes.of_plan(running, wanted) if running else []
    for job in get_args(changes.Job):
        if before := changes.kept(settings.state_dir, job):
            found += changes.of_settings(job, before, changes.Chosen.of(settings))
    return found


def _ms(duration: timedelta | None) -> int:
    return round(duration.total_seconds() * 1000) if duration else 0


def _delay_ms(view: Any) -> int:
    options = getattr(_stream_source(view), "kafka_options", None)
    return _ms(options.watermark_delay_threshold) if options else 0


def _stream_source(view: Any) -> Any:
    return getattr(view, "stream_source", None) or getattr(view, "source", None)


def parse_gap_ms(text: str) -> int | None:
    """Return `90s`, `30m` or `2h` in milliseconds; None if it isn't of that form."""
    match = re.fullmatch(r"(\d+)\s*(s|m|h)", text.strip())
    return int(match[1]) * {"s": 1000, "m": 60_000, "h": 3_600_000}[match[2]] if match and int(match[1]) else None


class _ViewCompiler:
    """Checks one view and turns it into its plan."""

    def __init__(self, view: Any, topic: str, entities: dict[str, Any], topics: Topics) -> None:
        self._view = view
        self._topics = topics
        self._topic = topic
        self._entities = entities
        self._schema = {field.name: str(field.dtype) for field in view.schema}

    def compile(self) -> tuple[ViewPlan, list[Problem]]:
        frame, gap_ms, slide_ms = self._frame()
        problems = [Problem(self._view.name, field, what, fix) for field, what, fix in self._problems(frame, slide_ms)]
        outputs = [self._output(aggregation) for aggregation in self._view.aggregations]
        entity = self._entity()
        return ViewPlan(self._view.name, entity, frame, outputs, _ms(self._view.ttl), gap_ms, slide_ms), problems

    def _entity(self) -> str:
        names = list(self._view.entities)
        if not names:
            return ""
        return str(self._entities[names[0]].join_key) if names[0] in self._entities else str(names[0])

    def _key_type(self) -> str:
        """Return the type with which Feast makes the entity's key; "" where it isn't declared, and Feast infers it."""
        if self._entity() in self._schema:
            return self._schema[self._entity()]
        entity = self._entities.get(self._view.entities[0])
        declared = entity.value_type.name if entity else UNDECLARED
        return "" if declared == UNDECLARED else str(declared).capitalize()

    def _frame(self) -> tuple[Frame, int, int]:
        if self._view.tags.get("window") == "session":
            return "session", parse_gap_ms(self._view.tags.get("gap", "")) or 0, 0
        slides = {
            _ms(each.slide_interval) for each in self._view.aggregations if each.slide_interval != each.time_window
        }
        return ("slide", 0, max(slides)) if slides else ("range", 0, 0)

    def _output(self, aggregation: Any) -> Output:
        name = self._name(aggregation)
        last = LAST_N.fullmatch(aggregation.function)
        return Output(
            name,
            aggregation.function,
            aggregation.column,
            self._schema.get(name, ""),
            int(last[1]) if last else 0,
            _ms(aggregation.time_window),
        )

    @staticmethod
    def _name(aggregation: Any) -> str:
        return str(aggregation.name or aggregation.resolved_name(aggregation.time_window))

    def _problems(self, frame: Frame, slide_ms: int) -> Iterator[tuple[str, str, str]]:
        yield from self._view_problems(frame)
        yield from self._schema_problems()
        for aggregation in self._view.aggregations:
            name = self._name(aggregation)
            for what, fix in (
                *self._column_problems(aggregation),
                *self._window_problems(aggregation, frame, slide_ms),
            ):
                yield name, what, fix

    def _view_problems(self, frame: Frame) -> Iterator[tuple[str, str, str]]:
        view, source = self._view, _stream_source(self._view)
        if not NAME.fullmatch(view.name):
            yield "name", f"{view.name!r} can't name a table", "use letters, digits and _, beginning with a letter"
        if view.feature_transformation is not None:
            yield (
                "udf",
                "is a transformation, which the job doesn't run",
                "remove it: a view is made of its aggregations",
            )
        if type(source).__name__ != "KafkaSource":
            yield "source", f"is a {type(source).__name__}", "stream feature views read a KafkaSource"
        elif source.kafka_options.topic != self._topic:
            facts = (self._topics.items, self._topics.offers)
            yield (
                "source",
                f"reads topic {source.kafka_options.topic!r}",
                NO_AGGREGATION if source.kafka_options.topic in facts else READS.format(repr(self._topic)),
            )
        if _delay_ms(view) < 1:
            yield (
                "watermark_delay_threshold",
                "is missing or 0",
                "give the KafkaSource a delay, such as timedelta(seconds=1)",
            )
        if len(view.entities) != 1:
            yield "entities", f"has {len(view.entities)} entities", "give the view exactly one entity"
        elif COLUMN_TYPES.get(self._entity()) != "STRING":
            yield (
                "entities",
                f"the join key {self._entity()!r} is no text column of an event",
                f"{closest(self._entity(), COLUMN_TYPES)}use one of visitor_id, user_id, item_id, category, …",
            )
        elif self._key_type() not in ("", KEY_TYPE):
            yield (
                "entities",
                f"{self._entity()} is declared {self._key_type()}, but its keys in the online store are {KEY_TYPE}s: "
                "Feast would look for others, and answer None",
                f"write value_type=ValueType.STRING in the Entity, and Field(name={self._entity()!r}, dtype=String)",
            )
        if not view.aggregations:
            yield "aggregations", "is empty", "add an Aggregation"
        gap = view.tags.get("gap", "")
        if frame == "session" and parse_gap_ms(gap) is None:
            yield "tags", f"gap is {gap!r}", 'write it like tags={"window": "session", "gap": "30m"}'
        if view.tags.get("window", "session") != "session":
            yield (
                "tags",
                f"window is {view.tags['window']!r}",
                'the only window tag is "session"; others are a time_window',
            )

    def _schema_problems(self) -> Iterator[tuple[str, str, str]]:
        names = [self._name(each) for each in self._view.aggregations]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield name, "is the name of two aggregations", "give one of them another name"
        for name in names:
            if name not in self._schema:
                near = closest(name, set(self._schema) - set(names))
                yield name, "is computed but not in the schema", f"{near}add Field(name={name!r}, dtype=…)"
        for name in sorted(set(self._schema) - set(names) - {self._entity()}):
            yield (
                name,
                "is in the schema but nothing computes it",
                f"{closest(name, names)}add an Aggregation or remove the field",
            )

    def _column_problems(self, aggregation: Any) -> Iterator[tuple[str, str]]:
        function, column = aggregation.function, aggregation.column
        if (function not in FUNCTIONS and not LAST_N.fullmatch(function)) or function == "last_N":
            yield (
                f"unknown function {function!r}",
                f"{closest(function, FUNCTIONS)}known are {', '.join(FUNCTIONS)} (N from 1 to 999)",
            )
            return
        if column not in COLUMN_TYPES:
            yield f"unknown column {column!r}", f"{closest(column, COLUMN_TYPES)}`liveshelf lint --columns` lists them"
            return
        if function in NUMERIC_ONLY and COLUMN_TYPES[column] == "STRING":
            yield f"{function} of the text column {column!r}", "take a numeric column, or count or count_distinct"
            return
        wanted, stated = self.dtype(function, column), self._schema.get(self._name(aggregation))
        if stated is not None and stated != wanted:
            yield f"is declared {stated}, but {function}({column}) is {wanted}", f"write dtype={wanted}"
        elif wanted not in ENCODERS:
            yield f"{wanted} has no place in the online store", "take another function"

    @staticmethod
    def dtype(function: str, column: str) -> str:
        """Return the Feast type of an aggregate."""
        if function in ("count", "count_distinct", "is_single"):
            return "Int64"
        if function in ("mean", "std"):
            return "Float64"
        kind = FEAST_TYPE[COLUMN_TYPES[column]]
        return f"Array({kind})" if function.startswith("last_") else kind

    def _window_problems(self, aggregation: Any, frame: Frame, slide_ms: int) -> Iterator[tuple[str, str]]:
        window_ms, function = _ms(aggregation.time_window), aggregation.function
        if frame == "session":
            if window_ms or aggregation.slide_interval:
                yield (
                    "has a time_window or a slide_interval in a session view",
                    "remove it: the session is the window, and a row is written at each event",
                )
            return
        if window_ms <= 0:
            yield (
                "has no time_window",
                'give it one, or make the view a session with tags={"window": "session", "gap": "30m"}',
            )
            return
        if LAST_N.fullmatch(function):
            yield f"{function} over a time window", "last_N works in session views only"
        if frame == "slide":
            yield from self._slide_problems(aggregation, window_ms, slide_ms)

    @staticmethod
    def _slide_problems(aggregation: Any, window_ms: int, slide_ms: int) -> Iterator[tuple[str, str]]:
        own_ms = _ms(aggregation.slide_interval)
        if aggregation.function not in SLIDING:
            yield (
                f"{aggregation.function} can't slide",
                f"only {', '.join(SLIDING)} can; or drop slide_interval: then the feature is as of each event",
            )
        if own_ms != slide_ms:
            yield (
                f"slides by {own_ms / 1000:g} s, others of the view by {slide_ms / 1000:g} s",
                "give all aggregations of a view the same slide_interval (and a longer time_window), or make two views",
            )
        elif window_ms % own_ms:
            yield (
                f"slide_interval {own_ms / 1000:g} s doesn't divide time_window {window_ms / 1000:g} s",
                "make the window a multiple of the slide",
            )
        elif window_ms // own_ms > MAX_SLIDES:
            yield f"has {window_ms // own_ms} slides a window", f"take a longer slide: at most {MAX_SLIDES}"


def _collisions(plans: list[ViewPlan]) -> list[Problem]:
    """Find features of one entity with the same name in Redis: Feast names a field by 32 bits of a hash."""
    seen: dict[tuple[str, bytes], str] = {}
    problems = []
    for view in plans:
        for output in view.outputs:
            place, name = (view.entity, feature_field(view.name, output.name)), f"{view.name}:{output.name}"
            if seen.setdefault(place, name) != name:
                problems.append(
                    Problem(
                        view.name, output.name, f"shares its field in Redis with {seen[place]}", "rename one of them"
                    )
                )
    return problems


def _expiries(plans: list[ViewPlan]) -> list[Problem]:
    """Find views without expiry that share an entity, and so a hash that expires as a whole, with views that expire."""
    lasting = {plan.entity: plan.name for plan in plans if not plan.ttl_ms}
    return [
        Problem(
            plan.name,
            "ttl",
            f"is {plan.ttl_ms / 1000:g} s, but {lasting[plan.entity]} of the same entity never expires",
            "give both views a ttl, or neither",
        )
        for plan in plans
        if plan.ttl_ms and plan.entity in lasting
    ]
