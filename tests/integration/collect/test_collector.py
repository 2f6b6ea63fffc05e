"""A collector process and a broker: what is acknowledged, what is refused, and what never gets anywhere."""

import contextlib
import gzip
import http.client
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from jobs.cluster.runtime import Runtime
from jobs.connect import consent_topic
from jobs.contract.consent import Record
from jobs.lab.bench.collector_system import KEY, ORIGIN, SERVER_KEY, Broker, RunningCollector, event
from jobs.operate import quiet
from jobs.settings import Settings

IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) "
    "AppleWebKit/605.1.15 Version/17.0 Mobile/15E148 Safari/604.1"
)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def test_each_acknowledged_event_lies_in_kafka_under_its_pseudonym(broker: Broker, collector: RunningCollector):
    batches = [[event(visitor_id=f"visitor-{number}-{place}") for place in range(20)] for number in range(50)]
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(collector.post, batches))
    assert {(answer.status_code, answer.json()["accepted"]) for answer in answers} == {(200, 20)}
    sent = {each["event_id"]: collector.pseudonyms.of(each["visitor_id"]) for batch in batches for each in batch}
    found = [record for record in broker.records("events") if json.loads(record.value)["event_id"] in sent]
    assert {json.loads(record.value)["event_id"]: record.key.decode() for record in found} == sent
    assert all(record.timestamp_ms == json.loads(record.value)["event_time_ms"] for record in found)
    assert all(json.loads(record.value)["visitor_id"] == record.key.decode() for record in found)


def test_a_bad_event_doesnt_sink_the_good_ones(broker: Broker, collector: RunningCollector):
    """A bad event does not sink the good ones and is not repeated."""
    batch = [
        event(),
        event(price_minor="secret"),
        event(),
        event(event_time_ms=now_ms() + 3_600_000),
        event(event_time_ms=1),
    ]
    answer = collector.post(batch)
    assert answer.json() == {
        "accepted": 2,
        "suppressed": 0,
        "rejected": [
            {"index": 1, "reason": "wrong_type", "field": "price_minor"},
            {"index": 3, "reason": "future_event_time", "field": "event_time_ms"},
            {"index": 4, "reason": "too_old", "field": "event_time_ms"},
        ],
    }
    assert set(broker.stored(batch)) == {batch[0]["event_id"], batch[2]["event_id"]}
    assert "secret" not in answer.text


def test_one_event_alone_gets_the_collector_s_time(broker: Broker, collector: RunningCollector):
    alone, before_ms = event(), now_ms()
    assert collector.post(alone).json()["accepted"] == 1
    assert before_ms <= broker.stored([alone])[alone["event_id"]]["event_time_ms"] <= now_ms()


def test_a_packed_body_is_unpacked_and_plain_text_is_taken(broker: Broker, collector: RunningCollector):
    """A packed body is unpacked and plain text is taken as pages send it."""
    packed, plain = event(), event()
    assert collector.post(gzip.compress(json.dumps([packed]).encode()), content_encoding="gzip").json()["accepted"] == 1
    url = f"{collector.url}/events?key={KEY}&consent=granted"  # a beacon sends no headers of one's own
    beacon = requests.post(url, json.dumps(plain), headers={"content-type": "text/plain;charset=UTF-8"}, timeout=30)
    assert beacon.json()["accepted"] == 1
    assert len(broker.stored([packed, plain])) == 2


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"[1,", {}, 400, "not_json"),
        (b"[]", {"x_consent": "maybe"}, 400, "consent"),
        (b"not gzip", {"content_encoding": "gzip"}, 400, "not_gzip"),
        (b"[]", {"key": "wrong"}, 401, "write_key"),
        (b"[]", {"key": ""}, 401, "write_key"),
        (b"[]", {"origin": "https://evil.example"}, 403, "origin"),
        (b"[]", {"content_type": "application/xml"}, 415, "content_type"),
        (b"[]", {"content_type": ""}, 415, "content_type"),
        (b"[]", {"content_encoding": "br"}, 415, "content_encoding"),
        (b" " * (1024 * 1024 + 1), {}, 413, "body_too_large"),
        (b" " * (32 * 1024 * 1024), {}, 413, "body_too_large"),
        (gzip.compress(b" " * (4 * 1024 * 1024 + 1), mtime=0), {"content_encoding": "gzip"}, 413, "body_too_large"),
        (json.dumps([{}] * 501).encode(), {}, 413, "too_many_events"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_request_outside_the_limits_is_refused_with_a_code(
    collector: RunningCollector, body: bytes, headers: dict, status: int, code: str
):
    if len(body) > 5_000_000:  # more than is read before the answer: only a client that listens while it sends sees it
        body = body[:5_000_000]
    answer = collector.post(body, **headers)
    assert (answer.status_code, answer.json()) == (status, {"error": code})
    assert answer.headers["connection"] == "close"


def test_the_largest_body_is_taken(collector: RunningCollector):
    body = json.dumps([event(junk="x" * 60_000) for _ in range(17)]).encode()
    assert collector.post(body.ljust(1024 * 1024)).json()["accepted"] == 17


def test_other_paths_and_methods_have_nothing(collector: RunningCollector):
    """Other paths and methods have nothing and the admin pages are elsewhere."""
    assert requests.get(f"{collector.url}/events", timeout=10).status_code == 405
    for path in ("/", "/metrics", "/healthz", "/t.js/x"):
        assert requests.get(f"{collector.url}{path}", timeout=10).status_code == 404
    assert requests.get(f"{collector.admin_url}/healthz", timeout=10).text == "ok\n"
    assert collector.admin_url.startswith("http://127.0.0.1:")
    before = collector.metric('collector_events_total{outcome="accepted",write_key="other"}')
    collector.post([event(), event()], key=f"another-{KEY}")
    assert collector.metric('collector_events_total{outcome="accepted",write_key="other"}') == before + 2


def test_allowed_page_may_read_the_answer_and_another_gets_none(collector: RunningCollector):
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "content-type,x-write-key"}
    preflight = requests.options(f"{collector.url}/events", headers={"origin": ORIGIN, **asked}, timeout=10)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    assert "x-write-key" in preflight.headers["access-control-allow-headers"]
    answer = collector.post([event()], origin=ORIGIN)
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "origin" in answer.headers["vary"].lower()
    for elsewhere in ("https://evil.example", "null", f"{ORIGIN}.evil.example"):
        assert "access-control-allow-origin" not in collector.post([event()], origin=elsewhere).headers
        refused = requests.options(f"{collector.url}/events", headers={"origin": elsewhere, **asked}, timeout=10)
        assert refused.status_code == 400
        assert "access-control-allow-origin" not in refused.headers


def test_beacon_of_json_gets_through_and_is_counted_once(broker: Broker, collector: RunningCollector):
    """sendBeacon asks with credentials, and a page sees only "network error" if an answer doesn't name its origin."""
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    preflight = requests.options(f"{collector.url}/events", headers={"origin": ORIGIN, **asked}, timeout=10)
    assert preflight.headers["access-control-allow-credentials"] == "true"
    sent = event(visitor_id="beacon")
    statuses = {}
    for content_type in ("text/plain;charset=UTF-8", "application/json; charset=utf-8", "Application/JSON"):
        answer = collector.post([sent], origin=ORIGIN, **{"content-type": content_type})
        statuses[content_type] = answer.status_code
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert answer.headers["access-control-allow-credentials"] == "true"
    assert set(statuses.values()) == {200}
    for content_type in ("application/x-www-form-urlencoded", "application/x-ndjson", "multipart/form-data", ""):
        answer = collector.post([sent], origin=ORIGIN, **{"content-type": content_type})
        assert (answer.status_code, answer.json()) == (415, {"error": "content_type"})
        assert answer.headers["access-control-allow-origin"] == ORIGIN


def test_event_that_waited_is_stored_with_its_age(broker: Broker, collector: RunningCollector):
    sent = event(event_time_ms=5_000_000_000_000, sent_ms=5_000_003_600_000)  # a clock in 2128, an hour on the shelf
    assert collector.post([sent]).json()["accepted"] == 1
    stored = broker.stored([sent])[sent["event_id"]]
    assert abs(stored["event_time_ms"] - (now_ms() - 3_600_000)) < 60_000
    assert "sent_ms" not in stored


def test_consent_decides_what_is_kept(broker: Broker, collector: RunningCollector):
    visitor = collector.pseudonyms.of("berta@example.com")
    granted, unknown, denied, signalled = ([event(visitor_id="berta@example.com")] for _ in range(4))
    assert collector.post(unknown, consent="unknown").json() == {"accepted": 0, "suppressed": 1, "rejected": []}
    assert broker.consents(visitor) == []
    for _ in range(3):
        assert collector.post(granted).json()["accepted"] == 1
    assert broker.consents(visitor) == ["granted"]
    assert collector.post(denied, consent="denied").json() == {"accepted": 0, "suppressed": 1, "rejected": []}
    assert broker.consents(visitor) == ["granted", "withdrawn"]
    assert collector.post(signalled, sec_gpc="1").json() == {"accepted": 0, "suppressed": 1, "rejected": []}
    assert set(broker.stored([*granted, *unknown, *denied, *signalled])) == {granted[0]["event_id"]}
    assert collector.post(event(visitor_id="berta@example.com")).json()["accepted"] == 1
    assert broker.consents(visitor) == ["granted", "withdrawn", "granted"]
    last = [each for each in broker.records("consent") if each.key == visitor.encode()][-1]
    assert abs(json.loads(last.value)["at_ms"] - now_ms()) < 60_000


def test_a_grant_with_an_old_event_revives_nothing(broker: Broker, collector: RunningCollector):
    """A client's clock dates it. What was done while consent was denied stays undone, and the grant is heard."""
    raw_id, day_ms = "dora@example.com", 86_400_000
    assert collector.post(event(visitor_id=raw_id), consent="denied").status_code == 200
    said_ms = now_ms()
    time.sleep(0.01)
    old = event(visitor_id=raw_id, event_time_ms=now_ms() - 6 * day_ms)
    assert collector.post(old).json()["accepted"] == 1
    consents = consent_topic.read(broker.bootstrap, "consent", "assumed")
    visitor = collector.pseudonyms.of(raw_id)
    assert consents.verdict(visitor, 0, 0, now_ms() - 3 * day_ms) == "forgotten"
    assert consents.verdict(visitor, 0, 0, said_ms) == "suppressed"
    assert consents.verdict(visitor, 0, 0, now_ms()) == "counts"
    assert collector.post(event(visitor_id=raw_id)).json()["accepted"] == 1
    assert broker.consents(visitor) == ["withdrawn", "granted"]


def test_a_denial_after_a_grant_by_others_is_written(broker: Broker, collector: RunningCollector):
    """By another collector, or by the shop: the page's denial is no repetition of the one before."""
    visitor, denial = collector.pseudonyms.of("greta@example.com"), [event(visitor_id="greta@example.com")]
    for _ in range(3):
        assert collector.post(denial, consent="denied").status_code == 200
    assert broker.consents(visitor) == ["withdrawn"]
    consent_topic.send(broker.bootstrap, "consent", {visitor: Record("granted", now_ms())})
    for _ in range(3):
        assert collector.post(denial, consent="denied").status_code == 200
    assert broker.consents(visitor) == ["withdrawn", "granted", "withdrawn"]


def test_requests_at_once_write_one_consent(broker: Broker, collector: RunningCollector):
    """Those of other visitors wait for nobody."""
    events = [event(visitor_id=f"hugo-{number % 2}@example.com") for number in range(50)]
    with ThreadPoolExecutor(50) as clients:
        assert {answer.status_code for answer in clients.map(collector.post, events)} == {200}
    for number in range(2):
        assert broker.consents(collector.pseudonyms.of(f"hugo-{number}@example.com")) == ["granted"]
    assert len(broker.stored(events)) == 50


def test_a_page_speaks_for_its_own_visitor_only(broker: Broker, collector: RunningCollector):
    """Nobody makes hundreds of denials durable with a request that a page could send."""
    ids = [f"made-up-{number}" for number in range(105)]
    said = [event(visitor_id=each) for each in ids]
    for consent in ("granted", "denied"):
        answer = collector.post(said[:5], consent=consent, origin=ORIGIN)
        assert (answer.status_code, answer.json()) == (400, {"error": "visitors"})
        assert collector.post(said[:4], consent=consent, origin=ORIGIN).status_code == 200
    assert collector.post(said, consent="denied").status_code == 400
    written = [broker.consents(collector.pseudonyms.of(each)) for each in ids]
    assert written == [["granted", "withdrawn"]] * 4 + [[]] * 101


def test_a_visitor_who_flips_writes_no_record_a_request(broker: Broker, collector: RunningCollector):
    flips = [event(visitor_id="flips@example.com") for _ in range(20)]
    for place, each in enumerate(flips):
        assert collector.post(each, consent=("granted", "denied")[place % 2]).status_code == 200
    assert len(broker.consents(collector.pseudonyms.of("flips@example.com"))) < 16  # 12, and two a minute


def test_a_browsers_device_and_country_are_filled_in(broker: Broker, tmp_path: Path):
    """A browser's device and country are filled in and a server's are not."""
    writer = MMDBWriter(ip_version=4)
    writer.insert_network(IPSet(["203.0.113.0/24"]), {"country": {"iso_code": "DE"}})
    writer.to_db_file(str(tmp_path / "countries.mmdb"))
    settings = {"country_database": tmp_path / "countries.mmdb", "proxies": "127.0.0.1"}
    seen = {"user_agent": IPHONE, "x_forwarded_for": "203.0.113.7"}
    page, server, own = event(), event(), event(device="tv", country="AT")
    with RunningCollector(broker, tmp_path, **settings) as collector:
        for each, headers in ((page, seen | {"origin": ORIGIN}), (server, seen), (own, seen | {"origin": ORIGIN})):
            assert collector.post(each, **headers).json()["accepted"] == 1
    stored = broker.stored([page, server, own])
    assert (stored[page["event_id"]]["device"], stored[page["event_id"]]["country"]) == ("iOS", "DE")
    assert not {"device", "country"} & stored[server["event_id"]].keys()
    assert (stored[own["event_id"]]["device"], stored[own["event_id"]]["country"]) == ("tv", "AT")
    everything = b"".join(record.value for record in broker.records("events")) + collector.log.read_bytes()
    assert b"203.0.113" not in everything
    assert b"iPhone" not in everything


def test_the_script_is_small_and_asked_for_once_an_hour(collector: RunningCollector):
    script = requests.get(f"{collector.url}/t.js", timeout=10)
    assert len(script.content) <= 2048
    assert script.headers["content-type"].startswith("text/javascript")
    assert script.headers["cache-control"] == "public, max-age=3600"
    again = requests.get(f"{collector.url}/t.js", headers={"if-none-match": script.headers["etag"]}, timeout=10)
    assert (again.status_code, again.content) == (304, b"")


def test_too_many_events_or_requests_wait(broker: Broker, tmp_path: Path):
    """Too many events of a key and too many requests of an address wait."""
    batch = [event() for _ in range(400)]
    with RunningCollector(
        broker, tmp_path, key_events_per_s=10, address_requests_per_s=5, proxies="127.0.0.1"
    ) as collector:
        assert collector.post(batch).status_code == 200  # the burst holds 500
        again = collector.post([event() for _ in range(400)])
        assert (again.status_code, again.json()) == (429, {"error": "rate"})
        # 400 of 500 are there, and must fade to 100: with 10 a second that takes 50 s times the logarithm of 4, 69 s.
        assert 60 <= int(again.headers["retry-after"]) <= 70
        assert collector.post(event(), key=f"another-{KEY}", x_forwarded_for="198.51.100.1").status_code == 200
        statuses = [
            collector.post(event(), key="guessed", x_forwarded_for="198.51.100.2").status_code for _ in range(30)
        ]
        assert statuses[:10] == [401] * 10  # the burst
        assert 429 in statuses
        refused = collector.post(event(), key="guessed", x_forwarded_for="198.51.100.2")
        assert refused.headers["retry-after"] == "1"
        assert collector.post(event(), key="guessed", x_forwarded_for="198.51.100.3").status_code == 401


def test_a_flooding_address_leaves_the_others_their_events(broker: Broker, tmp_path: Path):
    """The flood comes within the address' requests, 60 events each; pages send 99, and the shop's server 500."""
    with RunningCollector(broker, tmp_path, proxies="127.0.0.1") as collector:
        flood = [[event(visitor_id=f"f{number}") for _ in range(60)] for number in range(80)]
        with ThreadPoolExecutor(4) as clients:
            sent = list(clients.map(lambda batch: collector.post(batch, x_forwarded_for="198.51.100.1"), flood))
            honest = [
                collector.post([event() for _ in range(99)], x_forwarded_for=f"203.0.113.{host}") for host in range(10)
            ]
        assert {answer.status_code for answer in sent} == {200, 429}
        assert [answer.status_code for answer in honest] == [200] * 10
        servers = [collector.post([event() for _ in range(500)], key=SERVER_KEY) for _ in range(6)]
        assert [answer.status_code for answer in servers] == [200] * 6
        on_a_page = collector.post(event(), key=SERVER_KEY, origin=ORIGIN)
        assert (on_a_page.status_code, on_a_page.json()) == (403, {"error": "server_key"})


def test_new_items_of_an_address_are_bounded(broker: Broker, tmp_path: Path):
    """What is refused for now may be sent again: nothing of it is stored, and the page is told when."""
    settings = {"address_new_per_s": 0.02, "key_new_per_s": 1, "proxies": "127.0.0.0/8"}  # 20 at once
    with RunningCollector(broker, tmp_path, **settings) as collector:
        flood = [[event(item_id=f"made-up-{number}-{place}") for place in range(15)] for number in range(2)]
        assert collector.post(flood[0], x_forwarded_for="198.51.100.1").json()["accepted"] == 15
        answer = collector.post(flood[1], x_forwarded_for="198.51.100.1")
        assert (answer.status_code, answer.json()) == (429, {"error": "too_many_new"})
        assert 400 <= int(answer.headers["retry-after"]) <= 500  # ten are missing
        assert set(broker.stored(flood[0] + flood[1])) == {each["event_id"] for each in flood[0]}
        known = [event(item_id="made-up-0-3") for _ in range(100)]
        assert collector.post(known, x_forwarded_for="198.51.100.1").json()["accepted"] == 100
        newcomer = event(visitor_id="newcomer", item_id="made-up-0-3")  # visitors have a bound of their own
        assert collector.post(newcomer, x_forwarded_for="198.51.100.1").json()["accepted"] == 1
        assert collector.post(event(item_id="new"), x_forwarded_for="198.51.100.2").json()["accepted"] == 1
        never = collector.post([event(item_id=f"x{number}") for number in range(21)], x_forwarded_for="198.51.100.3")
        assert (never.status_code, never.json()) == (413, {"error": "too_many_new"})
        imported = [event(item_id=f"imported-{number}") for number in range(100)]
        assert collector.post(imported, key=SERVER_KEY).json()["accepted"] == 100
        assert collector.metric('collector_requests_total{error="too_many_new",status="429"}') == 1
        port = int(collector.admin_url.rpartition(":")[2])
        seen = {each.name: each for each in quiet.refused(Settings(collector_admin_port=port), Runtime())}
        assert (seen["collector"].count, seen["collector"].of) == (1, 7)


def test_networks_of_a_customer_count_together_behind_two_proxies(broker: Broker, tmp_path: Path):
    """The nearer proxy writes a line of its own. What the client writes itself counts for nothing."""
    with RunningCollector(broker, tmp_path, address_requests_per_s=2, proxies="127.0.0.0/8,192.0.2.0/24") as collector:
        heads = {"host": "x", "x-write-key": "wrong", "content-length": "0"}

        def status(client: str) -> int:
            connection = http.client.HTTPConnection(*collector.place, timeout=30)
            connection.putrequest("POST", "/events", skip_host=True)
            for name, line in [
                *heads.items(),
                ("x-forwarded-for", f"1.1.1.1, {client}"),
                ("x-forwarded-for", "192.0.2.9"),
            ]:
                connection.putheader(name, line)
            connection.endheaders()
            with contextlib.closing(connection):
                return connection.getresponse().status

        customer = [status(f"2001:db8:0:{number:x}00::1") for number in range(40)]
        assert customer.count(401) < 20  # twelve at once, and six a second; each a /64 and a /56 of its own
        assert 429 in customer
        assert status("2001:db8:1::1") == 401


def test_script_and_preflights_of_an_address_are_bounded(broker: Broker, tmp_path: Path):
    with RunningCollector(broker, tmp_path, address_requests_per_s=0.01, proxies="127.0.0.0/8") as collector:
        for method, path in (("GET", "/t.js"), ("OPTIONS", "/events"), ("GET", "/nothing")):
            heads = {"x-forwarded-for": f"203.0.113.{len(path) + len(method)}", "origin": ORIGIN}
            first, *others = [
                requests.request(method, collector.url + path, headers=heads, timeout=10).status_code for _ in range(3)
            ]
            assert first != 429
            assert others == [429, 429]
        assert collector.metric('collector_requests_total{error="rate",status="429"}') == 6
        assert collector.post(event(), key=SERVER_KEY).status_code == 200


def test_items_that_no_list_names_are_refused(broker: Broker, tmp_path: Path):
    (tmp_path / "items.txt").write_text("lamp\nchair\n")
    with RunningCollector(broker, tmp_path, items=tmp_path / "items.txt") as collector:
        answer = collector.post([event(item_id=item) for item in ("lamp", "made-up", "chair")]).json()
    assert answer["rejected"] == [{"index": 1, "reason": "unknown_item", "field": "item_id"}]


def test_an_address_cannot_take_all_connections(broker: Broker, tmp_path: Path):
    """900 idle ones kept the collector at 503 for everybody."""
    with RunningCollector(broker, tmp_path) as collector:
        idle = [
            socket.create_connection(collector.place, timeout=5, source_address=("127.0.0.2", 0)) for _ in range(950)
        ]
        try:
            assert collector.post(event()).status_code == 200
            assert collector.metric("collector_too_many_total") == 800
        finally:
            for client in idle:
                client.close()


def head(collector: RunningCollector, length: int) -> bytes:
    return (
        f"POST /events HTTP/1.1\r\nhost: x\r\nx-write-key: {KEY}\r\nx-consent: granted\r\n"
        f"content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    ).encode()


def test_a_client_that_stalls_is_let_go_after_ten_seconds(collector: RunningCollector):
    first = {
        "nothing": b"",
        "half a head": b"POST /ev",
        "blank lines": b"\r\n\r\n",
        "half a body": head(collector, 9) + b"[",
    }
    later = {"half a second head": b"POST /ev", "blank lines after an answer": b"\r\n"}
    clients = {name: socket.create_connection(collector.place, timeout=30) for name in (*first, *later)}
    for name in later:
        clients[name].sendall(head(collector, 2) + b"[]")
        answer = b""
        while not answer.endswith(b"}"):
            answer += clients[name].recv(65_536)
        assert b" 200 " in answer
    for name, start in (first | later).items():
        clients[name].sendall(start)
    began_s, ended = time.monotonic(), {}
    for name, client in clients.items():
        received = b""
        while part := client.recv(65_536):
            received += part
        ended[name] = (time.monotonic() - began_s, received)
        client.close()
    assert all(8 < seconds < 60 for seconds, _ in ended.values()), ended
    assert all(received.startswith(b"HTTP/1.1 408 ") for _, received in ended.values()), ended
    assert b'{"error":"body_incomplete"}' in ended["half a body"][1]
    assert collector.metric("collector_too_slow_total") >= 5


def test_rest_of_body_that_was_refused_is_not_waited_for(broker: Broker, tmp_path: Path):
    """429 leaves the connection open, for the next try; a client that never ends the refused body would hold it."""
    with RunningCollector(broker, tmp_path, key_events_per_s=0.001) as collector:
        assert collector.post([event() for _ in range(500)]).status_code == 200
        with socket.create_connection(collector.place, timeout=30) as client:
            client.sendall(head(collector, 100) + b"[")
            began_s, received = time.monotonic(), b""
            while part := client.recv(65_536):
                received += part
                client.sendall(b" ")
            assert b" 429 " in received
            assert time.monotonic() - began_s < 60


def test_large_bodies_that_never_end_fill_no_memory(collector: RunningCollector):
    """Large bodies that never end fill no memory and are in no small one's way."""
    part, clients = b" " * 1_000_000, [socket.create_connection(collector.place, timeout=30) for _ in range(80)]
    for client in clients:
        client.sendall(head(collector, 1_048_576) + part)
    assert collector.post(event()).status_code == 200
    codes = []
    for client in clients:
        codes.append(client.recv(65_536)[9:12].decode())
        client.close()
    assert set(codes) == {"503", "408"}
    assert codes.count("408") <= 67  # 64 MiB are 67 times a million bytes
    assert collector.metric('collector_requests_total{error="bodies",status="503"}') >= 13
    assert collector.post(event(junk="x" * 100_000)).status_code == 200  # there is room again


def test_a_head_without_end_is_refused(collector: RunningCollector):
    with socket.create_connection(collector.place, timeout=30) as client:
        client.sendall(b"POST /events HTTP/1.1\r\n")
        client.sendall(b"x-long: " + b"y" * 20_000)  # 16 KiB are allowed
        assert client.recv(100).startswith(b"HTTP/1.1 431 ")
