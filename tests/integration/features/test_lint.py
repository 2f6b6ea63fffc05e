"""A wrong definition is one problem, which names its view, its field and its fix; a right one is none."""

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from feast import Entity, Field, PushSource, ValueType
from feast.types import Array, Bool, Bytes, Float64, Int32, Int64, String, UnixTimestamp

from jobs.errors import DefinitionError
from jobs.features import lint, plan
from jobs.features.definitions import Definitions, from_files
from jobs.features.problem import Problem
from jobs.flow.job_config import JobConfig
from jobs.flow.submissions import config_path
from jobs.settings import Settings
from tests.support.small_plans import output, view_plan
from tests.support.small_views import (
    HOUR,
    ITEM,
    MINUTE,
    VISITOR,
    fact_view,
    history,
    kafka,
    session_view,
    view,
    views_sum,
)

ENTITIES = [VISITOR, ITEM]
VISITOR_ID = Field(name="visitor_id", dtype=String)


def problems(*views: object) -> list[tuple[str, str, str, str]]:
    return [tuple(each) for each in lint.compile_views("shop", "events", list(views), ENTITIES)[1]]


def fields(**dtypes: object) -> list[Field]:
    return [VISITOR_ID, *(Field(name=name, dtype=dtype) for name, dtype in dtypes.items())]


def unnamed(item: object) -> str:
    return item


WRONG = {
    "an unknown function": (
        lambda: view(aggregations=[views_sum(function="summ")]),
        "views", "unknown function 'summ'", "did you mean 'sum'?"),
    "last of no number": (
        lambda: session_view(views_sum(function="last_N", time_window=None)),
        "views", "unknown function 'last_N'", "(N from 1 to 999)"),
    "an unknown column": (
        lambda: view(aggregations=[views_sum(column="is_views")]),
        "views", "unknown column 'is_views'", "did you mean 'is_view'?"),
    "an output that isn't in the schema": (
        lambda: view(aggregations=[views_sum(), views_sum(name="carts", column="is_add_to_cart")]),
        "carts", "is computed but not in the schema", "add Field(name='carts', dtype=…)"),
    "a field that nothing computes": (
        lambda: view(schema=fields(views=Int64, view_count=Int64)),
        "view_count", "is in the schema but nothing computes it", "add an Aggregation or remove the field"),
    "a field of another type": (
        lambda: view(schema=fields(views=Float64)),
        "views", "is declared Float64, but sum(is_view) is Int64", "write dtype=Int64"),
    "a list declared as one value": (
        lambda: session_view(
            views_sum(function="last_5", column="item_id", time_window=None), schema=fields(views=String)),
        "views", "is declared String, but last_5(item_id) is Array(String)", "write dtype=Array(String)"),
    "two outputs of one name": (
        lambda: view(aggregations=[views_sum(), views_sum(column="is_click")]),
        "views", "is the name of two aggregations", "give one of them another name"),
    "a sum of text": (
        lambda: view(aggregations=[views_sum(column="item_id")]),
        "views", "sum of the text column 'item_id'", "count or count_distinct"),
    "no window": (
        lambda: view(aggregations=[views_sum(time_window=None)]),
        "views", "has no time_window", 'tags={"window": "session", "gap": "30m"}'),
    "a negative window": (
        lambda: view(aggregations=[views_sum(time_window=-HOUR)]),
        "views", "has no time_window", "give it one"),
    "a time window in a session": (
        lambda: session_view(views_sum()),
        "views", "has a time_window or a slide_interval in a session view", "remove it"),
    "a slide in a session": (
        lambda: session_view(views_sum(time_window=None, slide_interval=MINUTE)),
        "views", "has a time_window or a slide_interval in a session view", "remove it"),
    "a session without a gap": (
        lambda: session_view(gap="half an hour"),
        "tags", "gap is 'half an hour'", '"gap": "30m"'),
    "a session of gap 0": (
        lambda: session_view(gap="0s"),
        "tags", "gap is '0s'", '"gap": "30m"'),
    "an unknown kind of window": (
        lambda: view(tags={"window": "tumbling"}),
        "tags", "window is 'tumbling'", "others are a time_window"),
    "a slide that doesn't divide the window": (
        lambda: view(aggregations=[views_sum(slide_interval=timedelta(minutes=7))]),
        "views", "slide_interval 420 s doesn't divide time_window 3600 s", "make the window a multiple of the slide"),
    "a slide longer than the window": (
        lambda: view(aggregations=[views_sum(slide_interval=2 * HOUR)]),
        "views", "slide_interval 7200 s doesn't divide time_window 3600 s", "make the window a multiple of the slide"),
    "too many slides": (
        lambda: view(aggregations=[views_sum(slide_interval=timedelta(seconds=1))]),
        "views", "has 3600 slides a window", "at most 1440"),
    "two slides in one view": (
        lambda: view(aggregations=[views_sum(slide_interval=MINUTE), views_sum(name="fast", slide_interval=MINUTE / 2)],
                     schema=fields(views=Int64, fast=Int64)),
        "fast", "slides by 30 s, others of the view by 60 s", "the same slide_interval"),
    "a minimum that slides": (
        lambda: view(aggregations=[views_sum(function="min", slide_interval=MINUTE)]),
        "views", "min can't slide", "drop slide_interval"),
    "the last items of a time window": (
        lambda: view(
            aggregations=[views_sum(function="last_20", column="item_id")], schema=fields(views=Array(String))),
        "views", "last_20 over a time window", "session views only"),
    "no aggregation": (
        lambda: view(aggregations=[], schema=fields()),
        "aggregations", "is empty", "add an Aggregation"),
    "another topic": (
        lambda: view(source=kafka(topic="clicks")),
        "source", "reads topic 'clicks'", "setting events_topic"),
    "no delay": (
        lambda: view(source=kafka(delay=None)),
        "watermark_delay_threshold", "is missing or 0", "timedelta(seconds=1)"),
    "two entities": (
        lambda: view(entities=[VISITOR, ITEM], schema=[*fields(views=Int64), Field(name="item_id", dtype=String)]),
        "entities", "has 2 entities", "exactly one entity"),
    "a name that SQL can't take": (
        lambda: view(name="clicks-1h"),
        "name", "'clicks-1h' can't name a table", "letters, digits and _"),
    "a transformation": (
        lambda: view(udf=unnamed, mode="python"),
        "udf", "is a transformation, which the job doesn't run", "a view is made of its aggregations"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_definition_is_one_problem_with_its_fix(name: str):
    """A wrong definition is one problem with its view field and fix."""
    make, field, what, fix = WRONG[name]
    wrong = make()
    # The second entity's column is in the schema of a view that has one entity at most.
    found = [each for each in problems(wrong) if name != "two entities" or each[1] != "item_id"]
    assert [each[:3] for each in found] == [(wrong.name, field, what)]
    assert fix in found[0][3]


def test_an_entity_that_is_no_text_is_one_problem():
    """Feast makes the key of an entity from its declared type, and finds nothing under another than String."""
    number = Entity(name="item", join_keys=["item_id"], value_type=ValueType.INT64)
    unsaid = Entity(name="item", join_keys=["item_id"])
    views = Field(name="views", dtype=Int64)
    wrong = [
        (number, [Field(name="item_id", dtype=Int64), views], "Int64"),
        (number, [views], "Int64"),
        (unsaid, [Field(name="item_id", dtype=Int32), views], "Int32"),
        (unsaid, [Field(name="item_id", dtype=Bytes), views], "Bytes"),
        (unsaid, [Field(name="item_id", dtype=UnixTimestamp), views], "UnixTimestamp"),
    ]
    for entity, schema, declared in wrong:
        made = view(entities=[entity], schema=schema)
        found = [Problem(*each) for each in lint.compile_views("shop", "events", [made], [entity])[1]]
        assert [(each.view, each.field) for each in found] == [("clicks", "entities")]
        assert f"item_id is declared {declared}" in found[0].what
        assert "ValueType.STRING" in found[0].fix
    for entity, schema in ((unsaid, [Field(name="item_id", dtype=String), views]), (unsaid, [views]), (ITEM, [views])):
        made = view(entities=[entity], schema=schema)
        assert lint.compile_views("shop", "events", [made], [entity])[1] == []


def test_keys_of_another_version_are_refused(tmp_path: Path):
    """Keys are written as Feast's version 3, and Feast would look for others."""
    store = "project: shop\nonline_store: {type: redis}\nentity_key_serialization_version: 2\n"
    (tmp_path / "feature_store.yaml").write_text(store)
    with pytest.raises(DefinitionError, match="entity_key_serialization_version is 2"):
        from_files(Settings(feature_repo=tmp_path, state_dir=tmp_path))


def test_a_source_that_is_no_topic_is_refused():
    pushed = view(source=PushSource(name="pushed", batch_source=history("clicks")))
    assert ("clicks", "source", "is a PushSource", "stream feature views read a KafkaSource") in problems(pushed)


def test_entity_that_no_event_has_is_refused_with_nearest_column():
    from feast import Entity, ValueType

    guest = Entity(name="guest", join_keys=["visitor"], value_type=ValueType.STRING)
    wrong = view(entities=[guest], schema=[Field(name="visitor", dtype=String), Field(name="views", dtype=Int64)])
    (found,) = lint.compile_views("shop", "events", [wrong], [guest])[1]
    assert found[:3] == ("clicks", "entities", "the join key 'visitor' is no text column of an event")
    assert found.fix.startswith("did you mean 'visitor_id'?")


def test_views_with_different_delays_are_refused():
    """Views with different delays are refused because one job reads the topic."""
    slow = view(name="slow", source=kafka("slow", delay=timedelta(minutes=1)))
    assert problems(view(), slow) == [
        (
            "slow",
            "watermark_delay_threshold",
            "is 60000 ms, but clicks's is 1000 ms: one job reads one topic with one delay",
            "give all views' sources the same delay",
        )
    ]


def test_a_view_without_expiry_beside_one_with_is_refused():
    """A view that never expires beside one that does is refused because they share a hash."""
    assert problems(view(), view(name="kept", source=kafka("kept"), ttl=timedelta(0))) == [
        ("clicks", "ttl", "is 86400 s, but kept of the same entity never expires", "give both views a ttl, or neither")
    ]


def test_a_repository_without_views_is_refused():
    assert problems() == [("", "", "no StreamFeatureView is defined", "define one in feature_repo/definitions.py")]


def test_two_features_whose_fields_have_one_hash_are_refused():
    """The hash is replaced: two names that meet under murmur3_32 aren't worked out by hand."""
    views = [view_plan(output("a"), output("b"))]
    assert lint._collisions(views) == []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lint, "feature_field", lambda view, feature: b"same")
        assert [tuple(each) for each in lint._collisions(views)] == [
            ("clicks", "b", "shares its field in Redis with clicks:a", "rename one of them")
        ]


def test_every_mistake_of_several_views_is_told_at_once():
    wrong = [view(aggregations=[views_sum(function="summ")]), view(name="b-c", source=kafka("b"))]
    with pytest.raises(DefinitionError) as told:
        lint.checked(Settings(), Definitions("shop", wrong, ENTITIES, []))
    assert "clicks.views: unknown function 'summ'" in str(told.value)
    assert "b-c.name: 'b-c' can't name a table\n  fix: " in str(told.value)


def test_right_views_have_no_problem():
    right = [
        view(),
        session_view(name="now", source=kafka("now")),
        view(name="sliding", source=kafka("sliding"), aggregations=[views_sum(slide_interval=MINUTE)]),
    ]
    assert problems(*right) == []


def test_what_is_shipped_has_no_problem(tmp_path):
    assert lint.lint(Settings(state_dir=tmp_path)) == ([], [])


def submitted_before(state_dir: Path, **changes: object) -> None:
    """The shipped definitions are running, but with another session view."""
    known = from_files(Settings())
    submitted = lint.checked(Settings(), known)
    before = [msgspec.structs.replace(each, **changes) if each.frame == "session" else each for each in submitted.views]
    plan.save(msgspec.structs.replace(submitted, views=before), plan.submitted_path(state_dir))


def test_change_that_submitted_jobs_state_cannot_take_is_a_problem(tmp_path):
    submitted_before(tmp_path, gap_ms=60_000)
    (found,) = lint.lint(Settings(state_dir=tmp_path)).problems
    assert (found.view, found.field) == ("visitor_session", "")
    assert found.what.startswith("session gap 60 s became 1800 s: what view_count, search_count, ")
    assert "submit without a savepoint" in found.fix


def test_a_change_that_a_savepoint_carries_over_is_no_problem(tmp_path):
    """A change that a savepoint carries over is no problem and is told."""
    submitted_before(tmp_path, ttl_ms=60_000)
    problems, (carried,) = lint.lint(Settings(state_dir=tmp_path))
    assert problems == []
    assert carried[:3] == ("visitor_session", "ttl", "60 s became 2592000 s")


def test_changed_settings_are_told_with_their_job(tmp_path):
    """Changed settings of each submitted job are told with its name."""
    before = JobConfig.of(Settings(state_dir=tmp_path), "kafka:1", "redis://redis", project="shop")
    for job in ("features", "rankings"):
        before.save(config_path(tmp_path, job))
    changed = {"parallelism": 2, "consent_topic": "asked", "session_gap_s": 60, "max_window_events": 10_000}
    problems, carried = lint.lint(Settings(state_dir=tmp_path, **changed))
    assert [each[:2] for each in problems] == [("features job", "consent_topic"), ("rankings job", "consent_topic")]
    assert [each[:3] for each in carried] == [
        ("features job", "parallelism", "1 became 2"),
        ("features job", "max_window_events", "5000 became 10000"),
        ("rankings job", "parallelism", "1 became 2"),
        ("rankings job", "session_gap_s", "1800 became 60"),
    ]


def test_a_session_view_becomes_its_plan():
    last = views_sum(function="last_20", column="item_id", time_window=None, name="items")
    now = session_view(last, schema=fields(items=Array(String)), gap="90s")
    compiled, _ = lint.compile_views("shop", "events", [now], ENTITIES)
    (made,) = compiled.views
    assert (made.entity, made.frame, made.gap_ms, made.slide_ms, made.ttl_ms) == (
        "visitor_id",
        "session",
        90_000,
        0,
        86_400_000,
    )
    assert [(each.name, each.function, each.n, each.window_ms, each.dtype) for each in made.outputs] == [
        ("items", "last_20", 20, 0, "Array(String)")
    ]


def test_window_that_slides_by_itself_is_as_of_each_event():
    compiled, found = lint.compile_views(
        "shop", "events", [view(aggregations=[views_sum(slide_interval=HOUR)])], ENTITIES
    )
    assert (compiled.views[0].frame, found) == ("range", [])


def compiled(*facts: object, views: tuple = ()) -> tuple[plan.FeaturePlan, list[tuple[str, str, str, str]]]:
    """The plan and the problems of views of facts, beside `clicks` of visitors and of items."""
    of_items = view(
        name="seen", entities=[ITEM], source=kafka("seen"), schema=[ITEM_ID, Field(name="views", dtype=Int64)]
    )
    known = Definitions("shop", [view(), of_items, *views], ENTITIES, [], facts)
    made, problems = lint.compiled(Settings(), known)
    return made, [tuple(each) for each in problems]


ITEM_ID = Field(name="item_id", dtype=String)


def own(**dtypes: object) -> list[Field]:
    return [ITEM_ID, *(Field(name=name, dtype=dtype) for name, dtype in dtypes.items())]


WRONG_FACTS = {
    "another type than the contract's": (
        lambda: fact_view(schema=own(stock=String)),
        "stock", "is declared String, but in 'offers' it is Int64", "write dtype=Int64"),
    "a field that the contract doesn't have": (
        lambda: fact_view(schema=own(on_ofer=Bool)),
        "on_ofer", "isn't a field of 'offers'", "did you mean 'on_offer'?"),
    "a type that no fact has": (
        lambda: fact_view(topic="margins", schema=own(margin=Array(Int64))),
        "margin", "Array(Int64) isn't the type of a fact", "String, Int64, Float64, Bool"),
    "a window": (
        lambda: fact_view(tags={"window": "session"}),
        "tags", "has the tag 'window': a fact has no window", "remove it"),
    "a visitor's": (
        lambda: fact_view(entities=[VISITOR], schema=fields(stock=Int64)),
        "entities", "is of visitor (visitor_id), but a record's key is an item's id", "entities=[item]"),
    "nobody's": (
        lambda: fact_view(entities=[], schema=[Field(name="stock", dtype=Int64)]),
        "entities", "has 0 entities", "entities=[item]"),
    "nothing of the item": (
        lambda: fact_view(schema=[ITEM_ID]),
        "schema", "has no feature", "add a Field"),
    "facts that expire": (
        lambda: fact_view(ttl=timedelta(days=30)),
        "ttl", "is 30 days: a fact would be gone then", "ttl=timedelta(days=3650)"),
    "the events topic": (
        lambda: fact_view(topic="events"),
        "source", "reads the events topic 'events' without an aggregation", "write a StreamFeatureView"),
    "a topic of liveshelf's own": (
        lambda: fact_view(topic="events.dead", schema=own(margin=Int64)),
        "source", "reads 'events.dead', which is liveshelf's own (setting dead_topic)", "a topic of your own"),
    "a delay": (
        lambda: fact_view(delay=MINUTE),
        "watermark_delay_threshold", "is given, but facts wait for nothing", "remove it"),
    "a name that events' features have": (
        lambda: fact_view(topic="margins", schema=own(views=Int64)),
        "views", "is a feature of seen too: item.views could be either", "give one another name"),
    "a contract's field in another topic": (
        lambda: fact_view(topic="margins", schema=own(colour=String)),
        "colour", "is a field of 'items', and this view reads 'margins'", "give it another name"),
    "not online": (
        lambda: fact_view(online=False),
        "online", "is False", "remove it"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_FACTS)
def test_a_wrong_view_of_facts_is_one_problem(name: str):
    make, field, what, fix = WRONG_FACTS[name]
    ((of_view, *found),) = compiled(make())[1]
    assert (of_view, found[0]) == ("terms", field)
    assert found[1].startswith(what), found
    assert fix in found[2]


def test_facts_of_one_name_in_two_views_are_a_problem():
    _, found = compiled(fact_view(), fact_view(name="more", source=kafka("more", topic="offers", delay=None)))
    assert [each[:3] for each in found] == [("terms", "stock", "is a feature of more too: item.stock could be either")]


def test_an_aggregation_of_facts_is_a_problem():
    over_facts = view(name="wrong", source=kafka("wrong", topic="offers"))
    (found,) = compiled(views=(over_facts,))[1]
    assert found[:3] == ("wrong", "source", "reads topic 'offers'")
    assert "facts aren't aggregated: write a FeatureView" in found[3]


def test_a_shops_own_topic_and_fields_are_facts_too():
    margins = fact_view(name="margins", topic="margins", source=kafka("m", topic="margins", delay=None),
                        schema=own(margin=Float64, note=String))  # fmt: skip
    more = fact_view(schema=[*own(stock=Int64), Field(name="material", dtype=String, tags={"own": ""})])
    made, found = compiled(margins, more)
    assert found == []
    assert [
        (each.topic, operator.fields) for each, operator in zip(made.facts, made.fact_operators(), strict=True)
    ] == [
        ("margins", ["margin", "note"]),
        ("offers", ["stock", "material"]),
    ]


def test_an_entitys_features_are_those_of_facts_and_of_events():
    from jobs.features.explain import features_of

    found = {each.name: each for each in features_of(Settings(), "item")}
    assert (found["stock"].view, found["stock"].dtype) == ("item_offers", "Int64")
    assert (found["views_1h"].view, found["views_1h"].dtype) == ("item_activity", "Int64")
    with pytest.raises(DefinitionError, match=r"no entity 'items'\n  fix: did you mean 'item'\?"):
        features_of(Settings(), "items")
