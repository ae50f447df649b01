"""Whether a training run that is killed at any moment and resumed ends in the same bits as one that was not."""

from __future__ import annotations

import contextlib
import csv
import multiprocessing
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from metamotor.meta.checkpoints import SUFFIX, read_checkpoint
from metamotor.scripts.benchmarks.results import place, write_results
from metamotor.scripts.options import LearnerName
from metamotor.scripts.runs import PROGRESS, SUMMARY, read_json
from metamotor.scripts.store import FOLDER
from metamotor.scripts.wording import counted

COMMON = (
    *("PointNavigation-v0", "--horizon", "20", "--net-arch", "8", "--quiet"),
    *("--algorithm", "PPO", "--base-kwargs", "{}"),  # whatever the learner's preset has
    *("--meta-batch-size", "2", "--checkpoint-interval", "1"),
    *("--validation-interval", "2", "--validation-tasks", "2", "--validation-episodes", "2"),
)
"""What is trained: little, so that much of the time something is being written."""
OWN: Mapping[str, Sequence[str]] = {
    "MAML": ("--episodes-per-task", "3", "--total-timesteps", "1920"),
    "Reptile": ("--episodes-per-task", "3", "--inner-steps", "2", "--total-timesteps", "1600"),
    "ES": ("--episodes-per-task", "3", "--population", "4", "--total-timesteps", "3200"),
    "MPO": ("--episodes-per-trial", "2", "--hidden-size", "8", "--total-timesteps", "640"),
}
"""What each learner adds to that: eight meta-iterations."""
REPEATED = ("time/iterations", "time/total_timesteps")
"""Columns of progress.csv about time that are the same in every run."""
MEASURED = ("cpu_seconds", "wall_seconds", "validation_wall_seconds")
"""Entries of summary.json that are not."""
PRELOADED = [
    *("metamotor.scripts.cli", "metamotor.scripts.train", "metamotor.scripts.figures"),
    "torch._dynamo",  # torch's optimisers import it, which takes longer than all of such a run
]
"""What is imported once, and not by each process."""
WRITES = 12
"""Files written between a start and a kill are fewer than this; a whole run writes about fifty."""
SECONDS_AFTER = 0.05
"""Longest time from a write to a kill that is not to hit one [s]."""
SECONDS_TO_TRAIN = 120.0
"""How long such a run may take at most [s]."""


@dataclass(frozen=True, kw_only=True)
class Resume:
    """Kill small training runs with SIGKILL at random moments, resume them, and compare them with one left alone.

    Kills come a random number of writes after a start: every other one at a random time after the write, and every
    other one during it.
    """

    learners: tuple[LearnerName, ...] = ("MAML", "Reptile", "ES", "MPO")
    """The meta-learners."""
    num_runs: int = 20
    """Runs of each that are killed."""
    num_kills: int = 4
    """Kills of each run; fewer if it ends before."""
    seed: int = 0
    """Of the moments."""
    out: Path | None = None
    """Folder of the results; without it, a new one in runs/."""
    overwrite: bool = False
    """Replace results that are in it already."""


def run(options: Resume, command: str, console: Console) -> None:
    """Kill, resume, compare, and write the results."""
    for name in ("num_runs", "num_kills"):
        if getattr(options, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(options, name)}")
    out = place(options, "resume")
    found: dict[str, Counter[str]] = {}
    for learner in options.learners:
        with console.status(f"killing and resuming {learner}"):
            found[learner] = trials(learner, options.num_runs, options.num_kills, options.seed)
    titles = {
        "runs": "runs",
        "kills": "kills",
        "while_writing": "of them while a file was written",
        "checkpoints_read": "checkpoints read",
        "unreadable": "unreadable",
        "equal": "equal runs",
    }
    write_results(
        out,
        "resume",
        command=command,
        about="Training runs that are killed with SIGKILL at random moments, up to "
        f"{counted(options.num_kills, 'time')} each, and resumed; one killed before its folder is there begins again. "
        "After every kill all checkpoints are read. A run is equal if it ends with the checkpoints (weights, "
        "optimiser, counters, how validation stands), the numbers in progress.csv and the summary of a run that was "
        "not killed, to the last bit; only times may differ.",
        header=["learner", *titles.values()],
        rows=[[name, *(str(counts[key]) for key in titles)] for name, counts in found.items()],
        numbers={"learners": found},
        console=console,
    )


def trials(learner: str, num_runs: int, num_kills: int, seed: int) -> Counter[str]:
    """Return what became of several runs that were killed; see `trial`."""
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        reference, words = (
            Path(folder) / "reference",
            (*COMMON, "--learner", learner, *OWN[learner]),
        )
        train(words, reference)
        for index in range(num_runs):
            moments = random.Random(f"{seed} {learner} {index}")
            killed = Path(folder) / f"killed-{index}"
            counts.update(trial(words, killed, reference, num_kills, moments))
    return counts


def train(words: Sequence[str], folder: Path) -> None:
    """Train a run without killing it.

    Args:
        words: behind `metamotor train`.
        folder: of the run.
    """
    _join(Process([*words, "--out", str(folder)], folder))


def trial(
    words: Sequence[str],
    folder: Path,
    reference: Path,
    num_kills: int,
    moments: random.Random,
) -> Counter[str]:
    """Train a run, kill and resume it several times, and compare it with one that was not killed.

    Args:
        words: behind `metamotor train`.
        folder: of the run.
        reference: folder of the other.
        num_kills: how often, if it does not end before.
        moments: to be killed at.

    Returns:
        counts of `runs`, `kills`, those `while_writing`, `checkpoints_read`, those `unreadable`, and `equal` runs.
    """
    counts = Counter(runs=1)
    for kill in range(num_kills):
        process = Process(next_words(words, folder), folder)
        _await_writes(folder, moments.randrange(kill % 2, WRITES), process)
        if kill % 2 == 0:
            process.wait(moments.uniform(0.0, SECONDS_AFTER))
        if not process.kill():
            break
        counts["kills"] += 1
        counts["while_writing"] += bool(temporary_files(folder))
        for path in checkpoints(folder):
            counts["checkpoints_read"] += 1
            counts["unreadable"] += not is_readable(path)
    else:
        _join(Process(next_words(words, folder), folder))
    counts["equal"] += not differences(reference, folder)
    return counts


def next_words(words: Sequence[str], folder: Path) -> list[str]:
    """Return what is behind `metamotor train` to begin a run, or to resume it once its folder is there."""
    if folder.exists():
        return ["--resume", str(folder), "--quiet"]
    return [*words, "--out", str(folder)]


class Process:
    """`metamotor train` in a process of its own, which is forked from one that has imported it already.

    Args:
        words: behind `metamotor train`.
        folder: of the run; what the process says goes into a file beside it.
        first: called in the process before anything else.
    """

    def __init__(
        self, words: Sequence[str], folder: Path, first: Callable[[], object] | None = None
    ) -> None:
        self.words = words
        self.log = folder.with_name(f"{folder.name}.log")
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        self._process = context.Process(target=_main, args=(list(words), self.log, first))
        self._process.start()

    def wait(self, seconds: float) -> int | None:
        """Wait until it ends, or so long; return its exit code if it has ended."""
        self._process.join(seconds)
        return self._process.exitcode

    def kill(self) -> bool:
        """Kill it with SIGKILL; say whether it had not ended yet.

        Raises:
            ChildProcessError: if it had ended in an error.
        """
        self._process.kill()
        self._process.join()
        code = self._process.exitcode
        if code not in (0, -9):
            words = self.log.read_text(errors="replace").strip()
            raise ChildProcessError(f"`metamotor train {' '.join(self.words)}`: {code}, {words}")
        return code != 0


def _main(words: list[str], log: Path, first: Callable[[], object] | None) -> None:
    from metamotor.scripts.cli import main

    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if first is not None:
        first()
    sys.exit(main(["train", *words]))


def _join(process: Process) -> None:
    if process.wait(SECONDS_TO_TRAIN) is None or process.kill():
        raise ChildProcessError(
            f"`metamotor train {' '.join(process.words)}` has not ended by itself"
        )


def _await_writes(folder: Path, count: int, process: Process) -> None:
    """Wait until so many files have been seen that are being written, or the process has ended."""
    seen: set[Path] = set()
    while len(seen) < count and process.wait(0.0) is None:
        seen.update(temporary_files(folder))


def temporary_files(folder: Path) -> list[Path]:
    """Return the files that are being written into a run folder, or were when it was killed."""
    found: list[Path] = []
    with contextlib.suppress(FileNotFoundError):  # they come and go
        for place in (folder, folder / FOLDER):
            found += place.glob(".*.tmp")
    return found


def checkpoints(folder: Path) -> list[Path]:
    """Return all checkpoints of a run."""
    return sorted((folder / FOLDER).glob(f"*{SUFFIX}"))


def is_readable(path: Path) -> bool:
    """Say whether a checkpoint is whole."""
    try:
        read_checkpoint(path)
    except (OSError, ValueError):
        return False
    return True


def differences(one: Path, other: Path) -> list[str]:
    """Return where two run folders differ, in words; times do not count."""
    names = [[path.name for path in checkpoints(folder)] for folder in (one, other)]
    found = [] if names[0] == names[1] else [f"checkpoints {names[0]} and {names[1]}"]
    for name in sorted(set(names[0]) & set(names[1])):
        found += _different_checkpoints(one / FOLDER / name, other / FOLDER / name)
    if _progress(one) != _progress(other):
        found.append(PROGRESS)
    if _summary(one) != _summary(other):
        found.append(f"{SUMMARY} {_summary(one)} and {_summary(other)}")
    return found + [f"{path} is left over" for path in temporary_files(other)]


def _different_checkpoints(one: Path, other: Path) -> list[str]:
    (tensors, document), (tensors_too, document_too) = read_checkpoint(one), read_checkpoint(other)
    found = [f"{one.name}: {name}" for name in document if document[name] != document_too.get(name)]
    if tensors.keys() != tensors_too.keys():
        return [*found, f"{one.name}: names of tensors"]
    return found + [
        f"{one.name}: {name}"
        for name, tensor in tensors.items()
        if not torch.equal(tensor, tensors_too[name])
    ]


def _progress(folder: Path) -> list[dict[str, str]]:
    """Return the lines of progress.csv as they are written, without times."""
    with (folder / PROGRESS).open(newline="") as file:
        return [
            {
                name: text
                for name, text in line.items()
                if name in REPEATED or not name.startswith("time/")
            }
            for line in csv.DictReader(file)
        ]


def _summary(folder: Path) -> dict[str, Any]:
    return {
        name: value for name, value in read_json(folder / SUMMARY).items() if name not in MEASURED
    }
