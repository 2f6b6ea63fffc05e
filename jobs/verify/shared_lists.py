"""Compare the lists of items and places with the oracle: they answer no event, and each names its moment and its facts.

A worker writes them little by little, so a list that isn't there yet is no fault.
"""

from collections import defaultdict
from collections.abc import Iterator

from jobs.contract.shelf import ShelfValue
from jobs.verify.checked import Checked
from jobs.verify.fact_history import FactHistory
from jobs.verify.plans import Plans
from jobs.verify.report import Report
from jobs.verify.sample import Sample
from jobs.verify.shelf_candidates import Oracle
from jobs.verify.shelf_check import COMPACTED, NO_PLAN, Case, compare_items, decode_value, nobodys
from jobs.verify.shelf_sources import Question, Sources

KINDS = ("item", "place")
MOST = 2_000  # lists; of more a sample is compared
CHUNK = 500
SAMPLED = "lists of items and places, of which only a sample was compared"


def verify_shared_lists(report: Report, checked: Checked, plans: Plans, history: FactHistory) -> None:
    """Compare all lists of items and places, or a sample of many."""
    keys = sorted(key for kind in KINDS for key in checked.client.scan_iter(match=f"shelf:{{{kind}/*", count=1000))
    sample = Sample(max(checked.sample.one_in, len(keys) // MOST))
    chosen = [key.decode() for key in keys if sample.holds(key.decode())]
    if len(chosen) < len(keys):
        report.not_compared[SAMPLED] += len(keys) - len(chosen)
    groups: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for key, value in _stored(checked, chosen):
        found = decode_value(value)
        owner, _, shelf = key.removeprefix("shelf:{").rpartition("}:")
        report.compare("shared:readable", key, True, found is not None, kind="wrong_list", of=(shelf, owner))
        if found is None:
            continue
        if found.shelves not in plans.by_version or shelf not in _names(plans, found):
            report.not_compared[NO_PLAN] += 1
        elif not history.is_whole(found.facts, found.event_time_ms):
            report.not_compared[COMPACTED] += 1
        else:
            case = Case(owner, shelf, value, found, None, None, "stands", found.event_time_ms)
            groups[found.model, found.shelves].append(case)
    for (model, version), cases in groups.items():
        sources = Sources(plans.by_version[version], checked.versions.named(model), history)
        cases.sort(key=lambda case: (sorted(case.found.facts.items()), case.now_ms))
        questions = [_question(sources, case) for case in cases]
        for case, answer in zip(cases, Oracle(sources).answers(questions), strict=True):
            report.compare("shared:model", case.visitor, sources.bundle.version, model, kind="wrong_list", of=case.of)
            compare_items(report, case, answer)


def _stored(checked: Checked, keys: list[str]) -> Iterator[tuple[str, bytes]]:
    for begin in range(0, len(keys), CHUNK):
        chunk = keys[begin : begin + CHUNK]
        values: list[bytes | None] = checked.client.mget(chunk)  # type: ignore[assignment]
        for key, value in zip(chunk, values, strict=True):
            if value is not None:
                yield key, value


def _names(plans: Plans, found: ShelfValue) -> set[str]:
    return {shelf.name for shelf in plans.by_version[found.shelves].shelves if shelf.of != "visitor"}


def _question(sources: Sources, case: Case) -> Question:
    shelf, (kind, _, name) = sources.shop.shelf(case.shelf), case.visitor.partition("/")
    if kind == "item":
        return nobodys(sources, shelf, case.found, case.now_ms, item=name)
    # A value may hold a slash itself: only of one value that is clear.
    place = (name,) if len(shelf.place) == 1 else tuple(name.split("/")) if shelf.place else None
    return nobodys(sources, shelf, case.found, case.now_ms, place=place)
