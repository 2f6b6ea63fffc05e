"""Draw two pictures of a training: its curves, and the model beside the baselines with 95 % intervals."""

from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

METRICS = (("recall@20", "recall@20"), ("mrr@20", "MRR@20"))
MODEL, BASELINE = "tab:blue", "tab:gray"
SIZE_INCHES, DPI = (8, 3.2), 110  # about 30 kB


class Epoch(NamedTuple):
    """Hold an epoch's values in one part of a training: `loss`, and recall@20 and mrr@20 where questions were asked."""

    part: str
    number: int
    values: dict[str, float]


def draw(folder: Path, name: str, curve: list[Epoch], reports: dict[str, dict]) -> list[Path]:
    """Write `NAME-curves.png` and `NAME-comparison.png`, and return their paths; `reports` are train_bundle's."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}-curves.png", folder / f"{name}-comparison.png"]
    for file, figure in zip(files, (curves(name, curve), comparison(name, reports)), strict=True):
        figure.savefig(file, dpi=DPI)
    return files


def curves(name: str, curve: list[Epoch]) -> Figure:
    """Draw the loss of each part, and MRR@20 on the choosing part, by epoch."""
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    left, right = figure.subplots(1, 2)
    for part in dict.fromkeys(epoch.part for epoch in curve):
        epochs = [epoch for epoch in curve if epoch.part == part]
        left.plot(
            [epoch.number for epoch in epochs], [epoch.values["loss"] for epoch in epochs], marker=".", label=part
        )
    asked = [epoch for epoch in curve if "mrr@20" in epoch.values]
    right.plot([epoch.number for epoch in asked], [epoch.values["mrr@20"] for epoch in asked], marker=".", color=MODEL)
    for axes, title in ((left, f"{name}: loss"), (right, "MRR@20 on the choosing part, network alone")):
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    left.legend(fontsize=8)
    return figure


def comparison(name: str, reports: dict[str, dict]) -> Figure:
    """Draw a dot for each scorer with its 95 % interval, the first at the top."""
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    for axes, (metric, title) in zip(figure.subplots(1, 2, sharey=True), METRICS, strict=True):
        for place, (scorer, report) in enumerate(reversed(reports.items())):
            _dot(axes, place, report[metric], report["intervals"].get(metric), scorer in ("model", "gru_alone"))
        axes.set_yticks(range(len(reports)), [scorer.replace("_", " ") for scorer in reversed(reports)], fontsize=9)
        questions = next(iter(reports.values()))["pairs"]
        axes.set_title(f"{name}: {title}, {questions:,} questions", fontsize=10)
        axes.set_xlim(0, 1.12 * max(report[metric] for report in reports.values()))
        axes.set_ylim(-0.5, len(reports) - 0.3)
        axes.grid(alpha=0.3, axis="x")
    return figure


def _dot(axes: Axes, place: int, value: float, interval: list[float] | None, ours: bool) -> None:
    low, high = interval or (value, value)
    axes.errorbar(
        value,
        place,
        xerr=[[value - low], [high - value]],
        fmt="o",
        capsize=3,
        markersize=4,
        color=MODEL if ours else BASELINE,
    )
    axes.annotate(
        f"{value:.3f}".lstrip("0"), (value, place), xytext=(0, 5), textcoords="offset points", ha="center", fontsize=7
    )
