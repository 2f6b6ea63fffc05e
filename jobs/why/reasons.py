"""Why an item stands at its place, and why another doesn't: each answer names one rule, and the fact that it read."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jobs.contract import shelf_plan as plan
from jobs.contract.shelf import WHY_INSTEAD, WHYS
from jobs.errors import DataError
from jobs.shelves.explain import text as written
from jobs.verify.fact_history import FactHistory, Offsets
from jobs.verify.shelf_candidates import Oracle
from jobs.verify.shelf_lists import TOLERANCE, Steps, conjuncts, judge
from jobs.verify.shelf_rules import Known, is_true, truth
from jobs.why.find import Found
from jobs.why.model import AllScores, ranks


@dataclass(frozen=True)
class Dropped:
    """The rule that keeps an item from its list, and the fact that decided; `value` is None where it isn't known."""

    rule: str
    condition: str
    feature: str = ""
    value: Any = None
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    time_ms: int | None = None


@dataclass(frozen=True)
class Because:
    """The visitor's item that brought this one, and where it would stand without; None where there would be no list."""

    item: str
    event_type: str
    clicks_ago: int
    place_without: int | None = None


@dataclass(frozen=True)
class Reason:
    """Why an item stands at a place, or at none. `parts` hold what each source and each lift gives the score."""

    item: str
    place: int | None
    rank: int | None
    score: float | None
    parts: list[dict[str, Any]] = field(default_factory=list)
    because: Because | None = None
    dropped_by: Dropped | None = None
    why: str = ""


class Why:
    """Explains one list."""

    def __init__(self, found: Found) -> None:
        self.found, question = found, found.question
        self.answer = next(iter(Oracle(found.sources).answers([question])))
        self.asked = self.answer.asked
        self.verdict = judge(self.asked, found.value.items)
        self.all = AllScores(found.sources, self.answer)
        self._places = {item: place for place, item in enumerate(found.value.items, 1)}
        self._leave_one_out = self._without_each()

    def name(self, item: str) -> str:
        """Return an item's title, "" for none."""
        told = self.found.history.facts(self.found.history.ends).get(item, {}).get("title")
        return str(told or self.found.sources.bundle.names.get(item, ""))

    def places(self) -> list[Reason]:
        return [self.of(item) for item in self.found.value.items]

    def at(self, place: int) -> Reason:
        """Return the reason for the item at a place, from 1. Raises DataError for an empty one."""
        items = self.found.value.items
        if not 1 <= place <= len(items):
            raise DataError(f"the list has no place {place}", f"a place from 1 to {len(items)}")
        return self.of(items[place - 1])

    def of(self, item: str) -> Reason:
        """Return why an item stands where it stands, or why it doesn't. Raises DataError for an unknown item."""
        question, place = self.found.question, self._places.get(item)
        if not self.found.sources.may_show(self.found.history.ends, item):
            raise DataError(f"neither the model nor the catalogue knows an item {item!r}", "liveshelf items export")
        score = self.all.score(item)
        dropped = self._now_held_back(item) if place else self._dropped(item)
        return Reason(
            item,
            place,
            self.all.rank(item),
            score,
            self._parts(item) if score is not None else [],
            self._because(item),
            dropped,
            WHYS[self.found.value.why[place - 1] % WHY_INSTEAD] if place and question.shelf else "",
        )

    def _parts(self, item: str) -> list[dict[str, Any]]:
        question, parts = self.found.question, list[dict[str, Any]]()
        at = self.all.place_of.get(item)
        for source, offer in self.answer.candidates.parts:
            value = offer.get(item)
            if value is None and self.all.is_about_events(source) and at is not None:
                value = float(self.all.of_model[at]) / source.weight
            least = min(offer.values(), default=0.0)
            given = least if value is None else value
            parts.append({"source": _source(source), "value": source.weight * given + 0.0})
        for each in question.shelf.lift:
            if is_true(each.rule, question.known, item):
                value = float(np.log(each.factor))
                parts.append({"lift": written(each.rule.condition), "factor": each.factor, "value": value})
        return parts

    def _without_each(self) -> list[tuple[Because, Any]]:
        """Return each item of the visitor's, the newest first, with all scores as they were without its events."""
        seen = [event for event in self.found.question.events if event.get("item_id")]
        newest: dict[str, Because] = {}
        for ago, event in enumerate(reversed(seen)):
            newest.setdefault(event["item_id"], Because(event["item_id"], event["event_type"], ago))
        if not any(self.all.is_about_events(source) for source, _ in self.answer.candidates.parts):
            return [(each, None) for each in newest.values()]
        return list(zip(newest.values(), self.all.without(list(newest)), strict=True))

    def _because(self, item: str) -> Because | None:
        """Return the item of the visitor's without which this one would stand farthest behind."""
        question, place = self.found.question, self._places.get(item)
        kind = WHYS[self.found.value.why[place - 1] % WHY_INSTEAD] if place else self.answer.candidates.kinds.get(item)
        if kind == "together" and question.known.anchor:
            return next((each for each, _ in self._leave_one_out if each.item == question.known.anchor), None)
        at = self.all.place_of.get(item)
        if at is None or kind not in ("session", "together", "lifted_in"):
            return None
        now = ranks(self.all.totals, self._allowed, at)
        found = [(ranks(totals, self._allowed, at), each) for each, totals in self._leave_one_out if totals is not None]
        if not found:
            return self._leave_one_out[0][0] if self._leave_one_out else None
        without, reason = max(found, key=lambda pair: pair[0])
        if without <= now:
            return None
        return Because(reason.item, reason.event_type, reason.clicks_ago, without)

    @property
    def _allowed(self) -> Any:
        if not hasattr(self, "_may_stand"):
            self._may_stand = np.array([self.asked.may_show(item) for item in self.all.items])
        return self._may_stand

    def _now_held_back(self, item: str) -> Dropped | None:
        """Return the gate if it holds an item back that a list has, by what is known now."""
        history = self.found.history
        known = Known(history.now_ms, history.facts(history.ends))
        gate = self.found.sources.shop.gate
        return _failed("gate", gate, known, item, history, history.ends) if gate else None

    def _dropped(self, item: str) -> Dropped:
        """Return the first rule that kept an item out of its list."""
        found, shop, shelf = self.found, self.found.sources.shop, self.found.shelf
        known, offsets = found.question.known, found.question.offsets
        for name, rule in (("gate", shop.gate), ("where", shelf.where)):
            if rule and (dropped := _failed(name, rule, known, item, found.history, offsets)):
                return self._of_pin(item, dropped)
        if any(pin.item == item for pin in shelf.pins) and not any(pin.item == item for pin in self._steps().pins):
            return self._of_pin(item, None)
        if item not in self.answer.scores:
            if item not in found.sources.bundle.item_index:
                return Dropped("model", "the model doesn't know it: it came after the training")
            reach = f"each source offers {shelf.candidates} items"
            return Dropped("candidates", f"no source of {shelf.name} offers it: {reach}")
        return self._outdone(item)

    def _of_pin(self, item: str, dropped: Dropped | None) -> Dropped:
        """Return a rule as the one that a pin has lost to, if the item is pinned."""
        pin = next((pin for pin in self.found.shelf.pins if pin.item == item), None)
        if pin is None:
            assert dropped is not None, "an item without a pin was dropped by a rule"
            return dropped
        now_ms = self.found.question.known.now_ms
        if pin.since_ms is not None and now_ms < pin.since_ms:
            return Dropped("pin", f"pinned at {pin.at} from a later time on", "now", now_ms)
        if pin.until_ms is not None and now_ms >= pin.until_ms:
            return Dropped("pin", f"pinned at {pin.at} until an earlier time", "now", now_ms)
        if pin.only and not is_true(pin.only, self.found.question.known, item):
            feature, value, _ = _decider(pin.only, self.found.question.known, item)
            return Dropped("pin", f"pinned at {pin.at} if {written(pin.only)}", feature, value)
        assert dropped is not None, "a pin that holds is placed"
        return dropped

    def _steps(self) -> Steps:
        return Steps(self.asked)

    def _outdone(self, item: str) -> Dropped:
        """Walk down the list, and return what stood in the way where the item was good enough, else its score."""
        steps, known, shop = self._steps(), self.found.question.known, self.found.sources.shop
        if not steps.is_candidate(item):
            pinned = next(pin.item for pin in steps.pins if self.asked.is_one_kind(item, pin.item))
            return self._one_of(item, pinned)
        blocked: plan.AtMost | None = None
        for placed, how in zip(self.found.value.items, self.verdict.how, strict=False):
            if how == "own" and steps.is_free(item):
                full = steps.full(item)
                if full and steps.value(item) > steps.value(placed) + TOLERANCE:
                    blocked = blocked or full
            steps.place(placed)
            if shop.one_of and self.asked.is_one_kind(item, placed):
                return self._one_of(item, placed)
        if blocked:
            where = f"of any {blocked.within} neighbouring places" if blocked.within else "of the list"
            condition = f"at most {blocked.n} {where} have one item.{blocked.of}"
            return self._with_record("spread", condition, item, blocked.of)
        place = ranks(self.all.totals, self._allowed, self.all.place_of[item]) if item in self.all.place_of else None
        liked = " less its likeness to what stands before" if self.found.shelf.mmr else ""
        where = f"it would stand at place {place}" if place else "others are better"
        return Dropped("score", f"its score{liked}: {where}", "score", known and self.all.score(item))

    def _one_of(self, item: str, other: str) -> Dropped:
        one_of = self.found.sources.shop.one_of
        return self._with_record("one_of", f"{other} stands for all with its item.{one_of}", item, one_of)

    def _with_record(self, rule: str, condition: str, item: str, fact: str) -> Dropped:
        known, history = self.found.question.known, self.found.history
        record = _record(history, self.found.question.offsets, item, fact)
        return Dropped(rule, condition, f"item.{fact}", known.fact(item, fact), **record)


def _failed(
    name: str, rule: plan.Rule, known: Known, item: str, history: FactHistory, offsets: Offsets
) -> Dropped | None:
    """Return the first condition of a rule that isn't true, with the fact that it read and the record that said it."""
    for condition in conjuncts(rule.condition):
        if truth(condition, known, item) is not True:
            feature, value, owner = _decider(condition, known, item)
            fact = feature.partition(".")[2]
            record = _record(history, offsets, owner, fact) if owner else {}
            return Dropped(name, written(condition), feature, value, **record)
    return None


def _decider(condition: plan.Condition, known: Known, item: str) -> tuple[str, Any, str | None]:
    """Return the feature that a condition reads, its value, and the item that it is a fact of.

    Of several features the first that isn't known counts, else the first that is a fact of the item, else the first
    that isn't the item's own id.
    """
    read = [(feature, known.value(feature, item)) for feature in _features(condition)]
    if not read:
        return "now", known.now_ms, None
    others = [each for each in read if (each[0].of, each[0].name) != ("item", "id")]
    facts = [each for each in others if each[0].of == "item"]
    unknown = [each for each in read if each[1] is None]
    feature, value = (unknown or facts or others or read)[0]
    owner = {"item": item, "anchor": known.anchor}.get(feature.of) if feature.name != "id" else None
    return f"{feature.of}.{feature.name}", value, owner


def _features(node: object) -> list[plan.Feature]:
    if isinstance(node, plan.Feature):
        return [node]
    if isinstance(node, list):
        return [feature for each in node for feature in _features(each)]
    names = getattr(node, "__struct_fields__", ())
    return [feature for name in names for feature in _features(getattr(node, name))]


def _record(history: FactHistory, offsets: Offsets, item: str, fact: str) -> dict[str, Any]:
    """Return where the newest record lies that says a fact of an item, or doesn't say it any more."""
    topic = history.topic_of(fact)
    said = history.said(item, topic, offsets.get(topic, 0)) if topic else None
    if said is None:
        return {"topic": topic or None}
    return {"topic": topic, "partition": said.partition, "offset": said.offset, "time_ms": said.time_ms}


def _source(source: plan.Source) -> str:
    names: Sequence[str] = [source.kind, source.what or source.list]
    return " ".join(name for name in names if name)
