"""A model whose lists can be foretold, and the committed one."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from models.serving.bundle import Bundle, load_bundle

ESHOP = Path(__file__).resolve().parents[3] / "models" / "artifacts" / "eshop"


@dataclass
class LadderBundle:
    """Five items a to e. After item i it lists i, i+1, … round the five, with scores 5, 4, 3, 2, 1."""

    names: dict[str, str] = field(default_factory=dict)
    items: tuple[str, ...] = ("", "a", "b", "c", "d", "e")
    popular: tuple[str, ...] = ("e", "d", "c", "b", "a")
    type_index: dict[str, int] = field(default_factory=lambda: {"view": 1, "purchase": 2})
    context_features: tuple[str, ...] = ("visitor_session:view_count",)
    segments: tuple[str, ...] = ()
    words: None = None  # new items aren't listed by their facts
    broken_after: int = 0  # a session that ends with this item gets a score that isn't a number
    calls: list[tuple] = field(default_factory=list)

    @property
    def item_index(self) -> dict[str, int]:
        return {item: index for index, item in enumerate(self.items) if item}

    def bias(self, added):
        return {"bias": added}

    def score_with(self, outputs, *inputs, k, bias=None):
        assert not outputs, "this bundle has nothing else to say"
        return self.score(*inputs, k=k, bias=bias)

    def score(self, items, types, gaps, lengths, context, k, bias=None):
        self.calls.append((items, types, gaps, lengths, context))
        k = min(k, 5)
        if bias is not None:
            scores, listed = self.score(items, types, gaps, lengths, context, 5)
            self.calls.pop()
            scores = scores + bias["bias"][listed - 1]
            order = np.argsort(-scores, axis=1, kind="stable")
            return np.take_along_axis(scores, order, 1)[:, :k], np.take_along_axis(listed, order, 1)[:, :k]
        last = items[np.arange(len(items)), lengths - 1]
        scores = np.tile(np.array([5, 4, 3, 2, 1], np.float32), (len(items), 1))
        scores[last == self.broken_after, 2] = np.nan
        return scores[:, :k], ((last[:, None] - 1 + np.arange(5)) % 5 + 1)[:, :k]


@pytest.fixture
def ladder() -> LadderBundle:
    return LadderBundle()


@pytest.fixture(scope="session")
def eshop() -> Bundle:
    if not (ESHOP / "manifest.json").is_file():
        pytest.skip(f"there is no bundle in {ESHOP}")
    return load_bundle(ESHOP)
