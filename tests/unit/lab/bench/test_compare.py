"""Two stored results side by side."""

from pathlib import Path

import msgspec
import pytest

from jobs.errors import DataError
from jobs.lab.bench.compare import lines, load, numbers, unlike

MACHINE = {"cpu": "a", "cores": 2, "memory_gb": 25.3, "python": "3.11.7", "load_1m": 0.1}
A = {"machine": MACHINE, "features": {"events_per_s": 2_000, "cpu_us_by_process": {"redis": 40.0}}, "seconds": 300}
B = {"machine": MACHINE | {"load_1m": 4.0}, "features": {"events_per_s": 3_000}, "read_ms": {"p50": 0.2}}


def test_each_number_has_a_line_with_its_ratio() -> None:
    rows = [line.split() for line in lines(A, B)]
    assert rows == [
        ["A", "B", "B", "/", "A"],
        ["features.events_per_s", "2,000", "3,000", "1.50"],
        ["features.cpu_us_by_process.redis", "40.0", "-", "-"],
        ["seconds", "300", "-", "-"],
        ["read_ms.p50", "-", "0.2", "-"],
    ]


def test_a_number_beside_zero_has_no_ratio() -> None:
    assert list(lines({"lists_per_s": 0}, {"lists_per_s": 5}))[1].split() == ["lists_per_s", "0", "5", "-"]


def test_the_machines_numbers_arent_compared() -> None:
    assert numbers({"machine": MACHINE}) == {}


def test_like_results_are_compared_without_a_warning() -> None:
    assert list(unlike(A, B)) == []


def test_another_machine_or_a_quick_run_is_a_warning() -> None:
    quick = A | {"rough": "rough"}
    assert list(unlike(A, B | {"machine": MACHINE | {"cores": 8}})) == ["cores differs: 2 and 8"]
    assert list(unlike(quick, B)) == ["one of the two is of a quick run, whose figures are rough"]
    assert list(unlike(quick, quick)) == ["both are of quick runs, whose figures are rough"]


def test_a_stored_result_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(msgspec.json.encode(A))
    assert load(tmp_path / "a.json") == A


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"machine": 1}', "\xff"])
def test_a_file_that_is_no_result_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=r"bench --json"):
        load(tmp_path / "a.json")
