"""Whose state a checkpoint holds, and what a receipt may say of it."""

from pathlib import Path

import pytest

from jobs.features import plan
from jobs.flow import id_secret
from jobs.flow.checkpoint import UnknownLayoutError, key_of, value_of
from jobs.person.erase import NOT_FOUND, STOPPED, UNSEEN, are_newer, looked_through
from jobs.person.traces import in_checkpoints
from jobs.settings import Settings
from tests.support import small_plans
from tests.support.small_checkpoints import inline, made, operator

BY_VISITOR = small_plans.view_plan(small_plans.output("views"))
BY_ITEM = small_plans.view_plan(
    small_plans.output("visitors", "count_distinct", "visitor_id"), name="items", entity="item_id"
)
KEEPING = small_plans.view_plan(
    small_plans.output("visitor", "last", "visitor_id", "String"), name="categories", entity="category"
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a system that has submitted views over visitors, items and categories."""
    plan.save(small_plans.plan(BY_VISITOR, BY_ITEM, KEEPING), plan.submitted_path(tmp_path))
    return Settings(state_dir=tmp_path)


def features(folder: Path) -> Path:
    """The features job: visitor s22240, item 1, category a that keeps bert, and a bucket of deduplication."""
    folder.mkdir()
    return made(
        folder,
        operator("visitor_id", inline(key_of("s22240"))),
        operator("item_id", inline(key_of("1"))),
        operator("category", inline(key_of("a") + value_of("bert"))),
        operator("16_over-aggregate", inline(key_of("12ef"))),
    )


def rankings(folder: Path) -> Path:
    folder.mkdir()
    return made(folder, operator("histories", inline(key_of("anna") + value_of("17\x1fview\x1fcarl"))))


def test_a_visitor_is_found_by_a_whole_key_of_visitors(settings: Settings, tmp_path: Path) -> None:
    """Neither within another id, nor as an item, a category, a bucket, or a text in a history."""
    checkpoints = [features(tmp_path / "chk-1"), rankings(tmp_path / "chk-2")]
    sought = ["s2224", "22240", "s22240", "1", "a", "12ef", "anna", "ann", "bert", "carl"]
    assert in_checkpoints(settings, checkpoints, sought) == {"s22240", "anna", "bert"}


def test_a_key_under_a_secret_needs_the_secret(settings: Settings, tmp_path: Path) -> None:
    secret = id_secret.made(tmp_path)
    uid, number = id_secret.uid("visitor_id", id_secret.mark_of(secret)), id_secret.key_of(secret, "anna")
    folder = made(tmp_path, operator(uid, inline(key_of("anna", number))))
    assert in_checkpoints(settings, [folder], ["anna", "ann"]) == {"anna"}
    secret.unlink()
    with pytest.raises(UnknownLayoutError, match="ids is lost"):
        in_checkpoints(settings, [folder], ["anna"])


def test_a_checkpoint_without_visitors_operators_is_not_taken_for_empty(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(UnknownLayoutError, match="has none of the operators"):
        in_checkpoints(settings, [made(tmp_path, operator("other", inline(key_of("anna"))))], ["anna"])
    plan.submitted_path(settings.state_dir).unlink()  # the features job was submitted from elsewhere
    with pytest.raises(UnknownLayoutError):
        in_checkpoints(settings, [features(tmp_path / "chk-1")], ["anna"])


def test_a_receipt_says_how_state_was_looked_through(settings: Settings, tmp_path: Path) -> None:
    """That an id isn't there is said only if a checkpoint of each running job was read."""
    both = [features(tmp_path / "chk-1"), rankings(tmp_path / "chk-2")]
    found = f"{NOT_FOUND} in the newest checkpoints of 2 jobs"
    assert looked_through(settings, ["f", "r"], both, ["nobody"]) == (set(), found)
    assert looked_through(settings, ["f", "r"], both, ["nobody", "anna"])[0] == {"anna"}
    assert looked_through(settings, ["f", "r"], both[:1], ["anna"]) == (set(), UNSEEN)
    assert looked_through(settings, [], [], ["anna"]) == (set(), STOPPED)
    assert looked_through(settings, ["f"], [tmp_path / "gone"], ["anna"]) == ({"anna"}, "")
    made(tmp_path, operator("histories", b"\x05"))
    assert looked_through(settings, ["r"], [tmp_path], ["anna"]) == (set(), UNSEEN)


def test_a_checkpoint_that_has_vanished_is_no_newer_one(tmp_path: Path) -> None:
    (tmp_path / "chk-1").mkdir()
    (tmp_path / "chk-1" / "_metadata").touch()
    assert are_newer([tmp_path / "chk-1"], 0)
    assert not are_newer([tmp_path / "chk-1", tmp_path / "chk-2"], 0)
