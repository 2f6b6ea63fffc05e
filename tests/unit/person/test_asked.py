"""Which events of a file history and training may take, by what their visitors have said."""

from pathlib import Path

import pytest

from jobs.contract.consent import Consents, Mode, Record
from jobs.person.asked import Asked, ask
from jobs.settings import Settings
from liveshelf.pseudonyms import Pseudonyms

KEYS = Pseudonyms([("k2", bytes(32)), ("k1", bytes(range(32)))])


def event(visitor: str, time_ms: int) -> dict[str, object]:
    return {"visitor_id": visitor, "event_time_ms": time_ms}


def consents(mode: Mode) -> Consents:
    """Anna withdrew at 100. Petra, by her older pseudonym, was erased at 100. Olga has granted at 50."""
    said = Consents(mode)
    said.add("anna", Record("withdrawn", 100))
    said.add(KEYS.all_of("petra")[1], Record("erased", 100, {"0": 10**6}))
    said.add("olga", Record("granted", 50))
    return said


@pytest.mark.parametrize(
    ("mode", "visitor", "verdicts"),
    [
        ("assumed", "anna", ["forgotten", "suppressed"]),
        ("assumed", "petra", ["forgotten", "counts"]),
        ("assumed", KEYS.all_of("petra")[1], ["forgotten", "counts"]),
        ("assumed", "olga", ["counts", "counts"]),
        ("assumed", "zoé", ["counts", "counts"]),
        ("required", "olga", ["counts", "counts"]),
        ("required", "petra", ["suppressed", "suppressed"]),
        ("required", "zoé", ["suppressed", "suppressed"]),
    ],
)
def test_a_files_events_are_judged_by_all_ids_of_visitors(mode: Mode, visitor: str, verdicts: list[str]) -> None:
    """Before the denial, and after it; whether a file has the shop's ids or pseudonyms."""
    asked = Asked("topic consent on here", consents(mode), KEYS)
    assert [asked.verdict(event(visitor, time_ms)) for time_ms in (99, 150)] == verdicts


def test_it_is_said_whose_consent_was_asked() -> None:
    asked = Asked("topic consent on here", consents("assumed"), None)
    assert asked.told() == "consent: nobody's was asked, as the file names no visitors"
    taken = [asked.counts(event(visitor, 150)) for visitor in ("anna", "olga", "anna")]
    assert taken == [False, True, False]
    assert asked.told() == ("consent: asked of topic consent on here; left out for it: 2 events of 1 of 2 visitors")


def test_without_a_broker_nobody_is_asked(tmp_path: Path) -> None:
    """And it is said."""
    settings = Settings(state_dir=tmp_path)
    for named, why in (("", "no Kafka runs here; --consent HOST:PORT names one"), ("none", "--consent none")):
        asked = ask(settings, named)
        assert asked.counts(event("anna", 150))
        assert asked.told() == f"consent: nobody's was asked ({why}), so who withdrew or was erased is taken, too"
