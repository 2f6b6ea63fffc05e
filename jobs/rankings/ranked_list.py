"""The result of ranking one session."""

from typing import Literal, NamedTuple

# Why a visitor gets the popularity list. popular: no item of the session is known to the model. model_error: a score
# wasn't finite. no_consent: the visitor may not be personalized.
Fallback = Literal["popular", "model_error", "no_consent"]


class ShelfPart(NamedTuple):
    """What a list of a shelf says beside items and scores; see `ShelfValue`."""

    about: list[str]
    why: list[int]
    seen: list[str]
    because: list[int]
    spare: int
    is_wide: bool


class RankedList(NamedTuple):
    """What a visitor should see, best first."""

    items: list[str]
    scores: list[float]  # parallel to `items`, all 0.0 where a `fallback` is named
    fallback: Fallback | None
    session_items: list[str]  # what the model saw of the session, oldest first
    shelf: ShelfPart | None = None
