"""Bound the requests that aren't for events: the script, what a browser asks before it sends, and what isn't there."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from jobs.collect import answers
from jobs.collect.refusal import RequestRefusedError


class Bounded:
    """Answer 429 where `spend` raises RequestRefusedError.

    A POST to /events bounds itself, once it knows whether a shop's server sends it.
    """

    def __init__(self, app: ASGIApp, spend: Callable[[Request], None]) -> None:
        self._app, self._spend = app, spend

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (scope["method"], scope["path"]) != ("POST", "/events"):
            try:
                self._spend(Request(scope))
            except RequestRefusedError as refusal:
                await answers.refused(refusal)(scope, receive, send)
                return
        await self._app(scope, receive, send)
