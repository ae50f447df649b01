"""A training run in its folder, from its beginning or from where it was stopped.

A run folder gets its name when it holds config.json and a checkpoint, and from then on can be resumed whenever the
process is killed. What belongs together is in one file: a checkpoint holds the weights and how validation stands.
Whatever else was written after the newest checkpoint, such as lines of progress.csv, is dropped and done again, to the
same bits.
"""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stable_baselines3.common.logger import KVWriter, Logger

from metamotor import meta
from metamotor.meta.learner import MetaLearner, versions
from metamotor.scripts.logs import Events, ProgressFile, RunLogger, rewind_progress
from metamotor.scripts.options import ValidationOptions
from metamotor.scripts.progress import Lines
from metamotor.scripts.runs import CONFIG, SUMMARY, CpuClock, machine, read_json, write_json
from metamotor.scripts.store import BEST, FOLDER, LAST, Store, newest, occupied, sweep
from metamotor.scripts.validation import Standing, Validation


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How a run is carried out; the result does not depend on it."""

    num_workers: int = 0
    """Processes that sample; 0 samples in this one."""
    checkpoint_interval: int | None = None
    """Meta-iterations between two checkpoints, besides the one after each validation."""
    keep_last: int = 2
    """Checkpoints kept by the numbers of their steps, beside the last and the best."""
    best_other_return: float | None = None
    """What a policy without meta-training reaches on validation tasks, such as `eval/pre` of a robust run: with
    --oracle-return, the gap closed is logged at each validation. Returns on test tasks do not belong here."""
    oracle_return: float | None = None
    """What the oracle reaches there, `eval/pre` of its run; see --best-other-return."""

    def __post_init__(self) -> None:
        """Refuse what is too small, and a gap that there is not."""
        ends = (self.best_other_return, self.oracle_return)
        if (ends[0] is None) != (ends[1] is None):
            raise ValueError(
                "the gap closed needs both --best-other-return and --oracle-return, got "
                f"{ends[0]} and {ends[1]}"
            )
        if (gap := self.gap) is not None and not float("-inf") < gap[0] < gap[1] < float("inf"):
            raise ValueError(
                f"oracle_return must be above best_other_return, or there is no gap: got {gap[1]} and {gap[0]}"
            )
        for name, least in (("num_workers", 0), ("checkpoint_interval", 1), ("keep_last", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                bound = f"be at least {least}" if least else "not be negative"
                raise ValueError(f"{name} must {bound}, got {value}")

    @property
    def gap(self) -> tuple[float, float] | None:
        """The returns between which the gap is closed, if they are known."""
        if self.best_other_return is None or self.oracle_return is None:
            return None
        return self.best_other_return, self.oracle_return


def prepare(
    folder: Path,
    learner: MetaLearner,
    resolved: Mapping[str, Any],
    execution: Execution,
    *,
    command: str,
    track: bool,
) -> None:
    """Write what a run begins from: its config.json, and its first checkpoint.

    Args:
        folder: of the run.
        learner: untrained.
        resolved: all that the result depends on.
        execution: how it is carried out.
        command: that was typed.
        track: log to Weights & Biases.
    """
    config = {
        **resolved,
        "execution": dataclasses.asdict(execution),
        "wandb_run": secrets.token_hex(4) if track else None,
        "command": command,
        "machine": machine(),
    }
    write_json(folder / CONFIG, config)
    Store(folder, execution.keep_last).save(learner, Standing().notes(), is_best=False)


def read_config(folder: Path) -> dict[str, Any]:
    """Return a run's config.json.

    Raises:
        ValueError: if there is none, or not one of a run that can be resumed.
    """
    config = read_json(folder / CONFIG)
    if "execution" not in config:
        if not folder.exists():
            why = "there is no such folder"
        elif not folder.is_dir():
            why = "it is a file, and --resume expects the folder that `metamotor train` made"
        else:
            why = (
                "another version of metamotor made it" if config else f"there is no {CONFIG} in it"
            )
        raise ValueError(f"{folder} is no run that can go on: {why}")
    return config


def is_finished(folder: Path) -> bool:
    """Say whether a run was trained as far as its config.json says, or stopped early."""
    config, summary = read_json(folder / CONFIG), read_json(folder / SUMMARY)
    return summary.get("status") == "finished" and (
        summary["stopped_early"] or summary["num_timesteps"] >= config["total_timesteps"]
    )


def begin(folder: Path, learner: MetaLearner, clock: CpuClock, *, quiet: bool) -> None:
    """Train what was prepared.

    Args:
        folder: of the run.
        learner: that it was prepared with.
        clock: that has measured the making of the learner.
        quiet: do not show how training goes.
    """
    with occupied(folder):
        _carry_out(folder, learner, Standing(), clock, quiet=quiet)


def resume(folder: Path, total_timesteps: int, execution: Execution, *, quiet: bool) -> bool:
    """Train a run that was stopped to its end, from its newest checkpoint that can be read.

    Args:
        folder: of the run.
        total_timesteps: environment steps in all: as before, or more.
        execution: how it is carried out from now on.
        quiet: do not show how training goes.

    Returns:
        whether there was anything left to do.

    Raises:
        ValueError: if another process trains in it, no checkpoint can be read, or it cannot be trained so far.
    """
    with occupied(folder):
        sweep(folder)
        _change(folder, total_timesteps, execution)
        path, document = newest(folder)
        if is_finished(folder):
            return False
        clock = CpuClock(read_json(folder / SUMMARY))
        learner: MetaLearner = meta.LEARNERS[document["learner"]].load(
            path, num_workers=execution.num_workers
        )
        _tell(path, document, quiet=quiet)
        standing = Standing.of(document["notes"])
        rewind_progress(folder, learner.num_timesteps, standing.validated)
        _carry_out(folder, learner, standing, clock, quiet=quiet)
    return True


def _change(folder: Path, total_timesteps: int, execution: Execution) -> None:
    """Write down what is different from now on."""
    config = read_config(folder)
    before = config["total_timesteps"]
    if total_timesteps < before:
        raise ValueError(
            f"{folder} is trained for {before} environment steps; it can be trained for more, but not for less, "
            f"got --total-timesteps {total_timesteps}"
        )
    if total_timesteps > before and read_json(folder / SUMMARY).get("stopped_early"):
        raise ValueError(
            f"{folder} stopped early, its patience with validation at an end; it is not trained for more"
        )
    changes = {"total_timesteps": total_timesteps, "execution": dataclasses.asdict(execution)}
    if any(config[name] != value for name, value in changes.items()):
        write_json(folder / CONFIG, {**config, **changes})


def _tell(path: Path, document: Mapping[str, Any], *, quiet: bool) -> None:
    """Say from where training goes on, and whether it still ends in the same bits."""
    if not quiet:
        steps = document["num_timesteps"]
        print(f"Going on after {steps:,} environment steps, from {path}", file=sys.stderr)
    then, now = document["versions"], versions()
    if changed := [name for name in now if now[name] != then.get(name)]:
        print(
            f"metamotor: {path} was written with another {', '.join(changed)}; results may differ from those of "
            "a run that was not stopped",
            file=sys.stderr,
        )


def _carry_out(
    folder: Path, learner: MetaLearner, standing: Standing, clock: CpuClock, *, quiet: bool
) -> None:
    """Train until all is done, and write everything down on the way."""
    config, before = read_config(folder), read_json(folder / SUMMARY)
    total, execution = config["total_timesteps"], Execution(**config["execution"])
    options = ValidationOptions(**config["validation"])
    store = Store(folder, execution.keep_last)

    def save(learner: MetaLearner, standing: Standing) -> None:
        # The cost first: after a kill in between, it holds what has to be done again, rather than too little.
        _summarize(folder, learner, validation, "running", clock)
        is_best = standing.best_num_timesteps == learner.num_timesteps
        store.save(learner, standing.notes(), is_best=is_best)

    validation = Validation(
        options,
        save,
        standing,
        execution.checkpoint_interval,
        seconds=before.get("validation_wall_seconds", 0.0),
        gap=execution.gap,
    )
    drawn = not quiet and sys.stdout.isatty()
    with _interrupts_restored(), _logging(folder, learner, config) as logger:
        if not quiet and not drawn:
            logger.output_formats.append(Lines(total))
        learner.set_logger(logger)
        status = "failed"
        try:
            save(learner, standing)  # a kill may have come between two of the checkpoints
            if not standing.is_over(options.patience):
                learner.learn(total, validation, progress_bar=drawn)
            status = "finished"
        except KeyboardInterrupt:
            status = "interrupted"
            _ignore_interrupts()
            validation.rewind()
            saved = f"{folder / FOLDER / LAST}.safetensors"
            again = shlex.join(["metamotor", "train", "--resume", str(folder)])
            print(f"metamotor: saved {saved}; to go on: {again}", file=sys.stderr)
            raise
        finally:
            learner.close()
            _finish(folder, learner, validation, status, clock)


@contextlib.contextmanager
def _interrupts_restored() -> Iterator[None]:
    """Take Ctrl-C afterwards as before, whatever happens to it within."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


def _ignore_interrupts() -> None:
    # Impatience, or a terminal and a parent process that both interrupt, must not break the saving.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def _logging(folder: Path, learner: MetaLearner, config: Mapping[str, Any]) -> Iterator[Logger]:
    """Log to a run folder, and to W&B if asked for, with the best checkpoint if all goes well."""
    outputs: list[KVWriter] = [ProgressFile(folder), Events(folder, learner.num_timesteps)]
    logger = RunLogger(folder=str(folder), output_formats=outputs)
    try:
        if not config["wandb_run"]:
            yield logger
            return
        from metamotor.scripts.tracking import WandbWriter

        tracker = WandbWriter(folder, config, config["wandb_run"])
        logger.output_formats.append(tracker)
        yield logger
        tracker.save_checkpoint(folder / FOLDER / f"{BEST}.safetensors")
    finally:
        logger.close()


def _finish(
    folder: Path, learner: MetaLearner, validation: Validation, status: str, clock: CpuClock
) -> None:
    """Draw the learning curve and write down what was reached, and at what cost."""
    from metamotor.scripts.figures import draw_learning_curve

    draw_learning_curve(folder)
    _summarize(folder, learner, validation, status, clock)


def _summarize(
    folder: Path, learner: MetaLearner, validation: Validation, status: str, clock: CpuClock
) -> None:
    """Write down how far a run is, what it has reached, and at what cost."""
    over = validation.standing.is_over(validation.options.patience)
    write_json(
        folder / SUMMARY,
        {
            "status": status,
            "stopped_early": over and status == "finished",
            "num_timesteps": learner.num_timesteps,
            "iterations": learner.iteration,
            "best_validation_return": validation.standing.best_return,
            "best_num_timesteps": validation.standing.best_num_timesteps,
            **clock.read(),
            "validation_wall_seconds": round(validation.seconds, 2),
        },
    )
