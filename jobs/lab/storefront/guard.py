"""Let in the page's own browser only: no other site's script, and no name that leads to this machine by DNS.

The server listens on the loopback address. A page of another site can send requests to it all the same. Such a request
names its own site as `Origin`, or a name of its own as `Host` where DNS was made to lead here.
"""

import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

NAMES = ("127.0.0.1", "localhost")
TOKEN = "x-token"  # what a write carries; no other site's script can read it, or send it without being asked
POLICY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with no-referrer, a browser calls the page's own origin null
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def origins(port: int) -> list[str]:
    """Return the origins that the page may have."""
    return [f"http://{name}:{port}" for name in NAMES]


class Guard:
    """Answer 403 to what comes from elsewhere, and to a write under `writes` without the token."""

    def __init__(self, app: ASGIApp, own: list[str], token: str, writes: str) -> None:
        self._app, self._origins, self._token, self._writes = app, own, token.encode(), writes
        self._hosts = [urlsplit(origin).netloc for origin in own]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if reason := self._refusal(Headers(scope=scope), scope["path"]):
            await PlainTextResponse(f"{reason}\n", 403, POLICY)(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in POLICY.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, guarded)

    def _refusal(self, headers: Headers, path: str) -> str:
        """Return why a request isn't let in, "" if it is."""
        if headers.get("host") not in self._hosts:
            return "this page is at " + self._origins[0]
        origin = headers.get("origin")
        if (origin is not None and origin not in self._origins) or _is_embedded_elsewhere(headers):
            return "another site's page may not ask here"
        given = headers.get(TOKEN, "").encode()
        if path.startswith(self._writes) and not hmac.compare_digest(given, self._token):
            return "the page's token is missing: load the page again"
        return ""


def _is_embedded_elsewhere(headers: Headers) -> bool:
    """Return True if another site's page loads this as a picture or so, which names no origin. A link may come."""
    site, mode = headers.get("sec-fetch-site", "none"), headers.get("sec-fetch-mode")
    return site not in ("none", "same-origin") and mode != "navigate"


class WithCollector:
    """Give what is below `prefix` to the collector, which then sees its own paths, and the rest to the shop."""

    def __init__(self, shop: ASGIApp, collector: ASGIApp, prefix: str) -> None:
        self._shop, self._collector, self._prefix = shop, collector, prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if not path.startswith(f"{self._prefix}/"):
            await self._shop(scope, receive, send)
            return
        await self._collector({**scope, "path": path.removeprefix(self._prefix)}, receive, send)
