"""A broker and a collector as their users run them: processes that are started, asked over TCP, paused and stopped."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import requests

from jobs.cluster import processes, runtime
from jobs.connect import consent_topic, kafka_admin
from jobs.connect.kafka_read import Record, read_slice
from jobs.settings import REPOSITORY, Settings
from liveshelf.pseudonyms import Pseudonyms, add_key

ORIGIN = "https://shop.example"
KEY = "test-write-key-0123456789"
SERVER_KEY = f"server-{KEY}"
START_LIMIT_S = 60
_numbers = itertools.count()


def event(**changes: Any) -> dict[str, Any]:
    """Return a view with an event_id of its own, by anna@example.com unless `changes` say otherwise."""
    number = next(_numbers)
    base = {"schema_version": 1, "event_id": f"e{number}-{os.getpid()}", "event_type": "view", "item_id": "i1"}
    merged = base | {"visitor_id": "anna@example.com"} | changes
    return {name: value for name, value in merged.items() if value is not ...}


class Broker:
    """A Kafka broker of its own."""

    def __init__(self, state_dir: Path) -> None:
        self.settings = Settings(state_dir=state_dir, kafka_port=0)

    def __enter__(self) -> Self:
        try:
            self.bootstrap = runtime.up(self.settings, ["kafka"]).kafka_bootstrap
            kafka_admin.create_topics(self.bootstrap, {"events": 2})
            kafka_admin.create_topics(self.bootstrap, {"consent": 2}, consent_topic.TOPIC)
        except BaseException:
            runtime.down(self.settings)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.resume()
        runtime.down(self.settings)

    def pause(self) -> None:
        """Let the broker take connections and answer nothing."""
        for process in processes.owned(self.settings.state_dir, "kafka"):
            process.suspend()

    def resume(self) -> None:
        for process in processes.owned(self.settings.state_dir, "kafka"):
            process.resume()

    def records(self, topic: str) -> list[Record]:
        return read_slice(self.bootstrap, topic).records

    def stored(self, events: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return those of the events that are in the topic, by event_id; of equal ids the last."""
        ids = {event["event_id"] for event in events}
        stored = (json.loads(record.value) for record in self.records("events"))
        return {event["event_id"]: event for event in stored if event["event_id"] in ids}

    def consents(self, visitor: str) -> list[str]:
        """Return the states of a pseudonym's consent, in order."""
        records = [record for record in self.records("consent") if record.key == visitor.encode()]
        return [json.loads(record.value)["state"] for record in records]


class RunningCollector:
    """`liveshelf collect` as a process, at a broker or at an address.

    A keyword names a setting: as it is, or without the `collector_` at its beginning.
    """

    def __init__(self, broker: Broker | str, folder: Path, **settings: Any) -> None:
        self.folder, self.log = folder, folder / "collector.log"
        self._bootstrap = broker.bootstrap if isinstance(broker, Broker) else broker
        self._settings = settings

    def __enter__(self) -> Self:
        keys = self.folder / "pseudonym.keys"
        add_key(keys)
        self.pseudonyms = Pseudonyms.read(keys)
        write_keys = self.folder / "write.keys"
        write_keys.write_text(f"web {KEY}\nother another-{KEY}\nserver:orders {SERVER_KEY}\n")
        write_keys.chmod(0o600)
        values = {
            "state_dir": self.folder,
            "kafka_bootstrap": self._bootstrap,
            "pseudonym_keys": keys,
            "collector_write_keys": write_keys,
            "collector_origins": ORIGIN,
            "collector_port": 0,
            "collector_admin_port": 0,
        } | {
            name if name in Settings.model_fields else f"collector_{name}": value
            for name, value in self._settings.items()
        }
        environment = os.environ | {f"LIVESHELF_{name.upper()}": str(value) for name, value in values.items()}
        argv = [sys.executable, "-c", "from jobs.cli import app; app(['collect'])"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(argv, cwd=REPOSITORY, env=environment, stdout=log, stderr=log)
        self.url, self.admin_url = self._addresses()
        return self

    def _addresses(self) -> tuple[str, str]:
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            addresses = re.search(r"collecting on (\S+), .* on (\S+)", self.log.read_text())
            if addresses:
                return addresses[1], addresses[2]
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(f"no collector after {START_LIMIT_S} s: {self.log.read_text()}")

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    @property
    def place(self) -> tuple[str, int]:
        """Return host and port."""
        host, port = self.url.removeprefix("http://").split(":")
        return host, int(port)

    def post(self, body: Any, consent: str = "granted", key: str = KEY, **headers: str) -> requests.Response:
        """Send `body`, as JSON or as the bytes that it is; an underscore in a header's name becomes a dash."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        merged = {"content-type": "application/json", "x-write-key": key, "x-consent": consent}
        merged |= {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.post(f"{self.url}/events", data=data, headers=merged, timeout=30)

    def metric(self, line: str) -> float:
        """Return the value of a metric, by its name with labels; 0 if it isn't there."""
        text = requests.get(f"{self.admin_url}/metrics", timeout=10).text
        return next(
            (
                float(line_of_text.rpartition(" ")[2])
                for line_of_text in text.splitlines()
                if line_of_text.startswith(f"{line} ")
            ),
            0.0,
        )
