"""From a page in a real Chromium to the list in Redis: tracker, collector, Kafka, the rankings job."""

from collections.abc import Callable

import msgspec
import pytest

from jobs.lab.bench.collector_system import KEY, RunningCollector
from jobs.settings import Settings
from liveshelf.reader import Shelf, ShelfReader
from tests.support import chromium
from tests.support.chromium import Chromium, served
from tests.support.waiting import eventually

pytestmark = pytest.mark.skipif(chromium.program() is None, reason="no Chromium here: apt-get install chromium")
ITEMS = msgspec.json.decode((Settings().model_dir / "vocabulary.json").read_bytes())["items"][:2]
PAGE = """<!doctype html><title>shop</title>
<body data-item_id="{item}" data-category="c" data-price_minor="1299" data-currency="EUR">
<script defer src="{collector}/t.js" data-key="{key}" data-consent="granted"></script>
"""


def shelf_with(read: Callable[[], Shelf], **values: object) -> Shelf:
    """Return the first shelf that has these values; fail after 30 s."""

    def shelf() -> Shelf:
        shelf = read()
        assert {name: getattr(shelf, name) for name in values} == values
        return shelf

    return eventually(shelf)


def test_pages_change_a_list_from_consent_until_opt_out(scenario, tmp_path):
    """Pages change a visitors list from the first one with their consent until they opt out."""
    scenario.settings.consent = "required"
    scenario.start("rankings")
    topics = {name: getattr(scenario.settings, name) for name in ("events_topic", "consent_topic", "consent")}
    for name in ("collector", "pages"):
        (tmp_path / name).mkdir()
    bootstrap = scenario.runtime.kafka_bootstrap
    with (
        served(tmp_path / "pages") as origin,
        RunningCollector(bootstrap, tmp_path / "collector", origins=origin, **topics) as collector,
        Chromium(tmp_path / "profile") as browser,
    ):
        for item in ITEMS:
            (tmp_path / "pages" / f"{item}.html").write_text(PAGE.format(item=item, collector=collector.url, key=KEY))
        browser.open(f"{origin}/{ITEMS[0]}.html")
        cookie = browser.run("/ls_id=([^;]+)/.exec(document.cookie)[1]")
        reader = ShelfReader(scenario.runtime.redis_url)
        read = lambda: reader.get(collector.pseudonyms.of(cookie))  # noqa: E731
        first = shelf_with(read, state="fresh", session_events=1)
        browser.open(f"{origin}/{ITEMS[1]}.html")  # the page that is left sends its view again, which counts once
        second = shelf_with(read, state="fresh", session_events=2)
        assert (first.fallback, second.fallback) == (None, None)
        assert first.items != second.items
        assert reader.get(cookie).state == "absent"  # lists are found by pseudonym only
        browser.run("liveshelf.optOut()")
        shelf_with(read, state="fallback", fallback="no_consent")
    assert scenario.failures() == []
