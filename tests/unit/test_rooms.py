"""The rooms of the house: which package may import which. Every import counts, lazy ones too."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
ROOMS_OF_MODELS = ("serving", "clicks", "quality", "session", "runs")
LOOSE_FILES = {"__init__", "cli", "errors", "session_features", "session_rankings", "settings"}

# What a room may import beside itself and `jobs.errors`. A room that isn't named here may import any room below it.
ONLY = {
    "jobs.contract": set(),
    "jobs.connect": {"jobs.contract", "jobs.settings", "liveshelf"},
    "jobs.files": {"jobs.contract"},
    "jobs.catalogue": {"jobs.contract", "jobs.connect", "jobs.files"},
    "jobs.shelves": {"jobs.contract", "jobs.catalogue", "jobs.versions", "liveshelf"},
    "jobs.versions": set(),
    "models.serving": {"jobs.versions"},
    "models.clicks": {"models.serving", "jobs.files"},
    "models.quality": {"models.serving", "models.clicks"},
    "models.session": {"models.serving", "models.clicks", "models.quality"},
    "models.runs": {"models.serving", "models.clicks", "models.quality", "models.session"},
}
ORACLE = "jobs.verify"
APART = ("jobs.features", "jobs.rankings", "jobs.verify")  # the oracle stays independent of what it judges
# One set of rules for a person's files, in training and replay; and one way of keeping versions.
OF_JOBS = {("models.clicks", "jobs.files"), ("models.serving", "jobs.versions")}
SHARED = {("jobs.rankings", "jobs.features.online_store")}  # the ranker reads what the features job writes
READERS_OF_MODELS = {
    "jobs.rankings",
    "jobs.learn",
    "jobs.verify",
    "jobs.why",
    "jobs.whatif",
    "jobs.operate",
    "jobs.lab",
    "jobs.commands",
}


def modules(root: Path = REPOSITORY) -> dict[str, Path]:
    """Every module of the product by its dotted name."""
    files = [file for folder in ("jobs", "models") for file in sorted((root / folder).rglob("*.py"))]
    names = [".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__") for file in files]
    return dict(zip((name.removeprefix("jobs.sdk.") for name in names), files, strict=True))


def imports(module: str, text: str, known: set[str]) -> Iterator[str]:
    """The modules of `known` that a module's text imports, wherever the statement stands."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            package = module.split(".")[: -node.level] if node.level else []
            base = ".".join([*package, *([node.module] if node.module else [])])
            for alias in node.names:
                target = f"{base}.{alias.name}"
                if target in known or base in known:
                    yield target if target in known else base


def room(module: str) -> str:
    """The room that a module stands in: its first two names, or the module itself where it stands in the hall.

    `liveshelf`, which apps import, is one room.
    """
    names = module.split(".")
    return names[0] if names[0] == "liveshelf" else ".".join(names[:2])


def arrows() -> set[tuple[str, str]]:
    """All imports of one module of the product by another."""
    files = modules()
    return {
        (module, target)
        for module, file in files.items()
        for target in imports(module, file.read_text(), set(files))
        if target != module and target not in ("jobs", "models")
    }


def circle(pairs: set[tuple[str, str]]) -> list[str]:
    """Rooms that import each other in a circle, none if there is no such circle."""
    graph: dict[str, set[str]] = {}
    for source, target in pairs:
        if room(source) != room(target):
            graph.setdefault(room(source), set()).add(room(target))
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def forbidden(source: str, target: str) -> str:
    """The rule that an import breaks, "" for one that breaks none."""
    here, there = room(source), room(target)
    if here == there:
        return ""
    if here == "liveshelf":
        return "what an app imports works beside an app's own `jobs` and `models`"
    if there == "jobs.errors":
        return ""
    if there == "jobs.lab" and here != "jobs.commands":
        return "nothing but a command imports the lab"
    if there == "jobs.lake" and here != "jobs.commands":
        return "nothing but a command imports the lake: the jobs do without it"
    if here in ONLY and there not in ONLY[here]:
        return f"{here} imports only {sorted(ONLY[here])}"
    if here in APART and there in APART and (here, target) not in SHARED:
        return "features, rankings and verify never import each other"
    if here == ORACLE and there == "jobs.shelves":
        return "verify reads the plan of shelves, and shares no code with what evaluates it"
    if here.startswith("jobs.") and there.startswith("models.") and here not in READERS_OF_MODELS:
        return f"only {sorted(READERS_OF_MODELS)} import models"
    if here == "jobs.rankings" and there.startswith("models.") and there != "models.serving":
        return "a worker imports only models.serving"
    if here.startswith("models.") and there.startswith("jobs.") and (here, there) not in OF_JOBS:
        return "models import nothing of jobs but errors, the readers of files and versions"
    return ""


def test_no_two_rooms_import_each_other_even_through_others() -> None:
    assert circle(arrows()) == []


def test_no_import_breaks_a_rule() -> None:
    broken = sorted(
        f"{source} -> {target}: {rule}" for source, target in arrows() if (rule := forbidden(source, target))
    )
    assert broken == []


def test_only_graphs_settings_errors_and_cli_stand_in_the_hall() -> None:
    assert {file.stem for file in (REPOSITORY / "jobs").glob("*.py")} == LOOSE_FILES
    assert {file.stem for file in (REPOSITORY / "models").glob("*.py")} == {"__init__"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from jobs.verify import views", {"jobs.verify.views"}),
        ("def later():\n    from jobs.lab.demo.run import demo", {"jobs.lab.demo.run"}),
        ("import jobs.settings", {"jobs.settings"}),
        ("from .plan import FeaturePlan", {"jobs.features.plan"}),
        ("from pathlib import Path", set()),
    ],
)
def test_an_import_is_found_wherever_it_stands(text: str, expected: set[str]) -> None:
    known = {"jobs.verify.views", "jobs.lab.demo.run", "jobs.settings", "jobs.features.plan", "jobs.features.sql"}
    assert set(imports("jobs.features.sql", text, known)) == expected


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("jobs.verify.run", "jobs.features.plan"),
        ("jobs.rankings.ranker", "jobs.features.plan"),
        ("jobs.rankings.ranker", "models.session.gru"),
        ("jobs.contract.events", "jobs.settings"),
        ("liveshelf.reader", "jobs.contract.events"),
        ("liveshelf.key_file", "jobs.errors"),
        ("liveshelf", "models.serving.bundle"),
        ("jobs.operate.show", "jobs.lab.demo.run"),
        ("jobs.person.erase", "jobs.lake.forget"),
        ("jobs.flow.source", "models.serving.bundle"),
        ("models.serving.bundle", "jobs.settings"),
        ("models.serving.bundle", "jobs.files.text"),
        ("models.session.train", "jobs.files.events"),
        ("jobs.files.events", "jobs.settings"),
        ("jobs.verify.shelf_rules", "jobs.shelves.rules"),
        ("jobs.shelves.compile", "jobs.features.plan"),
    ],
)
def test_an_arrow_that_breaks_a_rule_is_named(source: str, target: str) -> None:
    assert forbidden(source, target)


def test_a_circle_through_three_rooms_is_found() -> None:
    pairs = {("jobs.a.x", "jobs.b.y"), ("jobs.b.z", "jobs.c.x"), ("jobs.c.y", "jobs.a.z")}
    assert set(circle(pairs)) == {"jobs.a", "jobs.b", "jobs.c"}
