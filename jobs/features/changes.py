"""What becomes of the running jobs' state when definitions or settings change, told before anything is submitted.

A change with a `fix` can't go on from a savepoint: the state that it names would be lost. All others can.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from jobs.contract.ranker_settings import RankerSettings
from jobs.features.plan import FeaturePlan, Output, ViewPlan
from jobs.flow import saved_config, submissions
from jobs.settings import MAX_WINDOW_EVENTS, Settings

Job = Literal["features", "rankings"]
ANEW = "submit without a savepoint: the topic is replayed from its start"
RENAME = f"give it a new name: then it counts from the savepoint on, and all others keep their values; or {ANEW}"
COUNTS_ON = "counts from the savepoint on; all others keep their values"
READ_AGAIN = "the topics of facts are read again from their beginnings; events keep all state"
FRAMES = {"session": "a session", "range": "time as of each event", "slide": "sliding time"}


class Change(NamedTuple):
    """One change, the state that it meets, and the way out where that state can't be taken over."""

    view: str
    field: str
    what: str
    state: str
    fix: str = ""

    def __str__(self) -> str:
        where = ".".join(part for part in (self.view, self.field) if part)
        return f"{where}: {self.what}: {self.state}" + f"\n  fix: {self.fix}" * bool(self.fix)


def lost(changes: list[Change]) -> list[Change]:
    """Those that can't go on from a savepoint."""
    return [change for change in changes if change.fix]


def of_plan(running: FeaturePlan, wanted: FeaturePlan) -> list[Change]:
    """Every difference between the plan whose state a savepoint holds and what is defined now."""
    views = {view.name: view for view in wanted.views}
    names = dict.fromkeys([*views, *(part.name for part in running.views)])
    of_views = [change for name in names for change in _of_view(name, running.parts(name), views.get(name))]
    return [*_of_source(running, wanted), *of_views, *_of_facts(running, wanted)]


def _of_facts(running: FeaturePlan, wanted: FeaturePlan) -> Iterator[Change]:
    """Facts have no state, so that every change can be carried over: all of their topics are read again."""
    before, after = _facts(running), _facts(wanted)
    for name in dict.fromkeys([*after, *before]):
        if name not in before:
            yield Change(*name, "is new", READ_AGAIN)
        elif name not in after:
            yield Change(*name, "is no longer defined", "what was written stays until the item's facts are removed")
        elif before[name] != after[name]:
            told = " became ".join(
                f"{topic} as {dtype} for {_span(ttl)}" for topic, dtype, ttl in (before[name], after[name])
            )
            yield Change(*name, told, READ_AGAIN)


def _facts(plan: FeaturePlan) -> dict[tuple[str, str], tuple[str, str, int]]:
    """Return by view and feature: topic, type and time to live."""
    return {
        (view.name, output.name): (each.topic, output.dtype, view.ttl_ms)
        for each in plan.facts
        for view in each.views
        for output in view.outputs
    }


def _of_source(running: FeaturePlan, wanted: FeaturePlan) -> Iterator[Change]:
    if running.topic != wanted.topic:
        yield _of_topic("topic", running.topic, wanted.topic)
    if running.delay_ms != wanted.delay_ms:
        what = f"{_span(running.delay_ms)} became {_span(wanted.delay_ms)}"
        yield Change("", "watermark_delay_threshold", what, "all state is kept; what was late stays uncounted")


def _of_topic(field: str, before: str, after: str) -> Change:
    state = f"the state holds the job's places in {before}, where it would go on reading"
    return Change("", field, f"{before} became {after}", state, f"leave the topic as it was, or {ANEW}")


def _of_view(name: str, parts: list[ViewPlan], view: ViewPlan | None) -> Iterator[Change]:
    outputs = [output for part in parts for output in part.outputs]
    written = [output.name for output in outputs if not output.dropped]
    if view is None:
        if written:
            yield _gone(name, "", f"the state of {', '.join(written)}")
    elif not parts:
        yield Change(name, "", "is new", COUNTS_ON)
    elif moved := _frame_changes(parts[0], view):
        kept = ", ".join(written)
        yield Change(name, "", moved, f"what {kept} have counted can't be taken over", RENAME)
    else:
        yield from _of_outputs(name, outputs, view)
        if parts[0].ttl_ms != view.ttl_ms:
            what = f"{_span(parts[0].ttl_ms)} became {_span(view.ttl_ms)}"
            yield Change(name, "ttl", what, "all state is kept; rows that are written from now on have the new one")


def _frame_changes(before: ViewPlan, after: ViewPlan) -> str:
    """What all features of a view share and its state is made for; "" when that is as it was."""
    told = []
    if before.entity != after.entity:
        told.append(f"entity {before.entity} became {after.entity}")
    if before.frame != after.frame:
        told.append(f"window over {FRAMES[before.frame]} became one over {FRAMES[after.frame]}")
    elif before.gap_ms != after.gap_ms:
        told.append(f"session gap {_span(before.gap_ms)} became {_span(after.gap_ms)}")
    elif before.slide_ms != after.slide_ms:
        told.append(f"slide_interval {_span(before.slide_ms)} became {_span(after.slide_ms)}")
    return " and ".join(told)


def _of_outputs(view: str, known: list[Output], wanted: ViewPlan) -> Iterator[Change]:
    before, after = ({output.name: output for output in outputs} for outputs in (known, wanted.outputs))
    for name, output in after.items():
        if name not in before:
            yield Change(view, name, "is new", COUNTS_ON)
        elif not before[name].means_the_same(output):
            what = f"{_told(before[name])} became {_told(output)}"
            yield Change(view, name, what, "what it has counted can't be taken over", RENAME)
        elif before[name].dropped:
            yield Change(view, name, "is defined again", "it goes on from its state, which was kept")
    for name, output in before.items():
        if name not in after and not output.dropped:
            yield _gone(view, name, "its state")


def _gone(view: str, field: str, state: str) -> Change:
    return Change(view, field, "is no longer defined", f"{state} is kept and counts on, unwritten, should it come back")


def _span(ms: int) -> str:
    return f"{ms / 1000:.3f}".rstrip("0").rstrip(".") + " s"


def _told(output: Output) -> str:
    window = f" over {_span(output.window_ms)}" if output.window_ms else ""
    return f"{output.function}({output.column}){window} as {output.dtype}"


class Chosen(msgspec.Struct, frozen=True):
    """The settings that a job's state depends on, or that one may think it depends on."""

    events_topic: str
    consent_topic: str
    parallelism: int
    dedup_horizon_s: int
    ranker: RankerSettings
    max_window_events: int = MAX_WINDOW_EVENTS  # files that were saved before it was there are read, too

    @classmethod
    def of(cls, settings: Settings) -> "Chosen":
        """Return them as they stand now."""
        return cls(**{name: getattr(settings, name) for name in cls.__struct_fields__})


DIVIDED = "all state is kept and divided anew"
HARMLESS: dict[Job, dict[str, str]] = {
    "features": {
        "parallelism": DIVIDED,
        "dedup_horizon_s": "all state is kept; ids are remembered for the new time",
        "max_window_events": "all state is kept; windows are cut to a smaller one at their next event, or fill up",
    },
    "rankings": {"parallelism": DIVIDED},
}
# The rankings job's state holds visitors' events only, so every setting of the ranker may change.
OF_RANKER = {
    "session_gap_s": "all state is kept; it cuts each visitor's next list",
    "model_dir": "all state is kept: it holds events, nothing of a model",
    "shelves_dir": "all state is kept: it holds events, nothing of shelves",
    "shelf": "all state is kept; lists on the old shelf stay until they expire",
}
OF_ANY_RANKER_SETTING = "all state is kept; it holds from each visitor's next list on"
NOT_COMPARED = "model_public_key"  # settings name its file, the saved configuration holds its text


def of_settings(job: Job, before: Chosen, now: Chosen) -> list[Change]:
    """Return every difference between the settings that a job was submitted with and those that hold now.

    The events topic of the features job is a part of its plan.
    """
    topics = ("consent_topic",) if job == "features" else ("events_topic", "consent_topic")
    changes = [_of_topic(name, *values) for name in topics if (values := _differing(before, now, name))]
    changes += _harmless(HARMLESS[job], before, now)
    if job == "rankings":
        names = [name for name in RankerSettings.__struct_fields__ if name != NOT_COMPARED]
        states = {name: OF_RANKER.get(name, OF_ANY_RANKER_SETTING) for name in names}
        changes += _harmless(states, before.ranker, now.ranker)
    return [change._replace(view=f"{job} job") for change in changes]


def _harmless(states: dict[str, str], before: msgspec.Struct, now: msgspec.Struct) -> list[Change]:
    """Return the changes of the fields named in `states`, which tells what becomes of the job's state."""
    values = {name: _differing(before, now, name) for name in states}
    return [Change("", name, f"{pair[0]} became {pair[1]}", states[name]) for name, pair in values.items() if pair]


def _differing(before: msgspec.Struct, now: msgspec.Struct, name: str) -> tuple[Any, Any] | None:
    """Return a field's value before and now, or None where they are equal."""
    pair = getattr(before, name), getattr(now, name)
    return pair if pair[0] != pair[1] else None


def kept(state_dir: Path, job: Job) -> Chosen | None:
    """Return the settings that a job was submitted with last, None where none was submitted from this state folder."""
    path = submissions.config_path(state_dir, job)
    return saved_config.read(path, Chosen) if path.is_file() else None
