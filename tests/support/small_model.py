"""A model that fits on a page: a session's state is the sum of its items' vectors, and later events weigh more."""

import random

import numpy as np

from models.serving.newcomers import Words


class SmallBundle:
    """Has the attributes and methods of a bundle that lists are made with."""

    def __init__(self, rng: random.Random, items: int = 90) -> None:
        made = np.random.default_rng(rng.randrange(2**32))
        self.version = "small"
        self.items = ["", *(f"{number:02}" for number in range(items))]
        self.item_index = {item: number for number, item in enumerate(self.items) if number}
        self.type_index = {"view": 1, "add_to_cart": 2, "purchase": 3}
        self.names: dict[str, str] = {}
        self.popular = rng.sample(self.items[1:], 70)
        self.context_features = ["s:x"]
        self._vectors = made.normal(size=(items + 1, 8)).astype(np.float32)
        self._bias = made.normal(size=items).astype(np.float32)

        # Every other shop's model lists new items by their category, brand and price.
        self.words: Words | None = Words.of({"category": list("abc"), "brand": list("xy")}, {"price": [5.0, 12.0]})
        self._rows = made.normal(size=(9, 9)).astype(np.float32)
        if rng.random() < 0.5:
            self.words = None
        # And every other one divides visitors into three segments.
        self._centres = made.normal(size=(3, 8)).astype(np.float32)
        self.segments = [{"share": 1 / 3, "items": []}] * 3 if rng.random() < 0.5 else []

    def bias(self, added: np.ndarray) -> np.ndarray:
        return added

    def newcomers(self, words):
        return self._rows[0] + np.where((words > 0)[:, :, None], self._rows[words], 0).sum(axis=1)

    def score_with(self, outputs, *inputs, k, bias=None):
        states = self._states(*inputs[:4])
        others = {"query": states, "segment": self._nearness(states).argmax(axis=1)}
        return *self.score(*inputs, k=k, bias=bias), *(others[name] for name in outputs)

    def segments_of(self, *inputs):
        nearness = self._nearness(self._states(*inputs[:4]))
        return nearness.argmax(axis=1), nearness

    def _nearness(self, states):
        return states @ self._centres.T

    def score(self, items, types, gaps, lengths, context, k=100, bias=None):
        state = self._states(items, types, gaps, lengths)
        totals = state @ self._vectors[1:].T + self._bias + 0.1 * context
        totals = (totals if bias is None else totals + bias).astype(np.float32)
        order = np.argsort(-totals, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(totals, order, axis=1), order + 1

    def _states(self, items, types, gaps, lengths):
        state = np.zeros((len(items), 8), np.float32)
        for place in range(items.shape[1]):
            is_there = (place < lengths)[:, None]
            step = 0.6 * state + types[:, place, None] * self._vectors[items[:, place]] - 0.05 * gaps[:, place, None]
            state = np.where(is_there, step, state).astype(np.float32)
        return state
