"""Make text that strangers wrote safe to print. Pure.

A terminal obeys control characters: they move its cursor, change its title, hide what came before. C1 characters do so
as single ones. Marks of direction show a text in another order than it has. A line break forges a line.
"""

import re

# C0, DEL and C1; marks of direction; separators of lines and paragraphs; halves of pairs, which can't be encoded.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: object) -> str:
    """Return the text on one line, with escapes such as \\x1b for what a terminal would obey."""
    return UNPRINTABLE.sub(_escaped, str(text))


def printable_lines(text: object) -> str:
    """Return the text with its line breaks, and escapes for all else that a terminal would obey."""
    return "\n".join(map(printable, str(text).split("\n")))


def printable_json(document: str) -> str:
    """Return JSON of the same meaning that a terminal doesn't obey. Line breaks and tabs stand between its values."""
    return re.sub("[\n\t]|" + UNPRINTABLE.pattern, lambda found: _in_json(found[0]), document)


def _in_json(character: str) -> str:
    return character if character in "\n\t" else f"\\u{ord(character):04x}"


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
