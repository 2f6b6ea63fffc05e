"""What a page of another site sends to Flink's REST interface is refused, and what Flink's client sends isn't."""

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
