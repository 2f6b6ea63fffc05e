"""Test the script for pages, as it is served, on a page that Node makes: refused storage, wrong clocks, other cookies.

`test_tracker.py` has the same script in a real Chromium.
"""

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.collect import tracker
from jobs.collect.admit import Admitted, Rejected, Rules
from liveshelf.pseudonyms import Pseudonyms

PAGE = Path(__file__).resolve().parents[2] / "support" / "page.js"
RULES = Rules(Pseudonyms([("k1", bytes(32))]), max_skew_ms=300_000, max_age_ms=604_800_000)
HOUR_MS = 3_600_000
NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="no node here: apt-get install nodejs")

Run = Callable[[str], Any]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a script on pages that `open` makes, and return what it returns."""
    served = tmp_path / "t.js"
    served.write_text(tracker.minified(tracker.SOURCE.read_text()))

    def ran(script: str) -> Any:
        done = subprocess.run([NODE, PAGE, served], input=script, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return ran


@pytest.mark.parametrize(
    "other", ["urls_id", "pixels_id", "details_id", "my-ls_id", "x.ls_id", "ls_id2", "LS_ID", "ls_i", "a ls_id"]
)
def test_another_cookie_is_never_the_visitor(run: Run, other: str):
    cookies = json.dumps({other: "42", "theme": "dark"})
    visitor, cookie = run(f"let page = open({{cookies: {cookies}}});"
        " return [page.events()[0].visitor_id, page.jar.get('ls_id')]")  # fmt: skip
    assert visitor == cookie
    assert len(visitor.split("-")) == 4


def test_the_shops_own_id_is_taken_wherever_it_stands(run: Run):
    seen = [
        {"ls_id": "srv-1"},
        {"urls_id": "42", "ls_id": "srv-1"},
        {"ls_id": "srv-1", "a": "1"},
        {"a": "", "ls_id": "srv-1"},
    ]
    visitors = run(f"return {json.dumps(seen)}.map(cookies => open({{cookies}}).events()[0].visitor_id)")
    assert visitors == ["srv-1"] * 4


@pytest.mark.parametrize(
    "mistake",
    ["undefined", "null", "NaN", "None", "[object Object]", "[object%20Object]", "%5Bobject%20Object%5D"],
)
def test_a_servers_mistake_is_no_visitor(run: Run, mistake: str):
    """All visitors of the shop would be one person. Each is somebody, by a cookie of the script's own."""
    cookies = json.dumps({"ls_id": mistake})
    visitors = run(f"return [1, 2].map(_ => open({{cookies: {cookies}}})).map("
        "page => [page.events()[0].visitor_id, page.jar.get('ls_id')])")  # fmt: skip
    assert [visitor == cookie and len(visitor.split("-")) for visitor, cookie in visitors] == [4, 4]
    assert visitors[0] != visitors[1]
    one = json.dumps(
        {"schema_version": 1, "event_id": "e", "event_type": "view", "item_id": "i", "visitor_id": mistake}
    )
    assert RULES.admit(one.encode(), {}, time.time_ns() // 10**6) == Rejected("out_of_range", "visitor_id")
    assert RULES.visitors([one.encode()]) == []


def test_ids_that_begin_like_a_mistake_are_taken(run: Run):
    seen = ["Nora-1", "nutmeg-1", "unicorn-1", "NUL-1", "a%5Bb", "-1-2"]
    assert run(f"return {json.dumps(seen)}.map(ls_id => open({{cookies: {{ls_id}}}}).events()[0].visitor_id)") == seen


@pytest.mark.parametrize(("status", "waits"), [(200, 0), (400, 0), (413, 0), (429, 1), (500, 1), (503, 1)])
def test_only_what_was_refused_for_now_waits(run: Run, status: int, waits: int):
    queue = run(f"let page = open({{status: {status}}}); await 0; await 0; return page.kept.ls_queue ?? '[]'")
    assert len(json.loads(queue)) == waits


def test_a_denial_refused_for_now_is_said_again(run: Run):
    """By the next page, whose script still finds the cookie. Until then nothing else is sent."""
    sent, cookie = run(
        "let page = open({cookies: {ls_id: 'srv-1'}, status: 429, consent: ''});"
        " page.liveshelf.optOut(); await 0; await 0;"
        " let next = open({cookies: Object.fromEntries(page.jar), storage: {ls_consent: page.kept.ls_consent}});"
        " next.liveshelf.track('search', {query: 'a'}); await 0; await 0;"
        " return [next.sent.map(each => each.url.split('consent=')[1]), next.jar.has('ls_id')]"
    )
    assert (sent, cookie) == (["denied"], False)


def test_the_shops_own_cookie_is_not_written_again(run: Run):
    """A browser that forgets what scripts write keeps a cookie of the shop's server only as the server wrote it."""
    assert run("return open({cookies: {ls_id: 'srv-1'}}).attributes") == {}
    left = run(
        "let page = open({cookies: {ls_id: 'srv-1'}}); page.liveshelf.optOut(); await 0; await 0;"
        " return [page.events().at(-1), page.jar.has('ls_id')]"
    )
    assert left == [{"visitor_id": "srv-1"}, False]


def test_the_cookie_is_secure_where_the_page_is(run: Run):
    written = run("return ['https:', 'http:'].map(protocol => open({protocol}).attributes.ls_id)")
    assert written == [
        ["path=/", "samesite=lax", "max-age=34000000", "secure"],
        ["path=/", "samesite=lax", "max-age=34000000"],
    ]


def test_the_key_arrives_as_it_is(run: Run):
    url = run("return open({key: 'a&consent=denied#+ %'}).sent[0].url")
    assert url == "https://collect.shop.example/events?key=a%26consent%3Ddenied%23%2B%20%25&consent=granted"


@pytest.mark.parametrize("storage", ["'denied'", "null", "'full'", "{ls_queue: '{'}", "{ls_queue: 'null'}"])
def test_a_page_without_storage_works(run: Run, storage: str):
    events = run(
        f"let page = open({{storage: {storage}}}); page.liveshelf.track('search', {{query: 'a'}}); return page.events()"
    )
    assert [event["event_type"] for event in events] == ["view", "search"]


@pytest.mark.parametrize("storage", ["'denied'", "null", "'full'"])
def test_denial_is_heard_without_storage(run: Run, storage: str):
    """A denial is heard and holds on its page without storage, and what waits for the network is sent."""
    sent = run(
        f"let page = open({{storage: {storage}}}); page.liveshelf.optOut(); page.liveshelf.track('search', {{}});"
        " await 0; await 0; return [page.sent.map(each => each.url.split('consent=')[1]), page.jar.has('ls_id')]"
    )
    assert sent == [["granted", "denied"], False]
    waited = run(
        f"let page = open({{storage: {storage}, online: false}}); let before = page.events().length;"
        " page.navigator.onLine = true; page.fire('online');"
        " return [before, page.events().map(each => each.event_type)]"
    )
    assert waited == [0, ["view"]]


def test_without_cookies_nobody_is_tracked(run: Run):
    assert run("let page = open({blocked: true}); page.liveshelf.track('search', {query: 'a'}); return page.sent") == []


def test_prepared_page_sends_nothing_until_it_is_seen(run: Run):
    before, stored, after = run(
        "let page = open({prerendering: true, consent: '', storage: {ls_queue: '[{\"event_type\": \"click\"}]'}});"
        " page.liveshelf.consent('granted'); page.liveshelf.track('search', {query: 'a'}); page.fire('online');"
        " let before = page.sent.length, stored = page.kept.ls_queue;"
        " await new Promise(done => setTimeout(done, 300));"
        " page.document.prerendering = false; page.fire('prerenderingchange'); page.fire('visibilitychange');"
        " page.liveshelf.track('click', {}); page.document.hidden = true; page.fire('visibilitychange');"
        " return [before, stored, page.events()]"
    )
    assert before == 0
    assert "click" in stored
    kinds = [event["event_type"] for event in after]
    assert sorted(kinds) == ["click", "click", "search", "view", "view"]
    assert 0 <= after[-1]["dwell_ms"] < 200  # counted from when it was seen, 300 ms after it was made


def test_dwell_counts_only_while_the_page_is_visible(run: Run):
    (dwell_ms,) = run(
        "let page = open(), pause = () => new Promise(done => setTimeout(done, 400)), turn = hidden => {"
        " page.document.hidden = hidden; page.fire('visibilitychange'); };"
        " turn(true); await pause(); turn(false); turn(true); return page.events().slice(-1).map(each => each.dwell_ms)"
    )
    assert 0 <= dwell_ms < 300


@pytest.mark.parametrize("skew_ms", [0, 240_000, HOUR_MS, -8 * 24 * HOUR_MS, 50 * 365 * 24 * HOUR_MS])
def test_what_waited_keeps_its_time_under_wrong_clocks(run: Run, skew_ms: int):
    """An hour on the shelf is an hour, whatever the device says the time is."""
    (event,) = run(
        f"let skew = {{ms: {skew_ms}}}, page = open({{skew, online: false}}); skew.ms += {HOUR_MS};"
        " page.navigator.onLine = true; page.fire('online'); return page.events()"
    )
    now_ms = time.time_ns() // 1_000_000
    verdict = RULES.admit(json.dumps(event).encode(), {}, now_ms)
    assert isinstance(verdict, Admitted)
    assert abs(verdict.event_time_ms - (now_ms - HOUR_MS)) < 5000


def test_what_was_refused_for_now_waits_with_its_time(run: Run):
    """What was refused for now waits, keeps its own time over several tries, and is sent once it is taken."""
    tried, kept, sent = run(
        "let skew = {ms: 0}, page = open({skew, status: 503}), turn = () => new Promise(done => setTimeout(done, 20));"
        " await turn(); skew.ms += 1000; page.fire('online'); await turn(); let tried = page.sent.length,"
        " kept = JSON.parse(page.kept.ls_queue); skew.ms += 1000; page.status = 200; page.fire('online'); await turn();"
        " return [tried, kept, [page.events().at(-1), page.kept.ls_queue ?? null]]"
    )
    assert (tried, len(kept)) == (2, 1)
    assert sent[1] is None
    assert 2000 <= sent[0]["sent_ms"] - sent[0]["event_time_ms"] < 5000


FORM = """
let input = (type, value) => ({type, value}), matches = (each, part) => part.includes(":not([type])")
    ? each.type === undefined : part.includes(`type=${each.type}]`);
let form = (track, inputs) => ({target: {dataset: {track}, querySelector: selector =>
    inputs.find(each => selector.split(/,(?![^(]*[)])/).some(part => matches(each, part))) ?? null}});
"""


def test_only_inputs_for_text_are_read_in_searches_only(run: Run):
    events = run(
        f"{FORM} let page = open({{item: null}}), secrets = ['hidden', 'password', 'email', 'tel', 'number', 'file']"
        ".map(type => input(type, 'SECRET'));"
        " page.fire('submit', form('search', [...secrets, input('search', 'lamps')]));"
        " page.fire('submit', form('search', [...secrets, input(undefined, 'desks')]));"
        " page.fire('submit', form('search', [...secrets, input('text', 'beds')]));"
        " page.fire('submit', form('search', secrets));"
        " page.fire('submit', form('rating', [input('text', 'SECRET')]));"
        " page.fire('submit', form(undefined, [input('text', 'SECRET')]));"
        " return page.events()"
    )
    assert [event.get("query") for event in events] == ["lamps", "desks", "beds", None]
    assert "SECRET" not in json.dumps(events)


def test_an_empty_price_is_no_price(run: Run):
    prices = run(
        "return ['', undefined, '0', '1299', 'x'].map(price_minor =>"
        " open({item: {item_id: 'a', price_minor}}).events()[0].price_minor)"
    )
    assert prices == [None, None, 0, 1299, None]
