"""All attacks of strangers at once, for some seconds; the whole suite is `liveshelf chaos --profile attacks`."""

from pathlib import Path

from jobs.lab.chaos import attacks


def test_six_attacks_at_once_change_nothing_for_others(tmp_path: Path, record_property) -> None:
    """Denials, flips, new items, colliding ids, guessed ids and idle connections, beside ten honest visitors."""
    result = attacks.run(tmp_path / "system", attacks.chosen([]), 0.2, print, at_once=True)
    (outcome,) = result["outcomes"]
    record_property("counts", outcome["counts"])
    assert outcome["error"] == ""
    assert outcome["broken"] == []
    assert set(outcome["honest"]) == {200}
    assert outcome["counts"]["purchases"] == 200
    assert outcome["counts"]["duplicates"] == 0
    assert outcome["compared"] > 100
