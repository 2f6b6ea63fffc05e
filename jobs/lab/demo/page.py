"""Keep the shop's page open while the demo runs, in a process of its own: clicks on it wait for nothing here."""

import sys
import time
from contextlib import suppress
from pathlib import Path

import requests

from jobs.cluster import processes
from jobs.errors import ServiceError
from jobs.lab.demo.system import Say
from jobs.settings import Settings

SERVICE = "storefront"
START_LIMIT_S = 60.0
LOOK_S = 0.5
GONE_S = 3.0  # a page that is loaded again, or whose window was covered for a moment, is still looked at
STORES = ("kafka_bootstrap", "redis_url", "flink_rest_url")  # the demo's own are found in its folder


class Page:
    """`liveshelf storefront` on the demo's system. What is wrong with it doesn't end the demo."""

    def __init__(self, settings: Settings) -> None:
        """Start the process. Raises ServiceError if the port is taken that the settings name."""
        port = processes.claim_port(settings.storefront_port, SERVICE, "storefront_port")
        self.url = f"http://127.0.0.1:{port}/"
        self._owner = settings.state_dir
        self.log = settings.state_dir / SERVICE / "storefront.log"
        values = dict.fromkeys(STORES, "") | {
            "state_dir": settings.state_dir,
            "shelves_dir": settings.shelves_folder,
            "storefront_port": port,
        }
        self._pid = processes.spawn(
            (sys.executable, "-P", "-c", "from jobs import main; main()", SERVICE),
            owner=self._owner,
            service=SERVICE,
            log=self.log,
            environment={f"LIVESHELF_{name.upper()}": str(value) for name, value in values.items()},
            cwd=Path.cwd(),
        )

    def wait(self) -> None:
        """Return when the page answers; raise ServiceError if it doesn't."""
        processes.wait_until(
            lambda: self.watching() is not None,
            service=SERVICE,
            pid=self._pid,
            owner=self._owner,
            log=self.log,
            limit_s=START_LIMIT_S,
        )

    def watching(self) -> int | None:
        """Return how many windows show the page now, None if it doesn't answer."""
        with suppress(requests.RequestException, ValueError, KeyError):
            return int(requests.get(f"{self.url}healthz", timeout=5).json()["watching"])
        return None

    def wait_until_left(self) -> None:
        """Return when nobody has looked at the page for a few seconds; at once if nobody looks."""
        seen_s = time.monotonic() - (0 if self.watching() else GONE_S)
        while time.monotonic() - seen_s < GONE_S:
            time.sleep(LOOK_S)
            if self.watching():
                seen_s = time.monotonic()


def opened(settings: Settings, say: Say) -> Page | None:
    """Start the page; None in the profile `secure`, where it has no place."""
    if settings.profile == "secure":
        say("the shop's page isn't opened: it has no login, and the profile is secure")
        return None
    return Page(settings)


def shown(page: Page, say: Say) -> Page | None:
    """Wait until the page answers and say where; None if it doesn't."""
    try:
        page.wait()
    except ServiceError as error:
        say(f"the shop's page isn't there: {error.what}")
        return None
    say(f"the shop's page, whose lists change while you click: {page.url}")
    return page
