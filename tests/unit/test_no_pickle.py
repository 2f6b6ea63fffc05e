"""Nothing that is unpickled runs code, because nothing is pickled: not in state, not between operators, not on disk.

Two things are, by PyFlink itself, and stay: the functions that a job is submitted with (whoever submits may run code in
any case), and nothing else. What flows and what is kept has a declared type.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.settings import REPOSITORY

MODULES = ("pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib", "jsonpickle")
CALLS = ("eval", "exec", "compile", "__import__")
# Of PyFlink's transformations: the argument without which it pickles what it passes on, or the key.
TYPED = {
    "key_by": "key_type",
    "process": "output_type",
    "flat_map": "output_type",
    "map": "output_type",
    "from_collection": "type_info",
    "udf": "result_type",
    "udtf": "result_types",
    "udaf": "result_type",
}


# Written as tutorials write it, to measure beside it: they pickle.
TUTORIALS = ("tutorial_features.py", "tutorial_rankings.py")


def sources() -> list[Path]:
    every = [file for folder in ("jobs", "models", "feature_repo") for file in (REPOSITORY / folder).rglob("*.py")]
    found = [file for file in every if file.name not in TUTORIALS]
    assert len(found) > 100
    return found


def problems(code: str) -> list[str]:
    """What a file does that pickles, or runs text as code."""
    tree = ast.parse(code)
    streams = "pyflink.datastream" in code
    return [found for node in ast.walk(tree) for found in (*_imports(node), *_names(node), *_calls(node, streams))]


def _imports(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        names = [node.module or ""]
    else:
        return
    yield from (f"line {node.lineno}: imports {name}" for name in names if name.partition(".")[0] in MODULES)


def _names(node: ast.AST) -> Iterator[str]:
    if not isinstance(node, ast.Attribute | ast.Name):
        return
    name = node.attr if isinstance(node, ast.Attribute) else node.id
    if "PICKLED" in name or name in ("read_pickle", "to_pickle"):
        yield f"line {node.lineno}: {name}"


def _calls(node: ast.AST, streams: bool) -> Iterator[str]:
    if not isinstance(node, ast.Call):
        return
    given = {keyword.arg for keyword in node.keywords}
    if isinstance(node.func, ast.Name):
        if node.func.id in CALLS:
            yield f"line {node.lineno}: {node.func.id}()"
        if node.func.id in TYPED and TYPED[node.func.id] not in given and node.func.id.startswith("ud"):
            yield f"line {node.lineno}: {node.func.id} without {TYPED[node.func.id]}"
    if not isinstance(node.func, ast.Attribute):
        return
    called, of = node.func.attr, ast.unparse(node.func.value)
    if (of, called) in (("yaml", "load"), ("np", "load"), ("torch", "load"), ("torch", "save")):
        yield f"line {node.lineno}: {of}.{called}()"
    if streams and called in TYPED and TYPED[called] not in given:
        yield f"line {node.lineno}: {called} without {TYPED[called]}"


@pytest.mark.parametrize("file", sources(), ids=lambda file: str(file.relative_to(REPOSITORY)))
def test_a_source_file_neither_pickles_nor_runs_text(file: Path) -> None:
    assert problems(file.read_text()) == []


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("import pickle", "imports pickle"),
        ("def f():\n    from dill import loads", "imports dill"),
        ("import torch.utils, cloudpickle.cloudpickle as c", "imports cloudpickle.cloudpickle"),
        ("Types.PICKLED_BYTE_ARRAY()", "PICKLED_BYTE_ARRAY"),
        ("eval('1')", "eval()"),
        ("exec(text)", "exec()"),
        ("yaml.load(text)", "yaml.load()"),
        ("frame.to_pickle(path)", "to_pickle"),
        ("torch.load(path)", "torch.load()"),
        ("udf(f, func_type='pandas')", "udf without result_type"),
        ("from pyflink.datastream import X\nstream.key_by(f)", "key_by without key_type"),
        ("from pyflink.datastream import X\nstream.process(f)", "process without output_type"),
    ],
)
def test_the_search_finds_what_it_looks_for(code: str, problem: str) -> None:
    assert [found.partition(": ")[2] for found in problems(code)] == [problem]


@pytest.mark.parametrize(
    "code", ["model.eval()", "def eval(self): ...", "yaml.safe_load(t)", "pool.map(f, x)", "re.compile(x)"]
)
def test_the_search_leaves_harmless_names_alone(code: str) -> None:
    assert problems(code) == []
