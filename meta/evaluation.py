"""The protocol by which everything here is measured: return on held-out tasks, before and after adaptation.

On tasks drawn apart from those of training, a method collects `support_episodes` with its policy, updates, and so on;
after each update, `query_episodes` measure the return of the stochastic and of the deterministic policy. Against it
stand

- idle: the zero action (the first choice of a Discrete space);
- robust: trained on all tasks with the same outer optimiser and budget, not adapted;
- fine_tuned: the robust policy, updated on the same number of episodes at its best step sizes;
- scratch: an untrained policy, updated likewise;
- untrained: the meta-learner itself before training, adapted in its own way (MAML by plain steps is scratch then);
- oracle: trained like the robust policy, but told its task.

Step sizes that training did not set (all of fine_tuned and scratch, and the updates of MAML beyond those it was trained
with) are chosen one update after another on validation tasks, 0 being among the choices. All methods meet the same
tasks with the same random numbers.

Shapes: T tasks, K + 1 points of adaptation, S training seeds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from metamotor.envs import Split
from metamotor.meta.actors import Actor, ConstantActor
from metamotor.meta.checkpoints import write_atomically
from metamotor.meta.checks import check_seed
from metamotor.meta.learner import MetaLearner
from metamotor.meta.maml import MAML
from metamotor.meta.rollouts import OwnRunner, RolloutJob, derive_seed
from metamotor.meta.threads import one_torch_thread
from metamotor.meta.workers import Sampler, make_sampler

Array = NDArray[Any]

UNTRAINED_SCALES = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.0)
"""Tried as factors on `inner_lr` where no step size was learned."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How much is measured."""

    num_tasks: int = 40
    """Test tasks."""
    num_updates: int = 3
    """K, the updates of adaptation."""
    support_episodes: int = 10
    """Experience before each update, in episodes."""
    query_episodes: int = 10
    """Episodes that measure a policy on a task, stochastic and deterministic each."""
    validation_tasks: int = 20
    """Tasks on which step sizes are chosen."""
    split: Split = "test"
    """Where the tasks are drawn from."""
    seed: int = 0
    """Of tasks, episodes and actions."""

    def __post_init__(self) -> None:
        """Refuse an evaluation of nothing."""
        for name in ("num_tasks", "support_episodes", "query_episodes", "validation_tasks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.num_updates < 0:
            raise ValueError(f"num_updates must not be negative, got {self.num_updates}")
        check_seed(self.seed)


class Curve(NamedTuple):
    """Mean returns of one method on each task, before adaptation and after each update."""

    stochastic: Array
    """(T, K + 1)."""
    deterministic: Array
    """(T, K + 1)."""
    scales: tuple[float, ...] = ()
    """(K,), the factors on the step sizes."""


@dataclass(frozen=True)
class Evaluation:
    """All methods' curves for one training seed."""

    family: str
    protocol: Protocol
    seed: int
    """Training seed."""
    curves: Mapping[str, Curve]
    robot_seconds: float
    """The experience of one update, in seconds of the robot's time."""
    physics: str | None = None
    """What simulated it, if that is not the family's usual engine."""

    def save(self, path: str | Path) -> Path:
        """Write every number as JSON; return where."""
        document = dataclasses.asdict(self) | {
            "curves": {name: _curve_document(curve) for name, curve in self.curves.items()}
        }
        path = Path(path)
        write_atomically(path, json.dumps(document, indent=1).encode())
        return path

    @classmethod
    def load(cls, path: str | Path) -> Evaluation:
        """Return what `save` wrote."""
        document = json.loads(Path(path).read_text())
        curves = {
            name: Curve(
                np.array(curve["stochastic"]),
                np.array(curve["deterministic"]),
                tuple(curve["scales"]),
            )
            for name, curve in document.pop("curves").items()
        }
        protocol = Protocol(**document.pop("protocol"))
        return cls(curves=curves, protocol=protocol, **document)


def _curve_document(curve: Curve) -> dict[str, Any]:
    return {
        "stochastic": curve.stochastic.tolist(),
        "deterministic": curve.deterministic.tolist(),
        "scales": list(curve.scales),
    }


class Evaluator:
    """Runs the protocol on one family.

    Args:
        family: the family with its task hidden.
        protocol: how much is measured.
        num_workers: processes that sample; the result does not depend on it.
    """

    def __init__(self, family: Any, protocol: Protocol, *, num_workers: int = 0) -> None:
        self.family = family
        self.protocol = protocol
        self.num_workers = num_workers
        self.tasks = family.sample(
            protocol.num_tasks, split=protocol.split, seed=derive_seed(protocol.seed, 0)
        )
        self.validation = family.sample(
            protocol.validation_tasks, split="validation", seed=derive_seed(protocol.seed, 1)
        )

    def evaluate(self, learner: MetaLearner, robust: MAML, oracle: MAML) -> Evaluation:
        """Return the curves of a meta-learner and of everything it must beat.

        Args:
            learner: the meta-learner.
            robust: trained with the same budget on the same family, without adaptation.
            oracle: the same on the family that reveals its task.
        """
        curves = {**self.curves_of(learner), **self.baselines(robust, oracle)}
        physics = getattr(self.family, "config", {}).get("physics")
        return Evaluation(
            self.family.name, self.protocol, learner.seed, curves, self.robot_seconds, physics
        )

    def curves_of(self, learner: MetaLearner) -> dict[str, Curve]:
        """Return the curve of a meta-learner, and that of itself before training.

        MAML by plain gradient steps is before training what scratch is, which has its step sizes chosen besides.
        """
        curves = {"adapted": self.adapted(learner)}
        plain = isinstance(learner, MAML) and not (
            learner.config.context_size or learner.config.inner_normalize
        )
        if not plain:
            curves["untrained"] = self.adapted(learner.untrained())
        return curves

    def adapted(self, learner: MetaLearner) -> Curve:
        """Return the curve of a meta-learner."""
        trained = [1.0] * learner.trained_updates
        state = learner.initial_state()
        with one_torch_thread(), self._sampling(self.family) as sampler:
            scales = self.choose_scales(state, learner, sampler, trained, learner.scales)
            return self.curve(state, learner, sampler, scales)

    def baselines(self, robust: MAML, oracle: MAML) -> dict[str, Curve]:
        """Return the curves of everything that a meta-learner must beat, and of the oracle."""
        start = robust.initial_state()
        untrained = robust.state_of(robust.adapter.initial_params())
        with one_torch_thread():
            with self._sampling(self.family) as sampler:
                curves = {
                    "idle": self._constant(idle_actor(self.family), sampler),
                    "robust": self._constant(robust.make_actor(start), sampler),
                    "fine_tuned": self._tuned(robust, start, sampler),
                    "scratch": self._tuned(robust, untrained, sampler),
                }
            with self._sampling(oracle.family) as sampler:
                actor = oracle.make_actor(oracle.initial_state())
                curves["oracle"] = self._constant(actor, sampler)
        return curves

    @property
    def robot_seconds(self) -> float:
        """The experience of one update, in seconds of the robot's time."""
        return float(self.protocol.support_episodes * self.family.horizon * self.family.dt)

    @contextlib.contextmanager
    def _sampling(self, family: Any) -> Iterator[Sampler]:
        sampler = make_sampler(family, self.num_workers)
        try:
            yield sampler
        finally:
            sampler.close()

    # Methods --------------------------------------------------------------------------------------

    def _tuned(self, learner: MetaLearner, state: Any, sampler: Sampler) -> Curve:
        scales = self.choose_scales(state, learner, sampler, [], UNTRAINED_SCALES)
        return self.curve(state, learner, sampler, scales)

    def _constant(self, actor: Actor, sampler: Sampler) -> Curve:
        """Return the curve of a policy that is not updated: measured once, the same at every point."""
        points = self.protocol.num_updates + 1
        actors = [actor] * len(self.tasks)
        stochastic, deterministic = (
            np.repeat(self._measure(self.tasks, actors, 0, mode, sampler)[:, None], points, axis=1)
            for mode in (False, True)
        )
        return Curve(stochastic, deterministic, (0.0,) * self.protocol.num_updates)

    def choose_scales(
        self,
        state: Any,
        learner: MetaLearner,
        sampler: Sampler,
        trained: Sequence[float],
        choices: Sequence[float],
    ) -> tuple[float, ...]:
        """Return the factor on the step size of each update that is best on the validation tasks.

        Greedy: the updates before are held at their choice, and all choices see the same random numbers.

        Args:
            state: before adaptation.
            learner: whose adaptation and policies are used.
            sampler: runs the episodes.
            trained: the factors of the first updates, not to be chosen.
            choices: the factors tried.
        """
        if len(choices) == 1:  # nothing to choose: adapting may cost minutes
            later = list(choices) * max(0, self.protocol.num_updates - len(trained))
            return tuple([*trained, *later][: self.protocol.num_updates])
        scales: list[float] = []
        current = [state] * len(self.validation)
        for step in range(self.protocol.num_updates):
            tried = trained[step : step + 1] or choices
            if len(tried) == 1:
                one = self._adapt(learner, current, self.validation, step, tried[0], sampler)
                candidates = {tried[0]: one}
            else:
                candidates = self._updated(learner, current, step, tried, sampler)
            best = self._best(learner, candidates, step, sampler)
            scales.append(best)
            current = candidates[best]
        return tuple(scales)

    def _updated(
        self,
        learner: MetaLearner,
        states: Sequence[Any],
        step: int,
        scales: Sequence[float],
        sampler: Sampler,
    ) -> dict[float, list[Any]]:
        """Return the states after an update with each scale, all on the same validation experience."""
        batches = learner.collect(
            states,
            self.validation,
            episodes=self.protocol.support_episodes,
            seeds=self._seeds(self.validation, 2, step),
            sampler=sampler,
        )
        return {
            scale: [
                learner.update(state, batch, step, scale)
                for state, batch in zip(states, batches, strict=True)
            ]
            for scale in scales
        }

    def _best(
        self,
        learner: MetaLearner,
        candidates: Mapping[float, Sequence[Any]],
        step: int,
        sampler: Sampler,
    ) -> float:
        """Return the candidate whose policies have the highest mean return on the validation tasks."""
        if len(candidates) == 1:
            (only,) = candidates
            return only
        returns = {}
        for scale, states in candidates.items():
            actors = [learner.make_actor(state) for state in states]
            measured = self._measure(self.validation, actors, step + 1, False, sampler)
            returns[scale] = float(measured.mean())
        best, _ = max(returns.items(), key=lambda item: item[1])
        return best

    def curve(
        self, state: Any, learner: MetaLearner, sampler: Sampler, scales: Sequence[float]
    ) -> Curve:
        """Return the returns of each test task before adaptation and after each update."""
        current = [state] * len(self.tasks)
        measured: dict[bool, list[Array]] = {False: [], True: []}
        for step in range(len(scales) + 1):
            actors = [learner.make_actor(own) for own in current]
            for mode, points in measured.items():
                points.append(self._measure(self.tasks, actors, step, mode, sampler))
            if step < len(scales):
                current = self._adapt(learner, current, self.tasks, step, scales[step], sampler)
        stochastic, deterministic = (np.stack(points, axis=1) for points in measured.values())
        return Curve(stochastic, deterministic, tuple(scales))

    # Episodes -------------------------------------------------------------------------------------

    def _adapt(
        self,
        learner: MetaLearner,
        states: Sequence[Any],
        tasks: Sequence[Any],
        step: int,
        scale: float,
        sampler: Sampler,
    ) -> list[Any]:
        """Return the states after one more update on the protocol's amount of experience."""
        return learner.adapt_states(
            states,
            tasks,
            step=step,
            episodes=self.protocol.support_episodes,
            seeds=self._seeds(tasks, 2, step),
            sampler=sampler,
            scale=scale,
        )

    def _measure(
        self,
        tasks: Sequence[Any],
        actors: Sequence[Actor | OwnRunner],
        step: int,
        deterministic: bool,
        sampler: Sampler,
    ) -> Array:
        """Return the mean return of each task's policy. Shape: (T,)."""
        seeds, episodes = self._seeds(tasks, 3, step), self.protocol.query_episodes
        jobs = [
            RolloutJob(task, actor, episodes, seed, deterministic)
            for task, actor, seed in zip(tasks, actors, seeds, strict=True)
        ]
        returns = [batch.episode_returns.mean() for batch in sampler.collect(jobs)]
        return np.array(returns)

    def _seeds(self, tasks: Sequence[Any], *purpose: int) -> list[int]:
        # The seeds do not know the method: all meet the same tasks with the same random numbers. They do know whether
        # the tasks are the validation tasks: no test episode may have had a say in a choice.
        chosen = int(tasks is self.validation)
        return [
            derive_seed(self.protocol.seed, *purpose, index, chosen) for index in range(len(tasks))
        ]


def idle_actor(family: Any) -> ConstantActor:
    """Return the policy that does nothing: the zero action, or the first choice of a Discrete space."""
    space = family.action_space
    if isinstance(space, spaces.Discrete):
        return ConstantActor(np.asarray(0))  # `check_spaces`: they start at 0
    return ConstantActor(np.clip(np.zeros(space.shape, dtype=np.float32), space.low, space.high))
