"""What a page of another site sends to Flink's REST interface is refused, and what Flink's client sends isn't."""

from pathlib import Path

from jobs.jvm import build

# Origin, Sec-Fetch-Site, Host, where it listens ("here": on the loopback address) → whether it is refused.
REQUESTS = {
    # Flink's client, curl, requests: no browser.
    ("-", "-", "127.0.0.1:18081", "here"): False,
    ("-", "-", "localhost:18081", "here"): False,
    ("-", "-", "jobmanager:8081", "all"): False,
    ("-", "-", "features-rest.shop:8081", "all"): False,
    # Flink's own page.
    ("-", "same-origin", "127.0.0.1:18081", "here"): False,
    ("-", "none", "localhost:18081", "here"): False,
    ("http://127.0.0.1:18081", "same-origin", "127.0.0.1:18081", "here"): False,
    ("http://[::1]:8081", "-", "[::1]:8081", "all"): False,
    ("http://10.0.0.7:8081", "-", "10.0.0.7:8081", "all"): False,
    # Another site: a form or a script, an image, a frame without an origin, another port of this machine.
    ("https://evil.example", "cross-site", "127.0.0.1:18081", "here"): True,
    ("https://evil.example", "-", "127.0.0.1:18081", "here"): True,
    ("-", "cross-site", "127.0.0.1:18081", "here"): True,
    ("-", "same-site", "localhost:18081", "here"): True,
    ("null", "-", "127.0.0.1:18081", "here"): True,
    ("http://127.0.0.1:3000", "-", "127.0.0.1:18081", "here"): True,
    ("http://localhost:18081", "-", "127.0.0.1:18081", "here"): True,
    # A site whose name leads to this machine.
    ("http://evil.example:18081", "same-origin", "evil.example:18081", "here"): True,
    ("-", "same-origin", "evil.example:18081", "here"): True,
    ("http://evil.example:8081", "same-origin", "evil.example:8081", "all"): True,
}


def test_only_other_sites_pages_are_refused(java_checks: str) -> None:
    told = build.run_beside(java_checks, "RestGuardCheck", told="\n".join(map(" ".join, REQUESTS)))
    assert dict(zip(REQUESTS, (line == "true" for line in told.split()), strict=True)) == REQUESTS


def test_of_a_refused_upload_nothing_is_kept(java_checks: str, tmp_path: Path) -> None:
    """Not even while it comes in."""
    told = build.run_beside(java_checks, "RestUploadCheck", tmp_path, "https://evil.example")
    assert told.splitlines() == ["0 0", "0 403", "0 0"]


def test_an_upload_that_nobody_takes_goes_with_its_connection(java_checks: str, tmp_path: Path) -> None:
    """As where Flink answers before a handler of its own has the files."""
    assert build.run_beside(java_checks, "RestUploadCheck", tmp_path, "-").splitlines() == ["1 0", "1 0", "0 0"]
