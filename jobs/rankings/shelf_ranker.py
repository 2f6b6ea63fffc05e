"""A batch of questions → a list for each shelf that they ask for: sources, rules, pick, instead. No Flink, no network.

What each step means stands in `jobs/shelves/README.md`. Shapes: B lists of one shelf, K candidates of each, P places,
N items of the bundle, M of them and of the catalogue. An item's number is its place among the M; the model's item i has
the number i - 1. -1 is no item.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jobs.catalogue.columns import Snapshot
from jobs.contract.shelf import WHY_INSTEAD, WHYS
from jobs.contract.shelf_plan import WIDE, Shelf, ShelfPlan, Source
from jobs.rankings.arrays import Floats, Ints, Mask
from jobs.rankings.candidates.mixed import Mixed, Offer, mixed
from jobs.rankings.candidates.session_model import ModelInput, SessionModel, encode
from jobs.rankings.candidates.together import Followers
from jobs.rankings.ranked_list import Fallback, RankedList, ShelfPart
from jobs.rankings.select import SCORE_DECIMALS
from jobs.rankings.session import Session
from jobs.shelves import pick
from jobs.shelves.items import Items
from jobs.shelves.masks import Batch
from jobs.shelves.pick import Picked
from jobs.shelves.rules import DROPPED, ShelfRules
from models.serving.bundle import Bundle

FOLLOWERS = 64  # among which the item of a list must be, for the list to say "because"
REASONS = 4  # items of a session that may be the reason
OF_SESSION = ("session", "together", "lifted_in")


class Question(NamedTuple):
    """What a visitor's lists are made from. `features` hold what the online store knows, by name."""

    session: Session
    context: Floats  # float32 [C]
    features: Mapping[str, Any]
    now_ms: int
    list_id: str
    is_anonymous: bool = False


class Made(NamedTuple):
    """A list, and the features that its rules could read, defaults in place."""

    ranked: RankedList
    visitor: dict[str, Any]


class _Asked(NamedTuple):
    """The questions of one batch, prepared once for all shelves. Shapes: Q questions."""

    questions: Sequence[Question]
    model_input: ModelInput
    contexts: Floats
    session: "_Scored | None"  # what the one call of the session model has offered
    visitors: list[dict[str, Any]]
    session_items: list[list[str]]


class _Scored(NamedTuple):
    """What the session model offers, [Q, K]; -1 in rows of which it has nothing to say. Lifts are taken off."""

    offer: Offer
    is_broken: Mask  # [Q]: a score wasn't finite


class ShelfRanker:
    """Makes the lists of one version of shelves with one bundle."""

    def __init__(self, bundle: Bundle, plan: ShelfPlan, snapshot: Snapshot, threads: int = 1) -> None:
        """Open the bundle's model; `threads` share a batch."""
        self._bundle, self._plan = bundle, plan
        self._model = SessionModel(bundle, threads)
        self._shelves = {shelf.name: shelf for shelf in plan.shelves}
        own = [shelf for shelf in plan.of_visitors if shelf.takes("session")]
        self._reach = max((shelf.candidates for shelf in own), default=0)
        count = max((shelf.candidates for shelf in plan.shelves), default=FOLLOWERS)
        self._followers = Followers(bundle, self._model, max(count, FOLLOWERS))
        self._popular = np.array([bundle.item_index[item] - 1 for item in bundle.popular], np.int64)
        self._ids: list[str] = bundle.items[1:]
        self._names = np.array(self._ids, dtype=object)
        self._seen_rows = -1
        self._items: Items | None = None
        self.take(snapshot)

    def take(self, snapshot: Snapshot) -> None:
        """Rank with these facts from now on."""
        before = self._items
        if snapshot.size != self._seen_rows or before is None or snapshot.rows is not before.snapshot.rows:
            known = before.number_of if before else {item: number for number, item in enumerate(self._ids)}
            new = [item for item in list(snapshot.rows)[: snapshot.size] if item not in known]
            if new:
                self._ids = [*self._ids, *new]
                self._names = np.array(self._ids, dtype=object)
            self._seen_rows = snapshot.size
        self.items = Items(self._ids, snapshot, before)
        self._rules = {shelf.name: ShelfRules(self._plan, shelf, self.items) for shelf in self._plan.of_visitors}

    def close(self) -> None:
        """End the model's threads."""
        self._model.close()

    def make(self, questions: Sequence[Question], wanted: Mapping[str, Sequence[int]]) -> dict[str, list[Made]]:
        """Return for each shelf the lists of the questions at these places, in their order."""
        asked = self._prepared(questions, wanted)
        return {name: self._lists(self._shelves[name], asked, list(rows)) for name, rows in wanted.items() if rows}

    def _prepared(self, questions: Sequence[Question], wanted: Mapping[str, Sequence[int]]) -> _Asked:
        batch = encode([question.session for question in questions], self._bundle)
        contexts = np.stack([question.context for question in questions])
        visitors = [self._features(question) for question in questions]
        ids = self._names[np.maximum(batch.items - 1, 0)].tolist()
        items = [row[:length] for row, length in zip(ids, batch.lengths.tolist(), strict=True)]
        asked = _Asked(questions, batch, contexts, None, visitors, items)
        lead = self._plan.lead
        rows = sorted({row for name, places in wanted.items() if self._asks_session(name) for row in places})
        if lead is None or not rows:
            return asked
        return asked._replace(session=self._scored(asked, np.array(rows), self._rules[lead.name], self._reach))

    def _asks_session(self, name: str) -> bool:
        names = [name, *self._stand_ins(self._shelves[name])]
        return any(self._shelves[each].takes("session") for each in names)

    def _features(self, question: Question) -> dict[str, Any]:
        """Return the visitor's features that rules read, with their defaults where nothing is known."""
        session, found = question.session, {}
        for feature in self._plan.visitor:
            value: Any = None
            if not question.is_anonymous:
                if feature.name == "session_items":
                    value = [item for item in session.items if item]
                elif feature.name == "session_purchases":
                    value = sorted(session.purchased)
                else:
                    value = question.features.get(feature.name)
            found[feature.name] = feature.default if value is None else value
        return found

    def _scored(self, asked: _Asked, rows: Ints, rules: ShelfRules, count: int) -> _Scored:
        """Return what the model offers for the questions at `rows`, under rules of the item alone and class N lifts."""
        total = len(asked.questions)
        count = min(count, self._model.items)
        offer = Offer(np.full((total, count), -1, np.int64), np.zeros((total, count), np.float32))
        is_broken = np.zeros(total, bool)
        now_ms = np.array([question.now_ms for question in asked.questions], np.float64)
        rows = rows[asked.model_input.lengths[rows] > 0]
        while len(rows):
            bias = rules.bias(float(now_ms[rows[0]]))
            holds = bias.holds(now_ms[rows])
            now, rows = rows[holds], rows[~holds]
            own = self._bundle.bias(bias.added[: self._model.items]) if bias.added.any() else None
            found = self._model.candidates(asked.model_input, asked.contexts, now, count, own)
            is_broken[now] = ~np.isfinite(found.scores).all(axis=1)
            numbers = np.where((found.scores > DROPPED / 10) & ~is_broken[now, None], found.items - 1, -1)
            offer.numbers[now] = numbers
            offer.scores[now] = found.scores - bias.lifts[np.maximum(numbers, 0)] if bias.lifts.any() else found.scores
        return _Scored(offer, is_broken)

    def _lists(self, shelf: Shelf, asked: _Asked, rows: list[int]) -> list[Made]:
        rules, batch = self._rules[shelf.name], self._batch(shelf, asked, rows)
        candidates = self._candidates(shelf, asked, rows, batch, asked.session)
        lists, candidates = self._picked(rules, candidates, batch, asked, rows)
        wide = self._short(shelf, lists, asked, rows)
        if wide:
            scored = self._scored(asked, np.array([rows[place] for place in wide]), rules, WIDE)
            lists, candidates = self._widened(shelf, asked, rows, batch, wide, scored, lists, candidates)
        lists = self._filled(shelf, asked, rows, batch, lists)
        return self._made(shelf, asked, rows, batch, lists, candidates, set(wide))

    def _batch(self, shelf: Shelf, asked: _Asked, rows: Sequence[int]) -> Batch:
        questions = [asked.questions[row] for row in rows]
        anchors = [_anchor(question.session) if shelf.about == "viewed" else "" for question in questions]
        number_of = self.items.number_of
        return Batch(
            np.array([question.now_ms for question in questions], np.float64),
            {feature.name: [asked.visitors[row][feature.name] for row in rows] for feature in self._plan.visitor},
            np.array([number_of.get(anchor, -1) for anchor in anchors], np.int64),
            [basket(question.session) for question in questions] if shelf.about == "cart" else [],
        )

    def _candidates(
        self, shelf: Shelf, asked: _Asked, rows: Sequence[int], batch: Batch, session: _Scored | None
    ) -> Mixed:
        """Return what all sources offer, best first, without lifts."""
        return mixed(
            [(source.weight, self._offer(source, shelf, asked, rows, batch, session)) for source in shelf.take]
        )

    def _offer(
        self, source: Source, shelf: Shelf, asked: _Asked, rows: Sequence[int], batch: Batch, session: _Scored | None
    ) -> Offer:
        """Return what one source offers for the lists at `rows`."""
        match source.kind:
            case "session" if session is not None:
                return Offer(session.offer.numbers[rows], session.offer.scores[rows])
            case "together" if source.what == "anchor":
                known = np.where(batch.anchors < self._model.items, batch.anchors + 1, 0)
                return self._of_model(self._followers.of(known, source.as_type), shelf.candidates)
            case "together":
                index = self._bundle.item_index
                baskets = [[index[item] for item in each if item in index] for each in batch.baskets]
                baskets = baskets or [[] for _ in rows]
                return self._of_model(self._followers.of_baskets(baskets, source.as_type), shelf.candidates)
            case "popular":
                return _in_order(np.broadcast_to(self._popular, (len(rows), len(self._popular))))
            case "list":
                return self._of_lists([asked.visitors[row][source.list] for row in rows], shelf.candidates)
        return Offer(np.full((len(rows), 1), -1, np.int64), np.zeros((len(rows), 1), np.float32))

    def _of_model(self, found: Any, count: int) -> Offer:
        items, scores = found.items[:, :count], found.scores[:, :count]
        return Offer(items - 1, np.where(items > 0, scores, 0).astype(np.float32))

    def _of_lists(self, lists: Sequence[Sequence[str]], count: int) -> Offer:
        rows = [self.items.numbers(dict.fromkeys(reversed(each)))[:count] for each in lists]
        numbers = np.full((len(rows), max(1, *map(len, rows))), -1, np.int64)
        for row, each in enumerate(rows):
            numbers[row, : len(each)] = each
        places = 0 - np.arange(numbers.shape[1], dtype=np.float32)
        return Offer(numbers, np.broadcast_to(places, numbers.shape))

    def _picked(
        self, rules: ShelfRules, found: Mixed, batch: Batch, asked: _Asked, rows: Sequence[int]
    ) -> tuple[list[Picked], Mixed]:
        if rules.shelf.lift:
            found = found.lifted(rules.lifts(np.maximum(found.numbers, 0), batch))
        list_ids = [asked.questions[row].list_id for row in rows]
        return pick.pick(rules, self._plan.one_of, found.numbers, found.scores, batch, list_ids), found

    def _short(self, shelf: Shelf, lists: Sequence[Picked], asked: _Asked, rows: Sequence[int]) -> list[int]:
        """Return the places of the lists for which the model is asked again."""
        if asked.session is None or not shelf.takes("session"):
            return []
        lengths, is_broken = asked.model_input.lengths, asked.session.is_broken
        return [
            place
            for place, (row, each) in enumerate(zip(rows, lists, strict=True))
            if len(each.numbers) < shelf.places and lengths[row] and not is_broken[row]
        ]

    def _widened(
        self,
        shelf: Shelf,
        asked: _Asked,
        rows: Sequence[int],
        batch: Batch,
        wide: list[int],
        scored: _Scored,
        lists: list[Picked],
        before: Mixed,
    ) -> tuple[list[Picked], Mixed]:
        """Return the lists, and the candidates, with those at `wide` made anew."""
        of_wide = [rows[place] for place in wide]
        part = batch.of(wide)
        found = self._candidates(shelf, asked, of_wide, part, scored)
        again, found = self._picked(self._rules[shelf.name], found, part, asked, of_wide)
        for place, each in zip(wide, again, strict=True):
            lists[place] = each
        return lists, before.with_rows(wide, found)

    def _filled(
        self, shelf: Shelf, asked: _Asked, rows: Sequence[int], batch: Batch, lists: list[Picked]
    ) -> list[Picked]:
        short = [place for place, each in enumerate(lists) if len(each.numbers) < shelf.least]
        if short and shelf.instead:
            part, of_short = batch.of(short), [rows[place] for place in short]
            others = [
                self._candidates(self._shelves[name], asked, of_short, part, asked.session).numbers
                for name in self._stand_ins(shelf)
            ]
            rules = self._rules[shelf.name]
            again = pick.fill(rules, self._plan.one_of, [lists[place] for place in short], others, part)
            for place, each in zip(short, again, strict=True):
                lists[place] = each
        return lists

    def _stand_ins(self, shelf: Shelf) -> list[str]:
        """Return the shelves that stand in, in order: those of `instead`, each followed by its own."""
        found: list[str] = []
        for name in shelf.instead:
            if name not in found:
                found.append(name)
                found += [each for each in self._stand_ins(self._shelves[name]) if each not in found]
        return [name for name in found if name != shelf.name]

    def _made(
        self,
        shelf: Shelf,
        asked: _Asked,
        rows: Sequence[int],
        batch: Batch,
        lists: Sequence[Picked],
        candidates: Mixed,
        wide: set[int],
    ) -> list[Made]:
        numbers = np.full((len(lists), max(1, *(len(each.numbers) for each in lists))), -1, np.int64)
        for row, each in enumerate(lists):
            numbers[row, : len(each.numbers)] = each.numbers
        sources = [WHYS.index(source.kind) for source in shelf.take]
        origins = candidates.origin_of(numbers, sources, self._allowed(shelf, candidates, batch), shelf.size).tolist()
        reasons = self._reasons(shelf, asked, rows, batch, numbers)
        return [
            self._made_one(shelf, asked, row, batch, place, each, origins[place], reasons[place], place in wide)
            for place, (row, each) in enumerate(zip(rows, lists, strict=True))
        ]

    def _made_one(
        self,
        shelf: Shelf,
        asked: _Asked,
        row: int,
        batch: Batch,
        place: int,
        picked: Picked,
        origins: Sequence[int],
        reasons: Sequence[int],
        is_wide: bool,
    ) -> Made:
        why = self._why(shelf, picked.how, origins)
        because = _because(why, reasons, int(batch.anchors[place]))
        seen = list(dict.fromkeys(number for number in because if number >= 0))
        about = batch.baskets[place] if shelf.about == "cart" else [_anchor(asked.questions[row].session)]
        part = ShelfPart(
            about=[item for item in about if item] if shelf.about else [],
            why=why,
            seen=self._names[seen].tolist() if seen else [],
            because=[seen.index(number) if number >= 0 else -1 for number in because],
            spare=max(0, len(picked.numbers) - shelf.size),
            is_wide=is_wide,
        )
        is_own = pick.OWN in picked.how
        is_broken = asked.session is not None and bool(asked.session.is_broken[row])
        ranked = RankedList(
            items=self._names[picked.numbers].tolist() if picked.numbers else [],
            scores=[round(score, SCORE_DECIMALS) for score in picked.scores],
            fallback=_fallback(asked.questions[row], is_own, is_broken),
            session_items=asked.session_items[row],
            shelf=part,
        )
        return Made(ranked, asked.visitors[row])

    def _allowed(self, shelf: Shelf, candidates: Mixed, batch: Batch) -> Mask | None:
        """Return which candidates may stand in the list, for shelves with lifts."""
        if not shelf.lift:
            return None
        numbers = candidates.numbers
        return self._rules[shelf.name].allowed(np.maximum(numbers, 0), batch) & (numbers >= 0)

    def _why(self, shelf: Shelf, how: Sequence[int], origins: Sequence[int]) -> list[int]:
        found, stand_ins = [], self._stand_ins(shelf) if any(each >= pick.INSTEAD for each in how) else []
        for each, origin in zip(how, origins, strict=False):
            if each == pick.OWN:
                found.append(origin)
            elif each < pick.INSTEAD:
                found.append(WHYS.index("explored" if each == pick.EXPLORED else "pinned"))
            else:
                step = each - pick.INSTEAD
                kind = self._shelves[stand_ins[step]].take[0].kind
                found.append(WHY_INSTEAD * (step + 1) + WHYS.index(kind))
        return found

    def _reasons(
        self, shelf: Shelf, asked: _Asked, rows: Sequence[int], batch: Batch, numbers: Ints
    ) -> list[list[int]]:
        """Return for each item (numbers int64 [B, P]) the latest one of its visitor that it follows, -1 for none."""
        latest = np.zeros((len(rows), REASONS), np.int64)
        index = self._bundle.item_index
        for place, row in enumerate(rows):
            looked_at = batch.baskets[place] if shelf.about == "cart" else asked.session_items[row]
            distinct = list(dict.fromkeys(item for item in reversed(looked_at) if item in index))[:REASONS]
            latest[place, : len(distinct)] = [index[item] for item in distinct]
        follow = self._followers.of(latest.ravel(), "view").items[:, :FOLLOWERS]
        follow = follow.reshape(len(rows), REASONS, -1) - 1
        hits = (follow[:, :, None, :] == numbers[:, None, :, None]).any(axis=-1)  # [B, REASONS, P]
        hits &= (latest > 0)[:, :, None] & (numbers >= 0)[:, None, :]
        first = np.take_along_axis(latest, hits.argmax(axis=1), axis=1) - 1
        reasons: list[list[int]] = np.where(hits.any(axis=1), first, -1).tolist()
        return reasons


def _in_order(numbers: Ints) -> Offer:
    """Return an offer of items that stand in their order (int64 [B, K])."""
    scores = -np.log1p(np.arange(numbers.shape[1], dtype=np.float32))
    return Offer(numbers, np.broadcast_to(scores, numbers.shape))


def _because(why: Sequence[int], reasons: Sequence[int], anchor: int) -> list[int]:
    """Return for each item the number of the item that explains it, -1 for none; `anchor` is the item in view."""
    found = []
    for each, reason in zip(why, reasons, strict=False):
        kind = WHYS[each % WHY_INSTEAD]
        if kind == "together" and anchor >= 0:
            found.append(anchor)
        else:
            found.append(reason if kind in OF_SESSION else -1)
    return found


def _anchor(session: Session) -> str:
    """Return the item that was viewed last, "" for none."""
    viewed = (
        item
        for item, kind in zip(reversed(session.items), reversed(session.types), strict=True)
        if kind == "view" and item
    )
    return next(viewed, "")


def basket(session: Session) -> list[str]:
    """Return what was put into the cart and neither taken out of it nor bought since, the last put in last."""
    held: dict[str, None] = {}
    for item, kind in zip(session.items, session.types, strict=True):
        if item and kind in ("add_to_cart", "remove_from_cart", "purchase"):
            held.pop(item, None)
            if kind == "add_to_cart":
                held[item] = None
    return list(held)


def _fallback(question: Question, is_own: bool, is_broken: bool) -> Fallback | None:
    if question.is_anonymous:
        return "no_consent"
    if is_own:
        return None
    return "model_error" if is_broken else "popular"
