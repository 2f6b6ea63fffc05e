"""A changed definition takes a running job's state; what it can't take is told in `test_changes.py`."""

import msgspec

from jobs.features.plan import FactTopic, evolve, load, save
from tests.support.small_plans import facts, output, plan, view_plan

VIEWS, CARTS = output("views"), output("carts", column="is_add_to_cart")


def dropped(one):
    return msgspec.structs.replace(one, dropped=True)


def test_an_unchanged_plan_stays_as_it_is():
    running = plan(view_plan(VIEWS), view_plan(VIEWS, name="other"))
    assert evolve(running, running) == running


def test_an_added_feature_is_a_new_part_at_the_end():
    running = plan(view_plan(VIEWS), view_plan(VIEWS, name="other"))
    wanted = plan(view_plan(CARTS, VIEWS), view_plan(VIEWS, name="other"))
    assert evolve(running, wanted).views == [*running.views, view_plan(CARTS, part=1)]
    assert [each.key for each in evolve(running, wanted).operators()] == ["visitor_id", "visitor_id_part1"]


def test_parts_that_were_added_before_stay_where_they_are():
    first, second = output("first"), output("second")
    once = evolve(plan(view_plan(VIEWS)), plan(view_plan(VIEWS, first)))
    twice = evolve(once, plan(view_plan(VIEWS, first, second)))
    assert twice.views == [view_plan(VIEWS), view_plan(first, part=1), view_plan(second, part=2)]


def test_what_is_added_at_once_shares_an_operator():
    """What is added at once shares an operator and what was there keeps its own."""
    running = plan(view_plan(VIEWS), view_plan(VIEWS, name="other"))
    wanted = plan(view_plan(VIEWS, CARTS), view_plan(VIEWS, CARTS, name="other"), view_plan(VIEWS, name="third"))
    added = evolve(running, wanted).operators()
    assert [(each.key, [view.name for view in each.views]) for each in added] == [
        ("visitor_id", ["clicks", "other"]),
        ("visitor_id_part1", ["clicks", "other", "third"]),
    ]


def test_an_operator_is_one_entity_and_one_slide():
    slides = {"frame": "slide", "slide_ms": 60_000}
    views = plan(
        view_plan(VIEWS),
        view_plan(VIEWS, name="session", frame="session", gap_ms=1),
        view_plan(VIEWS, name="slow", **slides),
        view_plan(VIEWS, name="items", entity="item_id"),
    ).operators()
    assert [each.key for each in views] == ["visitor_id", "visitor_id_every_60000", "item_id"]
    assert [view.name for view in views[0].views] == ["clicks", "session"]


def test_a_row_lives_as_long_as_its_longest_view():
    """A row lives as long as its longest view and for ever with one that does."""
    assert plan(view_plan(VIEWS, ttl_ms=5), view_plan(VIEWS, name="other", ttl_ms=9)).operators()[0].ttl_ms == 9
    assert plan(view_plan(VIEWS, ttl_ms=5), view_plan(VIEWS, name="other", ttl_ms=0)).operators()[0].ttl_ms == 0


def test_an_added_view_comes_last_though_its_name_comes_first():
    running = plan(view_plan(VIEWS))
    wanted = plan(view_plan(VIEWS, name="a_view"), view_plan(VIEWS))
    assert evolve(running, wanted).views == [view_plan(VIEWS), view_plan(VIEWS, name="a_view", part=1)]


def test_a_dropped_feature_is_still_computed_but_not_written():
    running, wanted = plan(view_plan(VIEWS, CARTS)), plan(view_plan(VIEWS))
    assert evolve(running, wanted).views == [view_plan(VIEWS, dropped(CARTS))]


def test_a_dropped_view_keeps_its_operators():
    running = plan(view_plan(VIEWS), view_plan(CARTS, name="other"))
    assert evolve(running, plan(view_plan(VIEWS))).views == [view_plan(VIEWS), view_plan(dropped(CARTS), name="other")]


def test_a_feature_that_comes_back_goes_on_from_its_state():
    """A feature that comes back is written again from the state it kept."""
    running = plan(view_plan(VIEWS, dropped(CARTS)))
    wanted = plan(view_plan(VIEWS, CARTS))
    assert evolve(running, wanted).views == [view_plan(VIEWS, CARTS)]


def test_another_order_of_features_changes_nothing():
    running = plan(view_plan(VIEWS, CARTS))
    assert evolve(running, plan(view_plan(CARTS, VIEWS))) == running


def test_another_ttl_is_taken_by_all_parts():
    running = plan(view_plan(VIEWS), view_plan(CARTS, part=1))
    wanted = plan(view_plan(VIEWS, CARTS, ttl_ms=1000))
    assert evolve(running, wanted).views == [view_plan(VIEWS, ttl_ms=1000), view_plan(CARTS, ttl_ms=1000, part=1)]


def test_a_saved_plan_is_loaded_as_it_was(tmp_path):
    saved = plan(view_plan(VIEWS, dropped(CARTS), part=2))
    save(saved, tmp_path / "plans" / "features.json")
    assert load(tmp_path / "plans" / "features.json") == saved


def test_facts_are_taken_as_they_are_defined_now():
    running, wanted = plan(view_plan(VIEWS), facts=[facts(stock="Int64")]), plan(view_plan(VIEWS, CARTS))
    assert evolve(running, wanted).facts == []
    assert evolve(wanted, running).facts == running.facts


def test_views_of_one_topic_of_facts_share_an_operator():
    one, other = facts(stock="Int64").views[0], facts(status="String").views[0]
    both = plan(view_plan(VIEWS), facts=[FactTopic("offers", [one, other])])
    assert [(each.key, each.fields) for each in both.fact_operators()] == [("facts:offers", ["stock", "status"])]
    assert [each.key for each in both.writers()] == ["visitor_id", "facts:offers"]
    assert [each.key for each in both.operators()] == ["visitor_id"]


def test_the_digest_of_facts_stays_the_same_in_each_release():
    """Savepoints hold it. By hand: sha256sum of "offers offers_view 315360000000 stock Int64" and a newline."""
    assert plan(facts=[facts(stock="Int64")]).facts_digest() == "503428ebfd9e"
    assert plan(facts=[facts(stock="String")]).facts_digest() != "503428ebfd9e"
    assert plan().facts_digest() == ""
