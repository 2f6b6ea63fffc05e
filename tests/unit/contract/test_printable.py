"""What strangers wrote is printed with escapes for all that a terminal would obey."""

import ast
import json

import pytest

from jobs.contract.printable import printable, printable_json, printable_lines
from jobs.operate import show
from jobs.settings import REPOSITORY

# A title, a colour, DEL, CSI as one character, a right-to-left override, an isolate, a mark, a forged line.
HOSTILE = "a\x1b]0;t\x07\x1b[31m\x7f\x9b1m\u202e\u2066\u200f\nforged"
SAFE = r"a\x1b]0;t\x07\x1b[31m\x7f\x9b1m\u202e\u2066\u200f\x0aforged"


def test_all_that_a_terminal_obeys_is_escaped() -> None:
    assert printable(HOSTILE) == SAFE
    assert printable_lines(HOSTILE) == SAFE.replace(r"\x0a", "\n")
    assert printable("\ud800") == r"\ud800"


@pytest.mark.parametrize("text", ["Zoë", "日本語", "שלום", "a b", "\u00a0", "👩‍👩‍👧", ""])
def test_letters_of_all_scripts_stay(text: str) -> None:
    assert printable(text) == text


def test_json_keeps_its_meaning() -> None:
    document = json.dumps({HOSTILE: [HOSTILE]}, ensure_ascii=False, indent=2)
    safe = printable_json(document)
    assert json.loads(safe) == {HOSTILE: [HOSTILE]}
    assert printable_lines(safe) == safe


def test_a_list_of_a_hostile_visitor_forges_no_line() -> None:
    item = show.Item(HOSTILE, HOSTILE, 1.0)
    shown = show.Shown(HOSTILE, "fresh", HOSTILE, 1.0, 1.0, None, HOSTILE, [item], [])
    text = show.text(shown)
    assert printable_lines(text) == text
    assert len(text.splitlines()) == 3
    absent = show.text(show.Shown(HOSTILE, "absent", None, None, None, None, None, [], []), [HOSTILE])
    assert len(absent.splitlines()) == 2


def test_commands_print_only_what_is_escaped() -> None:
    """A command says things by `say`, `note` and the `print_…` of `shared`; its own `print` would
    write what strangers wrote.
    """
    found = {}
    for file in [*(REPOSITORY / "jobs" / "commands").glob("*.py"), REPOSITORY / "jobs" / "cli.py"]:
        calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
        prints = [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
        echoes = [call.lineno for call in calls if getattr(call.func, "attr", "") in ("echo", "secho")]
        if prints or echoes:
            found[file.name] = prints + echoes
    assert set(found) == {"shared.py"}
    assert len(found["shared.py"]) == 5
