"""The checkpoints of a run, and what resuming it needs of its folder: the newest state, no rubbish, nobody else."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from metamotor.meta.checkpoints import SUFFIX, read_checkpoint
from metamotor.meta.learner import MetaLearner
from metamotor.meta.untrusted import check_own

FOLDER = "checkpoints"
LAST, BEST, NUMBERED = "last", "best", "step-"


class Store:
    """Writes the checkpoints of a run: the last, the best, and the last few by the numbers of their steps.

    Each is whole or not there, and holds all that the run goes on from, notes included. The best is written after the
    last that says so: what a kill leaves undone between them can be told from the last alone, and done later.

    Args:
        run: the run folder.
        keep_last: how many numbered checkpoints are kept.

    Raises:
        ValueError: if that is negative.
    """

    def __init__(self, run: Path, keep_last: int) -> None:
        if keep_last < 0:
            raise ValueError(f"keep_last must not be negative, got {keep_last}")
        self._folder = run / FOLDER
        self._keep_last = keep_last

    def save(self, learner: MetaLearner, notes: Mapping[str, Any], *, is_best: bool) -> None:
        """Write all checkpoints that are due, and then delete those that no longer are."""
        if self._keep_last:
            learner.save(self._folder / f"{NUMBERED}{learner.num_timesteps:09d}", notes)
        learner.save(self._folder / LAST, notes)
        if is_best:
            learner.save(self._folder / BEST, notes)
        numbered = sorted(self._folder.glob(f"{NUMBERED}*{SUFFIX}"), key=_number)
        for path in numbered[: max(0, len(numbered) - self._keep_last)]:
            path.unlink(missing_ok=True)


def _number(path: Path) -> int:
    digits = path.stem.removeprefix(NUMBERED)
    return int(digits) if digits.isdecimal() else -1


def newest(run: Path) -> tuple[Path, dict[str, Any]]:
    """Return the checkpoint with most steps that can be read, and its document; say what cannot be read.

    Raises:
        ValueError: if there is none, or the folder of checkpoints is a link that leads elsewhere.
    """
    found = {}
    check_own(run / FOLDER, run)
    for path in sorted((run / FOLDER).glob(f"*{SUFFIX}")):
        try:
            check_own(path, run)
            document = read_checkpoint(path)[1]
            if "notes" not in document:
                raise ValueError(f"{path} was not written by a training run")
            found[path] = document
        except (OSError, ValueError) as error:
            print(f"metamotor: passing over a checkpoint: {error}", file=sys.stderr)
    if not found:
        raise ValueError(
            f"{run / FOLDER} holds no checkpoint that can be read: put a copy of one there, or train anew"
        )
    path = max(found, key=lambda path: (found[path]["num_timesteps"], path.stem == LAST))
    return path, found[path]


def sweep(run: Path) -> None:
    """Delete the temporary files that a killed process left behind; nothing behind a link."""
    own = (path for path in run.iterdir() if path.is_dir() and not path.is_symlink())
    for folder in (run, *own):
        for path in folder.glob(".*.tmp"):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def occupied(run: Path) -> Iterator[None]:
    """Keep other processes from training in this folder; the system lets go of it however this process ends.

    Raises:
        ValueError: if another process does already.
    """
    folder = os.open(run, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{run} is being trained by another process") from None
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(folder)
