"""Replay the last logged lists under an edited plan, and count what changes."""

import time
from collections import defaultdict
from collections.abc import Sequence

from jobs.contract.items import FactContract
from jobs.contract.shelf import Logged
from jobs.contract.shelf_plan import ShelfPlan
from jobs.rankings.session import Session
from jobs.settings import Settings
from jobs.verify.plans import Plans
from jobs.verify.versions import Versions
from jobs.whatif.count import Difference
from jobs.whatif.read import history_of, last_lists
from jobs.whatif.replay import BATCH, Facts, Replay, replayed
from models.serving.bundle import Bundle
from models.serving.signature import read_public_key

TIMED = 20  # batches whose cost is measured, under both plans
NO_EVENTS = "the topic of events doesn't hold their sessions any more"
NO_SHELF = "the edited file hasn't their shelf"
NO_MODEL = "the model that made them is gone"


def diff(
    settings: Settings, bootstrap: str, plan: ShelfPlan, contracts: Sequence[FactContract], count: int
) -> Difference:
    """Return what becomes of the last `count` logged lists under a plan. Raises DataError for a log without lists."""
    begun_s, found = time.monotonic(), Difference()
    logged = last_lists(settings, bootstrap, count)
    history = history_of(settings, bootstrap, logged)
    clicks = history.clicks(logged)
    found.clicks_are_told = clicks.are_told
    versions = Versions(settings.model_dir, read_public_key(settings.model_public_key))
    plans, names = Plans.of(settings), {shelf.name for shelf in plan.of_visitors}
    by_model: dict[str, list[tuple[Logged, Session]]] = defaultdict(list)
    for each in logged:
        session = history.session(each) if each.shelf in names else None
        if session is None:
            found.not_compared[NO_EVENTS if each.shelf in names else NO_SHELF] += 1
        elif versions.named(each.model).version != each.model:
            found.not_compared[NO_MODEL] += 1
        else:
            by_model[each.model].append((each, session))
    for model, lists in by_model.items():
        replay, facts = Replay(plan, versions.named(model)), Facts(bootstrap, contracts)
        for pair in replayed(lists, replay, facts):
            found.add(pair, plans.by_version.get(pair.logged.shelves), plan, clicks)
        replay.close()
        old = plans.by_version.get(lists[-1][0].shelves)
        if old is not None:
            found.cost_us = _cost_us(lists, old, plan, versions.named(model), facts)
    found.seconds = time.monotonic() - begun_s
    return found


def _cost_us(
    lists: list[tuple[Logged, Session]], old: ShelfPlan, new: ShelfPlan, bundle: Bundle, facts: Facts
) -> float | None:
    """Return how many µs of a worker a list costs more under the new plan, at batches of 64 with one set of facts.

    The two plans take turns, so that what else the machine does hurts both alike.
    """
    names = {shelf.name for shelf in old.of_visitors} & {shelf.name for shelf in new.of_visitors}
    chosen = [pair for pair in lists if pair[0].shelf in names]
    batches = [chosen[begin : begin + BATCH] for begin in range(0, len(chosen), BATCH)][:TIMED]
    snapshot = facts.at({})
    before, after = Replay(old, bundle), Replay(new, bundle)
    for one in (before, after):  # a first call fills what is kept of the model
        for batch in batches:
            one.make(batch, snapshot)
        one.seconds, one.lists = 0.0, 0
    for batch in batches:
        before.make(batch, snapshot)
        after.make(batch, snapshot)
    before.close()
    after.close()
    return 1e6 * (after.seconds - before.seconds) / before.lists if before.lists else None
