"""Which scenarios a profile plays, and how large its doses are."""

import pytest

from jobs.errors import SettingsError
from jobs.lab.chaos.run import acts


def test_an_own_cluster_has_scenarios_of_its_own() -> None:
    played = acts("cluster", [], [3])
    assert [act.scenario.name for act in played] == ["C1", "C2", "C3", "C4", "C5", "C6", "C7"]
    assert {act.seed for act in played} == {3}
    assert [act.dose for act in played if act.scenario.name in ("C1", "C4")] == [2, 60]


@pytest.mark.parametrize(("profile", "name"), [("cluster", "F1"), ("nightly", "C1")])
def test_a_scenario_of_another_system_is_refused(profile: str, name: str) -> None:
    """An embedded system has one broker and no Sentinel, and an own one is behind no proxy."""
    with pytest.raises(SettingsError, match=f"no scenario {name}"):
        acts(profile, [name], [1])
