"""What the features job computes, as plain data: made from Feast definitions at submit, shipped as one JSON file.

Operators read the plan and never Feast, whose import takes seconds and whose registry may change under them.
"""

import hashlib
from pathlib import Path
from typing import Literal

import msgspec

Frame = Literal["session", "range", "slide"]


class Output(msgspec.Struct, frozen=True):
    """One feature: `function` over `column`; `n` for last_N, `window_ms` 0 in a session."""

    name: str
    function: str
    column: str
    dtype: str
    n: int = 0
    window_ms: int = 0


class ViewPlan(msgspec.Struct, frozen=True):
    """One stream feature view: whose features, over which frame."""

    name: str
    entity: str
    frame: Frame
    outputs: list[Output]
    ttl_ms: int
    gap_ms: int = 0
    slide_ms: int = 0
    history_path: str = ""

    def windows_ms(self) -> list[int]:
        """The view's window lengths, shortest first."""
        return sorted({output.window_ms for output in self.outputs})

    def columns(self) -> list[str]:
        """The event columns that the view reads, without its entity."""
        return sorted({output.column for output in self.outputs if output.function != "is_single"} - {self.entity})


class FeaturePlan(msgspec.Struct, frozen=True):
    """All views of one job; they read one topic with one watermark delay."""

    project: str
    topic: str
    delay_ms: int
    views: list[ViewPlan]

    def view(self, name: str) -> ViewPlan:
        return next(view for view in self.views if view.name == name)

    def fingerprint(self) -> str:
        """Changes when anything changes that the job's results depend on."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:12]


def save(plan: FeaturePlan, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(plan), indent=1))


def load(path: Path) -> FeaturePlan:
    return msgspec.json.decode(path.read_bytes(), type=FeaturePlan)
