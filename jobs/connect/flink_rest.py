"""Ask Flink's REST interface and its Prometheus pages."""

import re
import time
from collections.abc import Iterable
from typing import Any

import requests

from jobs.connect import addresses
from jobs.errors import ServiceError

ENDED = ("CANCELED", "FINISHED", "FAILED")
GONE_LIMIT_S = 240.0  # after 180 s Flink ends a TaskManager whose task doesn't end
CONNECTION_S = 10.0  # a JobManager took more than 2 s at a load of 39 on two cores


def answers(rest_url: str, slots: int) -> bool:
    """Return True if the cluster answers and at least `slots` task slots have registered."""
    try:
        return bool(ask(rest_url, "/overview")["slots-total"] >= slots)
    except requests.RequestException:
        return False


def ask(rest_url: str, path: str) -> Any:
    """Return the answer of Flink's REST interface; raise `requests.RequestException`."""
    base, certificates = addresses.rest(rest_url)
    answer = requests.get(base + path, timeout=CONNECTION_S, **certificates)
    answer.raise_for_status()
    return answer.json()


def cluster_config(rest_url: str) -> dict[str, str]:
    """Return the JobManager's own configuration; raise `requests.RequestException` if it doesn't answer."""
    return {option["key"]: option["value"] for option in ask(rest_url, "/jobmanager/config")}


def operator_counter(metrics_urls: Iterable[str], name: str) -> int:
    """Return one of our operators' counters, over all tasks that run; raise `requests.RequestException`."""
    return round(sum(sum(counted(requests.get(url, timeout=10).text, name)) for url in metrics_urls))


def operator_gauge(metrics_urls: Iterable[str], name: str) -> int:
    """Return the largest of one of our operators' values, 0 if no task runs; raise `requests.RequestException`."""
    pages = [requests.get(url, timeout=CONNECTION_S).text for url in metrics_urls]
    return round(max((value for page in pages for value in counted(page, name)), default=0))


def counted(page: str, name: str) -> list[float]:
    """Return an operator's counter from a page of Flink's Prometheus reporter: one value a task."""
    line = rf"^flink_taskmanager_job_task_operator_{name}\{{[^}}]*\}} ([0-9.eE+]+)$"
    return [float(value) for value in re.findall(line, page, re.MULTILINE)]


def cancel(rest_url: str, job_id: str) -> None:
    """Ask for a job's end, without a savepoint; raise `requests.RequestException`."""
    base, certificates = addresses.rest(rest_url)
    requests.patch(f"{base}/jobs/{job_id}", params={"mode": "cancel"}, timeout=30, **certificates).raise_for_status()


def wait_gone(rest_url: str, job_id: str) -> None:
    """Wait until the job has ended; raise `ServiceError` if it doesn't end, `requests.RequestException`."""
    deadline_s = time.monotonic() + GONE_LIMIT_S
    while ask(rest_url, f"/jobs/{job_id}")["state"] not in ENDED:
        if time.monotonic() > deadline_s:
            raise ServiceError(f"job {job_id} is still there after {GONE_LIMIT_S:g} s", "liveshelf status")
        time.sleep(0.1)
