"""Compare the online store with the oracles of features and of facts."""

from collections.abc import Mapping

from jobs.flow import began
from jobs.verify import expiry, online, parts
from jobs.verify.checked import Checked, now_ms
from jobs.verify.classify import Classified
from jobs.verify.expiry import Fate, Reading
from jobs.verify.facts import CHANGED, Facts
from jobs.verify.features import Key, Row, events_by_key
from jobs.verify.lost import NOT_WHOLE
from jobs.verify.report import Report
from jobs.verify.views import View


def verify_features(
    report: Report, checked: Checked, classified: Classified, since: Classified, certain_ms: float, facts: Facts
) -> int:
    """Compare every view, entity and feature; return how many rows have outlived their time to live.

    Only entities with an event in `since` are compared, and rows that don't reach back behind `certain_ms`.
    """
    counted, watermark_ms = classified.of_kind("counted"), classified.watermark_ms or 0
    cap, sample = checked.settings.max_window_events, checked.sample
    beginnings = began.read(checked.settings.state_dir) if checked.topic == checked.settings.events_topic else {}
    expected = parts.expected_rows(checked.views, beginnings, counted, watermark_ms, cap, sample) | facts.expected
    expired, fates_by_keys = 0, {}
    for names, views in online.by_keys([*checked.views, *checked.facts]).items():
        rows = {view.name: expected[view.name].rows for view in views}
        entities = set().union(*rows.values())
        if checked.since:
            entities &= events_by_key(names, since.of_kind("counted"), sample).keys()
        begin_ms = now_ms()
        stored = online.read_rows(checked.store, views, entities)
        reading = expiry.Reading(begin_ms, now_ms())
        of_facts = [view for view in views if view.topic]
        unsure = facts.unsure() if of_facts else set()
        gone_ms = expiry.entity_expiries(views, rows)
        fates_by_keys[names] = {entity: reading.fate(at_ms, at_ms) for entity, at_ms in gone_ms.items()}
        if facts.ever_said and of_facts:
            fates_by_keys[names] = _prolonged(fates_by_keys[names], unsure | facts.going())
        for view in views:
            of_view = expected[view.name]
            fates = _fates(view, of_view.rows, gone_ms, reading)
            if of_facts and not view.topic and facts.ever_said:
                fates = _prolonged(fates, set())
            expired += sum(fate == "gone" for fate in fates.values())
            known = {entity for entity in entities & of_view.rows.keys() if of_view.rows[entity].reach_ms >= certain_ms}
            unknown = len(entities & of_view.rows.keys()) - len(known)
            if unknown:
                report.not_compared[NOT_WHOLE] += unknown * (1 + len(view.aggregates))
            surplus = {entity: row for entity, row in stored[view.name].items() if entity not in of_view.rows}
            standing = {entity: row for entity, row in stored[view.name].items() if entity in known} | surplus
            if view.topic and (left_out := unsure & (known | surplus.keys())):
                report.not_compared[CHANGED] += len(left_out) * (1 + len(view.aggregates))
                known, standing = known - unsure, {key: row for key, row in standing.items() if key not in unsure}
            online.compare_view(report, view, of_view.only(known), standing, fates)
    if not report.lost:  # entities that only lost events name stand rightly
        online.compare_keys(report, checked.store, checked.client, fates_by_keys, sample)
    return expired


def _fates(view: View, rows: Mapping[Key, Row], gone_ms: Mapping[Key, float], reading: Reading) -> dict[Key, Fate]:
    """Return what must be found of each row: its own time to live is over first, and its hash's last."""
    return {entity: reading.fate(expiry.expiry_ms(view, row), gone_ms[entity]) for entity, row in rows.items()}


def _prolonged(fates: Mapping[Key, Fate], either: set[Key]) -> dict[Key, Fate]:
    """Return the fates of items in hashes that hold facts, too: what should be gone may stand, as facts stood there."""
    softened: dict[Key, Fate] = {entity: "either" if fate == "gone" else fate for entity, fate in fates.items()}
    return softened | dict.fromkeys(either, "either")
