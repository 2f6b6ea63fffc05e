"""What the command says of scenarios that failed."""

import pytest

from jobs.commands.chaos import _refuse_failures
from jobs.errors import MismatchError


def test_a_failure_is_named_with_its_seed() -> None:
    outcomes = [
        {"scenario": "F1", "seed": 3, "ok": False},
        {"scenario": "A2", "ok": False},
        {"scenario": "A1", "ok": True},
    ]
    with pytest.raises(MismatchError, match=r"failed: F1 \(seed 3\), A2\n"):
        _refuse_failures({"ok": False, "outcomes": outcomes}, "liveshelf chaos")
    _refuse_failures({"ok": True, "outcomes": []}, "liveshelf chaos")
