"""A cluster of an operator's own, hurt in each of its parts; the whole is `liveshelf chaos --profile cluster`."""

from pathlib import Path

import pytest

from jobs.lab.chaos.own.system import OwnSystem
from jobs.lab.chaos.run import acts, run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3000)]


def test_an_own_cluster_survives_each_scenario(tmp_path: Path) -> None:
    """C5 needs root, and C6 `moto_server`: what can't be tried here fails, and isn't passed over."""
    result = run(tmp_path / "own", acts("cluster", [], [1]), print, kind=OwnSystem)
    assert [outcome["scenario"] for outcome in result["outcomes"]] == ["C1", "C2", "C3", "C4", "C5", "C6", "C7"]
    assert [outcome for outcome in result["outcomes"] if not outcome["ok"]] == []
