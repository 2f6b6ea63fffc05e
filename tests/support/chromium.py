"""Drive a real Chromium without a window over its DevTools protocol, and serve pages for it."""

import itertools
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from websockets.sync.client import connect

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
START_LIMIT_S = 60
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--remote-debugging-port=0",
)  # fmt: skip


def program() -> str | None:
    """Where Chromium is, if it is."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The origin at which a folder's pages are."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Chromium:
    """A browser with an empty profile and one page."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._numbers, self._opened = folder, itertools.count(1), ExitStack()

    def __enter__(self) -> Self:
        argv = [program(), *ARGUMENTS, f"--user-data-dir={self._folder}", "about:blank"]
        self._process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port, path = self._address().split()
            self._socket = self._opened.enter_context(
                connect(f"ws://127.0.0.1:{port}{path}", max_size=None, proxy=None)
            )
            self._session = ""
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Network"):
                self.call(f"{domain}.enable")
        except BaseException:
            self._process.kill()
            raise
        return self

    def _address(self) -> str:
        file, deadline = self._folder / "DevToolsActivePort", time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            if file.is_file() and len(file.read_text().split()) == 2:
                return file.read_text()
            assert self._process.poll() is None, "Chromium ended while it started"
            time.sleep(0.1)
        raise AssertionError(f"no Chromium after {START_LIMIT_S} s")

    def __exit__(self, *_: object) -> None:
        self._opened.close()
        self._process.terminate()
        self._process.wait(20)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command and its answer; events that come in between are left out."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        self._socket.send(json.dumps(message | ({"sessionId": self._session} if self._session else {})))
        while True:
            answer = json.loads(self._socket.recv(timeout=60))
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def open(self, url: str) -> None:
        """Go there as a visitor does, and wait until it is loaded."""
        self.call("Page.navigate", url=url)
        deadline = time.monotonic() + 30
        while self.run("[location.href, document.readyState].join()") != f"{url},complete":
            assert time.monotonic() < deadline, f"{url} isn't loaded"
            time.sleep(0.05)

    def network(self, on: bool) -> None:
        """Pull the plug, or put it in."""
        self.call(
            "Network.emulateNetworkConditions", offline=not on, latency=0, downloadThroughput=-1, uploadThroughput=-1
        )

    def before_each_page(self, script: str) -> None:
        """Run a script in each page that is opened from now on, before its own."""
        self.call("Page.addScriptToEvaluateOnNewDocument", source=script)
