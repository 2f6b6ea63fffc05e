"""Conditions of shelves: comparisons and `&`, `|`, `~` build a tree, and nothing is looked up until it is compiled.

A condition has no truth of its own while the file is read. So `and`, `or`, `not`, `in`, `if` and chained comparisons,
which ask for one, are errors and never silently another rule.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NoReturn

Operator = Literal["==", "!=", "<", "<=", ">", ">="]
Base = Literal["item", "anchor", "visitor", "basket"]
Literals = str | int | float | bool


class WordError(TypeError):
    """A sentence of shelves.py that can't be meant; `fix` says what to write instead."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(f"{what}: {fix}")
        self.what, self.fix = what, fix


class Expression:
    """Something that is true, false or not known of an item, a visitor or both."""

    __hash__: ClassVar = object.__hash__  # == builds a tree, so two expressions are the same only if they are one

    def __and__(self, other: object) -> "Condition":
        return All((self, other))

    def __rand__(self, other: object) -> "Condition":
        return All((other, self))

    def __or__(self, other: object) -> "Condition":
        return Any((self, other))

    def __ror__(self, other: object) -> "Condition":
        return Any((other, self))

    def __invert__(self) -> "Condition":
        return Not(self)

    def __bool__(self) -> NoReturn:
        raise WordError(
            "a condition is neither true nor false while the file is read",
            "write & instead of and, | instead of or, ~ instead of not, .isin(…) instead of in, "
            "and (a < b) & (b < c) instead of a < b < c",
        )


class Condition(Expression):
    """A comparison, or several that are joined."""


class Term(Expression):
    """A value that can be compared: a feature, a feature times a number, or a moment."""

    def __eq__(self, other: object) -> Condition:  # type: ignore[override]
        return Compare("==", self, other)

    def __ne__(self, other: object) -> Condition:  # type: ignore[override]
        return Compare("!=", self, other)

    def __lt__(self, other: object) -> Condition:
        return Compare("<", self, other)

    def __le__(self, other: object) -> Condition:
        return Compare("<=", self, other)

    def __gt__(self, other: object) -> Condition:
        return Compare(">", self, other)

    def __ge__(self, other: object) -> Condition:
        return Compare(">=", self, other)

    __hash__ = object.__hash__

    def isin(self, values: "Sequence[Literals] | Feature") -> Condition:
        """Return the condition that the value is one of `values`: literals, or a feature that is a list."""
        return IsIn(self, values)

    def __contains__(self, other: object) -> NoReturn:
        raise WordError("`in` can't ask a feature", "write item.id.isin(visitor.session_items)")

    def __iter__(self) -> NoReturn:
        raise WordError("a feature can't be walked through", "write item.id.isin(visitor.session_items)")


@dataclass(frozen=True, eq=False)
class Duration:
    """A length of time."""

    ms: int


@dataclass(frozen=True, eq=False)
class Feature(Term):
    """One feature of an item, of the item or cart that a shelf is about, or of the visitor."""

    of: Base
    name: str

    def __mul__(self, factor: object) -> "Scaled":
        return Scaled(factor, self)

    __rmul__ = __mul__

    def __add__(self, other: object) -> NoReturn:
        raise WordError(
            "features aren't added", "compare them, or define a feature in definitions.py that holds the sum"
        )

    __radd__ = __sub__ = __rsub__ = __truediv__ = __rtruediv__ = __add__


@dataclass(frozen=True, eq=False)
class Scaled(Term):
    """A feature times a number."""

    factor: object
    feature: Feature


@dataclass(frozen=True, eq=False)
class Moment(Term):
    """The arrival of the event that a list answers, and so many milliseconds later."""

    offset_ms: int = 0

    def __add__(self, other: Duration) -> "Moment":
        return Moment(self.offset_ms + _duration(other).ms)

    def __sub__(self, other: Duration) -> "Moment":
        return Moment(self.offset_ms - _duration(other).ms)


def _duration(given: object) -> Duration:
    if not isinstance(given, Duration):
        raise WordError(f"now can't be moved by {given!r}", "write now - days(14) or now - minutes(30)")
    return given


@dataclass(frozen=True, eq=False)
class Compare(Condition):
    """Two values, compared; `left` is a term and `right` a term or a literal."""

    op: Operator
    left: Term
    right: object


@dataclass(frozen=True, eq=False)
class IsIn(Condition):
    """A value, and the literals or the list that must hold it."""

    term: Term
    values: object


@dataclass(frozen=True, eq=False)
class All(Condition):
    """All of these."""

    parts: tuple[object, ...]


@dataclass(frozen=True, eq=False)
class Any(Condition):
    """At least one of these."""

    parts: tuple[object, ...]


@dataclass(frozen=True, eq=False)
class Not(Condition):
    """Not this. What isn't known stays unknown."""

    part: object


class Namespace:
    """The features of one base: `item.stock` is the feature `stock` of entity item."""

    def __init__(self, of: Base) -> None:
        self._of = of

    def __getattr__(self, name: str) -> Feature:
        if name.startswith("_"):
            raise AttributeError(name)
        return Feature(self._of, name)

    def __repr__(self) -> str:
        return self._of
