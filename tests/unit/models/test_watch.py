"""The bar of a training: on a terminal, and nowhere else."""

import io
import re
import sys
import time

from models.session.watch import bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_the_current_part_and_its_time_left(monkeypatch):
    """A terminal sees the part at work its time left and the lines above it."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    with bar() as step:
        step("teaching part", 1, 4)
        print("epoch 1 of 2", file=sys.stderr)
        step("all sessions", 2, 4)
        time.sleep(0.3)  # drawn ten times a second
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    assert re.search(r"all sessions .* left: -:--:--", shown)
    assert "epoch 1 of 2\n" in shown
    assert "teaching part" not in shown.partition("all sessions")[2]


def test_a_file_sees_no_bar(capsys):
    with bar() as step:
        step("teaching part", 1, 4)
    assert capsys.readouterr().err == ""
