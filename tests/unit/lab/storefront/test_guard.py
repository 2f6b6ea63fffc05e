"""Who may ask the storefront: its own page, and nobody who only knows that its port is open."""

import asyncio

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message

from jobs.lab.storefront.guard import Guard, WithCollector, origins

OWN = origins(8123)


async def path_of(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.url.path)


def routes(*paths: str) -> Starlette:
    return Starlette(routes=[Route(path, path_of, methods=["GET", "POST"]) for path in paths])


APP = Guard(WithCollector(routes("/", "/panel/stock"), routes("/events"), "/collect"), OWN, "the-token", "/panel/")


def ask(app: ASGIApp, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    """Return status, headers and body of an answer."""
    sent: list[Message] = []
    given = {"host": "127.0.0.1:8123"} | {name.replace("_", "-"): value for name, value in headers.items()}

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "scheme": "http",
        "headers": [(name.encode(), value.encode()) for name, value in given.items() if value],
    }
    asyncio.run(app(scope, receive, send))
    head = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], head, b"".join(message.get("body", b"") for message in sent[1:]).decode()


@pytest.mark.parametrize("host", ["127.0.0.1:8123", "localhost:8123"])
def test_the_page_is_served_under_its_own_names(host: str) -> None:
    status, head, _ = ask(APP, "/", host=host)
    assert status == 200
    assert "script-src 'self'" in head["content-security-policy"]
    assert "default-src 'none'" in head["content-security-policy"]
    assert "unsafe" not in head["content-security-policy"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8123", "127.0.0.1", "127.0.0.1:80", "[::1]:8123", ""])
def test_a_name_that_was_made_to_lead_here_is_refused(host: str) -> None:
    assert ask(APP, "/", host=host)[0] == 403


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:8123", "http://127.0.0.1:8124"])
@pytest.mark.parametrize("path", ["/", "/collect/events", "/panel/stock"])
def test_a_page_of_another_site_is_refused(origin: str, path: str) -> None:
    assert ask(APP, path, "POST", origin=origin, x_token="the-token")[0] == 403


@pytest.mark.parametrize(
    ("site", "mode", "status"),
    [
        ("cross-site", "no-cors", 403),
        ("same-site", "no-cors", 403),
        ("cross-site", "navigate", 200),
        ("same-origin", "cors", 200),
        ("none", "navigate", 200),
    ],
)
def test_another_sites_picture_holds_no_stream_open(site: str, mode: str, status: int) -> None:
    assert ask(APP, "/", sec_fetch_site=site, sec_fetch_mode=mode)[0] == status


@pytest.mark.parametrize(("token", "status"), [("the-token", 200), ("", 403), ("the-toke", 403), ("schlüssel", 403)])
def test_the_panel_wants_the_pages_token(token: str, status: int) -> None:
    assert ask(APP, "/panel/stock", "POST", origin=OWN[0], x_token=token)[0] == status


def test_the_collector_sees_its_own_paths() -> None:
    assert ask(APP, "/collect/events", "POST")[2] == "/events"
    assert ask(APP, "/events", "POST")[0] == 404
    assert ask(APP, "/collect/panel/stock", "POST")[0] == 404


def test_a_refusal_is_as_careful_as_an_answer() -> None:
    _, head, body = ask(APP, "/", host="evil.example")
    assert "default-src 'none'" in head["content-security-policy"]
    assert "evil" not in body
