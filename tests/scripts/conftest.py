"""Three arms, trained for a second each, that the tests of the subcommands share."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from metamotor.scripts import cells
from metamotor.scripts.cli import main

TINY = (
    *("PointNavigation-v0", "--total-timesteps", "400", "--horizon", "20", "--quiet"),
    *("--meta-batch-size", "2", "--episodes-per-task", "3", "--net-arch", "8"),
    *("--validation-interval", "1", "--validation-tasks", "2", "--validation-episodes", "2"),
)


@dataclass(frozen=True)
class Outcome:
    """What a call of the program came to."""

    code: int | str | None
    out: str
    err: str


class Program:
    """Calls `metamotor` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: str | Path) -> Outcome:
        self._capsys.readouterr()
        try:
            code: int | str | None = main([str(word) for word in words])
        except SystemExit as ended:  # tyro's help and mistakes
            code = ended.code
        return Outcome(code, *self._capsys.readouterr())


@pytest.fixture
def metamotor(capsys: pytest.CaptureFixture[str]) -> Program:
    return Program(capsys)


@pytest.fixture(scope="session")
def arms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The run folders of the three arms."""
    folder = tmp_path_factory.mktemp("arms")
    runs = {arm: folder / arm for arm in ("adapted", "robust", "oracle")}
    for arm, path in runs.items():
        assert main(["train", *TINY, "--arm", arm, "--out", str(path)]) == 0
    return runs


class TrainedHere:
    """What `subprocess.Popen` is to a cell, but it has trained in this process when it is there."""

    def __init__(self, command: Sequence[str], *, stdout: Any, **_: Any) -> None:
        assert command[1:4] == ["-m", "metamotor.scripts.cli", "train"]
        with (
            open(stdout.fileno(), "w", closefd=False) as log,
            contextlib.redirect_stdout(log),
            contextlib.redirect_stderr(log),
        ):
            self._code = main(command[3:])

    def poll(self) -> int:
        return self._code


@pytest.fixture
def cells_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train cells in this process: a new one takes 8 s to import torch. That it may be one is for test_runs.py."""
    stand_in = SimpleNamespace(**{**vars(subprocess), "Popen": TrainedHere})
    monkeypatch.setattr(cells, "subprocess", stand_in)


def words(names: Sequence[str | Path]) -> list[str]:
    return [str(name) for name in names]
