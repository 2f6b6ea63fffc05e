"""Show a report to a person."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jobs.contract.printable import printable
from jobs.verify.report import Report

SHOWN = 20
LONGEST = 400  # characters of a value; a list of 20 items and scores fits


def render(report: Report) -> Group:
    """Return balance, counts by feature, the first differences and the verdict, for `rich.Console.print`."""
    parts: list[RenderableType] = [_balance(report), _by_name(report)]
    if report.lists:
        parts.append(_by_shelf(report))
    if report.mismatches:
        parts.append(_differences(report))
    return Group(*parts, *_verdict(report))


def _balance(report: Report) -> Table:
    table = Table(title="The slice", show_header=False)
    for name, count in report.counts.items():
        table.add_row(name.replace("_", " "), f"{count:,}")
        if name == "refused":
            for reason, times in report.refused_by_reason.items():
                table.add_row(f"  {reason}", f"{times:,}")
    return table


def _by_name(report: Report) -> Table:
    table = Table("feature", title="Compared")
    for column in ("compared", "equal", "mismatched"):
        table.add_column(column, justify="right")
    for name, count in sorted(report.by_name.items()):
        style = "red" if count.mismatched else ""
        table.add_row(name, f"{count.compared:,}", f"{count.equal:,}", f"{count.mismatched:,}", style=style)
    return table


def _by_shelf(report: Report) -> Table:
    table = Table("shelf", title="Lists")
    for column in ("compared", "equal", "mismatched"):
        table.add_column(column, justify="right")
    for name, count in report.by_shelf().items():
        table.add_row(name, *(f"{each:,}" for each in count.values()), style="red" if count["mismatched"] else "")
    return table


def _differences(report: Report) -> Table:
    table = Table("feature", "entity", "expected", "found", title="The first differences", show_lines=True)
    for mismatch in report.mismatches[:SHOWN]:
        values = (mismatch.name, mismatch.entity, mismatch.expected, mismatch.found)
        table.add_row(*(Text(_short(value)) for value in values))  # Text: an id in brackets would be read as markup
    return table


def _short(value: object) -> str:
    text = printable(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text):,} characters)"


def _verdict(report: Report) -> Iterator[Text]:
    counts = f"{report.compared:,} compared, {report.equal:,} equal, {report.mismatched:,} mismatched"
    yield Text(f"{counts}, in {report.seconds:.1f} s", style="green" if report.ok else "bold red")
    if not report.compared:
        yield Text("Nothing was compared.", style="bold red")
    for reason, values in report.not_compared.items():
        yield Text(f"{values:,} values weren't compared: {reason}")
    if report.unread_consents:
        places = "; ".join(report.unread)
        yield Text(f"{report.unread_consents:,} consent records weren't understood: {places}", style="bold red")
    if report.counts.get("expired"):
        yield Text(
            f"{report.counts['expired']:,} rows and lists have outlived their time to live and must be absent. "
            "To see values of an old file, replay it with --shift-to-now."
        )
