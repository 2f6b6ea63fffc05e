"""The settings of a training, and its sessions cut by time into parts that teach, choose and test."""

from typing import NamedTuple

from jobs.errors import DataError
from models.clicks.dataset import Session
from models.clicks.sessions import Question, questions_of

TEACH, CHOOSE = 0.70, 0.15
DROPOUT = ((100.0, 0.2), (15.0, 0.35), (0.0, 0.45))  # clicks an item, at least, and the dropout from there on


class Recipe(NamedTuple):
    """Settings of a training; the defaults were chosen on the choosing parts of four sets (models/TRIALS.md)."""

    epochs: int = 10
    batch_rows: int = 128
    learning_rate: float = 3e-3
    dropout: float = 0.35
    hidden: int = 128
    negatives: int = 1024
    item_rate: float = 6.0  # times the learning rate, for the item matrix where negatives are drawn (epochs.py)
    alpha: float = 0.5  # negatives are drawn by popularity ** alpha
    loss: str = "cross_entropy"  # or bpr_max, with `penalty` on the scores of the negatives (losses.py)
    penalty: float = 0.01
    min_session: int = 1  # clicks; a shorter session teaches nothing (see dataset.with_support)
    min_item_support: int = 1  # clicks; a rarer item isn't in the catalogue

    @classmethod
    def for_sessions(cls, sessions: list[Session]) -> "Recipe":
        """Return the default recipe for so many sessions and clicks.

        Few sessions get small batches, for more steps. The fewer clicks an item has, the more dropout there is.
        """
        clicks = sum(map(len, sessions)) / len({event.item for session in sessions for event in session})
        dropout = next(dropout for least, dropout in DROPOUT if clicks >= least)
        return cls(dropout=dropout) if len(sessions) >= 50_000 else cls(epochs=12, batch_rows=64, dropout=dropout)


class Split(NamedTuple):
    """Sessions by time; `choose` and `test` as questions."""

    teach: list[Session]
    choose: list[Question]
    test: list[Question]


def split_by_time(
    sessions: list[Session], choose: list[Session] | None = None, test: list[Session] | None = None
) -> Split:
    """Cut sessions, oldest first, into 70 % that teach, 15 % to choose by and 15 % to test with.

    Sessions in `test` are the test part instead; then 85 % teach and 15 % choose. With `choose` and `test` all of
    `sessions` teach. Raises DataError if a part has no question to ask.
    """
    if choose and test:
        parts = Split(sessions, questions_of(choose), questions_of(test))
    else:
        share = TEACH if test is None else 1 - CHOOSE
        first, second = round(len(sessions) * share), round(len(sessions) * (share + CHOOSE))
        last = questions_of(sessions[second:] if test is None else test)
        parts = Split(sessions[:first], questions_of(sessions[first:second]), last)
    questions = sum(len(session) > 1 for session in parts.teach), len(parts.choose), len(parts.test)
    if not all(questions):
        raise DataError(
            f"{len(sessions):,} sessions, {sum(len(s) > 1 for s in sessions):,} of them with two clicks or more, are "
            f"too few: by time {questions[0]:,} of these teach, and {questions[1]:,} and {questions[2]:,} clicks are "
            "left to choose and to test with",
            "give at least some dozens of sessions with two clicks or more, also among the newest",
        )
    return parts
