"""What evaluations say: interquartile means and the gap closed, as a table, as Markdown and as JSON.

Shapes: S training seeds, T test tasks, K + 1 points of adaptation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.table import Table

from metamotor.meta.evaluation import Evaluation, Protocol
from metamotor.meta.statistics import (
    OTHERS,
    Estimate,
    GapClosed,
    gap_closed,
    interquartile_mean,
    iqm,
)
from metamotor.scripts.figures import COLORS, new_figure, save
from metamotor.scripts.wording import counted, named

Array = NDArray[Any]

MODES = ("stochastic", "deterministic")
METHODS = {
    "idle": "idle",
    "robust": "robust",
    "fine_tuned": "fine-tuned",
    "scratch": "scratch",
    "untrained": "untrained",
    "adapted": "adapted",
    "oracle": "oracle",
}
"""The rows of a table and their names; "untrained", the meta-learner before training, is not always measured."""

UPDATED_METHODS = ("fine_tuned", "scratch", "untrained", "adapted")
"""Those that change from update to update."""


@dataclass(frozen=True)
class Report:
    """The aggregate of one family's evaluations."""

    family: str
    learner: str
    protocol: Protocol
    seeds: tuple[int, ...]
    robot_seconds: float
    """Experience of one update, in seconds of the robot's time."""
    returns: Mapping[str, Mapping[str, tuple[Estimate, ...]]]
    """By mode and method: the interquartile mean before adaptation and after each update."""
    gaps: Mapping[str, tuple[GapClosed, ...]]
    """By mode: the gap closed after each update."""
    scales: Mapping[str, tuple[tuple[float, ...], ...]]
    """By method: for each training seed, the factors on the step sizes of the updates."""
    per_seed: Mapping[str, Mapping[str, tuple[tuple[float, ...], ...]]]
    """By mode and method: each training seed's interquartile means, before adaptation and after each update."""
    physics: str | None = None
    """What simulated it, if that is not the family's usual engine."""

    def as_json(self) -> dict[str, Any]:
        """Return all numbers as JSON values."""
        return {
            "family": self.family,
            **({} if self.physics is None else {"physics": self.physics}),
            "learner": self.learner,
            "protocol": dataclasses.asdict(self.protocol),
            "training_seeds": list(self.seeds),
            "robot_seconds_per_update": self.robot_seconds,
            "returns": {
                mode: {
                    method: [estimate._asdict() for estimate in estimates]
                    for method, estimates in methods.items()
                }
                for mode, methods in self.returns.items()
            },
            "gap_closed": {
                mode: [
                    {
                        **(gap.estimate._asdict() if has_gap(self, mode, k) else {}),
                        "best_other": gap.best_other,
                        "size": gap.size._asdict(),
                    }
                    for k, gap in enumerate(gaps, start=1)
                ]
                for mode, gaps in self.gaps.items()
            },
            "returns_per_seed": self.per_seed,
            "step_size_factors_per_seed": self.scales,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Report:
        """Return what `as_json` returned."""
        nothing = dict.fromkeys(Estimate._fields, float("nan"))

        def estimate(entry: Mapping[str, Any]) -> Estimate:
            found = {name: entry.get(name) for name in Estimate._fields}
            # JSON has null for what is not finite.
            return Estimate(**{n: nothing[n] if v is None else v for n, v in found.items()})

        return cls(
            family=values["family"],
            physics=values.get("physics"),
            learner=values["learner"],
            protocol=Protocol(**values["protocol"]),
            seeds=tuple(values["training_seeds"]),
            robot_seconds=values["robot_seconds_per_update"],
            returns={
                mode: {name: tuple(map(estimate, points)) for name, points in methods.items()}
                for mode, methods in values["returns"].items()
            },
            gaps={
                mode: tuple(
                    # Older files do not say how large the gap was.
                    GapClosed(estimate(entry), entry["best_other"], estimate(entry.get("size", {})))
                    for entry in gaps
                )
                for mode, gaps in values["gap_closed"].items()
            },
            scales={
                name: tuple(map(tuple, seeds))
                for name, seeds in values["step_size_factors_per_seed"].items()
            },
            per_seed={
                mode: {
                    name: tuple(tuple(points) for points in seeds)
                    for name, seeds in methods.items()
                }
                for mode, methods in values["returns_per_seed"].items()
            },
        )


def summarise(evaluations: Sequence[Evaluation], learner: str = "MAML") -> Report:
    """Return the report of one family's evaluations, one per training seed.

    Raises:
        ValueError: if there is none, or they measured different things.
    """
    if not evaluations:
        raise ValueError("a report needs at least one evaluation, got none")
    first = evaluations[0]
    for other in evaluations[1:]:
        if (other.family, other.physics, other.protocol) != (
            first.family,
            first.physics,
            first.protocol,
        ):
            raise ValueError(
                f"evaluations must share family and protocol, got {first.family} with "
                f"{first.protocol} and {other.family} with {other.protocol}"
            )
    scores = {mode: _scores(evaluations, mode) for mode in MODES}
    return Report(
        family=first.family,
        physics=first.physics,
        learner=learner,
        protocol=first.protocol,
        seeds=tuple(evaluation.seed for evaluation in evaluations),
        robot_seconds=first.robot_seconds,
        returns={
            mode: {name: _estimates(method) for name, method in methods.items()}
            for mode, methods in scores.items()
        },
        gaps={mode: _gaps(methods) for mode, methods in scores.items()},
        scales={
            name: tuple(evaluation.curves[name].scales for evaluation in evaluations)
            for name in scores["stochastic"]
        },
        per_seed={
            mode: {name: _of_each_seed(method) for name, method in methods.items()}
            for mode, methods in scores.items()
        },
    )


def _scores(evaluations: Sequence[Evaluation], mode: str) -> dict[str, Array]:
    """Return each method's returns. Shape: (S, T, K + 1)."""
    return {
        name: np.stack([getattr(evaluation.curves[name], mode) for evaluation in evaluations])
        for name in METHODS
        if name in evaluations[0].curves
    }


def _estimates(scores: Array) -> tuple[Estimate, ...]:
    points = [scores[..., point] for point in range(scores.shape[-1])]
    # A policy that is not updated stands at every point with the same numbers.
    if all(np.array_equal(point, points[0]) for point in points):
        return (interquartile_mean(points[0]),) * len(points)
    return tuple(interquartile_mean(point) for point in points)


def _of_each_seed(scores: Array) -> tuple[tuple[float, ...], ...]:
    """Return the interquartile mean of each seed at each point, by seed."""
    return tuple(tuple(iqm(points) for points in seed.T) for seed in scores)


def _gaps(scores: Mapping[str, Array]) -> tuple[GapClosed, ...]:
    gaps = []
    for point in range(1, scores["adapted"].shape[-1]):
        others = {
            name: scores[name][..., point] for name in (*OTHERS, "untrained") if name in scores
        }
        gaps.append(gap_closed(scores["adapted"][..., point], others, scores["oracle"][..., point]))
    return tuple(gaps)


# Text ---------------------------------------------------------------------------------------------


def columns(report: Report) -> list[str]:
    """Return the headings of the points of adaptation."""
    updates = range(1, report.protocol.num_updates + 1)
    return ["before", *(f"after {counted(k, 'update')}" for k in updates)]


def rows(report: Report, mode: str) -> list[list[tuple[str, str]]]:
    """Return the table's rows: methods, gap closed, and the robot's time; a cell is a number and its interval."""
    methods = [
        [(label(report, method), ""), *(_cell(e, 1) for e in report.returns[mode][method])]
        for method in report.returns[mode]
    ]
    gaps = report.gaps[mode]
    gap_cells = [
        _cell(gap.estimate, 2) if has_gap(report, mode, k) else ("–", "")
        for k, gap in enumerate(gaps, start=1)
    ]
    updates = range(report.protocol.num_updates + 1)
    return [
        *methods,
        [("gap closed", ""), ("", ""), *gap_cells],
        [("best other", ""), ("", ""), *((METHODS[gap.best_other], "") for gap in gaps)],
        [("robot time", ""), *((f"{k * report.robot_seconds:,.0f} s", "") for k in updates)],
    ]


def has_gap(report: Report, mode: str, updates: int) -> bool:
    """Say whether the oracle is better than the best other, with its interval: else there is no gap to be closed."""
    returns, gap = report.returns[mode], report.gaps[mode][updates - 1]
    is_better = returns["oracle"][updates].value > returns[gap.best_other][updates].value
    return is_better and not gap.size.low <= 0 and bool(np.isfinite(gap.estimate).all())


def label(report: Report, method: str) -> str:
    """Return a method's name as tables and figures have it."""
    return f"{report.learner}, adapted" if method == "adapted" else METHODS[method]


def _cell(estimate: Estimate, digits: int) -> tuple[str, str]:
    value, low, high = (f"{number:.{digits}f}" for number in estimate)
    return value, f"[{low}, {high}]"


def caption(report: Report) -> str:
    """Return what was measured, in a sentence."""
    protocol, family = report.protocol, named(report.family, report.physics)
    return (
        f"{family}, {report.learner}: returns on {counted(protocol.num_tasks, protocol.split + ' task')}, "
        f"{_seeds(report)}; {counted(protocol.support_episodes, 'episode')} before "
        f"each update, {protocol.query_episodes} to measure; interquartile mean [95 % interval]"
    )


def _seeds(report: Report) -> str:
    return counted(len(report.seeds), "training seed")


def table(report: Report, mode: str) -> Table:
    """Return the table for a terminal of 80 columns."""
    grid = Table(mode, box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns(report):
        grid.add_column(name, justify="right", max_width=15)
    body = rows(report, mode)
    for index, row in enumerate(body):
        # The interval goes below its number, so that no cell is broken in the middle.
        cells = [
            f"{value}\n{interval.replace(', ', ',')}" if interval else value
            for value, interval in row
        ]
        style = "bold" if row[0][0] in (label(report, "adapted"), "gap closed") else ""
        grid.add_row(*cells, style=style, end_section=index == len(report.returns[mode]) - 1)
    return grid


def markdown(report: Report, figure: str | None = None) -> str:
    """Return the report as Markdown, with its figure if one is named."""
    lines = [f"{caption(report)}.", ""]
    for mode in MODES:
        lines += [
            f"| {mode} | {' | '.join(columns(report))} |",
            f"|---|{'---|' * len(columns(report))}",
            *(f"| {' | '.join(map(_in_one_line, row))} |" for row in rows(report, mode)),
            "",
        ]
    if len(report.seeds) > 1:
        lines += _seed_table(report)
    if figure:
        lines += [f"![Returns over the robot's time, and the gap closed]({figure})", ""]
    return "\n".join(lines)


def _seed_table(report: Report) -> list[str]:
    """Return every seed's interquartile means as Markdown, stochastic policies, points separated by arrows."""
    per_seed = report.per_seed["stochastic"]
    head = " | ".join(f"seed {seed}" for seed in report.seeds)
    lines = [f"| stochastic, seed by seed | {head} |", f"|---|{'---|' * len(report.seeds)}"]
    for method, seeds in per_seed.items():
        moves = method in UPDATED_METHODS
        cells = [
            " → ".join(f"{value:.1f}" for value in (points if moves else points[:1]))
            for points in seeds
        ]
        lines.append(f"| {METHODS[method]} | {' | '.join(cells)} |")
    return [*lines, ""]


def _in_one_line(cell: tuple[str, str]) -> str:
    return " ".join(cell).strip()


# Figure -------------------------------------------------------------------------------------------

STYLES: Mapping[str, Mapping[str, Any]] = {
    # Wide, for the others to be seen on top of it: a robust policy is often no better than doing nothing.
    "idle": {"linestyle": "-", "linewidth": 4.0, "alpha": 0.5},
    "robust": {"linestyle": "--"},
    "oracle": {"linestyle": "--"},
}
"""Lines of the policies that are not updated."""
UPDATED: Mapping[str, Any] = {"linestyle": "-", "marker": "o", "markersize": 4}
"""Lines of those that are."""
NO_GAP = "no gap"
"""Stands where a bar would, and the table has a dash: the oracle is not surely better than the best other."""
GAP_LIMITS = (-1.0, 2.0)
"""How far the axis of the gap reaches at most; what is beyond is in the table."""


def draw(report: Report, path: Path) -> Path:
    """Draw returns over the robot's time for both kinds of policy, and the gap closed; return where."""
    figure, axes = new_figure(3, width=4.6)
    for axis, mode in zip(axes, MODES, strict=False):
        _draw_returns(axis, report, mode)
    axes[0].set_ylabel("return (interquartile mean)")
    axes[1].sharey(axes[0])
    _draw_gaps(axes[2], report)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(METHODS), frameon=False)
    figure.suptitle(f"{named(report.family, report.physics)}, {_seeds(report)}", fontsize="medium")
    return save(figure, path)


def _draw_returns(axis: Any, report: Report, mode: str) -> None:
    seconds = [k * report.robot_seconds for k in range(report.protocol.num_updates + 1)]
    for method in report.returns[mode]:
        name, estimates = label(report, method), report.returns[mode][method]
        color, style = COLORS[method], STYLES.get(method, UPDATED)
        axis.plot(seconds, [e.value for e in estimates], color=color, label=name, **style)
        axis.fill_between(
            seconds,
            [e.low for e in estimates],
            [e.high for e in estimates],
            color=color,
            alpha=0.12,
            linewidth=0,
        )
    axis.set(xlabel="experience on the robot [s]", title=f"{mode} policies")


def _draw_gaps(axis: Any, report: Report) -> None:
    for offset, (mode, color) in enumerate(zip(MODES, ("tab:blue", "tab:cyan"), strict=True)):
        gaps = [gap.estimate for gap in report.gaps[mode]]
        shift = 0.3 * (offset - 0.5)
        finite = []
        for k, gap in enumerate(gaps, start=1):
            if has_gap(report, mode, k):
                finite.append((k, gap))
            else:
                axis.text(k + shift, 0.04, NO_GAP, color=color, rotation=90, ha="center")
        if not finite:
            continue
        updates, estimates = zip(*finite, strict=True)
        errors = [
            [max(0.0, e.value - e.low) for e in estimates],
            [max(0.0, e.high - e.value) for e in estimates],
        ]
        places = [update + shift for update in updates]
        values = [e.value for e in estimates]
        axis.bar(places, values, 0.28, yerr=errors, color=color, capsize=3, label=mode)
    for level in (0.0, 1.0):
        axis.axhline(level, color="black", linewidth=0.8, linestyle=":")
    numbers = _gap_numbers(report)
    # Bars alone make the axis as wide as they are, and where there is none it holds nothing.
    count = report.protocol.num_updates
    axis.set(xlabel="updates", ylabel="gap closed", xlim=(0.5, count + 0.5))
    axis.set_ylim(max(min(numbers) - 0.1, GAP_LIMITS[0]), min(max(numbers) + 0.1, GAP_LIMITS[1]))
    axis.set_xticks(range(1, count + 1))
    axis.set_title(f"0: worth nothing, 1: as good as the oracle{_cut_off(numbers)}")
    if axis.containers:
        # Below the axis: inside, it would hide bars.
        axis.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)


def _gap_numbers(report: Report) -> list[float]:
    """Return what the axis should reach: 0, 1, every gap and its interval."""
    numbers = [
        number
        for mode, gaps in report.gaps.items()
        for k, gap in enumerate(gaps, start=1)
        if has_gap(report, mode, k)
        for number in gap.estimate
    ]
    return [0.0, 1.0, *numbers]


def _cut_off(numbers: Sequence[float]) -> str:
    """Return where the axis ends before a bar or its interval does, as the title says it."""
    low, high = GAP_LIMITS
    ends = [f"−{-low:g}"] * (min(numbers) < low) + [f"{high:g}"] * (max(numbers) > high)
    return f"\n(cut off at {' and '.join(ends)}: the table has all)" if ends else ""
