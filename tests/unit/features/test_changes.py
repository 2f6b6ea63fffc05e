"""Test that each change is told beforehand: its name, the state that it meets, and if a savepoint carries it over."""

import msgspec
import pytest
from pydantic import ValidationError

from jobs.contract.ranker_settings import RankerSettings
from jobs.features.changes import ANEW, READ_AGAIN, RENAME, Change, Chosen, of_plan, of_settings
from jobs.settings import REPOSITORY, Settings
from tests.support.small_plans import facts, output, plan, view_plan

VIEWS, CARTS = output("views"), output("carts", column="is_add_to_cart")
RUNNING = plan(view_plan(VIEWS, CARTS))
NOT_TAKEN = "what it has counted can't be taken over"
KEPT_UNWRITTEN = "is kept and counts on, unwritten, should it come back"
COUNTS_ON = "counts from the savepoint on; all others keep their values"


def dropped(one):
    return msgspec.structs.replace(one, dropped=True)


def test_no_change_is_no_change():
    assert of_plan(RUNNING, RUNNING) == []
    assert of_plan(RUNNING, plan(view_plan(CARTS, VIEWS))) == []


LOST = {
    "a shorter window": (
        view_plan(output("views", window_ms=60_000), CARTS),
        ("clicks", "views", "sum(is_view) over 3600 s as Int64 became sum(is_view) over 60 s as Int64", NOT_TAKEN)),
    "another function": (
        view_plan(output("views", function="max"), CARTS),
        ("clicks", "views", "sum(is_view) over 3600 s as Int64 became max(is_view) over 3600 s as Int64", NOT_TAKEN)),
    "another column": (
        view_plan(VIEWS, output("carts", column="is_click")),
        ("clicks", "carts",
         "sum(is_add_to_cart) over 3600 s as Int64 became sum(is_click) over 3600 s as Int64", NOT_TAKEN)),
    "another type": (
        view_plan(output("views", dtype="Float64"), CARTS),
        ("clicks", "views", "sum(is_view) over 3600 s as Int64 became sum(is_view) over 3600 s as Float64", NOT_TAKEN)),
    "another entity": (
        view_plan(VIEWS, CARTS, entity="user_id"),
        ("clicks", "", "entity visitor_id became user_id", "what views, carts have counted can't be taken over")),
    "a window that slides": (
        view_plan(VIEWS, CARTS, frame="slide", slide_ms=60_000),
        ("clicks", "", "window over time as of each event became one over sliding time",
         "what views, carts have counted can't be taken over")),
}  # fmt: skip


@pytest.mark.parametrize("name", LOST)
def test_change_that_loses_state_names_whose_and_the_way_out(name: str):
    changed, told = LOST[name]
    assert of_plan(RUNNING, plan(changed)) == [Change(*told, fix=RENAME)]


def test_another_gap_or_slide_loses_the_state_of_the_view():
    """Another session gap or slide loses the state of all features of the view."""
    for before, after, what in (
        ({"frame": "session", "gap_ms": 1000}, {"frame": "session", "gap_ms": 2000}, "session gap 1 s became 2 s"),
        (
            {"frame": "slide", "slide_ms": 60_000},
            {"frame": "slide", "slide_ms": 30_000},
            "slide_interval 60 s became 30 s",
        ),
    ):
        told = of_plan(plan(view_plan(VIEWS, CARTS, **before)), plan(view_plan(VIEWS, CARTS, **after)))
        assert told == [Change("clicks", "", what, "what views, carts have counted can't be taken over", RENAME)]


def test_feature_in_a_later_part_is_told_by_its_view():
    running = plan(view_plan(VIEWS), view_plan(CARTS, part=1))
    (told,) = of_plan(running, plan(view_plan(VIEWS, output("carts", function="max", column="is_add_to_cart"))))
    assert (told.view, told.field, told.state) == ("clicks", "carts", NOT_TAKEN)


def test_another_events_topic_loses_the_places_in_it():
    (told,) = of_plan(RUNNING, plan(view_plan(VIEWS, CARTS), topic="clicks"))
    assert told[:3] == ("", "topic", "events became clicks")
    assert told.state == "the state holds the job's places in events, where it would go on reading"
    assert told.fix == f"leave the topic as it was, or {ANEW}"


def test_an_added_feature_and_an_added_view_lose_nothing():
    wanted = plan(view_plan(VIEWS, CARTS, output("more")), view_plan(VIEWS, name="other"))
    assert of_plan(RUNNING, wanted) == [
        Change("clicks", "more", "is new", COUNTS_ON),
        Change("other", "", "is new", COUNTS_ON),
    ]


def test_a_removed_feature_and_a_removed_view_keep_their_state():
    running = plan(view_plan(VIEWS, CARTS), view_plan(VIEWS, CARTS, name="other"))
    assert of_plan(running, plan(view_plan(VIEWS))) == [
        Change("clicks", "carts", "is no longer defined", f"its state {KEPT_UNWRITTEN}"),
        Change("other", "", "is no longer defined", f"the state of views, carts {KEPT_UNWRITTEN}"),
    ]


def test_what_was_removed_before_is_not_told_again():
    """What was removed before is not told again and goes on from its state when it is back."""
    running = plan(view_plan(VIEWS, dropped(CARTS)), view_plan(dropped(VIEWS), name="other"))
    assert of_plan(running, plan(view_plan(VIEWS))) == []
    assert of_plan(running, plan(view_plan(VIEWS, CARTS))) == [
        Change("clicks", "carts", "is defined again", "it goes on from its state, which was kept")
    ]


def test_name_that_was_removed_cannot_come_back_as_another_feature():
    (told,) = of_plan(
        plan(view_plan(VIEWS, dropped(CARTS))), plan(view_plan(VIEWS, output("carts", column="is_click")))
    )
    assert (told.field, told.state, told.fix) == ("carts", NOT_TAKEN, RENAME)


def test_another_ttl_and_another_delay_keep_all_state():
    wanted = msgspec.structs.replace(plan(view_plan(VIEWS, CARTS, ttl_ms=1000)), delay_ms=60_000)
    told = of_plan(RUNNING, wanted)
    assert [(change.field, change.what, change.fix) for change in told] == [
        ("watermark_delay_threshold", "1 s became 60 s", ""),
        ("ttl", "86400 s became 1 s", ""),
    ]
    assert all(change.state.startswith("all state is kept") for change in told)


BEFORE = Chosen.of(Settings())
SETTINGS = {
    "events_topic": ("clicks", ("rankings job",), ""),  # of the features job it is a part of the plan
    "consent_topic": ("asked", ("features job", "rankings job"), ""),
    "parallelism": (2, ("features job", "rankings job"), "all state is kept and divided anew"),
    "dedup_horizon_s": (60, ("features job",), "all state is kept; ids are remembered for the new time"),
    "max_window_events": (
        100,
        ("features job",),
        "all state is kept; windows are cut to a smaller one at their next event, or fill up",
    ),
}
OF_RANKER = {
    "session_gap_s": (60, "all state is kept; it cuts each visitor's next list"),
    "model_dir": ("other", "all state is kept: it holds events, nothing of a model"),
    "shelves_dir": ("other", "all state is kept: it holds events, nothing of shelves"),
    "shelf": ("basket", "all state is kept; lists on the old shelf stay until they expire"),
    "list_size": (10, "all state is kept; it holds from each visitor's next list on"),
    "list_ttl_s": (60, "all state is kept; it holds from each visitor's next list on"),
    "model_threads": (7, "all state is kept; it holds from each visitor's next list on"),
}


def changes_of_both_jobs(now: Chosen) -> list[Change]:
    return [change for job in ("features", "rankings") for change in of_settings(job, BEFORE, now)]


@pytest.mark.parametrize("name", [name for name in Chosen.__struct_fields__ if name != "ranker"])
def test_another_setting_is_told_to_jobs_that_it_is_about(name: str):
    value, jobs, kept = SETTINGS[name]
    told = changes_of_both_jobs(msgspec.structs.replace(BEFORE, **{name: value}))
    before = getattr(BEFORE, name)
    assert [change[:3] for change in told] == [(job, name, f"{before} became {value}") for job in jobs]
    for change in told:
        if kept:
            assert (change.state, change.fix) == (kept, "")
        else:
            assert change.state == f"the state holds the job's places in {before}, where it would go on reading"
            assert ANEW in change.fix


@pytest.mark.parametrize("name", [name for name in RankerSettings.__struct_fields__ if name != "model_public_key"])
def test_another_setting_of_ranker_is_told_to_its_job_alone(name: str):
    value, kept = OF_RANKER[name]
    ranker = msgspec.structs.replace(BEFORE.ranker, **{name: value})
    told = changes_of_both_jobs(msgspec.structs.replace(BEFORE, ranker=ranker))
    assert told == [Change("rankings job", name, f"{getattr(BEFORE.ranker, name)} became {value}", kept)]


def test_text_of_public_key_is_not_compared_with_its_file():
    ranker = msgspec.structs.replace(BEFORE.ranker, model_public_key="-----BEGIN PUBLIC KEY-----")
    assert of_settings("rankings", msgspec.structs.replace(BEFORE, ranker=ranker), BEFORE) == []


def test_the_same_model_under_another_path_is_no_change():
    again = REPOSITORY / "models" / ".." / "models" / "artifacts" / "eshop"
    assert of_settings("rankings", BEFORE, Chosen.of(Settings(model_dir=again))) == []


def test_more_parallelism_than_parts_of_state_is_refused():
    """More parallelism than parts of the state is refused wherever settings are read."""
    assert Settings(parallelism=128).parallelism == 128
    with pytest.raises(ValidationError, match="less than or equal to 128"):
        Settings(parallelism=129)


def test_a_change_is_a_line_and_its_way_out_another():
    assert str(Change("clicks", "views", "is new", "counts")) == "clicks.views: is new: counts"
    assert str(Change("", "topic", "a became b", "lost", "don't")) == "topic: a became b: lost\n  fix: don't"


def test_every_change_of_facts_is_carried_over():
    before, after = (plan(view_plan(VIEWS), facts=[facts(**of)]) for of in (
        {"stock": "Int64", "status": "String"}, {"stock": "Float64", "on_offer": "Bool"}
    ))  # fmt: skip
    lasting = "for 315360000 s"
    assert of_plan(before, after) == [
        Change("offers_view", "stock", f"offers as Int64 {lasting} became offers as Float64 {lasting}", READ_AGAIN),
        Change("offers_view", "on_offer", "is new", READ_AGAIN),
        Change(
            "offers_view", "status", "is no longer defined", "what was written stays until the item's facts are removed"
        ),
    ]
