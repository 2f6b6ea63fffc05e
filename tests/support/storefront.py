"""Run the storefront as a process, and follow its page as a browser would: by HTTP and server-sent events."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests

from jobs.settings import REPOSITORY
from liveshelf import Pseudonyms
from tests.support import chromium
from tests.support.chromium import Chromium
from tests.support.waiting import eventually


@contextmanager
def running(log: Path) -> Iterator[str]:
    """Yield the address of a storefront that has this process's environment and its system."""
    argv = [sys.executable, "-c", "from jobs.cli import app; app(['storefront'])"]
    environment = os.environ | {"LIVESHELF_STOREFRONT_PORT": "0"}
    with log.open("wb") as output:
        process = subprocess.Popen(argv, cwd=REPOSITORY, env=environment, stdout=output, stderr=output)
    try:
        yield eventually(lambda: _address(log, process), within_s=60)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def _address(log: Path, process: subprocess.Popen[bytes]) -> str:
    assert process.poll() is None, log.read_text()
    found = re.search(r"the shop's page: (http://127\.0\.0\.1:\d+/)", log.read_text())
    return found[1] if found else ""


class Window:
    """A window in which somebody looks at the page. `lists` are by name, as they were sent last."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.lists: dict[str, dict[str, Any]] = defaultdict(lambda: {"items": [], "about": [], "state": ""})
        self.items: dict[str, dict[str, Any]] = defaultdict(dict)
        self.read_at_ms: dict[str, float] = {}
        self.session = requests.Session()
        page = self.session.get(url, timeout=30)
        page.raise_for_status()
        self.token, self.key = (re.findall(rf'data-{name}="([^"]+)"', page.text)[0] for name in ("token", "key"))
        self.visitor = self.session.cookies["ls_id"]
        self._stream: requests.Response | None = None

    def look(self, item: str = "", first: str = "product,home") -> None:
        """Follow what the page is sent, in place of what was followed before."""
        self.leave()
        stream = self.session.get(
            f"{self.url}/live", params={"item": item, "first": first}, stream=True, timeout=(30, 30)
        )
        self._stream = stream
        threading.Thread(target=self._follow, args=(stream,), daemon=True).start()

    def _follow(self, stream: requests.Response) -> None:
        kind = ""
        with suppress(requests.RequestException, AttributeError, ValueError, OSError):  # it is closed while it is read
            for line in stream.iter_lines(chunk_size=1):
                name, _, data = line.decode().partition(": ")
                kind = data if name == "event" else kind
                if name == "data" and stream is self._stream:
                    self._take(kind, json.loads(data))

    def _take(self, kind: str, said: Any) -> None:
        if kind == "lists":
            for each in said["lists"]:
                self.lists[each["name"]] = each
                self.read_at_ms[each["name"]] = said["read_at_ms"]
        elif kind == "items":
            self.items.update({item["item_id"]: item for item in said})
        else:
            raise AssertionError(said)

    def leave(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def track(self, event_type: str, **fields: Any) -> dict[str, Any]:
        """Send an event as the tracker does, and return it."""
        event: dict[str, Any] = {
            "schema_version": 1,
            "event_id": f"{self.visitor}-{time.time_ns()}",
            "event_type": event_type,
            "visitor_id": self.visitor,
            "channel": "web",
        } | fields
        answer = self.session.post(
            f"{self.url}/collect/events?key={self.key}&consent=granted",
            data=json.dumps([event]),
            headers={"content-type": "text/plain;charset=UTF-8", "origin": self.url},
            timeout=30,
        )
        assert answer.json() == {"accepted": 1, "suppressed": 0, "rejected": []}, answer.text
        return event

    def panel(self, what: str, status: int = 200, **body: Any) -> dict[str, Any]:
        """Do what the shop's people do, and return the answer."""
        answer = self.session.post(
            f"{self.url}/panel/{what}", json=body, headers={"x-token": self.token, "origin": self.url}, timeout=60
        )
        assert answer.status_code == status, answer.text
        return answer.json()

    def watching(self) -> int:
        return self.session.get(f"{self.url}/healthz", timeout=30).json()["watching"]

    def holding(self, item: str) -> list[str]:
        """Return the names of the lists that show an item."""
        return [name for name, each in list(self.lists.items()) if item in each["items"]]


def show_what_happens(url: str, key_file: Path, stored: Callable[[str, str], dict[str, Any]]) -> None:
    """Be a visitor and the shop's people, in one window; `stored` is what Redis holds of a visitor's list."""
    window = Window(url)
    pseudonym = Pseudonyms.read(key_file).of(window.visitor)
    window.look("A13")
    event = window.track("view", item_id="A13")

    def states() -> list[str]:
        return [window.lists[name]["state"] for name in ("home", "product", "cart")]

    # Until its own list is there, the item's list stands in for the visitor's product list.
    eventually(lambda: states() == ["fresh", "fresh", "absent"], within_s=60)
    assert window.lists["product"]["about"] == ["A13"]
    product, home = (window.lists[name]["items"] for name in ("product", "home"))
    assert product == stored(pseudonym, "product")["items"][:12]
    rest = [item for item in stored(pseudonym, "home")["items"] if item not in {"A13", *product}]
    assert home == rest[: len(home)]
    assert "A13" in window.lists["product"]["because"]
    assert window.lists["popular"]["items"]
    window.track("add_to_cart", item_id="A16")
    eventually(lambda: window.lists["cart"]["about"] == ["A16"] and window.lists["cart"]["items"], within_s=60)

    sold_out = window.lists["home"]["items"][0]
    window.panel("stock", item=sold_out, stock=0)
    eventually(lambda: window.holding(sold_out) == [] and window.items[sold_out].get("stock") == 0)
    told = eventually(lambda: window.panel("why", item=sold_out, shelf="home"), within_s=60)
    assert told["why"]["dropped_by"]["rule"] == "gate"
    assert "item.stock = 0" in told["text"]
    window.panel("stock", item=sold_out, stock=3)
    eventually(lambda: "home" in window.holding(sold_out))

    pinned = next(item for item in reversed(window.lists["home"]["items"]))
    version = window.panel("pin", item=pinned, shelf="home", at=1, pinned=True)["version"]

    def is_first() -> bool:
        window.track(**event)  # as the page does: a list is made when an event comes, and this one counts once
        home = window.lists["home"]
        return (home["shelves"], home["items"][0], home["why"][0]) == (version, pinned, "pinned")

    eventually(is_first, within_s=60)
    assert window.lists["home"]["because"][0] is None
    window.panel("pin", status=409, item=pinned, shelf="home", at=99, pinned=True)
    window.panel("stock", status=409, item="no such item", stock=1)
    window.panel("stock", status=400, item="A13", stock="many")

    assert window.watching() == 1
    window.leave()
    eventually(lambda: window.watching() == 0)
    body = {"item": "A13", "stock": 0}
    refused = [{"x-token": "another"}, {"x-token": window.token, "origin": "http://evil.example"}]
    assert [requests.post(f"{url}panel/stock", json=body, headers=each).status_code for each in refused] == [403, 403]


WAIT = """new Promise((done, fail) => {{ const end = Date.now() + {ms};
    const look = () => ({what}) ? done(true) : Date.now() > end ? fail(new Error({told})) : setTimeout(look, 5);
    look(); }})"""
DURATIONS = "performance.getEntriesByName({name}).map(each => each.duration)"
# What a screen reader calls a button or a link that it can't name is "button": an empty name.
NAMED = ("button", "link", "textbox", "searchbox", "combobox", "checkbox")


def show_in_chromium(url: str, profile: Path, clicks: int) -> dict[str, list[float]]:
    """Do the same in a real browser, where there is one; return ms from clicks, and from the panel, to the screen."""
    if chromium.program() is None:
        return {}
    with Chromium(profile) as browser:
        phone = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
        browser.call("Emulation.setDeviceMetricsOverride", **phone)
        browser.open(url)
        _wait(browser, "document.querySelectorAll('#items .tile').length")
        assert browser.run("document.documentElement.scrollWidth <= 360"), "wider than a phone"
        browser.run("document.querySelector('#items .tile a').click()")
        _wait(browser, "document.querySelectorAll('#list-home .tile').length")
        for number in range(clicks):
            links = "document.querySelectorAll('#lists .tile a')"
            browser.run(f"{links}[{number * 7} % {links}.length].click()")
            _wait(browser, f"{_durations('click to home')}.length > {number + 1}")
        item = browser.run("document.querySelector('#list-home .tile').dataset.id")
        for act in ("out", "back", "pin"):
            browser.run(
                f"document.getElementById('panel').open = true, chosen.value = {json.dumps(item)}, "
                f"document.querySelector('#tools button[value={act}]').click()"
            )
            _wait(browser, f"{_durations(f'panel {act}')}.length")
        _check_names(browser)
        done = {
            name: browser.run(_durations(name)) for name in ("click to home", "panel out", "panel back", "panel pin")
        }
        assert browser.run("document.querySelector('#list-home .tile').dataset.id") == item
    return done


def _durations(name: str) -> str:
    return DURATIONS.format(name=json.dumps(name))


def _wait(browser: Chromium, what: str, within_s: float = 60) -> None:
    assert browser.run(WAIT.format(what=what, told=json.dumps(f"never: {what}"), ms=within_s * 1000))


def _check_names(browser: Chromium) -> None:
    """Assert that everything that can be used has a name, that there is one h1, and that the focus is seen."""
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    used = [node for node in nodes if not node["ignored"] and node.get("role", {}).get("value") in NAMED]
    assert len(used) > 50
    assert [node for node in used if not node.get("name", {}).get("value")] == []
    assert browser.run("document.querySelectorAll('h1').length") == 1
    for _ in range(3):
        for kind in ("keyDown", "keyUp"):
            browser.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
