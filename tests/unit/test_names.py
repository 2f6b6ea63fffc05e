"""A test's name is a sentence of at most ten words; its docstring holds the rest."""

import ast

from jobs.settings import REPOSITORY

WORDS = 10


def long_names(source: str) -> list[str]:
    """Return the names of tests, after `test_`, that have more than ten words."""
    functions = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return [
        function.name
        for function in functions
        if function.name.startswith("test_") and len(function.name.split("_")) - 1 > WORDS
    ]


def test_ten_words_are_allowed_and_eleven_are_too_many():
    ten = "def test_a_b_c_d_e_f_g_h_i_j(): ...\n"
    eleven = "class TestIt:\n    def test_a_b_c_d_e_f_g_h_i_j_k(self): ...\n"
    assert long_names(ten + eleven) == ["test_a_b_c_d_e_f_g_h_i_j_k"]


def test_no_test_has_a_longer_name():
    files = {str(file.relative_to(REPOSITORY)): file.read_text() for file in (REPOSITORY / "tests").rglob("test_*.py")}
    assert len(files) > 50
    assert {name: names for name, source in files.items() if (names := long_names(source))} == {}
