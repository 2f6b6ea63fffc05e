"""Evaluate conditions on arrays: which of K candidates of B lists, or of all M items, a condition is true for.

Logic has three values: what compares with something that isn't known is neither true nor false. Rules take only what is
true. So `~` is pushed down to the comparisons, each of which is false where a value isn't known, and the rest is two
valued.
"""

import typing
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from jobs.contract import shelf_plan as plan
from jobs.contract.shelf_plan import Condition, Value
from jobs.shelves.items import NOT_KNOWN, Coder, Items
from jobs.shelves.member import member

Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Array = npt.NDArray[typing.Any]
Lists = Sequence[Sequence[str]]

COMPLEMENT = {"==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}
NUMPY = {"==": np.equal, "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}
FEW = 8


class Batch(NamedTuple):
    """What is known of B lists beside their candidates.

    `visitors` holds each visitor's features, parallel to the lists, with their defaults in place. A shelf that is about
    nothing has -1 as `anchors` and no `baskets`.
    """

    now_ms: npt.NDArray[np.float64]  # [B]
    visitors: Mapping[str, Sequence[Value] | Lists]
    anchors: Ints  # [B], numbers of items
    baskets: Lists  # ids of items

    def of(self, rows: Sequence[int] | Ints) -> "Batch":
        """Return some of the lists."""
        return Batch(
            self.now_ms[rows],
            {name: [values[row] for row in rows] for name, values in self.visitors.items()},  # type: ignore[misc]
            self.anchors[rows],
            [self.baskets[row] for row in rows] if self.baskets else [],
        )


class Texts(NamedTuple):
    """Values that are texts: codes in `coder`, or words that no column holds."""

    coder: Coder | None
    codes: Array | None
    words: Sequence[str | None] = ()


class Masks:
    """Evaluates conditions for one set of candidates; a fact that several conditions read is gathered once."""

    def __init__(self, items: Items, batch: Batch, candidates: Ints | None = None) -> None:
        """Look at `candidates` (numbers, [B, K]), or at all items ([M]; then B is 1)."""
        self._items, self._batch, self._candidates = items, batch, candidates
        self._gathered: dict[str, Array] = {}

    def true(self, condition: Condition, negated: bool = False) -> Mask:
        """Return where a condition, or its negation, is true: bool that broadcasts to the candidates' shape."""
        match condition:
            case plan.Not(part):
                return self.true(part, not negated)
            case plan.All(parts) | plan.Any(parts):
                is_all = isinstance(condition, plan.All) != negated
                result: Mask = np.array(is_all)
                for part in parts:
                    mask = self.true(part, negated)
                    result = result & mask if is_all else result | mask
                return result
            case plan.Compare(op, left, right):
                return self._compare(COMPLEMENT[op] if negated else op, left, right)
            case plan.IsIn(term, values):
                return self._is_in(term, values, negated)
            case plan.Holds(feature):
                is_true: Mask = self._number(feature) == (0.0 if negated else 1.0)
                return is_true
        raise AssertionError(f"{condition} is no condition")

    def shaped(self, condition: Condition) -> Mask:
        """Return where a condition is true, in the candidates' shape."""
        true = self.true(condition)
        if self._candidates is None:
            row: Mask = np.broadcast_to(true, (1, len(self._items)))[0]
            return row
        return np.broadcast_to(true, self._candidates.shape)

    def _compare(self, op: str, left: plan.Term, right: plan.Term) -> Mask:
        if _is_text(left):
            return _equal(*self._coded(left, right), is_equal=op == "==")
        one, other = self._number(left), self._number(right)
        if op == "!=":
            differ: Mask = (one != other) & (one == one) & (other == other)
            return differ
        result: Mask = NUMPY[op](one, other)
        return result

    def _is_in(self, term: plan.Feature, values: plan.Literals | plan.Feature, negated: bool) -> Mask:
        if isinstance(values, plan.Feature):
            text = self._text(term)
            coder = text.coder or _local(text)
            codes = self._codes(text, coder)
            found = member(codes, self._list(values, coder))
            return found if not negated else (codes != NOT_KNOWN) & ~found
        literals = [self._literal_like(term, value) for value in values.values]
        given = self._own(term)
        if len(literals) <= FEW:
            found = np.zeros(given.shape, bool)
            for literal in literals:
                found = found | (given == literal)
        else:
            found = np.isin(given, literals)
        is_known = given == given if given.dtype.kind == "f" else given != NOT_KNOWN
        result: Mask = (~found if negated else found) & is_known
        return result

    def _own(self, term: plan.Feature) -> Array:
        """Return a feature's numbers, or its texts as codes."""
        if term.kind != "string":
            return self._number(term)
        text = self._text(term)
        return self._codes(text, text.coder or _local(text))

    def _literal_like(self, term: plan.Feature, value: Value) -> float:
        if term.kind != "string":
            return float(value)
        text = self._text(term)
        return (text.coder or _local(text)).code(str(value))

    def _number(self, term: plan.Term) -> npt.NDArray[np.float64]:
        match term:
            case plan.Scaled(factor, feature):
                return factor * self._number(feature)
            case plan.Moment(offset_ms):
                return self._batch.now_ms[:, None] + offset_ms
            case plan.Literals(values):
                return np.float64(values[0])  # type: ignore[return-value]
        match term.of:
            case "item":
                return self._gather(term.name)
            case "anchor":
                return self._of_anchor(term.name)
            case "basket":
                return self._basket_numbers(term.name)[:, None]
        return np.array(self._batch.visitors[term.name], np.float64)[:, None]

    def _gather(self, name: str) -> Array:
        gathered = self._gathered.get(name)
        if gathered is None:
            values = self._items.facts(name).values
            gathered = values[None] if self._candidates is None else values[self._candidates]
            self._gathered[name] = gathered
        return gathered

    def _of_anchor(self, name: str) -> Array:
        facts, anchors = self._items.facts(name), self._batch.anchors
        nothing = np.nan if facts.coder is None else NOT_KNOWN
        values: Array = np.where(anchors < 0, nothing, facts.values[anchors]).astype(facts.values.dtype)
        return values[:, None]

    def _text(self, term: plan.Term) -> Texts:
        if isinstance(term, plan.Literals):
            return Texts(None, None, [str(term.values[0])])
        assert isinstance(term, plan.Feature), f"{term} is no text"
        if term.of == "visitor":
            return Texts(None, None, self._batch.visitors[term.name])  # type: ignore[arg-type]
        facts = self._items.facts(term.name)
        coder = facts.coder or Coder([])
        if facts.coder is None:  # a fact that no topic has
            return Texts(coder, np.array([[NOT_KNOWN]], np.int32))
        return Texts(coder, self._gather(term.name) if term.of == "item" else self._of_anchor(term.name))

    def _coded(self, left: plan.Term, right: plan.Term) -> tuple[Array, Array]:
        """Return two terms that are texts as codes of one coder."""
        one, other = self._text(left), self._text(right)
        coder = one.coder or other.coder or _local(one, other)
        return self._codes(one, coder), self._codes(other, coder)

    @staticmethod
    def _codes(text: Texts, coder: Coder) -> Array:
        if text.codes is None:
            return np.array([coder.code(word) for word in text.words], np.int64)[:, None]
        if text.coder is coder:
            return text.codes
        translation = np.array([*(coder.code(word) for word in text.coder.words), NOT_KNOWN], np.int64)  # type: ignore[union-attr]
        return translation[text.codes]

    def _list(self, feature: plan.Feature, coder: Coder) -> list[list[int]]:
        """Return each list's values as codes; those that no item has are left out."""
        if feature.of == "basket":
            facts = self._items.facts("category")
            if feature.name == "categories" and facts.coder is coder:
                baskets = map(self._items.numbers, self._batch.baskets)
                return [[code for code in facts.values[numbers].tolist() if code >= 0] for numbers in baskets]
            lists = self._batch.baskets if feature.name == "items" else self._basket_categories()
        else:
            lists = self._batch.visitors[feature.name]  # type: ignore[assignment]
        places = coder.places
        return [[places[word] for word in words if word in places] for words in lists]

    def _basket_categories(self) -> Lists:
        facts = self._items.facts("category")
        words = facts.coder.words if facts.coder else ()
        baskets = [self._items.numbers(basket) for basket in self._batch.baskets]
        return [[words[code] for code in facts.values[numbers].tolist() if code >= 0] for numbers in baskets]

    def _basket_numbers(self, name: str) -> npt.NDArray[np.float64]:
        """Return the number of different items in each cart, or the sum of their prices, NaN where one isn't known."""
        baskets = [set(basket) for basket in self._batch.baskets]
        if name == "size":
            return np.array([len(basket) for basket in baskets], np.float64)
        prices = self._items.facts("price_minor").values
        found = [self._items.numbers(sorted(basket)) for basket in baskets]
        complete = [len(numbers) == len(basket) for numbers, basket in zip(found, baskets, strict=True)]
        sums = [float(prices[numbers].sum()) for numbers in found]
        return np.array([each if whole else np.nan for each, whole in zip(sums, complete, strict=True)])


def _is_text(term: plan.Term) -> bool:
    return (isinstance(term, plan.Feature) and term.kind == "string") or (
        isinstance(term, plan.Literals) and isinstance(term.values[0], str)
    )


def _local(*texts: Texts) -> Coder:
    """Return a coder of the words of texts that no column holds."""
    return Coder(sorted({word for text in texts for word in text.words if word is not None}))


def _equal(one: Array, other: Array, is_equal: bool) -> Mask:
    result: Mask = (one == other) if is_equal else (one != other) & (other != NOT_KNOWN)
    result = result & (one != NOT_KNOWN)
    return result
