"""Run a real Prometheus on the project's rules, beside an exporter whose numbers a test changes."""

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import requests
import yaml
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily, Metric

from jobs.cluster import processes
from jobs.settings import REPOSITORY
from tests.support.waiting import eventually

RULES = REPOSITORY / "docker" / "prometheus" / "alerts.yaml"
BOARD = REPOSITORY / "docker" / "grafana" / "liveshelf.json"
MISSING = "no prometheus and promtool here: apt-get install prometheus"
SCRAPE = "250ms"
WINDOW = "3s"  # twelve scrapes, in the place of minutes and hours
METRIC = re.compile(r"\bflink_[A-Za-z0-9_]+")


def program(name: str) -> str | None:
    """Return the path of `prometheus` or `promtool`, None if it isn't here."""
    return shutil.which(name)


def rules() -> list[dict[str, Any]]:
    """Return the recording and alerting rules in their order."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    """Return the alerting rules in their order."""
    return [rule for rule in rules() if "alert" in rule]


def short_rules() -> str:
    """Return the rules with windows of 3 s, and without a time for which an alert must hold."""
    groups = yaml.safe_load(RULES.read_text())
    for rule in (rule for group in groups["groups"] for rule in group["rules"]):
        rule["expr"] = re.sub(r"\[\d+[mh]\]", f"[{WINDOW}]", rule["expr"])
        rule["expr"] = re.sub(r"\boffset \d+[mh]", f"offset {WINDOW}", rule["expr"])
        rule.pop("for", None)
    return yaml.safe_dump(groups)


class Exporter:
    """Serve series by name and labels. Each has a value, or one that grows by so much a second."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, tuple[tuple[str, str], ...]], tuple[float, float]] = {}
        self._lock, self._since_s = threading.Lock(), time.monotonic()
        self.is_broken = False

    def set(self, name: str, value: float, **labels: str) -> None:
        """Let a series stand at `value`."""
        self._change(name, labels, lambda _: (value, 0.0))

    def grow(self, name: str, per_second: float, **labels: str) -> None:
        """Let a series go on from where it stands, or from 0."""
        self._change(name, labels, lambda before: (before, per_second))

    def _change(self, name: str, labels: dict[str, str], change: Callable[[float], tuple[float, float]]) -> None:
        key = (name, tuple(labels.items()))
        with self._lock:
            self._advance()
            self._series[key] = change(self._series.get(key, (0.0, 0.0))[0])

    def drop(self, name: str, **labels: str) -> None:
        """Show a series no more."""
        with self._lock:
            del self._series[name, tuple(labels.items())]

    def _advance(self) -> None:
        now_s = time.monotonic()
        past_s, self._since_s = now_s - self._since_s, now_s
        self._series = {key: (value + rate * past_s, rate) for key, (value, rate) in self._series.items()}

    def collect(self) -> Iterable[Metric]:
        """Return the series as they stand now, as gauges: so does Flink's reporter."""
        if self.is_broken:
            raise RuntimeError("a test broke this exporter")
        with self._lock:
            self._advance()
            series = dict(self._series)
        for (name, labels), (value, _) in series.items():
            family = GaugeMetricFamily(name, name, labels=[label for label, _ in labels])
            family.add_metric([text for _, text in labels], value)
            yield family


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(exporter: Exporter) -> Iterator[str]:
    """Yield the host and port at which an exporter's numbers are."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(exporter)
    with make_server("127.0.0.1", 0, make_wsgi_app(registry), handler_class=_Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


class Prometheus:
    """A running Prometheus."""

    def __init__(self, url: str) -> None:
        self._url = url

    def _data(self, path: str, **parameters: str) -> Any:
        answer = requests.get(f"{self._url}/api/v1/{path}", params=parameters, timeout=10)
        answer.raise_for_status()
        return answer.json()["data"]

    def firing(self) -> dict[str, list[dict[str, Any]]]:
        """Return the alerts that fire, by name."""
        found: dict[str, list[dict[str, Any]]] = {}
        for alert in self._data("alerts")["alerts"]:
            if alert["state"] == "firing":
                found.setdefault(alert["labels"]["alertname"], []).append(alert)
        return found

    def values(self, query: str) -> list[float]:
        """Return what an expression is now, one value a series."""
        return [float(series["value"][1]) for series in self._data("query", query=query)["result"]]

    def is_ready(self) -> bool:
        try:
            return requests.get(f"{self._url}/-/ready", timeout=10).ok
        except requests.ConnectionError:
            return False


@contextmanager
def running(folder: Path, targets: Iterable[str]) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes `targets` with the shortened rules, its data in `folder`."""
    (folder / "alerts.yaml").write_text(short_rules())
    configuration = {
        "global": {"scrape_interval": SCRAPE, "evaluation_interval": SCRAPE},
        "rule_files": ["alerts.yaml"],
        "scrape_configs": [{"job_name": "liveshelf", "static_configs": [{"targets": list(targets)}]}],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
    (port,) = processes.free_ports(1)
    argv = [
        program("prometheus"),
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "prometheus.log").open("w") as log, subprocess.Popen(argv, stdout=log, stderr=log) as process:
        try:
            prometheus = Prometheus(f"http://127.0.0.1:{port}")
            eventually(prometheus.is_ready)
            yield prometheus
        finally:
            process.terminate()
