"""The way out for each kind of difference that `verify` finds."""

from collections.abc import Mapping

# One line a kind: the likely cause, and what to run or to look at.
BY_KIND = {
    "missing_row": (
        "rows are missing: if Redis was emptied, the keeper writes them again (liveshelf rebuild does it now); a view"
        " that was applied and not yet submitted has none (liveshelf submit features)"
    ),
    "extra_row": (
        "rows stand for entities that the topic doesn't have: they are of another topic or of an earlier run; empty "
        "Redis, then liveshelf rebuild"
    ),
    "older_row": (
        "rows are older than the topic's events: liveshelf verify --wait 60s; if they stay so, liveshelf status says "
        "whether the features job runs"
    ),
    "newer_row": (
        "rows are newer than the topic's events allow: another job writes here, or the topic was made anew; empty "
        "Redis, then liveshelf rebuild"
    ),
    "wrong_value": (
        "values differ in rows of the right time: liveshelf lint says whether definitions were changed since the job "
        "was submitted; if not, it is a fault of liveshelf, and liveshelf verify --json shows it"
    ),
    "outlived": (
        "rows or lists stand although their time to live is over: they were written with a longer ttl or list_ttl_s, "
        "and go when that is over"
    ),
    "missing_list": (
        "lists are missing: liveshelf status says whether the rankings job runs; liveshelf rebuild --no-features "
        "writes the lists of the log again"
    ),
    "extra_list": (
        "lists stand for visitors that the topic doesn't have: they are of another topic or of an earlier run; set "
        "another shelf, or empty Redis, then liveshelf rebuild"
    ),
    "older_list": (
        "lists answer an older event than the visitor's last: liveshelf verify --wait 60s; if they stay so, liveshelf"
        " status says whether the rankings job runs"
    ),
    "newer_list": (
        "lists answer events that the topic doesn't have: the topic was made anew; set another shelf, or empty Redis,"
        " then liveshelf rebuild"
    ),
    "wrong_list": (
        "lists answer the right event with other items: are model_dir, list_size and session_gap_s those that the "
        "rankings job was submitted with? liveshelf status, liveshelf models list"
    ),
    "consent_list": (
        "visitors without consent have another list than the popularity list: liveshelf verify --wait 60s; is the "
        "setting consent the one that the rankings job was submitted with?"
    ),
    "wrong_log": (
        "the log of lists doesn't say what the lists answer: is rankings_topic the job's, and has its retention taken"
        " records? Its retention.ms must be as long as that of the events"
    ),
    "missing_letter": (
        "letters are missing: has the retention of events.dead or events.late taken them, and are dead_topic and "
        "late_topic those that the features job was submitted with?"
    ),
    "extra_letter": (
        "letters are about events that count: was the watermark delay or max_clock_skew_s changed since the job read "
        "them? Then liveshelf verify --since PARTITION:OFFSET, from the change on"
    ),
    "wrong_letter": (
        "letters hold another reason or other bytes than the events: does someone else write to events.dead or "
        "events.late?"
    ),
    "wrong_gate": (
        "shelf:gate doesn't hold the items that the active shelves' gate keeps back: liveshelf status says whether the "
        "rankings job runs, and how old the facts are that it knows"
    ),
}
NOTHING = "the topic is empty, or has no event after --since: liveshelf replay eshop2008 --shift-to-now"


TAKEN = (
    "all that the topic holds may depend on events that its retention has taken, so nothing was compared: "
    "raise its retention.ms above a day and the longest window"
)


def of(
    by_kind: Mapping[str, int], behind: Mapping[str, int | None], lost: Mapping[int, int], compared: int
) -> list[str]:
    """Return the fix lines for differences by kind: jobs that are behind first, then the most frequent kind."""
    if not compared:
        return [TAKEN if lost else NOTHING]
    lines = [_behind(job, records) for job, records in sorted(behind.items()) if records != 0]
    ordered = sorted(by_kind.items(), key=lambda item: (-item[1], item[0]))
    return [*lines, *(f"{count:,} {kind}: {BY_KIND[kind]}" for kind, count in ordered)]


def _behind(job: str, records: int | None) -> str:
    if records is None:
        return f"the {job} job has completed no checkpoint: liveshelf status; liveshelf submit {job}"
    return f"the {job} job had {records:,} records left to read: liveshelf verify --wait 60s"
