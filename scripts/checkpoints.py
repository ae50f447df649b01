"""Learners from the checkpoints that a user names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metamotor import meta
from metamotor.meta.checkpoints import read_checkpoint
from metamotor.meta.learner import MetaLearner
from metamotor.meta.maml import MAML
from metamotor.scripts.runs import checkpoint_in


def load(path: Path, physics: str | None = None) -> MetaLearner:
    """Return the learner of a checkpoint or of a run folder's best one.

    Args:
        path: of either.
        physics: where its family is moved to; without it, it stays in that of its training.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is truncated, of another kind, does not fit what is installed, or its family does not run in
            that physics.
    """
    path = checkpoint_in(path)
    name = str(read_checkpoint(path)[1].get("learner"))
    if name not in meta.LEARNERS:
        raise ValueError(
            f"{path} was saved by {name!r}; this metamotor has {', '.join(meta.LEARNERS)}"
        )
    try:
        learner: MetaLearner = meta.LEARNERS[name].load(path)
    except TypeError as error:  # a setting that this version does not know
        raise ValueError(f"{path} was saved by another version of metamotor: {error}") from error
    if physics is not None:
        learner.move_to(learner.family.replace(physics=physics))
    return learner


def load_adaptable(path: Path, physics: str | None = None) -> MetaLearner:
    """Return a learner that was trained to adapt, on a family that hides its task.

    Args:
        path: of its checkpoint or run folder.
        physics: where its family is moved to.

    Raises:
        ValueError: if it was trained as an oracle.
    """
    learner = load(path, physics)
    if _is_oracle(learner):
        raise ValueError(f"{path} is an oracle, which is told its task and has nothing to adapt to")
    return learner


def load_arms(
    adapted: Sequence[Path],
    robust: Sequence[Path],
    oracle: Sequence[Path],
    *,
    physics: str | None = None,
) -> list[tuple[MetaLearner, MAML, MAML]]:
    """Return the learners of each training seed, checked to belong together.

    Raises:
        ValueError: if a checkpoint is missing, stands in the wrong place, is of another family, or a training seed
            comes twice.
    """
    counts = {"--adapted": len(adapted), "--robust": len(robust), "--oracle": len(oracle)}
    if not adapted or len(set(counts.values())) > 1:
        given = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise ValueError(f"each training seed needs one checkpoint of every arm, got {given}")
    seeds = []
    for paths in zip(adapted, robust, oracle, strict=True):
        learners = (
            load(paths[0], physics),
            load_baseline(paths[1], physics),
            load_baseline(paths[2], physics),
        )
        _check_arms(learners, paths)
        seeds.append(learners)
    arms = {"--adapted": adapted, "--robust": robust, "--oracle": oracle}
    for index, (name, files) in enumerate(arms.items()):
        trained = [learners[index].seed for learners in seeds]
        if len({checkpoint_in(file).resolve() for file in files}) < len(files):
            raise ValueError(f"{name} names a checkpoint twice: {' '.join(map(str, files))}")
        if len(set(trained)) < len(trained):
            raise ValueError(
                f"{name} expects a checkpoint for each training seed, got those of seeds "
                f"{', '.join(map(str, trained))}; counted twice, a seed makes intervals too narrow"
            )
    return seeds


def load_baseline(path: Path, physics: str | None = None) -> MAML:
    """Return a robust policy or an oracle.

    Raises:
        ValueError: if it is of another learner.
    """
    learner = load(path, physics)
    if not isinstance(learner, MAML):
        raise ValueError(
            f"{path} holds {type(learner).__name__}; robust policies and oracles are trained by "
            "`metamotor train --arm robust` and `--arm oracle`"
        )
    return learner


def _check_arms(learners: Sequence[MetaLearner], paths: Sequence[Path]) -> None:
    expected = ((True, False), (False, False), (False, True))
    names = ("--adapted", "--robust", "--oracle")
    first = learners[0].family
    for learner, path, name, kind in zip(learners, paths, names, expected, strict=True):
        found = (learner.trained_updates > 0, _is_oracle(learner))
        if found != kind:
            raise ValueError(
                f"{name} expects {_describe(*kind)}, but {path} holds {_describe(*found)}"
            )
        family = learner.family
        if (family.name, family.horizon) != (first.name, first.horizon):
            raise ValueError(
                f"{path} was trained on {family.name} with {family.horizon} steps, "
                f"{paths[0]} on {first.name} with {first.horizon}"
            )
        if getattr(family, "randomization", {}) != getattr(first, "randomization", {}):
            raise ValueError(
                f"{path} was trained with another randomization than {paths[0]}: they are measured in the same world"
            )
        actions = [getattr(one, "config", {}).get("action") for one in (family, first)]
        if actions[0] != actions[1]:
            raise ValueError(
                f"{path} was trained with other actions than {paths[0]}: "
                f"{actions[0] or 'the usual'} and {actions[1] or 'the usual'}"
            )
        if family.physics != first.physics:
            raise ValueError(
                f"{path} was trained in {family.physics}, {paths[0]} in {first.physics}: say by "
                "--physics where both are measured"
            )


def _is_oracle(learner: Any) -> bool:
    return bool(learner.family.reveal_task)


def _describe(adapts: bool, is_oracle: bool) -> str:
    task = "told its task" if is_oracle else "not told its task"
    return f"a policy that is {task} and {'adapts' if adapts else 'does not adapt'}"
