"""Costs from a result that a bench stored."""

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import DataError
from jobs.lab.budget import coefficients

TIMES = {"python_worker": 20.5, "task_manager": 10, "redis": 5, "broker": 2, "job_manager": 9.0}
RESULT: dict[str, Any] = {
    "machine": {"cpu": "Z80", "cores": 1, "date": "1976-07-01 00:00 UTC"},
    "features": {"events_per_s": 300, "cpu_us_by_process": TIMES},
    "rankings": {"events_per_s": 200, "cpu_us_by_process": TIMES | {"redis": 7}},
}


def stored(folder: Path, result: object) -> Path:
    file = folder / "profile.json"
    file.write_text(json.dumps(result))
    return file


def test_a_stored_profile_replaces_processor_times_only(tmp_path: Path) -> None:
    shipped = coefficients.shipped()
    known = coefficients.with_profile(shipped, stored(tmp_path, RESULT))
    assert known.processor.features == {"task_manager": 10, "python_worker": 20.5, "redis": 5, "broker": 2}
    assert known.processor.rankings["redis"] == 7
    assert known.processor.at == {"events/s": 200}
    assert str(known.processor) == "liveshelf bench, stored in profile.json, 1 cores, Z80, 1976-07-01 00:00 UTC"
    assert (known.redis, known.catalogue, known.state) == (shipped.redis, shipped.catalogue, shipped.state)


def test_a_quick_profile_is_called_rough(tmp_path: Path) -> None:
    file = stored(tmp_path, RESULT | {"rough": "yes"})
    assert "rough" in str(coefficients.with_profile(coefficients.shipped(), file).processor)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"machine": 1}, "is no result of the bench"),
        ({"rankings": None}, "holds no events_per_s of the rankings job"),
        (
            {"features": {"events_per_s": 3}},
            "no processor time of the features job's task_manager, python_worker, redis",
        ),
        ({"features": {"events_per_s": 3, "cpu_us_by_process": TIMES | {"redis": 0}}}, "features job's redis"),
    ],
)
def test_a_result_that_lacks_something_is_refused(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        coefficients.with_profile(coefficients.shipped(), stored(tmp_path, RESULT | changed))


def test_a_file_that_isnt_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="can't be read"):
        coefficients.with_profile(coefficients.shipped(), tmp_path / "none.json")
