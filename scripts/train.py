"""`metamotor train`: meta-train one arm of one family into a run folder of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import tyro
from stable_baselines3.common.logger import Logger, configure
from tyro.conf import Positional

from metamotor import envs, meta
from metamotor.meta.checkpoints import encode
from metamotor.meta.learner import MetaLearner
from metamotor.scripts.options import (
    BaseLearner,
    FamilyId,
    LearnerName,
    ValidationOptions,
    make_family,
    parse,
)
from metamotor.scripts.outputs import new_folder
from metamotor.scripts.presets import preset
from metamotor.scripts.progress import Lines
from metamotor.scripts.runs import CONFIG, SUMMARY, CpuClock, machine, read_json, write_json
from metamotor.scripts.validation import Validation
from metamotor.scripts.wording import next_step

Arm = Literal["adapted", "robust", "oracle"]
Config = TypeVar("Config")


@dataclass(frozen=True, kw_only=True)
class Train(Generic[Config]):
    """Meta-train a policy on a task family; what is not given is taken from the family's preset.

    The run folder holds config.json, progress.csv, TensorBoard's events, checkpoints/best.safetensors (chosen on
    validation tasks), checkpoints/last.safetensors, figures/learning_curve.png and summary.json.
    """

    family: Positional[FamilyId]
    """Id of the task family, such as PandaReach-v0; an unknown one is answered with those that there are."""
    learner: LearnerName = "MAML"
    """The meta-learner; its own options are among those below."""
    arm: Arm = "adapted"
    """"adapted": meta-learn. "robust": one policy for all tasks. "oracle": the same, told its task."""
    seed: int = 0
    """Of weights, tasks, episodes and actions."""
    total_timesteps: int = 1_000_000
    """Environment steps; training ends with the meta-iteration that reaches them."""
    horizon: int | None = None
    """Steps of an episode; without it, the family's own."""
    num_workers: int = 0
    """Processes that sample; 0 samples in this one. Results do not depend on it."""
    out: Path | None = None
    """The run folder, which must not exist; without it, a new one in runs/."""
    track: bool = False
    """Log to Weights & Biases too, offline unless WANDB_MODE says otherwise."""
    quiet: bool = False
    """Do not show how training goes."""
    base: BaseLearner = dataclasses.field(default_factory=BaseLearner)
    validation: ValidationOptions = dataclasses.field(default_factory=ValidationOptions)
    config: Config


def main(argv: Sequence[str]) -> None:
    """Run the subcommand."""
    options = parse_train(argv)
    folder = train(options, argv)
    print(_trained(options, folder))
    print(_next(options, folder))


def _trained(options: Train[Any], folder: Path) -> str:
    """Return what was done, in a sentence."""
    taken, asked = read_json(folder / SUMMARY)["num_timesteps"], options.total_timesteps
    more = "" if taken == asked else f" ({asked:,} asked for; a meta-iteration is never cut short)"
    return f"Trained for {taken:,} environment steps{more}: {folder}"


def _next(options: Train[Any], folder: Path) -> str:
    """Return what a user may do next with this arm."""
    if options.arm == "adapted":
        return next_step("adapt it to a new task", "adapt", folder, "--task-seed", "7")
    # Only one of the three is known here; the others are named by what has to be put there.
    arms = {"adapted": "ADAPTED", "robust": "ROBUST", "oracle": "ORACLE"} | {options.arm: folder}
    words = [word for arm, path in arms.items() for word in (f"--{arm}", path)]
    return next_step("once all three arms are trained", "evaluate", *words)


def parse_train(argv: Sequence[str]) -> Train[Any]:
    """Return the options, with the presets of the family and the learner that are named among them as defaults."""
    learner = _named_learner(argv)
    return _parse_from(argv, _named_family(argv, learner), learner)


def _named_learner(argv: Sequence[str]) -> str:
    """Return the learner that is named; without one, or with one that there is not, MAML."""
    words = [part for word in argv for part in word.split("=", 1)]
    named = [name for option, name in itertools.pairwise(words) if option == "--learner"]
    return named[-1] if named and named[-1] in meta.LEARNERS else "MAML"


def _named_family(argv: Sequence[str], learner: str) -> str:
    """Return the family that is named as such, and not as the value of an option; "" if there is none."""
    with contextlib.suppress(ValueError):  # a mistake is told when the words are parsed for good
        words = [word for word in argv if word not in ("-h", "--help")]
        return _parse_from(words, "", learner).family
    return next((word for word in argv[:1] if word in envs.FAMILIES), "")


def _parse_from(argv: Sequence[str], family: str, learner: str) -> Train[Any]:
    """Return the options, starting from the preset of a family and a learner."""
    start = preset(family, learner)
    default: Train[Any] = Train(
        family=tyro.MISSING,
        total_timesteps=start.total_timesteps,
        base=start.base,
        validation=start.validation,
        config=start.config,
    )
    return parse(Train[type(start.config)], argv, "train", default)  # type: ignore[misc]


def build(options: Train[Any]) -> MetaLearner:
    """Return the learner that the options describe.

    Raises:
        ValueError: if something in them is unknown or does not fit.
    """
    if options.total_timesteps < 1:
        raise ValueError(f"total_timesteps must be at least 1, got {options.total_timesteps}")
    if options.num_workers < 0:
        raise ValueError(f"num_workers must not be negative, got {options.num_workers}")
    config = options.config
    if options.arm != "adapted":
        if options.learner != "MAML":
            raise ValueError(
                f"--arm {options.arm} trains without adaptation, by MAML's outer step alone: "
                f"leave --learner {options.learner} out"
            )
        config = dataclasses.replace(config, inner_steps=0)
    elif options.learner == "MAML" and not config.inner_steps:
        raise ValueError("inner_steps must be at least 1 to adapt; --arm robust trains without")
    family = make_family(
        options.family, horizon=options.horizon, reveal_task=options.arm == "oracle"
    )
    learner: MetaLearner = meta.LEARNERS[options.learner](
        options.base.algorithm,
        options.base.policy,
        family,
        config,
        base_kwargs=options.base.kwargs(),
        num_workers=options.num_workers,
        seed=options.seed,
    )
    return learner


def resolved(options: Train[Any], learner: MetaLearner) -> dict[str, Any]:
    """Return all that the result depends on, as JSON values: two runs of which this is equal are the same."""
    document = {
        "family": {"name": learner.family.name, "config": learner.family.config},
        "learner": options.learner,
        "arm": options.arm,
        "algorithm": learner.algorithm.__name__,
        "policy": options.base.policy,
        "base_kwargs": learner.base_kwargs,
        "config": dataclasses.asdict(learner.config),
        "total_timesteps": options.total_timesteps,
        "seed": options.seed,
        "validation": dataclasses.asdict(options.validation),
    }
    encoded: dict[str, Any] = encode(document, "options")
    return encoded


def train(options: Train[Any], argv: Sequence[str] = ()) -> Path:
    """Train, and return the run folder.

    Args:
        options: what to train.
        argv: the command line, to be written down.
    """
    clock = CpuClock()
    learner = build(options)
    parts = [options.family, options.learner.lower(), str(options.seed)]
    if options.arm != "adapted":
        parts.insert(2, options.arm)
    folder = new_folder(options.out, "-".join(parts))
    config = resolved(options, learner)
    command = shlex.join(["metamotor", "train", *argv])
    write_json(folder / CONFIG, {**config, "command": command, "machine": machine()})
    support = getattr(learner.config, "episodes_per_task", 10)
    validation = Validation(folder / "checkpoints", options.validation, support)
    drawn = not options.quiet and sys.stdout.isatty()
    with _interrupts_restored(), _logging(folder, config, track=options.track) as logger:
        if not options.quiet and not drawn:
            logger.output_formats.append(Lines(options.total_timesteps))
        learner.set_logger(logger)
        status = "failed"
        try:
            learner.learn(options.total_timesteps, validation, progress_bar=drawn)
            status = "finished"
        except KeyboardInterrupt:
            status = "interrupted"
            _ignore_interrupts()
            validation.rewind()
            print(f"metamotor: saved {folder}/checkpoints/last.safetensors", file=sys.stderr)
            raise
        finally:
            learner.close()
            _finish(folder, learner, validation, status, clock)
    return folder


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
def _logging(folder: Path, config: dict[str, Any], *, track: bool) -> Iterator[Logger]:
    """Log to a run folder, and to W&B if asked for, with the best checkpoint if all goes well."""
    logger = configure(str(folder), ["csv", "tensorboard"])
    try:
        if not track:
            yield logger
            return
        from metamotor.scripts.tracking import WandbWriter

        tracker = WandbWriter(folder, config)
        logger.output_formats.append(tracker)
        yield logger
        tracker.save_checkpoint(folder / "checkpoints" / "best.safetensors")
    finally:
        logger.close()


def _finish(
    folder: Path, learner: MetaLearner, validation: Validation, status: str, clock: CpuClock
) -> None:
    """Draw the learning curve and write down what was reached, and at what cost."""
    from metamotor.scripts.figures import draw_learning_curve

    cost = clock.read()
    draw_learning_curve(folder)
    write_json(
        folder / SUMMARY,
        {
            "status": status,
            "num_timesteps": learner.num_timesteps,
            "iterations": learner.iteration,
            "best_validation_return": validation.best_return,
            "best_num_timesteps": validation.best_timesteps,
            **cost,
            "validation_wall_seconds": round(validation.seconds, 2),
        },
    )
