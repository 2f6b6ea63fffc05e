"""Compare the set of items that no list may show now with the gate of the active shelves."""

from jobs.verify.checked import Checked, now_ms
from jobs.verify.fact_history import FactHistory
from jobs.verify.facts import fact_history
from jobs.verify.plans import Plans
from jobs.verify.report import Report
from jobs.verify.shelf_rules import Known, is_true

KEY = "shelf:gate"
SETTLED_MS = 5_000  # the job writes what has changed within a second
LIST_LIFE_MS = 30 * 86_400_000
GONE = "the item left the catalogue and the model so long ago that no list holds it"
CHANGING = "the item's facts changed a moment ago, and the gate may be about to"


def verify_gate(report: Report, checked: Checked, plans: Plans) -> None:
    """Check for each item of the model and the catalogue whether the gate holds it back. Raises ServiceError."""
    shop = plans.active()
    if shop is None:
        return
    looked_ms = now_ms()
    held = {item.decode() for item in checked.client.sscan_iter(KEY, count=1000)}
    history = fact_history(checked)
    named = {item for item in history.items() if history.was_named(item, history.ends)}
    items = named.union(checked.versions.serving.item_index)
    changing = history.changed_since(looked_ms - SETTLED_MS)
    before, after = (Known(looked_ms + shift, history.facts(history.ends)) for shift in (-SETTLED_MS, SETTLED_MS))
    outlived = long_gone(history, looked_ms) - checked.versions.serving.item_index.keys() - held
    if skipped := sum(map(checked.sample.holds, outlived)):
        report.not_compared[GONE] += skipped
    for item in sorted((items | held) - outlived):
        if not checked.sample.holds(item):
            continue
        may_show = is_true(shop.gate, before, item)
        if item in changing or may_show != is_true(shop.gate, after, item):
            report.not_compared[CHANGING] += 1
            continue
        expected, found = "shown" if may_show else "held back", "held back" if item in held else "shown"
        report.compare("gate:items", item, expected, found, kind="wrong_gate")


def long_gone(history: FactHistory, now_ms: int) -> set[str]:
    """Return the items that were removed so long ago that no list holds them."""
    known = history.facts(history.ends)
    recent = history.changed_since(now_ms - LIST_LIFE_MS)
    return {item for item in history.items() - recent if not known.is_known(item)}
