"""Compile Feast views of item facts to the part of the plan that reads their topics, or name every mistake in them.

Such a view is a plain `FeatureView` of the entity `item` with a `KafkaSource`. It aggregates nothing: a feature is a
field of the item's newest record. The fields of `items` and `offers` are the contract's (`jobs/contract/items.py`).
Those of a shop's own topic are the ones that its views name, under the limits of their types.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from jobs.contract import items
from jobs.contract.items import FactContract
from jobs.features.plan import FactTopic, Output, ViewPlan
from jobs.features.problem import Problem, closest
from jobs.settings import Settings

KINDS: Mapping[str, items.Kind] = {"String": "string", "Int64": "int", "Float64": "float", "Bool": "bool"}
DTYPES = {kind: dtype for dtype, kind in KINDS.items()}
NEWEST = "newest"  # the function of a feature that is a fact
OWN = "own"  # the tag of a field that a shop adds to `items` or `offers`
RESERVED = {items.ID, "id"}  # the item itself
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
DAY, YEAR = timedelta(days=1), timedelta(days=365)
OTHERS = ("dead_topic", "late_topic", "rankings_topic", "consent_topic", "items_dead_topic")
IN_VIEWS_OF_EVENTS = "events are aggregated: write a StreamFeatureView"
Fault = tuple[str, str, str]  # field, what, fix


class Topics(NamedTuple):
    """The names of a system's topics, as far as views of facts must know them."""

    items: str = "items"
    offers: str = "offers"
    events: str = "events"
    others: Mapping[str, str] = {}  # by name: the setting that names it

    @classmethod
    def of(cls, settings: Settings) -> "Topics":
        others = {getattr(settings, name): name for name in OTHERS}
        return cls(settings.items_topic, settings.offers_topic, settings.events_topic, others)

    @property
    def of_contract(self) -> dict[str, FactContract]:
        """Return the contracts of `items` and `offers` by topic."""
        return {contract.topic: contract for contract in items.contracts(self.items, self.offers)}


BY_DEFAULT = Topics()


def compile_facts(
    views: Sequence[Any], entities: Iterable[Any], topics: Topics
) -> tuple[list[FactTopic], list[Problem]]:
    """Return the topics that Feast's `FeatureView`s read, and every problem; with a problem the topics mean nothing."""
    by_name = {entity.name: entity for entity in entities}
    problems: list[Problem] = []
    by_topic: dict[str, list[ViewPlan]] = {}
    for view in sorted(views, key=lambda view: str(view.name)):
        entity = _join_key(view, by_name)
        faults = (*_view_faults(view, entity, topics), *_source_faults(view, topics), *_field_faults(view, topics))
        problems += [Problem(view.name, *fault) for fault in faults]
        outputs = [Output(field.name, NEWEST, field.name, str(field.dtype)) for field in view.features]
        ttl_ms = round(view.ttl.total_seconds() * 1000) if view.ttl else 0
        by_topic.setdefault(topic_of(view), []).append(ViewPlan(view.name, entity, "fact", outputs, ttl_ms))
    return [FactTopic(topic, by_topic[topic]) for topic in sorted(by_topic)], problems


def topic_of(view: Any) -> str:
    """Return the topic that a view's source names, "" for none."""
    return str(view.stream_source.kafka_options.topic or "")


def twice(views: Sequence[ViewPlan], facts: Sequence[FactTopic]) -> list[Problem]:
    """Find facts that have the name of another feature of the item: a rule couldn't tell which one is meant."""
    owners: dict[str, str] = {}
    for view in views:
        if view.entity == items.ID:
            owners |= {output.name: view.name for output in view.outputs}
    problems = []
    for view in (view for each in facts for view in each.views):
        for output in view.outputs:
            other = owners.setdefault(output.name, view.name)
            if other != view.name:
                what = f"is a feature of {other} too: item.{output.name} could be either"
                problems.append(Problem(view.name, output.name, what, "give one another name, or leave it out of one"))
    return problems


def _join_key(view: Any, entities: Mapping[str, Any]) -> str:
    name = str(view.entities[0]) if view.entities else ""
    return str(entities[name].join_key) if name in entities else name


def _view_faults(view: Any, entity: str, topics: Topics) -> Iterator[Fault]:
    if not NAME.fullmatch(view.name):
        yield "name", f"{view.name!r} can't name a view", "use letters, digits and _, beginning with a letter"
    if list(view.entities) == ["__dummy"] or len(view.entities) != 1:
        count = 0 if list(view.entities) == ["__dummy"] else len(view.entities)
        yield "entities", f"has {count} entities", f"facts are an item's: entities=[item], with join key {items.ID!r}"
    elif entity != items.ID:
        yield (
            "entities",
            f"is of {view.entities[0]} ({entity}), but a record's key is an item's id",
            f"entities=[item], the Entity with join_keys=[{items.ID!r}]",
        )
    elif any(str(column.dtype) != "String" for column in view.entity_columns):
        yield "entities", f"{items.ID} isn't declared String", f"Field(name={items.ID!r}, dtype=String)"
    for tag in sorted({"window", "gap", "slide"} & set(view.tags or {})):
        yield "tags", f"has the tag {tag!r}: a fact has no window", _no_window(topics)
    if view.ttl and view.ttl < YEAR:
        yield (
            "ttl",
            f"is {view.ttl / DAY:g} days: a fact would be gone then, though nobody took it back",
            "ttl=timedelta(days=3650); a record without a value removes an item's facts",
        )
    if not view.online:
        yield "online", "is False, but the features job writes facts to the online store", "remove it"


def _no_window(topics: Topics) -> str:
    return f"remove it: a fact stands until it is said anew. Windows are for events ({topics.events})"


def _source_faults(view: Any, topics: Topics) -> Iterator[Fault]:
    topic, source = topic_of(view), view.stream_source
    if not topic:
        yield "source", "names no topic", f"name one, such as {topics.items!r}, {topics.offers!r} or one of your own"
    elif topic == topics.events:
        yield "source", f"reads the events topic {topic!r} without an aggregation", IN_VIEWS_OF_EVENTS
    elif topic in topics.others:
        what = f"reads {topic!r}, which is liveshelf's own (setting {topics.others[topic]})"
        yield "source", what, f"read {topics.items!r}, {topics.offers!r} or a topic of your own"
    elif ";" in topic:
        yield "source", f"reads {topic!r}, several topics", "give each topic a view of its own"
    if source.kafka_options.watermark_delay_threshold:
        yield "watermark_delay_threshold", "is given, but facts wait for nothing", "remove it"


def _field_faults(view: Any, topics: Topics) -> Iterator[Fault]:
    if not view.features:
        yield "schema", "has no feature", "add a Field for each field of the records that is wanted"
    contract, systems = topics.of_contract.get(topic_of(view)), {topics.events, *topics.others}
    for field in view.features:
        name, dtype = str(field.name), str(field.dtype)
        known = contract.field(name) if contract else None
        if name in RESERVED:
            yield name, "is the item itself: a record's key says it", "remove it"
        elif known is not None:
            wanted = DTYPES[known.kind]
            if dtype != wanted:
                what = f"is declared {dtype}, but in {contract.topic!r} it is {wanted}"  # type: ignore[union-attr]
                yield name, what, f"write dtype={wanted}"
        elif contract is not None and OWN not in (field.tags or {}):
            near = closest(name, [each.name for each in contract.fields])
            fix = (
                f"{near}`liveshelf schema {contract.topic} --table` lists them; a field of your own: tags={{'own': ''}}"
            )
            yield name, f"isn't a field of {contract.topic!r}", fix
        elif contract is None and topic_of(view) not in systems and (owner := _owner(name, topics)):
            what = f"is a field of {owner!r}, and this view reads {topic_of(view)!r}: item.{name} could be either"
            yield name, what, "give it another name, or read that topic (settings items_topic, offers_topic)"
        elif not NAME.fullmatch(name):
            yield name, f"{name!r} can't name a fact", "use letters, digits and _, beginning with a letter"
        elif dtype not in KINDS:
            yield name, f"{dtype} isn't the type of a fact", f"take one of {', '.join(KINDS)}"


def _owner(name: str, topics: Topics) -> str:
    """Return the topic whose contract has a field, "" for none."""
    return next((topic for topic, contract in topics.of_contract.items() if contract.field(name)), "")
