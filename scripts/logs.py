"""What a run logs: progress.csv and TensorBoard's events, written so that a run that was killed can go on with them.

Stable-Baselines3's own CSV output begins a new file each time, and rewrites it in place when a column comes in.
"""

from __future__ import annotations

import contextlib
import csv
import io
import math
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stable_baselines3.common.logger import (
    KVWriter,
    Logger,
    TensorBoardOutputFormat,
    filter_excluded_keys,
)
from torch.utils.tensorboard import SummaryWriter

from metamotor.scripts.outputs import write_file
from metamotor.scripts.runs import PROGRESS

STEPS = "time/total_timesteps"
"""The column that says when a line was logged."""
VALIDATED = "eval/"
"""What the columns of a validation begin with."""


class RunLogger(Logger):
    """Stable-Baselines3's logger, which an interrupt does not leave in the middle of a line.

    TensorBoard's writer hands lines to a thread through a queue. A `KeyboardInterrupt` just after the queue's lock was
    taken, and before it counts as taken, leaves it locked, and then closing the writer waits for ever.
    """

    def dump(self, step: int = 0) -> None:
        """Write what was recorded; an interrupt that comes meanwhile is raised once all is written."""
        with _interrupts_deferred():
            super().dump(step)


@contextlib.contextmanager
def _interrupts_deferred() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    came: list[Any] = []
    signal.signal(signal.SIGINT, lambda *received: came.append(received))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        before(*came[0])


class ProgressFile(KVWriter):
    """progress.csv; goes on with the file if there is one.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / PROGRESS
        self._names = _read(self._path)[0]

    def write(
        self,
        key_values: dict[str, Any],
        key_excluded: dict[str, tuple[str, ...]],
        step: int = 0,
    ) -> None:
        """Append a line; if a column is new, write the whole file anew."""
        line = filter_excluded_keys(key_values, key_excluded, "csv")
        new = [name for name in line if name not in self._names]
        if new:
            self._names += new
            _write(self._path, self._names, [*_read(self._path)[1], line])
            return
        with self._path.open("a", newline="") as file:
            file.write(_text(self._names, [line]))

    def close(self) -> None:
        """There is nothing to close."""


class Events(TensorBoardOutputFormat):
    """TensorBoard's events, in a file of their own for each part of a run.

    Args:
        folder: of the run.
        num_timesteps: where this part begins; what an earlier one logged after that is no longer shown.
    """

    def __init__(self, folder: Path, num_timesteps: int) -> None:
        # Not the base class's constructor: its writer cannot be told that something is logged again.
        self.writer = SummaryWriter(str(folder), purge_step=num_timesteps + 1)
        self._is_closed = False


def rewind_progress(folder: Path, num_timesteps: int, validated: int) -> None:
    """Drop what progress.csv holds from after a checkpoint, and a line that was not written to its end.

    Args:
        folder: of the run.
        num_timesteps: environment steps of the checkpoint.
        validated: environment steps of the last validation that it knows of.
    """
    path = folder / PROGRESS
    if not path.is_file():
        return
    names, lines = _read(path)

    def is_kept(line: Mapping[str, str]) -> bool:
        of_validation = any(text and name.startswith(VALIDATED) for name, text in line.items())
        return _steps(line) <= (validated if of_validation else num_timesteps)

    _write(path, names, [line for line in lines if is_kept(line)])


def _steps(line: Mapping[str, str]) -> float:
    try:
        return float(line[STEPS])
    except (KeyError, ValueError):
        return math.inf


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return the columns and the whole lines of a file that may end in the middle of one."""
    if not path.is_file():
        return [], []
    text = path.read_text()
    reader = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1]))
    lines = list(reader)
    return list(reader.fieldnames or ()), lines


def _write(path: Path, names: Sequence[str], lines: Iterable[Mapping[str, Any]]) -> None:
    header = dict(zip(names, names, strict=True))
    write_file(path, _text(names, [header, *lines]).encode())


def _text(names: Sequence[str], lines: Iterable[Mapping[str, Any]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
    writer.writerows(lines)
    return file.getvalue()
