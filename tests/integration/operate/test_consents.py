"""The consent topic on a real broker: how long it is kept, and what of it nobody understood."""

import json
import time

import pytest

from jobs.cluster import runtime
from jobs.connect import consent_topic, kafka_admin, kafka_send
from jobs.contract.consent import Record
from jobs.errors import ServiceError
from jobs.operate import doctor
from jobs.settings import Settings

DAY_MS = 86_400_000


@pytest.fixture
def settings(kafka_settings: Settings, bootstrap: str) -> Settings:
    """Return settings whose topics are new."""
    name = f"t{time.time_ns()}"
    names = {f"{kind}_topic": f"{name}.{kind}" for kind in ("events", "dead", "late", "rankings", "consent")}
    chosen = kafka_settings.model_copy(update=names)
    kafka_admin.create_topics(bootstrap, {chosen.events_topic: 1})
    kafka_admin.create_topics(bootstrap, {chosen.consent_topic: 1}, consent_topic.TOPIC)
    return chosen


def found(settings: Settings) -> dict[str, doctor.Check]:
    running = runtime.current(settings)
    return {check.name: check for check in doctor._consents(settings, running, doctor._said(settings, running))}


def test_consents_are_kept_as_long_as_events(settings: Settings, bootstrap: str):
    """For ever, which is ten years; then as long as events and a segment of them; then as long as a longer topic."""
    assert found(settings)["consent topic"].ok
    kafka_admin.set_configs(
        bootstrap, settings.events_topic, {"retention.ms": str(30 * DAY_MS), "segment.ms": str(DAY_MS)}
    )
    check = found(settings)["consent topic"]
    assert not check.ok
    assert f"{consent_topic.LAG}={31 * DAY_MS}" in check.fix
    consent_topic.mend(bootstrap, settings.consent_topic, [settings.events_topic])
    kept = kafka_admin.configs(bootstrap, [settings.consent_topic])[0]
    assert (kept[consent_topic.LAG], kept["cleanup.policy"]) == (str(31 * DAY_MS), "compact")
    assert found(settings)["consent topic"].ok
    kafka_admin.create_topics(
        bootstrap, {settings.rankings_topic: 1}, {"retention.ms": str(60 * DAY_MS), "segment.ms": str(DAY_MS)}
    )
    assert f"{consent_topic.LAG}={61 * DAY_MS}" in found(settings)["consent topic"].fix


def test_a_producers_clock_dates_nothing(settings: Settings, bootstrap: str):
    """It is half an hour ahead. So its grant can't be read, and outlives no withdrawal that comes a moment later."""
    ahead_ms = time.time_ns() // 1_000_000 + 1_800_000
    consent_topic.send(bootstrap, settings.consent_topic, {"anna": Record("granted", ahead_ms)})
    consents = consent_topic.read(bootstrap, settings.consent_topic, "assumed")
    assert [str(each) for each in consents.unread] == ["0:0 ahead of at_ms"]
    assert consents.verdict("anna", 0, 0, ahead_ms) == "suppressed"


def test_a_topic_that_producers_date_takes_nobodys_word(settings: Settings, bootstrap: str):
    """Nobody could tell whether a record is dated right."""
    topic = f"{settings.consent_topic}.other"
    kafka_admin.create_topics(bootstrap, {topic: 1}, {"cleanup.policy": "compact"})
    with pytest.raises(ServiceError, match="doesn't date the topic"):
        consent_topic.say(bootstrap, topic, "assumed", ["anna"], "withdrawn")
    assert consent_topic.read(bootstrap, topic, "assumed").visitors() == []


def test_a_collector_needs_the_brokers_time(settings: Settings, bootstrap: str, monkeypatch: pytest.MonkeyPatch):
    """Its clock dates what visitors say. Asking leaves nothing behind."""
    consent_topic.check_clock(bootstrap, settings.consent_topic)
    now_ns = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() + 120_000_000_000)
    with pytest.raises(ServiceError, match="s ahead of the broker's"):
        consent_topic.check_clock(bootstrap, settings.consent_topic)
    found = consent_topic.read(bootstrap, settings.consent_topic, "required")
    assert (found.visitors(), found.unread_count) == ([], 0)


def test_withdrawals_that_nobody_understood_are_named(settings: Settings, bootstrap: str):
    """As shops and their tools write them. Where the key names somebody, each is a denial all the same."""
    now_ms = time.time_ns() // 1_000_000
    consent_topic.send(bootstrap, settings.consent_topic, {"c-1": Record("withdrawn", now_ms)})
    assert found(settings)["consent records"].ok
    sender = kafka_send.connect(bootstrap, settings.consent_topic, fast=False)
    for key, state, at in (
        (b'"c-2"', "withdrawn", now_ms),
        (b"\0\0\0\0\1c-3", "withdrawn", now_ms),
        (b"c-4", "denied", now_ms),
        (b"c-5", "WITHDRAWN", now_ms),
        (b"c-6", "withdrawn", time.strftime("%Y-%m-%dT%H:%M:%SZ")),
    ):
        sender.send(key, json.dumps({"state": state, "at_ms": at}).encode(), now_ms)
    sender.flush()
    sender.close()
    check = found(settings)["consent records"]
    assert not check.ok
    assert check.found == (
        "5 weren't understood, 5 of them in the last 7 days; 0:1 quoted of key; 0:2 control_character of key; "
        "0:3 unknown_value of state; 0:4 unknown_value of state; 0:5 wrong_type of at_ms"
    )
    consents = consent_topic.read(bootstrap, settings.consent_topic, "assumed")
    later_ms = now_ms + 3_600_000  # an unreadable one denies from when the broker took it
    verdicts = {visitor: consents.verdict(visitor, 0, 0, later_ms) for visitor in ("c-1", "c-4", "c-5", "c-6", "c-7")}
    assert verdicts == dict.fromkeys(("c-1", "c-4", "c-5", "c-6"), "suppressed") | {"c-7": "counts"}


def test_a_follower_reads_what_is_new(settings: Settings, bootstrap: str):
    now_ms = time.time_ns() // 1_000_000
    follower = consent_topic.Follower(bootstrap, settings.consent_topic, "assumed")
    assert follower.now().visitors() == []
    for visitor in ("anna", "bert"):
        consent_topic.send(bootstrap, settings.consent_topic, {visitor: Record("withdrawn", now_ms)})
        assert follower.now().latest(visitor) == Record("withdrawn", now_ms)
    assert follower.now().visitors() == ["anna", "bert"]


def test_a_broker_without_topics_has_no_consents_to_judge(kafka_settings: Settings):
    elsewhere = kafka_settings.model_copy(update={"events_topic": "nowhere", "consent_topic": "nothing"})
    assert found(elsewhere) == {}
