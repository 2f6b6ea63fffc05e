"""Serve the script for pages."""

import hashlib
import re
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

SOURCE = Path(__file__).with_name("tracker.js")
MAX_AGE_S = 3600
NAMES = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def minified(source: str) -> str:
    """Return the script without comments and blanks, with one letter for each name that begins with _.

    It knows no JavaScript, so the source keeps to these rules: a comment has its own line, a statement ends with a
    semicolon, no string or regular expression has a blank beside a sign or ";}", and no name is a single letter.
    """
    lines = [line for line in source.splitlines() if not line.lstrip().startswith("//")]
    text = re.sub(r"\s*([^\w\s\"'.])\s*", r"\1", " ".join(lines).strip()).replace(";}", "}")
    names: dict[str, str] = {}
    return re.sub(r"(?<![\w$])_\w*", lambda found: names.setdefault(found[0], NAMES[len(names)]), text)


@cache
def _served() -> tuple[bytes, str]:
    script = minified(SOURCE.read_text()).encode()
    return script, f'"{hashlib.sha256(script).hexdigest()[:16]}"'


async def serve(request: Request) -> Response:
    """Serve the script. A browser asks again after an hour."""
    script, etag = _served()
    headers = {
        "etag": etag,
        "cache-control": f"public, max-age={MAX_AGE_S}",
        "cross-origin-resource-policy": "cross-origin",
        "x-content-type-options": "nosniff",
    }
    unchanged = request.headers.get("if-none-match") == etag
    return Response(b"" if unchanged else script, 304 if unchanged else 200, headers, "text/javascript")
