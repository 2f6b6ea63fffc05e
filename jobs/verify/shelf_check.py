"""Compare lists that shelves made with the oracle: header, log, items place by place, scores and reasons."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from jobs.contract import shelf_plan as plan
from jobs.contract.events import Event
from jobs.contract.shelf import WHY_INSTEAD, WHYS, ShelfValue
from jobs.verify import shelf_session
from jobs.verify.answered import Answered
from jobs.verify.expiry import Fate
from jobs.verify.fact_history import FactHistory, Offsets
from jobs.verify.lists import known_events
from jobs.verify.plans import Plans
from jobs.verify.report import Kind, Report
from jobs.verify.shelf import compare_header, must_stand
from jobs.verify.shelf_candidates import Answer, Oracle
from jobs.verify.shelf_lists import TOLERANCE, Verdict, judge
from jobs.verify.shelf_log import LogRecord
from jobs.verify.shelf_rules import Known
from jobs.verify.shelf_sources import Question, Sources

if TYPE_CHECKING:
    from jobs.verify.versions import Versions
    from models.serving.bundle import Bundle

COMPACTED = "facts of their time may have been compacted away"
PARTITIONS = "the visitor's events lie in several partitions, and which had come isn't known"
NO_CONTEXT = "the log doesn't hold what the model read"
NO_PLAN = "a version of shelves that isn't there any more made them"
NO_HASH = "a withdrawal answers no event, and which places of its lists explore isn't known"
NO_CONSENT, MODEL_ERROR, POPULAR = "no_consent", "model_error", "popular"
OF_SOURCES = {WHYS.index(name) for name in ("session", "together", "trend", "popular", "list", "lifted_in")}
LOGGED = [name for name in ShelfValue.__struct_fields__ if name != "version"]


@dataclass(frozen=True)
class Case:
    """A visitor's list on a shelf. Of one without consent nothing is logged, and `now_ms` is what it answers."""

    visitor: str
    shelf: str
    value: bytes
    found: ShelfValue
    answered: Answered | None
    logged: LogRecord | None
    fate: Fate
    now_ms: int
    is_anonymous: bool = False

    @property
    def of(self) -> tuple[str, str]:
        return self.shelf, self.visitor


def compare_shelf_lists(
    report: Report, cases: Iterable[Case], plans: Plans, versions: "Versions", history: FactHistory
) -> None:
    """Compare lists that name a version of shelves; the model and the version that each list names have made it."""
    groups: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for case in cases:
        if not must_stand(report, case.visitor, case.value, case.fate, case.shelf):
            continue
        bundle = versions.named(case.found.model)
        kind = _compare_head(report, case, bundle)
        if kind == "wrong_list" and (why_not := _unknowable(case, plans, bundle, history)):
            report.not_compared[why_not] += 1
        elif kind == "wrong_list":
            groups[case.found.model, case.found.shelves].append(case)
    for (model, version), group in groups.items():
        oracle = Oracle(Sources(plans.by_version[version], versions.named(model), history))
        group.sort(key=lambda case: (sorted(case.found.facts.items()), case.now_ms))
        questions = [_question(oracle.sources, case) for case in group]
        for case, answer in zip(group, oracle.answers(questions), strict=True):
            compare_items(report, case, answer)


def _unknowable(case: Case, plans: Plans, bundle: "Bundle", history: FactHistory) -> str:
    """Return why nothing can be said of a list's items, "" if something can."""
    shelf = plans.shelf(case.found.shelves, case.shelf)
    if shelf is None:
        return NO_PLAN
    if case.answered is None and shelf.explore and not case.found.list_id:
        return NO_HASH
    if case.answered is None:
        return "" if history.is_whole(case.found.facts, case.now_ms) else COMPACTED
    logged = case.logged
    if logged is None or len(logged.context) != len(bundle.context_features):
        return NO_CONTEXT
    if not case.answered.is_sure:
        return PARTITIONS
    return "" if history.is_whole(case.found.facts, case.now_ms) else COMPACTED


def _compare_head(report: Report, case: Case, bundle: "Bundle") -> Kind:
    """Compare what doesn't need the rules; return the kind of whatever else differs in this list."""
    if case.answered is None:
        return "wrong_list"
    session, entry = case.answered.session, case.answered.entry
    kind = compare_header(report, case.visitor, entry.record.position, case.value, case.shelf)
    expected = {
        "model": bundle.version,
        "event_time_ms": session.event_time_ms,
        "session_events": len(session.events),
        "list_id": f"{entry.record.partition}-{entry.record.offset}",
    }
    for name, wanted in expected.items():
        report.compare(f"list:{name}", case.visitor, wanted, getattr(case.found, name), kind=kind, of=case.of)
    logged = case.logged
    of_log: dict[str, tuple[Any, Any]] = {
        "position": (entry.record.position, logged and logged.place),
        "now_ms": (entry.record.timestamp_ms, logged and logged.now_ms),
        "session_items": (
            [event["item_id"] for event in known_events(session, bundle)],
            logged and logged.session_items,
        ),
        "context_features": (bundle.context_features, logged and logged.context_features),
        "list": (
            {name: getattr(case.found, name) for name in LOGGED},
            logged and {name: getattr(logged, name) for name in LOGGED},
        ),
    }
    for name, (wanted, given) in of_log.items():
        report.compare(f"log:{name}", case.visitor, wanted, given, kind="wrong_log", of=case.of)
    return kind


def _question(sources: Sources, case: Case) -> Question:
    shelf = sources.shop.shelf(case.shelf)
    if case.answered is not None and case.logged is not None:
        return question_of(sources, shelf, case.answered.session.events, case.logged, case.found.facts)
    return nobodys(sources, shelf, case.found, case.now_ms)


def nobodys(
    sources: Sources,
    shelf: plan.Shelf,
    found: ShelfValue,
    now_ms: int,
    item: str = "",
    place: tuple[str, ...] | None = None,
) -> Question:
    """Return what a list without a session answers: of an item, of a place, or of a visitor without consent."""
    anchor = item if item and sources.may_show(found.facts, item) else None
    known = Known(now_ms, sources.history.facts(found.facts), defaults(sources.shop), anchor)
    context = [0.0] * len(sources.bundle.context_features)
    about = [item] if item else []
    return Question(shelf, found.list_id, known, found.facts, [], context, about, place=place)


def question_of(
    sources: Sources, shelf: plan.Shelf, events: Sequence[Event], logged: LogRecord, facts: Offsets | None = None
) -> Question:
    """Return what a logged list answers; `facts` are the offsets that the list itself names, if another list's."""
    offsets = logged.facts if facts is None else facts
    about = shelf_session.about(shelf, events)
    viewed = (item for item in about if shelf.about == "viewed" and sources.may_show(offsets, item))
    of_model = sources.of_model(events, logged.context, logged.visitor) if sources.shop.reads_segments else {}
    known = Known(
        now_ms=logged.now_ms,
        facts=sources.history.facts(offsets),
        visitor=shelf_session.visitor(sources.shop.visitor, events, logged.visitor, of_model),
        anchor=next(viewed, None),
        basket=about if shelf.about == "cart" else (),
    )
    return Question(shelf, logged.list_id, known, offsets, events, logged.context, about, logged.wide)


def defaults(shop: plan.ShelfPlan) -> dict[str, Any]:
    """Return the features of a visitor of whom nothing may be known."""
    return {feature.name: feature.default for feature in shop.visitor}


def compare_items(report: Report, case: Case, answer: Answer) -> None:
    found, shelf = case.found, answer.question.shelf
    verdict = judge(answer.asked, found.items)
    _compare(report, case, "about", answer.question.about, found.about)
    if case.logged is not None and plan.SEGMENT in answer.question.known.visitor:
        of_log = case.logged.visitor.get(plan.SEGMENT)
        _compare(report, case, plan.SEGMENT, answer.question.known.visitor[plan.SEGMENT], of_log)
    _compare(report, case, "spare", max(0, len(found.items) - shelf.size), found.spare)
    _compare(report, case, "items", "", verdict.wrong)
    if verdict.wrong:
        return
    scores = expected_scores(answer, verdict, found.items)
    same = len(scores) == len(found.scores) and all(
        abs(one - other) <= TOLERANCE for one, other in zip(scores, found.scores, strict=True)
    )
    _compare(report, case, "scores", scores, found.scores, same)
    own = sum(isinstance(how, str) for how in verdict.how)
    if own < shelf.enough and answer.may_widen:
        _compare(report, case, "wide", True, case.logged is not None and case.logged.wide)
    whys = answer.whys(verdict, found.items)
    same = len(whys) == len(found.why) and all(one in allowed for one, allowed in zip(found.why, whys, strict=True))
    _compare(report, case, "why", [sorted(each) for each in whys], found.why, same)
    if same:
        _compare(report, case, "because", *_because(answer, found))
        _compare(report, case, "fallback", _fallback(case, answer, found.why), found.fallback)


def _because(answer: Answer, found: ShelfValue) -> tuple[Sequence[str | None], Sequence[str | None]]:
    """Return the items that are the reasons, as they should be and as the list has them."""
    expected = [answer.because(item, why) for item, why in zip(found.items, found.why, strict=True)]
    given = [found.seen[place] if 0 <= place < len(found.seen) else None for place in found.because]
    return expected, given


def _fallback(case: Case, answer: Answer, whys: Sequence[int]) -> str | None:
    if case.is_anonymous:
        return NO_CONSENT
    if any(why < WHY_INSTEAD and why in OF_SOURCES for why in whys):
        return None
    return MODEL_ERROR if answer.is_broken else POPULAR


def expected_scores(answer: Answer, verdict: Verdict, items: Sequence[str]) -> list[float]:
    """Return each item's score; 0 for one that is pinned, explored or stands in."""
    return [answer.scores[item] if how == "own" else 0.0 for item, how in zip(items, verdict.how, strict=True)]


def _compare(report: Report, case: Case, name: str, expected: object, found: object, equal: bool | None = None) -> None:
    kind: Kind = "consent_list" if case.is_anonymous else "wrong_list"
    report.compare(f"{case.shelf}:{name}", case.visitor, expected, found, equal, kind=kind, of=case.of)


def decode_value(value: bytes) -> ShelfValue | None:
    """Return a list, None for what isn't one."""
    try:
        return msgspec.json.decode(value, type=ShelfValue)
    except msgspec.DecodeError:
        return None
