"""Reports of made-up evaluations, against numbers worked out by hand."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from metamotor.meta.evaluation import Curve, Evaluation, Protocol
from metamotor.meta.statistics import Estimate, GapClosed
from metamotor.scripts.figures import new_figure
from metamotor.scripts.report import (
    MODES,
    Report,
    _draw_gaps,
    draw,
    has_gap,
    markdown,
    rows,
    summarise,
    table,
)

PROTOCOL = Protocol(num_tasks=4, num_updates=2, support_episodes=10, query_episodes=5)


def curve(*points: Sequence[float]) -> Curve:
    """The same returns for both kinds of policy; a point lists those of the four tasks."""
    returns = np.array(points, dtype=float).T
    return Curve(returns, returns + 1.0, (1.0, 1.0))


def evaluation(seed: int = 0, oracle: float = -2.0) -> Evaluation:
    # The interquartile mean of four tasks is the mean of the middle two.
    curves = {
        "idle": curve(*[[-10, -10, -10, -10]] * 3),
        "robust": curve(*[[-8, -8, -8, -8]] * 3),
        "fine_tuned": curve([-8, -8, -8, -8], [-100, -7, -5, 90], [-3, -3, -3, -3]),
        "scratch": curve([-30, -30, -30, -30], [-9, -9, -9, -9], [-9, -9, -9, -9]),
        "adapted": curve([-8, -8, -8, -8], [50, -2, -4, -99], [-2.5, -2.5, -2.5, -2.5]),
        "oracle": curve(*[[oracle] * 4] * 3),
    }
    return Evaluation("PointNavigation-v0", PROTOCOL, seed, curves, robot_seconds=16.0)


@cache
def report_of(oracle: float = -2.0) -> Report:
    return summarise([evaluation(0, oracle), evaluation(1, oracle)])


def test_returns_are_interquartile_means() -> None:
    report = report_of()
    returns = report.returns["stochastic"]
    assert [estimate.value for estimate in returns["adapted"]] == [-8.0, -3.0, -2.5]
    assert [estimate.value for estimate in returns["fine_tuned"]] == [-8.0, -6.0, -3.0]
    assert [estimate.value for estimate in report.returns["deterministic"]["idle"]] == [-9.0] * 3
    assert report.seeds == (0, 1)


def test_the_gap_is_closed_from_the_best_other_to_the_oracle() -> None:
    report = report_of()
    first, second = report.gaps["stochastic"]
    assert (first.best_other, second.best_other) == ("fine_tuned", "fine_tuned")
    assert first.estimate.value == pytest.approx((-3 + 6) / (-2 + 6))
    assert second.estimate.value == pytest.approx((-2.5 + 3) / (-2 + 3))


def test_no_gap_is_claimed_where_the_oracle_is_no_better() -> None:
    report = report_of(-6.0)
    assert not has_gap(report, "stochastic", 1)
    assert dict((row[0][0], row[2][0]) for row in rows(report, "stochastic"))["gap closed"] == "–"
    found = report.as_json()["gap_closed"]["stochastic"][0]
    assert set(found) == {"best_other", "size"}
    assert "nan" not in markdown(report)


@pytest.mark.parametrize(
    ("estimate", "size"),
    [
        (Estimate(0.5, -9.0, 9.0), Estimate(0.2, -1.0, 3.0)),
        (Estimate(0.5, -9.0, 9.0), Estimate(0.2, 0.0, 3.0)),
        (Estimate(1.0, float("nan"), float("nan")), Estimate(0.2, 0.1, 3.0)),
    ],
)
def test_no_gap_is_claimed_where_some_resamples_have_none(
    estimate: Estimate, size: Estimate
) -> None:
    report = report_of()
    gaps = (GapClosed(estimate, "fine_tuned", size), report.gaps["stochastic"][1])
    report = dataclasses.replace(report, gaps=report.gaps | {"stochastic": gaps})  # type: ignore[operator]
    assert not has_gap(report, "stochastic", 1)
    assert has_gap(report, "stochastic", 2)
    assert "nan" not in markdown(report)


def test_the_table_fits_a_terminal_and_holds_every_row() -> None:
    report = report_of()
    console = Console(width=80, file=io.StringIO())
    console.print(table(report, "stochastic"))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text
    names = ["idle", "robust", "fine-tuned", "scratch", "MAML, adapted", "oracle", "gap closed"]
    assert all(name in text for name in [*names, "best other", "robot time"])
    assert "[-8.0,-8.0]" in text
    assert "32 s" in text


def test_markdown_has_both_kinds_of_policy() -> None:
    text = markdown(report_of(), "figure.png")
    assert "| stochastic | before | after 1 update | after 2 updates |" in text
    assert "| deterministic | before |" in text
    assert "| MAML, adapted | -8.0 [-8.0, -8.0] | -3.0 [" in text
    assert "(figure.png)" in text


@pytest.mark.parametrize("oracle", [-2.0, -6.0])
def test_the_figure_is_drawn(tmp_path: Path, oracle: float) -> None:
    path = draw(report_of(oracle), tmp_path / "figures" / "returns.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def gap_panel(report: Report) -> Any:
    _, (axis,) = new_figure(1)
    _draw_gaps(axis, report)
    return axis


def test_the_figure_says_where_there_is_no_gap_and_what_is_cut_off() -> None:
    none = gap_panel(report_of(-6.0))
    assert [text.get_text() for text in none.texts] == ["no gap"] * 4
    assert none.get_xlim()[0] < min(text.get_position()[0] for text in none.texts)
    for low, title in ((0.4, "oracle"), (-7.0, "oracle\n(cut off at −1: the table has all)")):
        gaps = (GapClosed(Estimate(0.5, low, 0.9), "robust", Estimate(1.0, 0.5, 2.0)),) * 2
        panel = gap_panel(dataclasses.replace(report_of(), gaps=dict.fromkeys(MODES, gaps)))
        assert (len(panel.patches), len(panel.texts)) == (4, 0)
        assert panel.get_title().endswith(title)


def test_evaluations_of_different_things_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one evaluation"):
        summarise([])
    other = Evaluation("CartPole-v0", PROTOCOL, 0, evaluation().curves, 16.0)
    with pytest.raises(ValueError, match=r"PointNavigation-v0 .* and CartPole-v0"):
        summarise([evaluation(), other])
