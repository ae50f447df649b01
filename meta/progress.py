"""A progress bar that says how training goes: steps, steps per second, returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.table import Column


class Progress:
    """Context manager around a rich progress bar; without `shown` it does nothing.

    Args:
        total: environment steps to take.
        shown: draw the bar.
    """

    def __init__(self, total: int, *, shown: bool) -> None:
        self._bar = RichProgress(
            # Where the line is too narrow, what is said of the returns goes on in a second one.
            BarColumn(bar_width=24, table_column=Column(no_wrap=True)),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TextColumn("steps {task.fields[status]}", table_column=Column(no_wrap=False)),
            TimeElapsedColumn(table_column=Column(no_wrap=True)),
            disable=not shown,
        )
        self._task = self._bar.add_task("", total=total, status="")

    def update(self, num_timesteps: int, scalars: Mapping[str, float]) -> None:
        """Show where training is."""
        returns = [
            f"{name.removeprefix('rollout/').replace('post_', 'after ').replace('pre', 'before')} "
            f"{value:.1f}"
            for name, value in scalars.items()
            if name.startswith("rollout/") and name != "rollout/gain"
        ]
        status = f"· {scalars['time/fps']:,.0f} steps/s · return {', '.join(returns)}"
        self._bar.update(self._task, completed=num_timesteps, status=status)

    def __enter__(self) -> Self:
        """Start drawing."""
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop drawing; the last state stays on the screen."""
        self._bar.stop()
