"""Figures, drawn without a display."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from metamotor.scripts.outputs import write_file
from metamotor.scripts.runs import CONFIG, read_json, read_progress

CURVES = {
    "rollout/pre": ("before adaptation, training tasks", "tab:gray", "-"),
    "eval/pre": ("before adaptation, validation tasks", "tab:gray", "o--"),
    "rollout/post_1": ("after 1 update, training tasks", "tab:blue", "-"),
    "eval/post_1": ("after 1 update, validation tasks", "tab:blue", "o--"),
    "rollout/post_2": ("after 2 updates, training tasks", "tab:green", "-"),
    "eval/post_2": ("after 2 updates, validation tasks", "tab:green", "o--"),
}
"""What a learning curve shows: label, colour, line."""


def new_figure(columns: int, *, width: float = 5.0, height: float = 4.0) -> tuple[Figure, Any]:
    """Return a figure with its axes side by side, apart from matplotlib's global state."""
    figure = Figure(figsize=(width * columns, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    return figure, axes


def draw_learning_curve(folder: Path) -> Path | None:
    """Draw the returns of a run over its steps; return where, or None if nothing was logged."""
    lines = read_progress(folder)
    figure, (axis,) = new_figure(1, width=7.0)
    for name, (label, color, style) in CURVES.items():
        _line(axis, lines, name, style, label=label, color=color)
    if not axis.lines:
        return None
    axis.set(xlabel="environment steps", ylabel="return", title=_title(folder))
    axis.legend(frameon=False)
    path = folder / "figures" / "learning_curve.png"
    return save(figure, path)


def _title(folder: Path) -> str:
    """Return what a run learns; of a folder that does not say it, its name."""
    config = read_json(folder / CONFIG)
    if not config:
        return folder.name
    return f"{config['family']['name']}, {config['learner']}, {config['arm']}"


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, whole or not at all; return where."""
    return write_file(path, lambda file: figure.savefig(file, dpi=120))


def _line(axis: Axes, lines: list[dict[str, float]], name: str, style: str, **kwargs: Any) -> None:
    points = [
        (line["time/total_timesteps"], line[name])
        for line in lines
        if name in line and "time/total_timesteps" in line
    ]
    if points:
        steps, values = zip(*points, strict=True)
        axis.plot(steps, values, style, **kwargs)


COLORS: Mapping[str, str] = {
    "idle": "tab:gray",
    "robust": "tab:orange",
    "fine_tuned": "tab:red",
    "scratch": "tab:brown",
    "untrained": "tab:olive",
    "adapted": "tab:blue",
    "oracle": "black",
}
"""One colour per method, the same in every figure."""
