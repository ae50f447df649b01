"""What a run logs goes on where it was stopped."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from stable_baselines3.common.logger import KVWriter

from metamotor.scripts.logs import ProgressFile, RunLogger, rewind_progress
from metamotor.scripts.runs import read_progress

STEPS = "time/total_timesteps"


def log(file: ProgressFile, **values: float) -> None:
    named = {name.replace("__", "/"): value for name, value in values.items()}
    file.write(named, dict.fromkeys(named, ()))


def logged(folder: Path) -> list[dict[str, float]]:
    file = ProgressFile(folder)
    log(file, a=1.0, time__total_timesteps=100)
    log(file, time__total_timesteps=100, eval__pre=-0.1)
    log(file, a=3.0, time__total_timesteps=200)
    log(file, a=1 / 3, time__total_timesteps=1234)
    return read_progress(folder)


def test_lines_hold_what_was_logged(tmp_path: Path) -> None:
    assert logged(tmp_path) == [
        {"a": 1.0, STEPS: 100},
        {STEPS: 100, "eval/pre": -0.1},
        {"a": 3.0, STEPS: 200},
        {"a": 1 / 3, STEPS: 1234},
    ]
    file = ProgressFile(tmp_path)  # of a process that goes on
    file.write({"a": 5.0, "b": "x, y", "c": 1}, {"a": (), "b": (), "c": ("csv",)})
    lines = (tmp_path / "progress.csv").read_text().splitlines()
    assert lines[0] == f"a,{STEPS},eval/pre,b"
    assert lines[-1] == '5.0,,,"x, y"'
    assert len(lines) == 6


@pytest.mark.parametrize(
    ("num_timesteps", "validated", "kept"),
    [(1234, 100, 4), (1233, 100, 3), (200, 99, 2), (100, 100, 2), (99, 99, 0)],
)
def test_what_came_after_a_checkpoint_is_dropped(
    tmp_path: Path, num_timesteps: int, validated: int, kept: int
) -> None:
    before = logged(tmp_path)
    rewind_progress(tmp_path, num_timesteps, validated)
    expected = [
        line
        for line in before
        if line[STEPS] <= (validated if "eval/pre" in line else num_timesteps)
    ]
    assert read_progress(tmp_path) == expected
    assert len(expected) == kept


def test_a_line_that_was_not_written_to_its_end_is_dropped(tmp_path: Path) -> None:
    before, path = logged(tmp_path), tmp_path / "progress.csv"
    whole = path.read_text()
    length = len(whole.splitlines(keepends=True)[-1])
    for missing in range(1, length + 1):  # 1234 becomes 123, and 12, which would be early enough
        path.write_text(whole[:-missing])
        rewind_progress(tmp_path, 300, 300)
        assert read_progress(tmp_path) == before[:3]


def test_there_may_be_nothing_to_drop(tmp_path: Path) -> None:
    rewind_progress(tmp_path, 0, 0)
    assert list(tmp_path.iterdir()) == []


class InterruptedWriter(KVWriter):
    """Is interrupted in the middle of a line, as by Ctrl-C."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0
    ) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        self.lines.append(dict(key_values))

    def close(self) -> None:
        pass


def test_an_interrupt_comes_when_the_line_is_written(tmp_path: Path) -> None:
    writer = InterruptedWriter()
    logger = RunLogger(folder=str(tmp_path), output_formats=[writer, writer])
    logger.record("a", 1.0)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        logger.dump(step=1)
    assert writer.lines == [{"a": 1.0}] * 2
    assert not logger.name_to_value  # written once, not again after the interrupt
    assert signal.getsignal(signal.SIGINT) is before
