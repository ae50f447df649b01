"""A run that is stopped at any moment goes on to the same bits as one that is not."""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
)

from metamotor import meta
from metamotor.meta.checkpoints import read_checkpoint
from metamotor.scripts import cells, figures
from metamotor.scripts.benchmarks.resume import (
    OWN,
    Process,
    checkpoints,
    differences,
    temporary_files,
    trials,
)
from metamotor.scripts.cells import Cell, train_cells
from metamotor.scripts.outputs import write_file
from metamotor.scripts.runs import read_json, read_progress, write_json
from metamotor.scripts.store import Store, newest, sweep
from metamotor.scripts.validation import Validation
from tests.scripts.conftest import TINY, Program
from tests.scripts.test_runs import QUIET

WORDS = (*TINY, "--total-timesteps", "960")
"""Four meta-iterations, each with a validation."""
Interrupt = Callable[[str, int], None]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was not stopped."""
    from metamotor.scripts.cli import main

    folder = tmp_path_factory.mktemp("reference") / "run"
    assert main(["train", *WORDS, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write learning curves without drawing them, which is half of the time of such a run."""
    monkeypatch.setattr(figures, "save", lambda _, path: write_file(path, b"drawn"))


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Interrupt:
    """Ctrl-C at a call of a method of the validation, before it or, with a negative number, after it."""

    def at(name: str, call: int) -> None:
        original, calls = getattr(Validation, name), itertools.count(1)

        def interrupted(self: Validation, *args: Any) -> Any:
            number = next(calls)
            if number == call:
                raise KeyboardInterrupt
            result = original(self, *args)
            if number == -call:
                raise KeyboardInterrupt
            return result

        monkeypatch.setattr(Validation, name, interrupted)

    return at


def test_what_differs_is_found(reference: Path, tmp_path: Path) -> None:
    assert differences(reference, reference) == []
    for change in (change_a_weight, change_progress, change_the_summary, leave_rubbish):
        other = tmp_path / change.__name__
        shutil.copytree(reference, other)
        assert differences(reference, other) == []
        change(other)
        assert len(differences(reference, other)) == 1, change.__name__


def change_a_weight(folder: Path) -> None:
    path = folder / "checkpoints" / "last"
    notes = read_checkpoint(path)[1]["notes"]
    learner = meta.MAML.load(path)
    with torch.no_grad():
        next(iter(learner.params.values())).view(-1)[0] += 1e-7
    learner.save(path, notes)


def change_progress(folder: Path) -> None:
    path = folder / "progress.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def change_the_summary(folder: Path) -> None:
    path = folder / "summary.json"
    write_json(path, read_json(path) | {"best_num_timesteps": 1})


def leave_rubbish(folder: Path) -> None:
    (folder / "checkpoints" / ".last.safetensors.0.tmp").write_text("")


# Ctrl-C, which saves on the way out --------------------------------------------------------------


@pytest.mark.parametrize("name", ["_validate", "_keep", "measure", "_on_training_start"])
@pytest.mark.parametrize("call", [1, 2, -2])
def test_an_interrupted_run_goes_on_to_the_same_bits(
    metamotor: Program,
    reference: Path,
    tmp_path: Path,
    interrupt: Interrupt,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    call: int,
) -> None:
    if name == "_on_training_start" and abs(call) == 2:
        pytest.skip("training starts once")
    folder = tmp_path / "run"
    interrupt(name, call)
    stopped = metamotor("train", *WORDS, "--out", folder)
    assert stopped.code == 130
    assert f"to go on: metamotor train --resume {folder}" in stopped.err
    assert read_json(folder / "summary.json")["status"] == "interrupted"
    monkeypatch.undo()
    done = metamotor("train", "--resume", folder, "--quiet")
    assert done.code == 0, done.err
    assert f"Trained for 960 environment steps: {folder}" in done.out
    assert differences(reference, folder) == []


def test_events_show_each_step_once(
    metamotor: Program, tmp_path: Path, interrupt: Interrupt, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    interrupt("_keep", 3)  # after the third iteration was logged, before it was kept
    assert metamotor("train", *WORDS, "--out", folder).code == 130
    assert [line["time/total_timesteps"] for line in read_progress(folder)][-1] == 720
    assert read_checkpoint(folder / "checkpoints" / "last")[1]["num_timesteps"] == 480
    monkeypatch.undo()
    assert metamotor("train", "--resume", folder, "--quiet").code == 0
    events = EventAccumulator(str(folder)).Reload()
    lines = [line for line in read_progress(folder) if "rollout/pre" in line]
    shown = {event.step: event.value for event in events.Scalars("rollout/pre")}
    assert [event.step for event in events.Scalars("rollout/pre")] == [240, 480, 720, 960]
    assert list(shown.values()) == pytest.approx([line["rollout/pre"] for line in lines])


def test_costs_add_up(
    metamotor: Program, tmp_path: Path, interrupt: Interrupt, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    interrupt("_validate", 2)
    assert metamotor("train", *WORDS, "--out", folder).code == 130
    monkeypatch.undo()
    before = read_json(folder / "summary.json")
    write_json(folder / "summary.json", before | {"cpu_seconds": 1000.0, "wall_seconds": 2000.0})
    assert metamotor("train", "--resume", folder, "--quiet").code == 0
    after = read_json(folder / "summary.json")
    assert 1000.0 < after["cpu_seconds"] < 1100.0
    assert 2000.0 < after["wall_seconds"] < 2100.0
    assert after["validation_wall_seconds"] > before["validation_wall_seconds"]


# What may be asked of a run folder ---------------------------------------------------------------


def test_a_finished_run_says_so(metamotor: Program, reference: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in reference.rglob("*")}
    done = metamotor("train", "--resume", reference)
    assert done.code == 0
    assert "Nothing to do, it is finished: trained for 960 environment steps" in done.out
    assert before == {path: path.stat().st_mtime_ns for path in reference.rglob("*")}


def test_a_finished_run_is_trained_for_more(
    metamotor: Program, reference: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    assert metamotor("train", *WORDS, "--total-timesteps", "480", "--out", folder).code == 0
    done = metamotor("train", "--resume", folder, "--total-timesteps", "960", "--quiet")
    assert done.code == 0, done.err
    assert differences(reference, folder) == []
    assert read_json(folder / "config.json")["total_timesteps"] == 960
    less = metamotor("train", "--resume", folder, "--total-timesteps", "480")
    assert less.code == 2
    assert "is trained for 960 environment steps; it can be trained for more" in less.err


def test_a_run_that_stopped_early_is_finished(metamotor: Program, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = (*TINY, "--total-timesteps", "100000", "--patience", "1", "--outer-lr", "0.5")
    done = metamotor("train", *words, "--out", folder)
    assert done.code == 0, done.err
    assert "of 100,000; 1 validation found nothing better" in done.out
    summary = read_json(folder / "summary.json")
    assert summary["status"] == "finished"
    assert summary["stopped_early"]
    assert summary["num_timesteps"] == summary["best_num_timesteps"] + 240 < 100_000
    assert "Nothing to do" in metamotor("train", "--resume", folder).out
    more = metamotor("train", "--resume", folder, "--total-timesteps", "200000")
    assert more.code == 2
    assert "stopped early" in more.err
    # Killed between the last checkpoint and the summary:
    write_json(folder / "summary.json", summary | {"status": "running", "stopped_early": False})
    assert metamotor("train", "--resume", folder, "--quiet").code == 0
    again = read_json(folder / "summary.json")
    assert again["stopped_early"]
    assert again["num_timesteps"] == summary["num_timesteps"]


@pytest.mark.parametrize("options", [["--seed", "1"], ["--outer_lr=0.1"], ["--out", "other"]])
def test_settings_cannot_be_changed(
    metamotor: Program, reference: Path, options: list[str]
) -> None:
    done = metamotor("train", "--resume", reference, *options)
    assert done.code == 2
    name = options[0].split("=")[0].replace("_", "-")
    assert f"a resumed run keeps its settings: {name} cannot be given with --resume" in done.err


def test_how_a_run_is_carried_out_may_change(
    metamotor: Program,
    reference: Path,
    tmp_path: Path,
    interrupt: Interrupt,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "run"
    interrupt("_validate", 3)
    assert metamotor("train", *WORDS, "--out", folder).code == 130
    monkeypatch.undo()
    options = ("--keep-last", "1", "--checkpoint-interval", "1")
    assert metamotor("train", f"--resume={folder}", *options, "--quiet").code == 0
    assert [path.stem for path in checkpoints(folder)] == ["best", "last", "step-000000960"]
    execution = read_json(folder / "config.json")["execution"]
    given = {name: value for name, value in execution.items() if value is not None}
    assert given == {"num_workers": 0, "keep_last": 1, "checkpoint_interval": 1}
    (reference_only,) = differences(reference, folder)
    assert reference_only.startswith("checkpoints"), "nothing else"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--num-workers", "-1"), "num_workers must not be negative, got -1"),
        (("--keep-last", "-1"), "keep_last must not be negative, got -1"),
        (("--checkpoint-interval", "0"), "checkpoint_interval must be at least 1, got 0"),
        (("PointNavigation-v0",), "PointNavigation-v0"),
    ],
)
def test_a_mistake_is_told(
    metamotor: Program, reference: Path, options: tuple[str, ...], message: str
) -> None:
    done = metamotor("train", "--resume", reference, *options)
    assert done.code == 2
    assert message in done.err


def test_a_folder_of_another_kind_is_told(metamotor: Program, tmp_path: Path) -> None:
    assert "--resume" in metamotor("train", "--resume").err
    assert metamotor("train", "--resume", "--help").code == 0
    nowhere = metamotor("train", "--resume", tmp_path)
    assert nowhere.code == 2
    assert f"{tmp_path} is no run that can go on: there is no config.json in it" in nowhere.err
    config = tmp_path / "config.json"
    write_json(config, {"seed": 0})
    assert "another version of metamotor made it" in metamotor("train", "--resume", tmp_path).err
    config.write_text('{"seed": ')
    damaged = metamotor("train", "--resume", tmp_path)
    assert damaged.code == 2
    assert f"{config} is damaged" in damaged.err
    assert "put a copy of it in its place" in damaged.err
    missing = metamotor("train", "--resume", tmp_path / "missing")
    assert "missing is no run that can go on: there is no such folder" in missing.err
    assert "it is a file" in metamotor("train", "--resume", config).err


def test_a_finished_run_without_checkpoints_is_refused(
    metamotor: Program, reference: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(reference, tmp_path / "run")
    shutil.rmtree(folder / "checkpoints")
    done = metamotor("train", "--resume", folder)
    assert (done.code, done.out) == (2, "")
    assert "holds no checkpoint that can be read" in done.err


def test_only_one_process_trains_in_a_folder(
    metamotor: Program, reference: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(reference, tmp_path / "run")
    other = os.open(folder, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    done = metamotor("train", "--resume", folder)
    assert done.code == 2
    assert "is being trained by another process" in done.err
    os.close(other)
    assert metamotor("train", "--resume", folder).code == 0


def test_a_damaged_checkpoint_is_passed_over(
    metamotor: Program, reference: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(reference, tmp_path / "run")
    last, step = (
        folder / "checkpoints" / f"{name}.safetensors" for name in ("last", "step-000000960")
    )
    for path in (last, step):
        path.write_bytes(path.read_bytes()[:-1])
    write_json(folder / "summary.json", read_json(folder / "summary.json") | {"status": "running"})
    done = metamotor("train", "--resume", folder)
    assert done.code == 0, done.err
    assert done.err.count("passing over a checkpoint") == 2
    assert "Going on after" in done.err
    assert differences(reference, folder) == []
    for path in checkpoints(folder):
        path.write_bytes(b"")
    write_json(folder / "summary.json", read_json(folder / "summary.json") | {"status": "running"})
    assert "holds no checkpoint that can be read" in metamotor("train", "--resume", folder).err


def test_other_versions_are_told(
    metamotor: Program, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(reference, tmp_path / "run")
    monkeypatch.setattr("metamotor.scripts.training.versions", lambda: {"torch": "0.1"})
    done = metamotor("train", "--resume", folder, "--total-timesteps", "1200", "--quiet")
    assert done.code == 0, done.err
    assert "was written with another torch; results may differ" in done.err


def test_rubbish_is_swept(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    kept = [tmp_path / "config.json", tmp_path / "checkpoints" / "last.safetensors"]
    rubbish = [path.with_name(f".{path.name}.1a2b.tmp") for path in kept]
    for path in (*kept, *rubbish):
        path.write_text("")
    sweep(tmp_path)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)


@pytest.mark.parametrize("keep_last", [0, 1, 2, 3, 5])
def test_the_last_few_checkpoints_are_kept(reference: Path, tmp_path: Path, keep_last: int) -> None:
    learner, store = meta.MAML.load(reference / "checkpoints" / "last"), Store(tmp_path, keep_last)
    for count in range(1, 8):
        learner.num_timesteps = 100 * count
        store.save(learner, {}, is_best=False)
        kept = [path.stem for path in checkpoints(tmp_path) if path.stem != "last"]
        steps = range(max(1, count - keep_last + 1), count + 1) if keep_last else ()
        assert kept == [f"step-{100 * step:09d}" for step in steps]


def test_a_checkpoint_that_no_run_wrote_is_passed_over(
    reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(reference, tmp_path / "run")
    learner = meta.MAML.load(folder / "checkpoints" / "last")
    learner.num_timesteps += 1
    learner.save(folder / "checkpoints" / "mine")
    assert newest(folder)[0].stem == "last"
    assert "mine.safetensors was not written by a training run" in capsys.readouterr().err


# Cells -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_cell_that_was_stopped_is_resumed(
    metamotor: Program,
    reference: Path,
    tmp_path: Path,
    interrupt: Interrupt,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cell = Cell(tmp_path / "cell", WORDS)
    interrupt("_validate", 3)
    assert metamotor("train", *cell.argv).code == 130
    monkeypatch.undo()
    assert not cells.is_finished(cell)
    with pytest.raises(ValueError, match="was begun with another seed than is asked for now"):
        cells.is_finished(Cell(cell.folder, (*WORDS, "--seed", "1")))
    train_cells([cell], jobs=1, console=QUIET)
    assert cells.is_finished(cell)
    assert differences(reference, cell.folder) == []
    assert {path.name for path in tmp_path.iterdir()} == {"cell", "cell.log"}


def test_a_folder_that_is_no_run_is_not_taken_for_a_cell(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no run that can go on"):
        cells.is_finished(Cell(tmp_path, WORDS))


# SIGKILL -----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("learner", OWN)
def test_a_killed_run_ends_in_the_same_bits(learner: str) -> None:
    counts = trials(learner, num_runs=1, num_kills=4, seed=1)
    assert counts["kills"] >= 2
    assert counts["checkpoints_read"] > 0
    assert counts["unreadable"] == 0
    assert counts["equal"] == 1


@dataclass(frozen=True)
class CopyBefore:
    """Copies a run folder before each change to the files in it: all that a SIGKILL can leave behind."""

    folder: Path
    copies: Path

    def __call__(self) -> None:
        """Begin, in the process that trains."""
        numbers, copying = itertools.count(), False

        def hook(event: str, args: tuple[Any, ...]) -> None:
            nonlocal copying
            if copying or not self.is_change(event, args) or not self.folder.exists():
                return
            copying = True
            shutil.copytree(self.folder, self.copies / f"{next(numbers)}")
            copying = False

        sys.addaudithook(hook)

    def is_change(self, event: str, args: tuple[Any, ...]) -> bool:
        """Say whether an audited event is about to change a file of the run."""
        if event == "open":
            changes = isinstance(args[2], int) and bool(args[2] & (os.O_WRONLY | os.O_RDWR))
        else:
            changes = event in ("os.rename", "os.remove", "os.mkdir")
        return changes and str(args[0]).startswith(str(self.folder))


@pytest.mark.slow
def test_a_run_may_be_killed_before_every_change_to_its_files(
    metamotor: Program, tmp_path: Path
) -> None:
    folder, copies = tmp_path / "run", tmp_path / "copies"
    words = (*WORDS, "--total-timesteps", "480", "--keep-last", "1", "--out", str(folder))
    assert Process(words, folder, CopyBefore(folder, copies)).wait(60) == 0
    assert len(list(copies.iterdir())) > 30
    assert any(temporary_files(copy) for copy in copies.iterdir()), "in the middle of a write too"
    for copy in copies.iterdir():
        assert metamotor("train", "--resume", copy, "--quiet").code == 0
        assert differences(folder, copy) == [], f"killed before change {copy.name}"
