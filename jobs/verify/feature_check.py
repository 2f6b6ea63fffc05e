"""Compare the online store with the feature oracle."""

from jobs.flow import began
from jobs.verify import expiry, online, parts
from jobs.verify.checked import Checked, now_ms
from jobs.verify.classify import Classified
from jobs.verify.features import events_by_key
from jobs.verify.lost import NOT_WHOLE
from jobs.verify.report import Report


def verify_features(
    report: Report, checked: Checked, classified: Classified, since: Classified, certain_ms: float
) -> int:
    """Compare every view, entity and feature; return how many rows have outlived their time to live.

    Only entities with an event in `since` are compared, and rows that don't reach back behind `certain_ms`.
    """
    counted, watermark_ms = classified.of_kind("counted"), classified.watermark_ms or 0
    cap, sample = checked.settings.max_window_events, checked.sample
    beginnings = began.read(checked.settings.state_dir) if checked.topic == checked.settings.events_topic else {}
    expected = parts.expected_rows(checked.views, beginnings, counted, watermark_ms, cap, sample)
    expired, fates_by_keys = 0, {}
    for names, views in online.by_keys(checked.views).items():
        rows = {view.name: expected[view.name].rows for view in views}
        entities = set().union(*rows.values())
        if checked.since:
            entities &= events_by_key(names, since.of_kind("counted"), sample).keys()
        begin_ms = now_ms()
        stored = online.read_rows(checked.store, views, entities)
        reading = expiry.Reading(begin_ms, now_ms())
        gone_ms = expiry.entity_expiries(views, rows)
        fates_by_keys[names] = {entity: reading.fate(at_ms, at_ms) for entity, at_ms in gone_ms.items()}
        for view in views:
            of_view = expected[view.name]
            fates = {
                entity: reading.fate(expiry.expiry_ms(view, row), gone_ms[entity])
                for entity, row in of_view.rows.items()
            }
            expired += sum(fate == "gone" for fate in fates.values())
            known = {entity for entity in entities & of_view.rows.keys() if of_view.rows[entity].reach_ms >= certain_ms}
            unknown = len(entities & of_view.rows.keys()) - len(known)
            if unknown:
                report.not_compared[NOT_WHOLE] += unknown * (1 + len(view.aggregates))
            surplus = {entity: row for entity, row in stored[view.name].items() if entity not in of_view.rows}
            standing = {entity: row for entity, row in stored[view.name].items() if entity in known}
            online.compare_view(report, view, of_view.only(known), standing | surplus, fates)
    if not report.lost:  # entities that only lost events name stand rightly
        online.compare_keys(report, checked.store, checked.client, fates_by_keys, sample)
    return expired
