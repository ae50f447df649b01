"""Training runs side by side, each in a process of its own, with their progress on the screen.

A cell is one `metamotor train` into a folder of its own. One that is finished is not trained again, and one that was
stopped is resumed, so that a study that was stopped goes on where it was.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

from metamotor.meta.workers import THREAD_VARIABLES
from metamotor.scripts import training
from metamotor.scripts.progress import SECONDS_BETWEEN_LINES, Every, returns_told
from metamotor.scripts.runs import finite, read_progress
from metamotor.scripts.train import build, parse_train, resolved
from metamotor.scripts.training import read_config

SECONDS_TO_SAVE = 30.0
"""How long an interrupted run may take to save what it has [s]."""
SECONDS_TO_END = 5.0
"""How long it may take to end when told to after that [s]."""


@dataclass(frozen=True)
class Cell:
    """One run: its folder, and the words behind `metamotor train`."""

    folder: Path
    words: tuple[str, ...]

    @property
    def argv(self) -> list[str]:
        """All words, the folder among them."""
        return [*self.words, "--out", str(self.folder)]

    @property
    def checkpoint(self) -> Path:
        """Where its best checkpoint will be."""
        return self.folder / "checkpoints" / "best.safetensors"


def settings_of(cell: Cell) -> dict[str, Any]:
    """Return all that the result of a cell depends on, as its config.json has it."""
    options = parse_train(cell.argv)
    settings: dict[str, Any] = finite(resolved(options, build(options)))
    return settings


def is_finished(cell: Cell) -> bool:
    """Say whether a cell was trained to its end.

    Raises:
        ValueError: if it was begun with other settings than it is asked for now, or its folder is not one of a run.
    """
    if not cell.folder.exists():
        return False
    written = read_config(cell.folder)
    asked = settings_of(cell)
    if changed := sorted(key for key in asked if asked[key] != written.get(key)):
        raise ValueError(
            f"{cell.folder} was begun with another {', '.join(changed)} than is asked for now; "
            "move it away or choose another folder"
        )
    return training.is_finished(cell.folder)


def train_cells(cells: Sequence[Cell], *, jobs: int, console: Console) -> None:
    """Train all cells that are not finished, at most `jobs` at once.

    Raises:
        ValueError: if there are no jobs, or a cell was begun with other settings.
        ChildProcessError: if a run fails, with its last words.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    waiting = [cell for cell in cells if not is_finished(cell)]
    running: dict[TaskID, _Run] = {}
    if waiting:
        console.print("Returns are those on training tasks, before → after adaptation.")
    with _bars(console) as bars:
        ids = [bars.add_task(cell.folder.name, total=1.0, status="waiting") for cell in waiting]
        queue = list(zip(ids, waiting, strict=True))
        due = Every(SECONDS_BETWEEN_LINES)
        try:
            while queue or running:
                while queue and len(running) < jobs:
                    bar, cell = queue.pop(0)
                    running[bar] = _Run(cell)
                time.sleep(0.3)
                for bar, run in list(running.items()):
                    done = run.poll()
                    bars.update(bar, completed=run.share, status=run.status)
                    if done:
                        del running[bar]
                        _tell(run, console)
                if due():
                    for run in running.values():
                        _tell(run, console)
        finally:
            for run in running.values():
                run.interrupt()
            for run in running.values():
                run.stop()


def _tell(run: _Run, console: Console) -> None:
    """Say in a line how far a run is, where no bar does."""
    if not console.is_terminal:
        console.print(f"{run.name}: {run.share:.0%}, {run.status}", soft_wrap=True)


class _Run:
    """A cell that is being trained."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._total = parse_train(cell.argv).total_timesteps
        cell.folder.parent.mkdir(parents=True, exist_ok=True)
        self._log = cell.folder.with_name(f"{cell.folder.name}.log")
        self.share, self.status = 0.0, "starting"
        words = ["--resume", str(cell.folder)] if cell.folder.exists() else cell.argv
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "metamotor.scripts.cli", "train", *words, "--quiet"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # One thread each: there are as many runs as cores.
                env={**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1")},
            )

    @property
    def name(self) -> str:
        """Of the run."""
        return self._cell.folder.name

    def poll(self) -> bool:
        """Read how far it is; say whether it has ended well.

        Raises:
            ChildProcessError: if it has ended badly.
        """
        code = self._process.poll()
        self._read_progress()
        if code:
            words = self._log.read_text(errors="replace").strip().splitlines()[-5:]
            command = " ".join(["metamotor train", *self._cell.argv])
            raise ChildProcessError(f"`{command}` failed with exit code {code}: {' '.join(words)}")
        return code == 0

    def _read_progress(self) -> None:
        lines = read_progress(self._cell.folder)
        steps = max((line.get("time/total_timesteps", 0.0) for line in lines), default=0.0)
        self.share = min(1.0, steps / self._total)
        trained = [line for line in lines if "rollout/pre" in line]
        if trained:
            self.status = returns_told(trained[-1])

    def interrupt(self) -> None:
        """Tell it to save what it has and end, as Ctrl-C does."""
        # Ctrl-C at the terminal may have reached it already; `train` takes no notice of a second one.
        self._process.send_signal(signal.SIGINT)

    def stop(self) -> None:
        """Wait until it has saved; end it by force if it does not end by itself, or on another Ctrl-C."""
        for seconds, insist in (
            (SECONDS_TO_SAVE, self._process.terminate),
            (SECONDS_TO_END, self._process.kill),
        ):
            with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
                self._process.wait(seconds)
                return
            insist()
        self._process.wait()


@contextlib.contextmanager
def _bars(console: Console) -> Iterator[Progress]:
    # 80 columns in all: names and numbers stay whole.
    bars = Progress(
        TextColumn("{task.description}", table_column=Column(min_width=9)),
        BarColumn(bar_width=14),
        TextColumn("{task.percentage:>3.0f} %", table_column=Column(min_width=5)),
        TimeElapsedColumn(table_column=Column(min_width=7)),
        TextColumn("{task.fields[status]}", table_column=Column(no_wrap=True)),
        console=console,
        disable=not console.is_terminal,
    )
    with bars:
        yield bars
