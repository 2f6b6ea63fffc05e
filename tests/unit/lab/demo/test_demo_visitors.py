"""The demo's judge: sessions, hits and misses, worked out by hand."""

from jobs.lab.demo.visitors import Click, Visitors
from jobs.lab.demo.watcher import percentile

MINUTE_MS = 60_000


def test_the_first_click_of_a_session_is_not_judged() -> None:
    visitors = Visitors(gap_ms=30 * MINUTE_MS, popular=["a"])
    visitors.click("v", "a", 0, [], 0)
    assert visitors.score.judged == 0
    visitors.click("v", "a", 30 * MINUTE_MS, ["a"], 0)  # exactly one gap later: the same session
    assert visitors.score.judged == 1
    visitors.click("v", "a", 60 * MINUTE_MS + 1, ["a"], 0)
    assert visitors.score.judged == 1


def test_both_lists_are_judged_on_the_same_clicks() -> None:
    visitors = Visitors(gap_ms=1000, popular=["p"])
    for item, standing in (("x", []), ("a", ["a", "b"]), ("p", ["a"]), ("z", ["a"]), ("p", ["p"])):
        visitors.click("v", item, 1, standing, 1)
    score = visitors.score
    assert (score.judged, score.hits, score.popular_hits) == (4, 2, 2)
    assert (score.hit_rate, score.popular_hit_rate) == (0.5, 0.5)


def test_no_list_is_a_miss() -> None:
    visitors = Visitors(gap_ms=1000, popular=[])
    visitors.click("v", "a", 10, [], 0)
    visitors.click("v", "a", 20, [], 0)
    assert (visitors.score.judged, visitors.score.hits, visitors.score.in_time) == (1, 0, 0)


def test_list_is_in_time_when_it_answers_the_click_before() -> None:
    visitors = Visitors(gap_ms=1000, popular=[])
    visitors.click("v", "a", 10, [], 0)
    visitors.click("v", "b", 20, ["c"], 10)
    visitors.click("v", "c", 30, ["c"], 10)  # the list still answers the first click
    assert (visitors.score.judged, visitors.score.in_time) == (2, 1)


def test_session_is_open_until_gap_has_passed_in_event_time() -> None:
    visitors = Visitors(gap_ms=100, popular=[])
    visitors.click("old", "a", 0, [], 0)
    visitors.click("v", "a", 50, [], 0)
    visitors.click("w", "a", 101, [], 0)
    _, open_now = visitors.snapshot()
    assert set(open_now) == {"v", "w"}
    visitors.click("old", "a", 102, [], 0)
    assert visitors.snapshot()[1]["old"].clicks == 1


def test_visitor_shows_the_last_five_clicks_and_which_were_foreseen() -> None:
    visitors = Visitors(gap_ms=100, popular=[])
    for place, item in enumerate("abcdef"):
        visitors.click("v", item, place, ["b", "f"], 0)
    last = visitors.get("v").last_clicks
    assert last == (Click("b", True), Click("c", False), Click("d", False), Click("e", False), Click("f", True))
    assert visitors.get("v").clicks == 6


def test_percentiles_are_measured_values() -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], 50) == 2.0
    assert percentile([1.0, 2.0, 3.0, 4.0], 99) == 4.0
    assert percentile([7.0], 50) == 7.0
