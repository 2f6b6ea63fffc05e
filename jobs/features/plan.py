"""The features job as plain data: made from Feast definitions at submit, shipped as one JSON file.

Operators read the plan and never Feast: Feast's import takes seconds, and its registry may change under them.
"""

import hashlib
import shutil
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

Frame = Literal["session", "range", "slide", "fact"]
FACTS = "facts:"  # begins the key of an operator of item facts; a topic's name follows


class Output(msgspec.Struct, frozen=True):
    """One feature: `function` over `column`. `n` belongs to last_N; `window_ms` is 0 in a session."""

    name: str
    function: str
    column: str
    dtype: str
    n: int = 0
    window_ms: int = 0
    dropped: bool = False  # no longer defined: still computed, because the part's state holds it, but not written

    def means_the_same(self, other: "Output") -> bool:
        """Return True if the state of one can serve the other."""
        return msgspec.structs.replace(self, dropped=other.dropped) == other


class ViewPlan(msgspec.Struct, frozen=True):
    """One view: an entity, a frame, and its features. The frame of item facts is the item's newest record.

    Features that are added to a running job become a further `part` of their view. A part has an operator with state of
    its own (see `evolve`). `part` counts the additions.
    """

    name: str
    entity: str
    frame: Frame
    outputs: list[Output]
    ttl_ms: int
    gap_ms: int = 0
    slide_ms: int = 0
    part: int = 0

    def windows_ms(self) -> list[int]:
        """Return the view's window lengths, shortest first."""
        return sorted({output.window_ms for output in self.outputs})

    def columns(self) -> list[str]:
        """Return the event columns that the view reads, without its entity."""
        return sorted({output.column for output in self.outputs if output.function != "is_single"} - {self.entity})


class Operator(NamedTuple):
    """The views of one entity that are computed together: one state and one row for all of them.

    `key` names the operator in rows, in versions, and in savepoints, where it finds its state.
    """

    key: str
    entity: str
    slide_ms: int
    views: list[ViewPlan]

    @property
    def ttl_ms(self) -> int:
        """Return how long a row is kept: as long as its longest view. 0 is for ever."""
        return 0 if any(not view.ttl_ms for view in self.views) else max(view.ttl_ms for view in self.views)

    @property
    def of_facts(self) -> bool:
        """Return True if rows are records of item facts: their offset is their version."""
        return self.views[0].frame == "fact"

    @property
    def fields(self) -> list[str]:
        """Return the names of the values in a row, in their order."""
        return [output.name for view in self.views for output in view.outputs]


class FactTopic(msgspec.Struct, frozen=True):
    """A topic of item facts, and the views that read it. Their columns are the fields of its records."""

    topic: str
    views: list[ViewPlan]


class FeaturePlan(msgspec.Struct, frozen=True):
    """All views of one job. Those that aggregate read one topic of events, with one watermark delay."""

    project: str
    topic: str
    delay_ms: int
    views: list[ViewPlan]
    services: dict[str, list[str]] = {}  # feature service → its "view:feature"s, in order
    facts: list[FactTopic] = []

    def parts(self, name: str) -> list[ViewPlan]:
        """Return a view's parts, oldest first."""
        return [view for view in self.views if view.name == name]

    def operators(self) -> list[Operator]:
        """Return the operators: for views as of each event one an entity and part, for sliding views one a slide."""
        groups: dict[tuple[int, str, int], list[ViewPlan]] = {}
        for view in self.views:
            groups.setdefault((view.part, view.entity, view.slide_ms), []).append(view)
        return [
            Operator(
                f"{entity}{f'_every_{slide_ms}' * bool(slide_ms)}{f'_part{part}' * bool(part)}", entity, slide_ms, views
            )
            for (part, entity, slide_ms), views in groups.items()
        ]

    def fact_operators(self) -> list[Operator]:
        """Return one operator a topic of item facts. None of them has state."""
        return [Operator(FACTS + each.topic, each.views[0].entity, 0, each.views) for each in self.facts]

    def writers(self) -> list[Operator]:
        """Return all operators whose rows are written to the online store."""
        return [*self.operators(), *self.fact_operators()]

    def facts_digest(self) -> str:
        """Return a name for the views of facts as they are; "" if there are none.

        The source that reads the topics bears it. So after a change of a view the topics are read from their
        beginnings, and what is new of a view is known of all items. It is a part of the state: a release that changed
        the text below could restore no savepoint.
        """
        text = "".join(
            f"{each.topic} {view.name} {view.ttl_ms} {output.name} {output.dtype}\n"
            for each in self.facts
            for view in each.views
            for output in view.outputs
        )
        return hashlib.sha256(text.encode()).hexdigest()[:12] if text else ""


def save(plan: FeaturePlan, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(plan), indent=1))


def load(path: Path) -> FeaturePlan:
    return msgspec.json.decode(path.read_bytes(), type=FeaturePlan)


def wanted_path(state_dir: Path) -> Path:
    """Return the file of the plan that is about to be submitted."""
    return state_dir.resolve() / "jobs" / "features.wanted.json"


def submitted_path(state_dir: Path) -> Path:
    """Return the file of the plan that was submitted last. A savepoint holds this plan's state."""
    return state_dir.resolve() / "jobs" / "features.plan.json"


def keep_submitted(state_dir: Path) -> None:
    shutil.copyfile(wanted_path(state_dir), submitted_path(state_dir))


def submitted(state_dir: Path) -> FeaturePlan | None:
    path = submitted_path(state_dir)
    return load(path) if path.is_file() else None


def evolve(running: FeaturePlan, wanted: FeaturePlan) -> FeaturePlan:
    """Return `wanted` in a form that takes over the state of `running`.

    Known parts stay as they are, and what is new becomes one more part. Raises nothing: a change that can't be taken
    over is refused before (see `changes.py`).
    """
    defined = {(view.name, output.name) for view in wanted.views for output in view.outputs}
    ttl_ms = {view.name: view.ttl_ms for view in wanted.views}
    kept = [
        msgspec.structs.replace(
            part,
            ttl_ms=ttl_ms.get(part.name, part.ttl_ms),
            outputs=[
                msgspec.structs.replace(each, dropped=(part.name, each.name) not in defined) for each in part.outputs
            ],
        )
        for part in running.views
    ]
    known = {(part.name, output.name) for part in running.views for output in part.outputs}
    addition = 1 + max((part.part for part in running.views), default=-1)
    added = []
    for view in wanted.views:
        new = [output for output in view.outputs if (view.name, output.name) not in known]
        if new:
            added.append(msgspec.structs.replace(view, outputs=new, part=addition))
    return msgspec.structs.replace(wanted, views=[*kept, *added])
