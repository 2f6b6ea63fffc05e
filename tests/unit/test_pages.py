"""The pages: the front page stays short and plain, links lead somewhere, and nothing points out of the repository."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text()
FOLDERS = ("jobs", "models", "feature_repo", "docker", "tests")
PAGES = [page for page in REPOSITORY.glob("*.md")] + [
    page for folder in FOLDERS for page in (REPOSITORY / folder).rglob("*.md") if "datasets" not in page.parts
]
LONGEST_SENTENCE = 25  # words, on the front page
LEADS_OUT = re.compile(r"\.\./shared|\bshared/|(?<!/)\bDESIGN\.md|\bHOUSE\.md|\bSTYLE\.md|\bissue \d+")
MADE_BY_ITS_READER = {"docker/secrets"}
SAYS_WHERE_DATA_LIES = {"learning.py"}  # its example names a folder of the reader's own


def prose(page: str) -> str:
    """Return a page's sentences: without code, tables, pictures, headings and the addresses of links."""
    text = re.sub(r"```.*?```", "", page, flags=re.S)
    lines = [line for line in text.splitlines() if not line.startswith(("|", "#", "!"))]
    return re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", "\n".join(lines))


def sentences(text: str) -> list[str]:
    """Return the sentences of paragraphs and list items."""
    blocks = re.split(r"\n\s*\n(?:- )?|\n- ", text)
    return [part for block in blocks for part in re.split(r"(?<=[.:;!?])\s+", " ".join(block.split())) if part]


def links(page: Path) -> Iterator[str]:
    """Yield the relative targets of a page's links and pictures."""
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            yield target


def comments_and_docstrings(file: Path) -> str:
    """Return what a Python or Java file says to its readers."""
    text = file.read_text()
    if file.suffix == ".java":
        return "\n".join(re.findall(r"//.*|/\*.*?\*/", text, re.S))
    nodes = ast.walk(ast.parse(text))
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    documented = [ast.get_docstring(node) or "" for node in nodes if isinstance(node, kinds)]
    return "\n".join([*documented, *re.findall(r"#.*", text)])


def test_the_front_page_fits_one_screen_or_two() -> None:
    assert len(README.splitlines()) <= 100
    assert len(README.encode()) <= 7000


def test_no_sentence_of_the_front_page_needs_a_second_breath() -> None:
    assert [each for each in sentences(prose(README)) if len(each.split()) > LONGEST_SENTENCE] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    assert [target for target in links(page) if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_files_that_a_page_names_exist(page: Path) -> None:
    """A path in backquotes that begins with one of the repository's folders is a file or folder there."""
    named = re.findall(r"`((?:jobs|models|feature_repo|docker|tests)/[\w./-]+)", page.read_text())
    assert [path for path in set(named) - MADE_BY_ITS_READER if not (REPOSITORY / path.rstrip("./")).exists()] == []


def test_nothing_refers_to_a_place_outside_of_the_repository() -> None:
    files = [file for folder in FOLDERS for file in (REPOSITORY / folder).rglob("*") if file.suffix in (".py", ".java")]
    files = [file for file in files if file.name not in SAYS_WHERE_DATA_LIES and "savepoints" not in file.parts]
    told = {file: comments_and_docstrings(file) for file in files} | {page: page.read_text() for page in PAGES}
    found = [
        f"{file.relative_to(REPOSITORY)}: {match[0]}"
        for file, text in told.items()
        if file != Path(__file__)
        for match in LEADS_OUT.finditer(text)
    ]
    assert found == []


def test_a_long_sentence_would_be_found() -> None:
    assert len(sentences("One. Two words: three.\n\n- four " + "word " * 30)[-1].split()) == 31
