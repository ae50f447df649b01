"""Whether the file adapts as the learner does: the robot's own code against the learner's, before the file is written.

Both get the same experience, of two sizes, with episodes of several lengths, and a second update with other step
sizes. What is compared is all that the robot runs, advantages included. An update may differ from the learner's by 1e-5
of its length, besides the last bits of the weights.

Shapes: E episodes, H steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from metamotor.deploy.runtime import AdaptivePolicy, Episode
from metamotor.deploy.runtime.episodes import padded
from metamotor.meta.es import ES
from metamotor.meta.functional.evolution import direction, hill_climb
from metamotor.meta.functional.seeds import derive_seed
from metamotor.meta.learner import MetaLearner
from metamotor.meta.rollouts import EpisodeBatch
from metamotor.meta.search import HillClimb
from metamotor.meta.threads import one_torch_thread

Array = NDArray[Any]
Weights = Mapping[str, Array]

TOLERANCE = 1e-5
"""Largest allowed difference of an update, as a share of its length; and of a mean or a logit."""
LAST_BITS = 4 * float(np.finfo(np.float32).eps)
"""Allowed besides, as a share of the weights' own length."""
SIZES = ((6, 40), (3, 25))
"""Episodes and steps of the experience."""
UPDATES = 2
"""Of each size."""
REWARD = 0.1
"""Standard deviation of the rewards: steps are as long as the rewards are large, and should stay within reason."""


class Parity(NamedTuple):
    """How far the file is from the learner."""

    update_error: float
    """Largest distance of the weights after an update, as a share of how far it moves them."""
    allowed: float
    """What that may be at most."""
    action_error: float
    """Largest difference of a mean or a logit by the same weights, as a share of the largest."""

    @property
    def passed(self) -> bool:
        """Whether the differences are allowed; a NaN is not."""
        return self.update_error <= self.allowed < 0.1 and self.action_error <= TOLERANCE


class View(NamedTuple):
    """A learner's states as weights by the names that the robot has for them, and back."""

    weights_of: Callable[[Any], Weights]
    state_of: Callable[[Weights], Any]


def to_batch(episodes: Sequence[Episode]) -> EpisodeBatch:
    """Return episodes as a learner takes them."""
    return EpisodeBatch(*padded(episodes), np.zeros(len(episodes), dtype=bool))


def synthetic(family: Any, episodes: int, steps: int, seed: int) -> list[Episode]:
    """Return random episodes inside a family's spaces, each shorter than the one before."""
    rng = np.random.default_rng(seed)
    space, found = family.observation_space, []
    low, high = (np.clip(bound, -3.0, 3.0) for bound in (space.low, space.high))
    for index in range(episodes):
        length = max(2, steps - 3 * index)
        observations = rng.uniform(low, high, (length, *space.shape)).astype(np.float32)
        actions: Array
        if isinstance(family.action_space, spaces.Discrete):
            actions = rng.integers(family.action_space.n, size=length)
        else:
            shape = (length, *family.action_space.shape)
            actions = rng.standard_normal(shape).astype(np.float32)
        found.append(Episode(observations, actions, REWARD * rng.standard_normal(length)))
    return found


@one_torch_thread()
def of_updates(learner: MetaLearner, path: Path, view: View) -> Parity:
    """Return how far updates and actions are from those of a learner that learns from recorded episodes."""
    robot = AdaptivePolicy(path)
    found = []
    for seed, (episodes, steps) in enumerate(SIZES):
        robot.forget()
        state = learner.initial_state()
        for step in range(UPDATES):
            recorded = synthetic(learner.family, episodes, steps, 10 * seed + step)
            before = view.weights_of(state)
            state = learner.update(state, to_batch(recorded), step)
            robot.adapt_from(recorded)
            compared = distance(before, view.weights_of(state), robot.weights)
            found.append((*compared, action_error(learner, view, robot, recorded)))
    return _worst(found)


def of_memory(learner: Any, path: Path) -> Parity:
    """Return how far what is remembered, and done by it, is from the learner's, where there is nothing else."""
    robot = AdaptivePolicy(path)
    policy = learner.context_policy()
    found = []
    for seed, (episodes, steps) in enumerate(SIZES):
        robot.forget()
        memory = policy.start()
        for step in range(UPDATES):
            recorded = synthetic(learner.family, episodes, steps, 10 * seed + step)
            before, memory = memory, policy.encode(memory, to_batch(recorded))
            robot.adapt_from(recorded)
            compared = distance(
                {"": before.hidden}, {"": memory.hidden}, {"": robot.memory.hidden[0]}
            )
            observation = recorded[0].observations[0]
            normalized = policy.normalize(observation)
            context = policy.context(policy.read(memory, normalized))
            wanted = policy.outputs(policy.policy.write(context), context, normalized)
            found.append((*compared, _relative(robot.outputs(observation), wanted)))
    return _worst(found)


def of_climbing(learner: ES, path: Path, view: View) -> Parity:
    """Return how far the end of a climb is from the learner's, with the same returns measured on the way."""
    robot = AdaptivePolicy(path)
    adaptation = learner.adaptation
    assert isinstance(adaptation, HillClimb)
    found = []
    state = learner.initial_state()
    for step in range(UPDATES):
        before = state
        returns = np.random.default_rng(step).standard_normal(robot.episodes).tolist()
        recorded = synthetic(learner.family, 1, 2, step)
        for value in returns:
            robot.act(recorded[0].observations[0])
            robot.observe(value, terminated=True)
        robot.adapt()
        seed = derive_seed(robot.seed, step)
        left, tried = list(returns), iter(range(len(returns)))
        spread = learner.layout.spread(learner.step_sizes(step)).astype(np.float32)

        def evaluate(vector: Array, count: int, left: list[float] = left) -> float:
            return float(np.mean([left.pop(0) for _ in range(count)]))

        def perturb(
            centre: Array, spread: Array = spread, seed: int = seed, tried: Any = tried
        ) -> Array:
            epsilon = direction(derive_seed(seed, 1, next(tried)), len(centre))
            return np.asarray(centre + spread * epsilon)

        climbed = hill_climb(
            before.vector,
            evaluate,
            perturb,
            episodes=robot.episodes,
            mode=adaptation.mode,
            repeats=adaptation.repeats,
        )
        state = type(before)(climbed.params, before.normalizer)
        compared = distance(view.weights_of(before), view.weights_of(state), robot.weights)
        found.append((*compared, action_error(learner, view, robot, recorded)))
    return _worst(found)


def distance(before: Weights, wanted: Weights, found: Weights) -> tuple[float, float]:
    """Return the distance of two updates as a share of how far they move the weights, and how much of it is allowed."""
    off, far, size = (
        float(np.sqrt(sum(float((part**2).sum()) for part in parts)))
        for parts in zip(
            *(
                (
                    found[name].astype(np.float64) - target,
                    target.astype(np.float64) - before[name],
                    target.astype(np.float64),
                )
                for name, target in wanted.items()
            ),
            strict=True,
        )
    )
    far = max(far, float(np.finfo(np.float32).tiny))
    return off / far, TOLERANCE + LAST_BITS * size / far


def action_error(
    learner: MetaLearner, view: View, robot: AdaptivePolicy, recorded: Sequence[Episode]
) -> float:
    """Return the largest difference of means or logits by the same weights, as a share of the largest.

    The largest of them, or of what they are summed up from: an update on random experience may make large weights whose
    products cancel.
    """
    actor: Any = learner.make_actor(view.state_of(robot.weights))
    observations = recorded[0].observations
    found = np.stack([robot.outputs(observation) for observation in observations])
    summed = float(np.abs(robot.weights["action_net.weight"]).sum(axis=1).max())
    return _relative(found, actor.network(observations), summed)


def _relative(found: Array, wanted: Array, least: float = 1e-6) -> float:
    return float(np.abs(found - wanted).max() / max(least, np.abs(wanted).max()))


def _worst(found: Sequence[tuple[float, float, float]]) -> Parity:
    """Return the comparison that is the furthest from what is allowed; one with a NaN before all others."""
    updates = [error / allowed for error, allowed, _ in found]
    error, allowed, _ = found[int(np.argmax(updates))]  # numpy's argmax takes a NaN for the largest
    return Parity(float(error), float(allowed), float(np.max([action for *_, action in found])))
