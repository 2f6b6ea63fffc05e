"""The candidates of a list with their scores, what stands in for them, and the reason beside each item."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from jobs.contract import shelf_plan as plan
from jobs.contract.shelf import WHY_INSTEAD, WHYS
from jobs.verify.shelf_lists import TOLERANCE, Asked, Verdict, lift
from jobs.verify.shelf_sources import NONE, Offer, Question, SessionOffer, Sources

LAST_ITEMS = 4  # of a session, or of a cart, that may be the reason for an item


@dataclass(frozen=True)
class Candidates:
    """The candidates of a shelf for one question, best first.

    `raw` holds their scores without lifts, `kinds` the kind of source that each came from, `parts` what each source
    gave: the shelf's sources with their weights, in their order.
    """

    raw: Offer
    kinds: Mapping[str, str] = field(default_factory=dict)
    parts: Sequence[tuple[plan.Source, Offer]] = ()


def candidates(shelf: plan.Shelf, question: Question, session: SessionOffer, sources: Sources) -> Candidates:
    """Return the weighted sum of what all sources of a shelf offer."""
    parts = [(source, _offer(source, shelf, question, session, sources)) for source in shelf.take]
    lowest = [min(offer.values(), default=0.0) for _, offer in parts]
    raw = {
        item: sum(source.weight * offer.get(item, least) for (source, offer), least in zip(parts, lowest, strict=True))
        for item in dict.fromkeys(item for _, offer in parts for item in offer)
    }
    if question.place is not None and shelf is question.shelf:
        raw = {item: score for item, score in raw.items() if _place(shelf, question, item) == question.place}
    kinds = {item: next(source.kind for source, offer in parts if item in offer) for item in raw}
    return Candidates(dict(sorted(raw.items(), key=lambda pair: -pair[1])), kinds, parts)


def _place(shelf: plan.Shelf, question: Question, item: str) -> tuple[object, ...]:
    return tuple(question.known.fact(item, feature.name) for feature in shelf.place)


def _offer(
    source: plan.Source, shelf: plan.Shelf, question: Question, session: SessionOffer, sources: Sources
) -> Offer:
    match source.kind:
        case "session":
            return session.scores
        case "together":
            return _first(sources.together(told(source, question), source.as_type), shelf.candidates)
        case "trend":
            return sources.trending(shelf, question)
        case "popular":
            return sources.popular(shelf.candidates)
        case "list":
            newest_first = dict.fromkeys(reversed(question.known.visitor.get(source.list, ())))
            shown = (item for item in newest_first if sources.may_show(question.offsets, item))
            return _first({item: -float(place) for place, item in enumerate(shown)}, shelf.candidates)
    return NONE


def told(source: plan.Source, question: Question) -> Sequence[str]:
    """Return the items of which `Together` asks the model."""
    known = question.known
    if source.what == "basket":
        return known.basket
    return [known.anchor] if known.anchor else []


def _first(offer: Offer, count: int) -> Offer:
    return offer if len(offer) <= count else dict(list(offer.items())[:count])


def stand_ins(shop: plan.ShelfPlan, shelf: plan.Shelf) -> list[plan.Shelf]:
    """Return the shelves that stand in, in their order: behind each come those that stand in for it, each once."""
    found: dict[str, plan.Shelf] = {shelf.name: shelf}

    def walk(names: Sequence[str]) -> None:
        for name in names:
            if name not in found:
                found[name] = shop.shelf(name)
                walk(found[name].instead)

    walk(shelf.instead)
    return list(found.values())[1:]


class Oracle:
    """Says of questions what their lists were made from."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources

    def answers(self, questions: Sequence[Question]) -> Iterator["Answer"]:
        """Yield an answer for each question, in order of the questions."""
        first = [q for q in questions if self._takes_session(q.shelf)]
        narrow = [_narrowed(q) for q in first]
        led = dict(zip(map(id, first), self.sources.sessions(narrow), strict=True))
        wide = [q for q in first if q.wide]
        own = led | dict(zip(map(id, wide), self.sources.sessions(wide), strict=True))
        self._prepare(questions)
        for question in questions:
            nothing = SessionOffer()
            yield Answer(self.sources, question, own.get(id(question), nothing), led.get(id(question), nothing))

    def _takes_session(self, shelf: plan.Shelf) -> bool:
        return any(each.takes("session") for each in (shelf, *stand_ins(self.sources.shop, shelf)))

    def _prepare(self, questions: Sequence[Question]) -> None:
        """Ask the model for everything of one item at once."""
        self.sources.prepare(
            (told(source, question), source.as_type)
            for question in questions
            for source in question.shelf.take
            if source.kind == "together"
        )


def _narrowed(question: Question) -> Question:
    return replace(question, wide=False) if question.wide else question


class Answer:
    """What a list was made from, and what it should say of its items."""

    def __init__(self, sources: Sources, question: Question, own: SessionOffer, led: SessionOffer) -> None:
        self.question, self._sources, self._own, self._led = question, sources, own, led
        self.candidates = candidates(question.shelf, question, own, sources)
        shelf, known = question.shelf, question.known
        self.lifts = {item: lift(shelf, known, item) for item in self.candidates.raw} if shelf.lift else {}
        self.scores = {item: raw + self.lifts.get(item, 0.0) for item, raw in self.candidates.raw.items()}

    @property
    def is_broken(self) -> bool:
        return self._own.is_broken

    @property
    def may_widen(self) -> bool:
        """Return True if the model is asked for more when the list comes out short."""
        return self.question.shelf.takes("session") and bool(self._led.scores)

    @cached_property
    def asked(self) -> Asked:
        """Return the question for the check of the list. It is right until the next answer is looked at."""
        sources, question = self._sources, self.question
        return Asked(
            sources.shop,
            question.shelf,
            question.known,
            question.list_id,
            self.scores,
            _Shown(sources, question),
            _Others(self),
            sources.pool(question),
            sources.of_items(question),
        )

    def other(self, shelf: plan.Shelf) -> Candidates:
        """Return the candidates of a shelf that stands in."""
        return candidates(shelf, self.question, self._led, self._sources)

    def others(self) -> list[plan.Shelf]:
        return stand_ins(self._sources.shop, self.question.shelf)

    def whys(self, verdict: Verdict, published: Sequence[str]) -> list[set[int]]:
        """Return for each item of a right list what its `why` may be: two where near ties could be told either way."""
        others = self.others()
        return [self._why(item, how, others) for item, how in zip(published, verdict.how, strict=False)]

    def _why(self, item: str, how: str | int, others: Sequence[plan.Shelf]) -> set[int]:
        if isinstance(how, int):
            return {how * WHY_INSTEAD + WHYS.index(others[how - 1].take[0].kind)}
        if how in ("explored", "pinned"):
            return {WHYS.index(how)}
        kind = self.candidates.kinds[item]
        if kind != "session" or self.lifts.get(item, 0.0) <= 0:
            return {WHYS.index(kind)}
        return {WHYS.index("lifted_in" if behind else "session") for behind in self._is_behind(item)}

    def _is_behind(self, item: str) -> set[bool]:
        """Return whether an item would rank behind the first `size` without lifts."""
        raw, asked = self.candidates.raw, self.asked
        better = [other for other in raw if raw[other] > raw[item] - TOLERANCE and other != item]
        allowed = [other for other in better if asked.may_show(other)]
        surely = sum(raw[other] > raw[item] + TOLERANCE for other in allowed)
        return {surely >= self.question.shelf.size, len(allowed) >= self.question.shelf.size}

    def because(self, item: str, why: int) -> str | None:
        """Return the item of the session, or of the cart, that is the reason for an item."""
        kind, known = WHYS[why % WHY_INSTEAD], self.question.known
        if kind == "together" and known.anchor:
            return known.anchor
        if kind not in ("session", "together", "lifted_in"):
            return None
        if self.question.shelf.about == "cart":
            return self._follows(item, known.basket)
        return self._follows(item, [event["item_id"] for event in self._sources.model_events(self.question)])

    def _follows(self, item: str, seen: Sequence[str]) -> str | None:
        index = self._sources.bundle.item_index
        newest_first = [each for each in dict.fromkeys(reversed(seen)) if each in index][:LAST_ITEMS]
        return next((each for each in newest_first if item in self._sources.followers(each)), None)


class _Shown:
    """The items that a worker may show, as far as somebody asks."""

    def __init__(self, sources: Sources, question: Question) -> None:
        self._sources, self._offsets = sources, question.offsets

    def __contains__(self, item: object) -> bool:
        return isinstance(item, str) and self._sources.may_show(self._offsets, item)


class _Others(Sequence[Sequence[str]]):
    """The lists of the shelves that stand in: made when somebody asks, as few lists are short."""

    def __init__(self, answer: Answer) -> None:
        self._answer, self._shelves = answer, answer.others()
        self._made: dict[int, Sequence[str]] = {}

    def __len__(self) -> int:
        return len(self._shelves)

    def __getitem__(self, place: int) -> Sequence[str]:  # type: ignore[override]
        if not 0 <= place < len(self._shelves):
            raise IndexError(place)
        if place not in self._made:
            self._made[place] = list(self._answer.other(self._shelves[place]).raw)
        return self._made[place]
