"""Run folders, cells and benchmarks."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from metamotor.scripts import cells
from metamotor.scripts.cells import Cell, is_finished, train_cells
from metamotor.scripts.runs import (
    CpuClock,
    checkpoint_in,
    read_json,
    read_progress,
    write_json,
)
from tests.scripts.conftest import TINY, Program

QUIET = Console(quiet=True)


def test_a_line_that_is_being_written_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "progress.csv").write_text("a,b,c\n1,2.5,\n3,")
    assert read_progress(tmp_path) == [{"a": 1.0, "b": 2.5}, {"a": 3.0}]
    assert read_progress(tmp_path / "nowhere") == []


def test_what_is_not_finite_is_null(tmp_path: Path) -> None:
    values = {"best": -float("inf"), "all": [1.0, float("nan")], "name": "inf"}
    text = write_json(tmp_path / "values.json", values).read_text()
    assert json.loads(text) == {"best": None, "all": [1.0, None], "name": "inf"}


def test_processors_are_counted_wherever_they_work() -> None:
    clock = CpuClock({"cpu_seconds": 100.0, "wall_seconds": 200.0})
    context = multiprocessing.get_context("fork")
    working, told = context.Event(), context.Event()
    child = context.Process(target=_use_processor, args=(0.5, working, told))
    child.start()
    assert working.wait(60)
    running = clock.read()  # the child has not ended
    assert running["cpu_seconds"] + 0.05 >= 100.5
    assert 200.0 < running["wall_seconds"] < 300.0
    told.set()
    child.join()
    ended = clock.read()
    assert running["cpu_seconds"] <= ended["cpu_seconds"] + 0.05, "and not twice either"
    assert ended["cpu_seconds"] < running["cpu_seconds"] + 0.4


def _use_processor(seconds: float, working: Any, told: Any) -> None:
    while time.process_time() < seconds:
        pass
    working.set()
    told.wait(60)


def stopping(code: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Stop a program in place of `metamotor train`; return its exit code."""
    monkeypatch.setattr(cells, "SECONDS_TO_SAVE", 0.5)
    monkeypatch.setattr(cells, "SECONDS_TO_END", 0.5)
    run = cells._Run.__new__(cells._Run)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    run._process = process
    assert process.stdout is not None
    process.stdout.readline()
    run.interrupt()
    run.stop()
    process.stdout.close()
    return process.returncode


def test_a_run_is_interrupted_before_anything_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    start = "import signal, sys, time\n"
    wait = "print(flush=True)\ntime.sleep(60)\n"
    saves = f"{start}signal.signal(signal.SIGINT, lambda *_: sys.exit(130))\n{wait}"
    assert stopping(saves, monkeypatch) == 130
    deaf = f"{start}signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    assert stopping(f"{deaf}{wait}", monkeypatch) == -15
    deafer = f"{deaf}signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{wait}"
    assert stopping(deafer, monkeypatch) == -9


@pytest.mark.slow
def test_a_run_that_is_stopped_saves(tmp_path: Path) -> None:
    cell = Cell(tmp_path / "cell", (*TINY[:-2], "--total-timesteps", "100000000"))
    run = cells._Run(cell)
    end = time.monotonic() + 60
    while len(read_progress(cell.folder)) < 4 and time.monotonic() < end:
        time.sleep(0.05)
    for _ in range(3):  # the terminal's, the parent's, and an impatient one
        with contextlib.suppress(ProcessLookupError):
            run.interrupt()
        time.sleep(0.02)
    run.stop()
    summary = read_json(cell.folder / "summary.json")
    assert summary["status"] == "interrupted"
    assert (cell.folder / "checkpoints" / "last.safetensors").is_file()


def test_a_run_folder_stands_for_its_best_checkpoint(arms: dict[str, Path]) -> None:
    best = arms["robust"] / "checkpoints" / "best.safetensors"
    assert checkpoint_in(arms["robust"]) == best
    assert checkpoint_in(best.with_suffix("")) == best


@pytest.mark.slow
def test_cells_are_trained_once(tmp_path: Path) -> None:
    cell = Cell(tmp_path / "cell", TINY)
    train_cells([cell], jobs=2, console=QUIET)
    assert is_finished(cell)
    before = (cell.folder / "summary.json").stat().st_mtime
    train_cells([cell], jobs=2, console=QUIET)
    assert (cell.folder / "summary.json").stat().st_mtime == before
    with pytest.raises(ValueError, match="was begun with another config"):
        is_finished(Cell(cell.folder, (*TINY, "--outer-lr", "0.01")))


@pytest.mark.slow
def test_a_cell_that_fails_says_why(tmp_path: Path) -> None:
    cell = Cell(tmp_path / "cell", (*TINY, "--base-kwargs", '{"foo": 1}'))
    with pytest.raises(ChildProcessError, match="unexpected keyword argument 'foo'"):
        train_cells([cell], jobs=1, console=QUIET)
    with pytest.raises(ValueError, match="jobs must be at least 1, got 0"):
        train_cells([cell], jobs=0, console=QUIET)


@pytest.mark.slow
def test_speed_is_measured(metamotor: Program, tmp_path: Path) -> None:
    common = ("--rounds", "1", "--out", str(tmp_path))
    refused = metamotor("bench", "sampling", "--out", "/proc/results")
    assert refused.code == 2
    assert "cannot make the folder /proc/results" in refused.err
    sampling = ("--families", "CartPole-v0", "--seconds", "0.05", "--workers", "1")
    assert metamotor("bench", "sampling", *sampling, *common).code == 0
    rates = read_json(tmp_path / "sampling.json")["steps_per_second"]["CartPole-v0"]
    assert rates["engine"][0] > rates["local"][0] > 0
    latency = ("--family", "CartPole-v0", "--calls", "20", "--observations", "100")
    assert metamotor("bench", "latency", *latency, *common).code == 0
    networks = read_json(tmp_path / "latency.json")["networks"]
    assert len(networks) == 3
    for name, candidates in networks.items():
        assert candidates["identity node"]["times_floor"] == 1.0
        exact = {
            kind: found.get("max_error", 0.0)
            for kind, found in candidates.items()
            if "," not in kind
        }
        assert max(exact.values()) < 1e-6, name
    assert networks["2×64"]["policy file"]["predict_ratio"] > 2
    assert networks["2×64"]["policy file, fp16"]["max_error"] > 1e-6
    done = metamotor("bench", "meta-gradient", "--iterations", "1", "--out", str(tmp_path))
    assert done.code == 0
    assert done.out.count("[s]") == 3, "units stand in brackets"
    assert "PointNavigation-v0" in (tmp_path / "meta-gradient.md").read_text()
