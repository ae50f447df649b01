"""`metamotor train`: meta-train one arm of one family into a run folder of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import tyro
from tyro.conf import Positional, arg

from metamotor import envs, meta
from metamotor.envs import TaskFamily
from metamotor.meta.checkpoints import encode
from metamotor.meta.learner import MetaLearner
from metamotor.meta.maml import MAMLConfig
from metamotor.scripts.options import (
    BaseLearner,
    FamilyId,
    LearnerName,
    ValidationOptions,
    make_family,
    parse,
    parse_randomization,
)
from metamotor.scripts.outputs import new_folder
from metamotor.scripts.presets import preset
from metamotor.scripts.runs import CONFIG, SUMMARY, CpuClock, read_json
from metamotor.scripts.training import Execution, begin, prepare, read_config, resume
from metamotor.scripts.wording import counted, next_step

Arm = Literal["adapted", "robust", "oracle"]
Config = TypeVar("Config")


@dataclass(frozen=True, kw_only=True)
class Train(Generic[Config]):
    """Meta-train a policy on a task family; what is not given is taken from the family's preset.

    The run folder holds config.json, progress.csv, TensorBoard's events, checkpoints/best.safetensors (chosen on
    validation tasks), checkpoints/last.safetensors and some before it, figures/learning_curve.png and summary.json.

    A run that was stopped, by whatever and at any moment, goes on by `metamotor train --resume FOLDER` to the same
    bits as one that was not; `metamotor train --resume --help` shows what may be given besides.
    """

    family: Positional[FamilyId]
    """Id of the task family, such as PandaReach-v0; an unknown one is answered with those that there are."""
    learner: LearnerName = "MAML"
    """The meta-learner; its own options are among those below."""
    arm: Arm = "adapted"
    """"adapted": meta-learn. "robust": one policy for all tasks. "oracle": the same, told its task. Both are trained
    without a context, and by plain steps if they are fine-tuned later."""
    seed: int = 0
    """Of weights, tasks, episodes and actions."""
    total_timesteps: int = 1_000_000
    """Environment steps; training ends with the meta-iteration that reaches them."""
    horizon: int | None = None
    """Steps of an episode; without it, the family's own."""
    randomization: str | None = None
    """What varies besides the task: tan-2018, peng-2020, rma-2021, legged-gym-2021, openai-hand-2018, or a JSON object
    such as '{"friction": {"distribution": "uniform", "numbers": [0.5, 1.25]}}'; see metamotor.envs.randomization."""
    action: str | None = None
    """What actions are, where a family has several kinds: trot, residual or joints of the quadrupeds with three joints
    a leg; without it, the family's usual kind."""
    out: Path | None = None
    """The run folder, which must not exist; without it, a new one in runs/."""
    track: bool = False
    """Log to Weights & Biases too, offline unless WANDB_MODE says otherwise; resumed, under the same id."""
    quiet: bool = False
    """Do not show how training goes."""
    execution: Execution = dataclasses.field(default_factory=Execution)
    base: BaseLearner = dataclasses.field(default_factory=BaseLearner)
    validation: ValidationOptions = dataclasses.field(default_factory=ValidationOptions)
    config: Config


@dataclass(frozen=True, kw_only=True)
class Resume:
    """Train a run that was stopped to its end; all settings are those in its config.json.

    It goes on from the newest checkpoint that can be read, and ends in the same bits as if it had not been stopped.
    """

    resume: Annotated[Path, arg(metavar="FOLDER")]
    """The run folder."""
    total_timesteps: int = 0
    """Environment steps in all: as many as before, or more."""
    quiet: bool = False
    """Do not show how training goes."""
    execution: Execution = dataclasses.field(default_factory=Execution)


def main(argv: Sequence[str]) -> None:
    """Run the subcommand."""
    if "--resume" in _options_in(argv):
        folder, was = _resumed(argv)
    else:
        folder, was = train(parse_train(argv), argv), "Trained"
    config = read_json(folder / CONFIG)
    print(_trained(config, folder, was))
    print(_next(config["arm"], folder))


def _resumed(argv: Sequence[str]) -> tuple[Path, str]:
    """Train a run that was stopped; return its folder, and what was done."""
    options = parse_resume(argv)
    left = resume(options.resume, options.total_timesteps, options.execution, quiet=options.quiet)
    return options.resume, "Trained" if left else "Nothing to do, it is finished: trained"


def _trained(config: Mapping[str, Any], folder: Path, was: str) -> str:
    """Return what was done, in a sentence."""
    summary, asked = read_json(folder / SUMMARY), config["total_timesteps"]
    taken, more = summary["num_timesteps"], ""
    if summary["stopped_early"]:
        patience = config["validation"]["patience"]
        more = f" (of {asked:,}; {counted(patience, 'validation')} found nothing better)"
    elif taken != asked:
        more = f" ({asked:,} asked for; a meta-iteration is never cut short)"
    return f"{was} for {taken:,} environment steps{more}: {folder}"


def _next(arm: str, folder: Path) -> str:
    """Return what a user may do next with this arm."""
    if arm == "adapted":
        return next_step("adapt it to a new task", "adapt", "--from", folder, "--task-seed", "7")
    # Only one of the three is known here; the others are named by what has to be put there.
    arms = {"adapted": "ADAPTED", "robust": "ROBUST", "oracle": "ORACLE"} | {arm: folder}
    words = [word for name, path in arms.items() for word in (f"--{name}", path)]
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
    options: Train[Any] = parse(Train[type(start.config)], argv, "train", default)  # type: ignore[misc]
    if options.base.algorithm == start.base.algorithm or "--base-kwargs" in _options_in(argv):
        return options
    # The preset's are arguments of its own algorithm.
    return dataclasses.replace(options, base=dataclasses.replace(options.base, base_kwargs=None))


def parse_resume(argv: Sequence[str]) -> Resume:
    """Return the options for resuming, those of the run as defaults.

    Raises:
        ValueError: if something else is given, or the folder is not one of a run.
    """
    free = ["total_timesteps", "quiet", *(field.name for field in dataclasses.fields(Execution))]
    taken = [f"--{name.replace('_', '-')}" for name in free]
    given = _options_in(argv)
    if other := [
        name for name in given if name not in (*taken, "--resume", "--no-quiet", "--help")
    ]:
        raise ValueError(
            f"a resumed run keeps its settings: {', '.join(other)} cannot be given with --resume, "
            f"only {', '.join(taken)} can"
        )
    words = [part for word in argv for part in word.split("=", 1)]
    named = [Path(word) for option, word in itertools.pairwise(words) if option == "--resume"]
    if not named or str(named[-1]).startswith("-"):  # no folder
        helped = [word for word in argv if word in ("-h", "--help")]
        return parse(Resume, helped or argv, "train")
    config = read_config(named[-1])
    default = Resume(
        resume=named[-1],
        total_timesteps=config["total_timesteps"],
        execution=Execution(**config["execution"]),
    )
    return parse(Resume, argv, "train", default)


def _options_in(argv: Sequence[str]) -> list[str]:
    """Return the names of the options that are given, written with hyphens."""
    return [word.split("=")[0].replace("_", "-") for word in argv if word.startswith("--")]


def build(options: Train[Any]) -> MetaLearner:
    """Return the learner that the options describe.

    Raises:
        ValueError: if something in them is unknown or does not fit.
    """
    if options.total_timesteps < 1:
        raise ValueError(f"total_timesteps must be at least 1, got {options.total_timesteps}")
    config = options.config
    if options.arm != "adapted":
        if options.learner != "MAML":
            raise ValueError(
                f"--arm {options.arm} trains without adaptation, by MAML's outer step alone: "
                f"leave --learner {options.learner} out"
            )
        config = _without_adaptation(config)
    elif options.learner == "MAML" and not config.inner_steps:
        raise ValueError("inner_steps must be at least 1 to adapt; --arm robust trains without")
    family = make_family(
        options.family,
        horizon=options.horizon,
        reveal_task=options.arm == "oracle",
        randomization=parse_randomization(options.randomization),
        action=options.action,
    )
    if options.randomization is not None:
        _try_out(family)  # before there is a folder of the run
    learner: MetaLearner = meta.LEARNERS[options.learner](
        options.base.algorithm,
        options.base.policy,
        family,
        config,
        base_kwargs=options.base.kwargs(),
        num_workers=options.execution.num_workers,
        seed=options.seed,
    )
    return learner


def _try_out(family: TaskFamily) -> None:
    """Start an episode, which finds what cannot vary so.

    Raises:
        ValueError: if something cannot.
    """
    env = family.make_env()
    try:
        env.reset(seed=0)
    finally:
        env.close()


def _without_adaptation(config: MAMLConfig) -> MAMLConfig:
    """Return the settings of the arms that do not adapt.

    They have no context, which only adaptation would fill, and what is fine-tuned later is all of the policy, by plain
    steps over the same horizon as MAML's. Where the preset's step size is one of a context or of normalised steps, it
    says nothing for these, and the default takes its place.
    """
    start = MAMLConfig()
    lr = start.inner_lr if config.inner_normalize or config.context_size else config.inner_lr
    return dataclasses.replace(
        config, inner_steps=0, adapted="all", context_size=0, inner_normalize=False, inner_lr=lr
    )


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

    def fill(folder: Path) -> None:
        prepare(
            folder,
            learner,
            resolved(options, learner),
            options.execution,
            command=shlex.join(["metamotor", "train", *argv]),
            track=options.track,
        )

    folder = new_folder(options.out, "-".join(parts), fill)
    try:
        begin(folder, learner, clock, quiet=options.quiet)
    except MemoryError:
        if not learner.num_timesteps:  # it would never get further, and its settings are kept
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder
