"""What a study says over all families: which method closes how much of the gap where, and at what cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import mean

from rich import box
from rich.table import Table

from metamotor.scripts.benchmarks.comparison import (
    BASELINES,
    ENOUGH,
    Comparison,
    cost,
    interval,
    markdown,
)
from metamotor.scripts.methods import METHODS
from metamotor.scripts.report import MODES
from metamotor.scripts.wording import counted


def overview_table(comparisons: Sequence[Comparison]) -> Table:
    """Return the gap closed by each method on each family, for a terminal."""
    grid = Table(
        title="Gap closed after 1 update, stochastic", title_justify="left", box=box.SIMPLE
    )
    heading, *body = _overview(comparisons, "stochastic", 1)
    for name in heading:
        grid.add_column(name.removesuffix("-v0"), justify="right" if name else "left")
    for row in body:
        grid.add_row(*(cell.strip("*") for cell in row))
    return grid


def _overview(comparisons: Sequence[Comparison], mode: str, updates: int) -> Iterator[list[str]]:
    yield ["", *(comparison.family for comparison in comparisons)]
    for method in _methods(comparisons):
        cells = []
        for comparison in comparisons:
            if method not in comparison.reports:
                cells.append("")
                continue
            gap = comparison.gap(method, mode, updates)
            text = "–" if gap is None else interval(gap, 2)
            is_enough = gap is not None and gap.value >= ENOUGH
            cells.append(f"**{text}**" if is_enough else text)
        yield [method, *cells]


def summary(comparisons: Sequence[Comparison]) -> tuple[list[str], list[list[str]]]:
    """Return heading and rows of the table that says it all: returns before → after one update, and the gap closed."""
    heading = ["stochastic return", *(f"[`{own.family}`]({own.family}.md)" for own in comparisons)]
    table: list[list[str]] = []

    def row(title: str, cells: Sequence[str]) -> None:
        table.append([title, *(cell.replace("-", "−") for cell in cells)])

    def value(comparison: Comparison, name: str, updates: int) -> str:
        return f"{comparison.first.returns['stochastic'][name][updates].value:.1f}"

    for title, names, updates in (
        ("idle; robust", ("idle", "robust"), 0),
        ("fine-tuned; scratch, 1 update", ("fine_tuned", "scratch"), 1),
    ):
        pairs = [[value(own, name, updates) for name in names] for own in comparisons]
        row(title, ["; ".join(pair) for pair in pairs])
    for method in _methods(comparisons):
        row(method, [_summarised(own, method) for own in comparisons])
    row("oracle", [value(own, "oracle", 0) for own in comparisons])
    return heading, table


def by_seeds(
    comparisons: Sequence[Comparison],
) -> tuple[list[Comparison], list[Comparison]]:
    """Return those of several training seeds, and those of one: trials, which say less."""
    several = [own for own in comparisons if len(own.first.seeds) > 1]
    return several, [own for own in comparisons if len(own.first.seeds) == 1]


def trials(comparisons: Sequence[Comparison]) -> tuple[list[str], list[list[str]]]:
    """Return heading and rows of the table of trials, a family in each row."""
    methods = _methods(comparisons)
    heading = ["stochastic return", "idle; robust", "fine-tuned; scratch", *methods, "oracle"]
    table = []
    for own in comparisons:
        returns = own.first.returns["stochastic"]
        cells = [
            f"[`{own.family}`]({own.family}.md)",
            f"{returns['idle'][0].value:.1f}; {returns['robust'][0].value:.1f}",
            f"{returns['fine_tuned'][1].value:.1f}; {returns['scratch'][1].value:.1f}",
            *(_summarised(own, method) for method in methods),
            f"{returns['oracle'][0].value:.1f}",
        ]
        table.append([cells[0], *(cell.replace("-", "−") for cell in cells[1:])])
    return heading, table


def _summarised(comparison: Comparison, method: str) -> str:
    if method not in comparison.reports:
        return ""
    before, after, *_ = comparison.reports[method].returns["stochastic"]["adapted"]
    text = f"{before.value:.1f} → {after.value:.1f}; "
    if (gap := comparison.gap(method, "stochastic", 1)) is None:
        return f"{text}no gap"
    bold = "**" if gap.value >= ENOUGH else ""
    return f"{text}{bold}{gap.value:.2f}{bold} [{gap.low:.2f}, {gap.high:.2f}]"


def _methods(comparisons: Sequence[Comparison]) -> list[str]:
    """Return the methods that were measured on some family."""
    return [name for name in METHODS if any(name in own.reports for own in comparisons)]


def overview_page(every: Sequence[Comparison]) -> str:
    """Return the page over all families."""
    comparisons, tried = by_seeds(every)
    lines = [
        "# Learning",
        "",
        "The gap closed on held-out tasks by each method; each family's page has "
        "the command that measured it. Interquartile mean [95 % interval]. 0: worth no more "
        "than the best of doing nothing, a robust policy, fine-tuning it, starting from scratch, and (for all but "
        "MAML's kin) the method itself before training; "
        f"1: as good as being told the task. From {ENOUGH:g} on in bold; a dash: no gap to be closed; empty: not "
        "measured. [The protocol](../evaluation.md).",
        "",
        "| method | what it is |",
        "|---|---|",
        *(f"| {name} | {METHODS[name].about} |" for name in _methods(every)),
        "",
    ]
    if comparisons:
        lines += _studies(comparisons)
    if tried:
        lines += [
            "## Trials",
            "",
            f"One training seed, {_tasks(tried)}: what a family is like, not how far apart two methods are. "
            "Before → after one update, and the gap closed by it:",
            "",
            *markdown(*trials(tried)),
            "",
        ]
    return "\n".join(lines)


def _tasks(comparisons: Sequence[Comparison]) -> str:
    counts = sorted({own.first.protocol.num_tasks for own in comparisons})
    return f"{' or '.join(map(str, counts))} held-out tasks"


def _studies(comparisons: Sequence[Comparison]) -> list[str]:
    """Return the lines about families with several training seeds."""
    seeds = " or ".join(map(str, sorted({len(own.first.seeds) for own in comparisons})))
    updates = min(own.first.protocol.num_updates for own in comparisons)
    lines = [
        f"## {seeds} training seeds",
        "",
        f"On {_tasks(comparisons)}. Before → after one update, and the gap closed by it:",
        "",
        *markdown(*summary(comparisons)),
        "",
        "The gap closed, with the deterministic policies and the second update:",
        "",
    ]
    for mode in MODES:
        for count in range(1, updates + 1):
            heading, *body = _overview(comparisons, mode, count)
            heading = [
                f"{mode}, after {counted(count, 'update')}",
                *(f"[{name.removesuffix('-v0')}]({name}.md)" for name in heading[1:]),
            ]
            lines += [*markdown(heading, body), ""]
    heading, *body = _costs(comparisons)
    return [
        *lines,
        "Robot time of one update, environment steps and CPU seconds of training (mean of the seeds):",
        "",
        *markdown(heading, body),
        "",
        "![Returns and the gap closed on every family](learning.png)",
        "",
    ]


def _costs(comparisons: Sequence[Comparison]) -> Iterator[list[str]]:
    yield ["", *(comparison.family.removesuffix("-v0") for comparison in comparisons)]
    for method in (*_methods(comparisons), *BASELINES):
        cells = []
        for comparison in comparisons:
            if method not in comparison.training:
                cells.append("")
                continue
            steps, _ = cost(comparison, method)
            seconds = f"{mean(comparison.training[method].cpu_seconds):.0f} CPU s"
            robot = (
                [f"{comparison.reports[method].robot_seconds:,.0f} s"]
                if method in comparison.reports
                else []
            )
            cells.append(", ".join([*robot, steps, seconds]))
        yield [method, *cells]
