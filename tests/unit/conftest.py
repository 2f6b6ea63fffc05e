"""Hold the rule of this level: a unit test starts no process and imports no heavy library."""

import sys
from collections.abc import Generator, Iterator
from typing import Any

import pytest

STARTS = frozenset({"subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system"})
HEAVY = ("feast", "mlflow", "pyflink.table", "torch")
ADDRESS = "it belongs to tests/integration"
BEFORE = pytest.StashKey[set[str]]()


class Watch:
    """Remember each process that Python starts, through its audit events. An audit hook can't be removed again."""

    def __init__(self) -> None:
        self.starts: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in STARTS:
            self.starts.append(f"{event} {arguments[:1]}")


WATCH = Watch()


def heavy_modules() -> set[str]:
    """Return those that are imported; None stands for one that a test has made unimportable."""
    return {name for name in HEAVY if sys.modules.get(name) is not None}


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Refuse a module that imports a heavy library."""
    before = heavy_modules()
    report = yield
    if imported := heavy_modules() - before:
        report.outcome, report.longrepr = "failed", f"this file imports {sorted(imported)}: {ADDRESS}"
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    WATCH.starts.clear()
    item.stash[BEFORE] = heavy_modules()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail the test that has started a process, or is the first to import a heavy library; its fixtures count too."""
    result = yield
    if WATCH.starts:
        pytest.fail(f"a unit test starts no process, this one did {WATCH.starts}: {ADDRESS}")
    if imported := heavy_modules() - item.stash[BEFORE]:
        pytest.fail(f"a unit test doesn't import {sorted(imported)}: {ADDRESS}")
    return result
