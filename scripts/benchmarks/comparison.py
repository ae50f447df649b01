"""What a study of several methods says: a table and a page for each family, one over all of them, and figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich import box
from rich.table import Table

from metamotor.meta.statistics import Estimate
from metamotor.scripts.benchmarks.results import described
from metamotor.scripts.figures import COLORS as BASELINE_COLORS
from metamotor.scripts.figures import save
from metamotor.scripts.report import METHODS as ROWS
from metamotor.scripts.report import MODES, UPDATED_METHODS, Report, has_gap
from metamotor.scripts.wording import counted

COLORS = {
    "MAML": "tab:blue",
    "ProMP": "tab:cyan",
    "FOMAML": "tab:purple",
    "Reptile": "tab:green",
    "ES": "tab:olive",
    "MPO": "magenta",
    "RL2": "tab:pink",
}
"""One colour per method, the same in every figure, and none that a baseline has."""
ENOUGH = 0.5
"""The gap closed from which on a method is said to work."""
EACH_SEED = ("cpu_seconds", "num_timesteps", "iterations", "best_num_timesteps", "sources")
"""What `Training` has an entry of for each seed."""
BASELINES = ("robust", "oracle")
"""What is trained besides the methods."""
GAP_LIMITS = (-0.5, 1.3)
"""How far the axis of the gap reaches; what is beyond is in the table."""


@dataclass(frozen=True)
class Training:
    """What the runs of a method took; an entry for each training seed."""

    settings: Mapping[str, Any]
    """Learner, algorithm, hyper-parameters and steps asked for."""
    cpu_seconds: tuple[float, ...]
    """User and system time [s]."""
    num_timesteps: tuple[int, ...]
    """Environment steps taken."""
    iterations: tuple[int, ...]
    """Meta-iterations."""
    best_num_timesteps: tuple[int, ...]
    """Environment steps at the checkpoint that was best on validation tasks, and is evaluated."""
    sources: tuple[str, ...] = ()
    """Digests of the code that made them."""


@dataclass(frozen=True)
class Comparison:
    """All methods on one family."""

    family: str
    baseline_episodes: int
    """Episodes before each update of the baselines."""
    reports: Mapping[str, Report]
    """By method."""
    training: Mapping[str, Training]
    """By method, and of "robust" and "oracle"."""
    evaluation_cpu_seconds: Mapping[str, float]
    """By method, and of all "baselines"."""
    evaluation_sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Digests of the code that evaluated, likewise, an entry for each training seed."""

    @property
    def first(self) -> Report:
        """One of the reports, for what they share."""
        return next(iter(self.reports.values()))

    def gap(self, method: str, mode: str, updates: int) -> Estimate | None:
        """Return the gap closed after a number of updates, or None where there is none to close."""
        report = self.reports[method]
        return report.gaps[mode][updates - 1].estimate if has_gap(report, mode, updates) else None

    def gaps_as_json(self) -> dict[str, Any]:
        """Return the gaps that all methods close, as JSON values."""
        return {name: report.as_json()["gap_closed"] for name, report in self.reports.items()}

    def as_json(self) -> dict[str, Any]:
        """Return all numbers as JSON values."""
        return {
            "family": self.family,
            "baseline_support_episodes": self.baseline_episodes,
            "methods": {name: report.as_json() for name, report in self.reports.items()},
            "training": {name: dataclasses.asdict(own) for name, own in self.training.items()},
            "evaluation_cpu_seconds": dict(self.evaluation_cpu_seconds),
            "evaluation_sources": dict(self.evaluation_sources),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Comparison:
        """Return what `as_json` returned."""
        return cls(
            family=values["family"],
            baseline_episodes=values["baseline_support_episodes"],
            reports={name: Report.from_json(own) for name, own in values["methods"].items()},
            training={
                name: Training(own["settings"], **{key: tuple(own[key]) for key in EACH_SEED})
                for name, own in values["training"].items()
            },
            evaluation_cpu_seconds=values["evaluation_cpu_seconds"],
            evaluation_sources={
                name: tuple(own) for name, own in values.get("evaluation_sources", {}).items()
            },
        )


# Tables -------------------------------------------------------------------------------------------


def header(comparison: Comparison, mode: str) -> list[str]:
    """Return the headings of a family's table."""
    updates = range(1, comparison.first.protocol.num_updates + 1)
    return [
        mode,
        "before",
        *(f"after {counted(k, 'update')}" for k in updates),
        *(f"gap closed after {k}" for k in updates),
        "experience of an update",
        "environment steps",
        "training",
    ]


def rows(comparison: Comparison, mode: str) -> list[list[str]]:
    """Return the rows of a family's table: baselines, methods, oracle."""
    updates = comparison.first.protocol.num_updates
    table = []
    for name, title in ROWS.items():
        if name == "untrained":
            continue
        if name == "adapted":
            for method in comparison.reports:
                table += _method_rows(comparison, method, mode)
            continue
        returns = comparison.first.returns[mode][name]
        moves = name in UPDATED_METHODS
        cells = [interval(estimate, 1) for estimate in (returns if moves else returns[:1])]
        cells += [""] * (updates + 1 - len(cells)) + [""] * updates
        experience = _experience(comparison, comparison.baseline_episodes) if moves else ""
        table.append([title, *cells, experience, *cost(comparison, name)])
    return table


def _method_rows(comparison: Comparison, method: str, mode: str) -> list[list[str]]:
    """Return the row of a method, and that of the same learner before training where it was measured."""
    report = comparison.reports[method]
    updates = report.protocol.num_updates
    gaps = [
        interval(gap, 2) if (gap := comparison.gap(method, mode, k)) else "–"
        for k in range(1, updates + 1)
    ]
    experience = _experience(comparison, report.protocol.support_episodes)
    returns = {
        name: [interval(estimate, 1) for estimate in report.returns[mode].get(name, ())]
        for name in ("adapted", "untrained")
    }
    found = [[f"**{method}**", *returns["adapted"], *gaps, experience, *cost(comparison, method)]]
    if returns["untrained"]:
        found.append(
            [f"{method}, untrained", *returns["untrained"], *[""] * updates, experience, "", ""]
        )
    return found


def _experience(comparison: Comparison, episodes: int) -> str:
    report = comparison.first
    seconds = report.robot_seconds * episodes / report.protocol.support_episodes
    return f"{counted(episodes, 'episode')}, {seconds:,.1f} s"


def cost(comparison: Comparison, name: str) -> list[str]:
    """Return the environment steps and the CPU seconds of a method's or a baseline's training."""
    if name not in comparison.training:
        return ["", ""]
    training = comparison.training[name]
    low, high = min(training.cpu_seconds), max(training.cpu_seconds)
    seconds = f"{low:.0f}" if round(low) == round(high) else f"{low:.0f} to {high:.0f}"
    return [f"{mean(training.num_timesteps) / 1e6:.2f}M", f"{seconds} CPU s"]


def interval(estimate: Estimate, digits: int) -> str:
    """Return an estimate with its interval as a table has it."""
    value, low, high = (f"{number:.{digits}f}" for number in estimate)
    return f"{value} [{low}, {high}]"


def terminal_table(comparison: Comparison) -> Table:
    """Return the returns and the gap of the stochastic policies for a terminal of 80 columns."""
    updates = comparison.first.protocol.num_updates
    grid = Table(title=f"{comparison.family}, stochastic", title_justify="left", box=box.SIMPLE)
    names = ["", "before", *(f"after {k}" for k in range(1, updates + 1)), "gap closed after 1"]
    for name in names:
        grid.add_column(name, justify="right" if name else "left")
    for row in rows(comparison, "stochastic"):
        cells = [cell.split(" ")[0] for cell in row[1 : updates + 2]]
        grid.add_row(row[0].strip("*"), *cells, row[updates + 2])
    return grid


# Pages --------------------------------------------------------------------------------------------


def family_page(comparison: Comparison, command: str, where: Mapping[str, Any]) -> str:
    """Return a family's results as a page."""
    report = comparison.first
    protocol = report.protocol
    lines = [
        f"# {comparison.family}",
        "",
        f"```console\n$ {command}\n```",
        "",
        f"Returns on {counted(protocol.num_tasks, protocol.split + ' task')}, "
        f"{counted(len(report.seeds), 'training seed')}, {protocol.query_episodes} episodes to measure; "
        "interquartile mean [95 % interval]. [What the rows and the gap are](../evaluation.md).",
        "",
    ]
    for mode in MODES:
        lines += [*markdown(header(comparison, mode), rows(comparison, mode)), ""]
    others = "; ".join(
        f"{name}: "
        + ", ".join(
            f"{ROWS[gap.best_other]} after {k}"
            for k, gap in enumerate(own.gaps["stochastic"], start=1)
        )
        for name, own in comparison.reports.items()
    )
    lines += [
        f"Best other, stochastic: {others}.",
        "",
        f"![Returns, and the gap closed]({comparison.family}.png)",
        "",
        *_seed_table(comparison),
        *_settings(comparison),
        "CPU seconds are user and system time of the training process and its workers, from the making of the "
        "learner to the last checkpoint, validation included; Python's start and the imports before it are not.",
        f"Training seeds {', '.join(map(str, report.seeds))}; seed {protocol.seed} of the evaluation, "
        f"{protocol.validation_tasks} validation tasks.",
        *_provenance(comparison, where),
        described(where),
        "",
    ]
    return "\n".join(lines)


def _provenance(comparison: Comparison, where: Mapping[str, Any]) -> list[str]:
    """Say which runs were made by other code than that which wrote the page."""
    trained = {name: own.sources for name, own in comparison.training.items()}
    evaluated = comparison.evaluation_sources
    own = where.get("sources")
    every = {one for digests in (*trained.values(), *evaluated.values()) for one in digests}
    if every <= {own}:
        return []
    return [
        f"Digests of the code (robots, families and learners) that trained: {_by_digest(trained)}; that evaluated: "
        f"{_by_digest(evaluated) or 'unknown'}. That of the code which wrote this page: {own}. Results of other code "
        "may differ in their last digits, or in more."
    ]


def _by_digest(made: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(
        f"{digest}: {', '.join(name for name, own in made.items() if digest in own)}"
        for digest in sorted({one for own in made.values() for one in own})
    )


def _seed_table(comparison: Comparison) -> list[str]:
    """Return every seed's interquartile means, stochastic policies, points separated by arrows."""
    body = []
    for name in ROWS:
        if name == "untrained":
            continue
        moves = name in UPDATED_METHODS
        shown = comparison.reports if name == "adapted" else {ROWS[name]: comparison.first}
        for title, report in shown.items():
            cells = [
                " → ".join(f"{value:.1f}" for value in (points if moves else points[:1]))
                for points in report.per_seed["stochastic"][name]
            ]
            body.append([title, *cells])
    heading = ["stochastic", *(f"seed {seed}" for seed in comparison.first.seeds)]
    return [*markdown(heading, body), ""]


def _settings(comparison: Comparison) -> list[str]:
    """Return each method's base learner and hyper-parameters, folded away."""
    lines = ["<details><summary>Settings</summary>", ""]
    for name, training in comparison.training.items():
        own = training.settings
        changes = ", ".join(f"{key} {value}" for key, value in own["config"].items())
        kwargs = ", ".join(f"{key} {value}" for key, value in own["base_kwargs"].items())
        at = ", ".join(f"{steps:,}" for steps in training.best_num_timesteps)
        lines.append(
            f"- **{name}**: {own['learner']} over {own['algorithm']}, {own['total_timesteps']:,} environment steps "
            f"asked for, best on validation tasks at {at}. {changes}. Base learner: {kwargs}."
        )
    return [*lines, "", "</details>", ""]


def markdown(heading: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    return [
        f"| {' | '.join(heading)} |",
        f"|{'---|' * len(heading)}",
        *(f"| {' | '.join(row)} |" for row in body),
    ]


# Figure -------------------------------------------------------------------------------------------


def draw(comparisons: Sequence[Comparison], path: Path) -> Path:
    """Draw returns over updates and the gap closed, a column for each family; return where."""
    figure = Figure(figsize=(4.4 * len(comparisons) + 1.0, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(comparisons), squeeze=False)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    for column, comparison in enumerate(comparisons):
        _draw_returns(axes[0, column], comparison)
        _draw_gaps(axes[1, column], comparison)
    axes[0, 0].set_ylabel("return (interquartile mean), stochastic")
    axes[1, 0].set_ylabel("gap closed, stochastic")
    named: dict[str, Any] = {}
    for axis in axes[0]:
        named |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    figure.legend(
        list(named.values()),
        list(named),
        loc="outside lower center",
        ncols=4 * len(comparisons),
        frameon=False,
    )
    return save(figure, path)


def _draw_returns(axis: Any, comparison: Comparison) -> None:
    updates = range(comparison.first.protocol.num_updates + 1)
    for name, title in ROWS.items():
        if name in ("adapted", "untrained"):
            continue
        values = [estimate.value for estimate in comparison.first.returns["stochastic"][name]]
        line = "--" if name in ("idle", "robust", "oracle") else ":"
        axis.plot(updates, values, line, color=BASELINE_COLORS[name], label=title)
    for name, report in comparison.reports.items():
        estimates = report.returns["stochastic"]["adapted"]
        returns = np.array(estimates)
        axis.plot(updates, returns[:, 0], "o-", markersize=4, color=COLORS[name], label=name)
        low, high = returns[:, 1], returns[:, 2]
        axis.fill_between(updates, low, high, color=COLORS[name], alpha=0.1, linewidth=0)
    axis.set(title=comparison.family, xlabel="updates")
    axis.set_xticks(list(updates))


def _draw_gaps(axis: Any, comparison: Comparison) -> None:
    names = list(comparison.reports)
    width = 0.4
    shown = min(2, comparison.first.protocol.num_updates)
    for updates in range(1, shown + 1):
        for place, name in enumerate(names):
            gap = comparison.gap(name, "stochastic", updates)
            if gap is None:
                continue
            below, above = gap.value - gap.low, gap.high - gap.value
            middle = place + (updates - (1 + shown) / 2) * width
            axis.bar(
                middle,
                gap.value,
                width,
                yerr=[[max(0.0, below)], [max(0.0, above)]],
                color=COLORS[name],
                alpha=1.0 if updates == 1 else 0.5,
                capsize=2,
            )
            low, high = GAP_LIMITS
            if not low <= gap.value <= high:  # the axis ends before the bar does
                edge, side = (high, "bottom") if gap.value > high else (low, "top")
                axis.text(middle, edge, f"{gap.value:.2f}", ha="center", va=side, fontsize=8)
    for level in (0.0, ENOUGH, 1.0):
        axis.axhline(level, color="black", linewidth=0.8, linestyle=":")
    title = "after 1 update" if shown == 1 else "after 1 update (dark) and 2 (light)"
    axis.set(ylim=GAP_LIMITS, xlim=(-0.7, len(names) - 0.3))
    axis.set_title(title, pad=16)
    axis.set_xticks(range(len(names)), names, rotation=45)
