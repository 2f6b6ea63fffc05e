"""Answer the page: its own files, the items, what changes, and what the panel asks for."""

import asyncio
import html
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from jobs.errors import LiveshelfError
from jobs.lab.storefront.catalogue import Catalogue
from jobs.lab.storefront.lists import Asked
from jobs.lab.storefront.live import Live
from jobs.lab.storefront.panel import Panel

FOLDER = Path(__file__).parent
PAGE = "page.html"
SCRIPTS = ("page.js", "panel.js", "shop.js", "state.js", "tiles.js")
KINDS = dict.fromkeys(SCRIPTS, "text/javascript") | {"storefront.css": "text/css"}
COOKIE = "ls_id"
COOKIE_AGE_S = 34_000_000  # 13 months, as the tracker's
WRITES = "/panel/"  # what is below needs the page's token
MAX_BYTES = 4096

Asking = TypeVar("Asking", bound=msgspec.Struct)
Explain = Callable[[str, str, str], dict[str, Any]]


class Stock(msgspec.Struct, forbid_unknown_fields=True):
    item: str
    stock: int


class PinAt(msgspec.Struct, forbid_unknown_fields=True):
    item: str
    shelf: str
    at: int
    pinned: bool


class Question(msgspec.Struct, forbid_unknown_fields=True):
    item: str
    shelf: str


@dataclass(frozen=True)
class Shop:
    """The shop's own pages. `key` writes events, `token` lets the panel write, `why` explains a list."""

    key: str
    token: str
    catalogue: Catalogue
    live: Live
    panel: Panel
    why: Explain  # of a visitor's list of a name, and an item

    def app(self) -> Starlette:
        pages = [Route(path, self.page) for path in ("/", "/cart", "/item/{item:path}")]
        files = [Route(f"/{name}", self.file) for name in KINDS]
        asked = [
            ("/items", self.items),
            ("/live", self.stream),
            ("/healthz", self.healthz),
            ("/favicon.ico", self.no_icon),
        ]
        answers = [Route(path, answer) for path, answer in asked]
        panel = [("stock", self.set_stock), ("pin", self.pin), ("why", self.explain)]
        writes = [Route(WRITES + name, answer, methods=["POST"]) for name, answer in panel]
        return Starlette(routes=[*pages, *files, *answers, *writes])

    async def page(self, request: Request) -> Response:
        """Answer with the one page, whose script shows what the address names. Who is new gets a cookie."""
        text = (FOLDER / PAGE).read_text()
        for name, value in {"KEY": self.key, "TOKEN": self.token}.items():
            text = text.replace(f"{{{name}}}", html.escape(value))
        response = Response(text, media_type="text/html")
        if not request.cookies.get(COOKIE):
            visitor = f"store-{secrets.token_hex(8)}"  # no HttpOnly: the tracker reads it
            response.set_cookie(COOKIE, visitor, max_age=COOKIE_AGE_S, path="/", samesite="lax")
        return response

    async def file(self, request: Request) -> Response:
        name = request.url.path.removeprefix("/")
        return Response((FOLDER / name).read_bytes(), media_type=KINDS[name])

    async def items(self, _: Request) -> Response:
        return _json(list(self.catalogue.items.values()))

    async def healthz(self, _: Request) -> Response:
        """Say that the process is alive, and how many pages are open: the demo stays while somebody looks."""
        return _json({"watching": self.live.watching})

    async def no_icon(self, _: Request) -> Response:
        return Response(status_code=204)

    async def stream(self, request: Request) -> Response:
        asked = request.query_params
        together = [name for name in asked.get("first", "").split(",") if name]
        wanted = Asked(request.cookies.get(COOKIE, ""), asked.get("item", ""), together)
        return StreamingResponse(self.live.stream(wanted), media_type="text/event-stream")

    async def set_stock(self, request: Request) -> Response:
        async def do(said: Stock) -> dict[str, Any]:
            await asyncio.to_thread(self.panel.set_stock, self._item(said.item), said.stock)
            return {}

        return await _answered(request, Stock, do)

    async def pin(self, request: Request) -> Response:
        async def do(said: PinAt) -> dict[str, Any]:
            item = self._item(said.item)
            return {"version": await asyncio.to_thread(self.panel.pin, said.shelf, item, said.at, said.pinned)}

        return await _answered(request, PinAt, do)

    async def explain(self, request: Request) -> Response:
        visitor = request.cookies.get(COOKIE, "")

        async def do(said: Question) -> dict[str, Any]:
            return await asyncio.to_thread(self.why, visitor, said.shelf, self._item(said.item))

        return await _answered(request, Question, do)

    def _item(self, item_id: str) -> str:
        if item_id not in self.catalogue.items:
            raise LiveshelfError(f"the catalogue has no item {item_id!r}", "liveshelf items load")
        return item_id


async def _answered(
    request: Request, kind: type[Asking], do: Callable[[Asking], Awaitable[dict[str, Any]]]
) -> Response:
    """Read what is asked, do it, and answer with what came of it and how many ms it took."""
    body, began_s = b"", time.monotonic()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BYTES:
            return _json({"error": f"more than {MAX_BYTES} bytes"}, 413)
    try:
        said = msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _json({"error": str(error)}, 400)
    try:
        outcome = await do(said)
    except LiveshelfError as error:
        return _json({"error": str(error)}, 409)
    return _json(outcome | {"ms": round((time.monotonic() - began_s) * 1000)})


def _json(document: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(document), status, media_type="application/json")
