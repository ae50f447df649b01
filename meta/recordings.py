"""Episodes that were recorded elsewhere, such as on a robot: whether a learner may use them, and how far off they are.

Shapes: E episodes, H steps.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from metamotor.meta.checks import check_choice
from metamotor.meta.rollouts import EpisodeBatch

Array = NDArray[Any]
OffPolicy = Literal["refuse", "weight"]
"""What is done with episodes of another policy: nothing, with an error; or each step is weighted by π/μ."""

LOG_PROB_TOLERANCE = 1e-3
"""By which log π may differ from what was recorded: two implementations of one policy in float32 differ by less."""
LEAST_EFFECTIVE = 0.1
"""Part of the steps that weighted ones must be worth: with less, a few of them would decide alone."""


class Stage(NamedTuple):
    """Episodes of one policy."""

    batch: EpisodeBatch
    log_probs: Array
    """(E, H): log π(a|s) when the action was drawn; NaN where it is not known."""


@runtime_checkable
class Recorded(Protocol):
    """What `deploy.read_log` returns."""

    @property
    def source(self) -> str:
        """Where it comes from."""
        ...

    @property
    def description(self) -> dict[str, Any]:
        """Names of observations and actions, family, control period."""
        ...

    @property
    def faults(self) -> Sequence[str]:
        """For what nothing should be learned from its episodes."""
        ...

    @property
    def episodes(self) -> Sequence[Any]:
        """With the task of each."""
        ...

    def stages(self) -> list[Stage]:
        """Return the episodes, those of one policy together."""
        ...


def usable_stages(recorded: Recorded, family: Any) -> list[Stage]:
    """Return the episodes as a learner of the family takes them.

    Raises:
        ValueError: if something is wrong with them, they are of several tasks, or do not fit the family.
    """
    source = recorded.source
    if recorded.faults:
        listed = "; ".join(recorded.faults[:4])
        more = f"; and {len(recorded.faults) - 4} more" if len(recorded.faults) > 4 else ""
        raise ValueError(
            f"{source} has episodes that nothing should be learned from ({listed}{more}): leave them out by "
            "log.sound(), or --faulty drop at the command line; where only frames were dropped, log.sound(bridge=True) "
            "and --faulty bridge keep them"
        )
    task_of(recorded)
    _check_fits(recorded, family)
    return [
        Stage(_padded(stage.batch, family, source), _widened(stage.log_probs, family.horizon))
        for stage in recorded.stages()
    ]


def task_of(recorded: Recorded) -> Mapping[str, Any] | None:
    """Return the task of all episodes, where one is known.

    Raises:
        ValueError: if they are of several.
    """
    tasks = [episode.task for episode in recorded.episodes if episode.task is not None]
    if distinct := {json.dumps(task, sort_keys=True): task for task in tasks}:
        if len(distinct) > 1:
            listed = " and ".join(list(distinct)[:2])
            raise ValueError(
                f"{recorded.source} holds episodes of {len(distinct)} tasks ({listed}); adaptation is to one: record "
                "each in a log of its own"
            )
        return tasks[0]  # type: ignore[no-any-return]
    return None


def distance(recorded: Array, own: Array, mask: Array) -> float:
    """Return the largest |log π − log μ| of the steps taken; infinite where μ is not known. Shapes: (E, H)."""
    differences = np.abs(own - recorded)[mask > 0]
    return math.inf if np.isnan(differences).any() else float(differences.max())


def importance(
    recorded: Array, own: Array, mask: Array, off_policy: OffPolicy, source: str
) -> Array | None:
    """Return π/μ of each step, or None where the policies are the same.

    Args:
        recorded: (E, H), log μ(a|s) of the policy that acted.
        own: (E, H), log π(a|s) of the one that learns.
        mask: (E, H).
        off_policy: what is done where they differ.
        source: of the episodes, for error messages.

    Raises:
        ValueError: if they differ and that is to be refused; if μ is not known; or if so few steps count that nothing
            can be learned from them.
    """
    check_choice("off_policy", off_policy, get_args(OffPolicy))
    taken = mask > 0
    behind, now = recorded[taken], own[taken]
    if unknown := int(np.isnan(behind).sum()):
        raise ValueError(
            f"{source} does not say how likely its actions were ({unknown} of {len(behind)} steps have no log_prob): "
            "whether they are this policy's cannot be told. Record with a policy that draws its actions, and give "
            "its log_prob to Recorder.step; actions without noise teach a policy gradient nothing"
        )
    worst = distance(recorded, own, mask)
    if worst <= LOG_PROB_TOLERANCE:
        return None
    log_ratios = now - behind
    differing = int((np.abs(log_ratios) > LOG_PROB_TOLERANCE).sum())
    ratios = np.exp(
        log_ratios - log_ratios.max()
    )  # only their proportions count, and none overflows
    effective = float(ratios.sum() ** 2 / (len(ratios) * np.square(ratios).sum()))
    found = (
        f"{source} was recorded under another policy than the one to be updated: log π(a|s) differs by up to "
        f"{worst:.3g} (allowed: {LOG_PROB_TOLERANCE:g}) at {differing} of {len(behind)} steps"
    )
    if off_policy == "refuse":
        raise ValueError(
            f"{found}. Take the checkpoint that the recorded policy came from; or weight the steps by π/μ "
            f'(off_policy="weight", --off-policy weight), by which they are worth {effective:.0%} of as many'
        )
    if effective < LEAST_EFFECTIVE:
        raise ValueError(
            f"{found}. Weighted by π/μ they would be worth {effective:.1%} of as many, less than the "
            f"{LEAST_EFFECTIVE:.0%} that is asked for: record anew with a policy of this checkpoint"
        )
    weights = np.zeros_like(own)
    weights[taken] = ratios * (len(ratios) / ratios.sum())
    return weights


def _check_fits(recorded: Recorded, family: Any) -> None:
    said, source = recorded.description, recorded.source
    if said["family"] not in (None, family.name):
        raise ValueError(
            f"{source} is of {said['family']}, the learner is one of {family.name}: take a checkpoint of the log's"
        )
    for key, attribute in (("observations", "signals"), ("actions", "action_signals")):
        given = [signal["name"] for signal in said[key]]
        signals = getattr(family, attribute, None)
        size = _size(family.observation_space if key == "observations" else family.action_space)
        if len(given) != size:
            raise ValueError(f"{source} has {len(given)} {key}, {family.name} has {size}")
        expected = [signal.name for signal in signals] if signals else []
        if expected and given != expected:
            first = next(i for i in range(size) if given[i] != expected[i])
            raise ValueError(
                f"{source} has other {key} than {family.name}: number {first} is {given[first]!r}, expected "
                f"{expected[first]!r}"
            )
    is_choice = said["action_space"]["type"] == "Discrete"
    if is_choice != hasattr(family.action_space, "n"):
        raise ValueError(
            f"{source} has actions of {said['action_space']['type']}, {family.name} of {family.action_space}"
        )
    period, expected_period = said["control_period"], getattr(family, "dt", 0.0)
    is_known = period is not None and expected_period
    if is_known and not math.isclose(period, float(expected_period), rel_tol=1e-3):
        raise ValueError(
            f"{source} was recorded at a control period of {period:g} s, {family.name} has {expected_period:g} s"
        )


def _size(space: Any) -> int:
    return int(np.prod(space.shape)) if space.shape else 1


def _padded(batch: EpisodeBatch, family: Any, source: str) -> EpisodeBatch:
    """Return a batch that is as long as the family's episodes, as rollouts give it."""
    length, horizon = batch.mask.shape[1], int(family.horizon)
    if length > horizon:
        raise ValueError(
            f"{source} has an episode of {length} steps, {family.name} ends them after {horizon}: take a family with "
            "the horizon of the robot's episodes, or end them there"
        )
    parts = {
        name: _widened(getattr(batch, name), horizon)
        for name in ("observations", "actions", "rewards", "mask")
    }
    return batch._replace(**parts)


def _widened(values: Array, horizon: int) -> Array:
    """Return an array with zeros behind its steps. Shape: (E, horizon, ...)."""
    widened = np.zeros((len(values), horizon, *values.shape[2:]), values.dtype)
    widened[:, : values.shape[1]] = values
    return widened
