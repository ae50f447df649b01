"""What every meta-learner is: something that meta-trains on a family and adapts to one of its tasks."""

from __future__ import annotations

import copy
import dataclasses
import os
import platform
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import gymnasium
import stable_baselines3
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor

import metamotor
from metamotor.envs import Task
from metamotor.meta import zoo
from metamotor.meta.actors import Actor
from metamotor.meta.adam import PREFIX
from metamotor.meta.checkpoints import encode, read_checkpoint, write_checkpoint
from metamotor.meta.checks import (
    check_algorithm,
    check_family,
    check_finite,
    check_same_spaces,
    check_seed,
    check_task,
    check_whole,
)
from metamotor.meta.functional.inner_step import Params
from metamotor.meta.progress import Progress
from metamotor.meta.recordings import OffPolicy, Recorded, distance, importance, usable_stages
from metamotor.meta.records import (
    algorithm_entry,
    check_family_name,
    check_family_settings,
    family_entry,
    find_algorithm,
    find_base_kwargs,
    find_family,
    find_policy,
    kwargs_entry,
    policy_entry,
    resolve_algorithm,
)
from metamotor.meta.rollouts import EpisodeBatch, OwnRunner, RolloutJob, derive_seed, task_setter
from metamotor.meta.threads import one_torch_thread
from metamotor.meta.workers import LocalSampler, ProcessSampler, Sampler, make_sampler

Callbacks = BaseCallback | Sequence[BaseCallback] | None


class MetaLearner(ABC):
    """A meta-learner over a Stable-Baselines3 algorithm.

    Args:
        algorithm: the base learner's class, such as `stable_baselines3.PPO`, or its name.
        policy: its policy, such as "MlpPolicy".
        family: the task family to train on.
        config: the hyper-parameters; or
        base_kwargs: the base learner's own arguments (`gamma`, `policy_kwargs`, …).
        num_workers: processes that sample; 0 samples in this one. Results do not depend on it.
        seed: of everything random: weights, tasks, episodes, actions.
        changes: single hyper-parameters, by their names in `config`.

    Raises:
        ValueError: if the algorithm, a space or a hyper-parameter does not fit.
    """

    Config: ClassVar[type[Any]]
    fitting: ClassVar[tuple[type[BaseAlgorithm], ...]] = (BaseAlgorithm,)
    """Algorithms that may be the base learner, as may classes derived from them."""

    def __init__(
        self,
        algorithm: type[BaseAlgorithm] | str,
        policy: str | type[BasePolicy],
        family: Any,
        config: Any = None,
        *,
        base_kwargs: Mapping[str, Any] | None = None,
        num_workers: int = 0,
        seed: int = 0,
        **changes: Any,
    ) -> None:
        check_whole("num_workers", num_workers, 0)
        check_seed(seed)
        check_family(family)
        self.config = self._resolve_config(config, changes)
        self.algorithm = resolve_algorithm(algorithm)
        check_algorithm(self.algorithm, self.fitting, type(self).__name__)
        self.policy = policy
        self.family = family
        self.base_kwargs = dict(base_kwargs or {})
        self.num_workers = num_workers
        self.seed = seed
        self.iteration = 0
        self.num_timesteps = 0
        self.logger = Logger(folder=None, output_formats=[])
        self._sampler: LocalSampler | ProcessSampler | None = None
        encode(self._document(), "document")  # what cannot be saved fails now, not after training
        with one_torch_thread():
            self._setup()

    @classmethod
    def _resolve_config(cls, config: Any, changes: Mapping[str, Any]) -> Any:
        known = [field.name for field in dataclasses.fields(cls.Config)]
        if unknown := sorted(set(changes) - set(known)):
            raise ValueError(
                f"{cls.__name__} does not know {', '.join(unknown)}; it takes {', '.join(known)}"
            )
        return dataclasses.replace(config or cls.Config(), **changes)

    def untrained(self) -> Self:
        """Return a learner with the same settings at its initial weights."""
        return type(self)(
            self.algorithm,
            self.policy,
            self.family,
            self.config,
            base_kwargs=self.base_kwargs,
            seed=self.seed,
        )

    @abstractmethod
    def _setup(self) -> None:
        """Make the base learner's adapter, the meta-parameters and the outer optimiser."""

    @abstractmethod
    def _meta_iteration(self) -> dict[str, float]:
        """Draw tasks, sample and take one outer step; return the scalars to be logged."""

    # What adaptation is: a pure function from meta-parameters and experience to a task's state ------

    @property
    @abstractmethod
    def trained_updates(self) -> int:
        """Updates of adaptation that training uses; 0 trains one policy for all tasks."""

    @property
    def trained_episodes(self) -> int:
        """Episodes before each update that training uses."""
        return int(self.config.episodes_per_task)

    scales: ClassVar[tuple[float, ...]] = (1.0,)
    """Factors on the step size that the evaluation may choose from, for updates beyond the trained ones; more than one
    only where there is `update`."""

    @abstractmethod
    def initial_state(self) -> Any:
        """Return what is known of a task before any of its experience."""

    @abstractmethod
    def make_actor(self, state: Any) -> Actor | OwnRunner:
        """Return the policy of a state, as rollout workers run it."""

    @abstractmethod
    def make_model(self, state: Any, env: Any) -> BaseAlgorithm:
        """Return the policy of a state as a plain Stable-Baselines3 model on an environment."""

    def update(
        self,
        state: Any,
        batch: EpisodeBatch,
        step: int,
        scale: float = 1.0,
        ratios: NDArray[Any] | None = None,
    ) -> Any:
        """Return the state after update number `step` on one task's episodes; nothing else is read or changed.

        Args:
            state: of the policy that collected the batch.
            batch: one task's episodes.
            step: how many updates went before.
            scale: factor on the step size.
            ratios: how much each step counts, where another policy collected the batch. Shape: (E, H).

        Raises:
            TypeError: if this learner adapts by trying things out, and cannot learn from episodes alone.
        """
        raise self._cannot_learn_from_episodes()

    def _cannot_learn_from_episodes(self) -> TypeError:
        return TypeError(
            f"{type(self).__name__} over {self.algorithm.__name__} adapts by interacting with the task, "
            "and cannot learn from recorded episodes: adapt on the robot itself, learner.adapt(env) with an "
            "environment that drives it; or take MAML, MPO, or ES with adaptation='gradient'"
        )

    def log_probs(self, state: Any, batch: EpisodeBatch) -> list[NDArray[Any]]:
        """Return log π(a|s) of recorded steps, once for each way in which the state's policy may have acted.

        Args:
            state: of the policy.
            batch: one task's episodes.

        Returns:
            Arrays of shape (E, H); what stands behind an episode's end means nothing.

        Raises:
            TypeError: if this learner adapts by trying things out, and cannot learn from episodes alone.
        """
        raise self._cannot_learn_from_episodes()

    def adapt_states(
        self,
        states: Sequence[Any],
        tasks: Sequence[Any],
        *,
        step: int,
        episodes: int,
        seeds: Sequence[int],
        sampler: Sampler,
        scale: float = 1.0,
    ) -> list[Any]:
        """Return the states after one more update each, on experience that is collected for it.

        The base class collects episodes and calls `update`; learners that interact otherwise have their own.

        Args:
            states: one a task.
            tasks: those that the sampler's environments are to be set to; None leaves an environment as it is.
            step: how many updates went before.
            episodes: experience of each task, in episodes.
            seeds: of the experience, one a task.
            sampler: runs the episodes of all tasks.
            scale: factor on the step size.
        """
        batches = self.collect(states, tasks, episodes=episodes, seeds=seeds, sampler=sampler)
        return [
            self.update(state, batch, step, scale)
            for state, batch in zip(states, batches, strict=True)
        ]

    def collect(
        self,
        states: Sequence[Any],
        tasks: Sequence[Any],
        *,
        episodes: int,
        seeds: Sequence[int],
        sampler: Sampler,
        deterministic: bool = False,
    ) -> list[EpisodeBatch]:
        """Return episodes of each task under the policy of its state."""
        return sampler.collect(
            [
                RolloutJob(task, self.make_actor(state), episodes, seed, deterministic)
                for task, state, seed in zip(tasks, states, seeds, strict=True)
            ]
        )

    @abstractmethod
    def _state(self) -> Params:
        """Return everything that training goes on from, as tensors by name."""

    @abstractmethod
    def _load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Take what `_state` returned, or refuse it with a ValueError before anything is changed."""

    # Meta-training --------------------------------------------------------------------------------

    @property
    def sampler(self) -> LocalSampler | ProcessSampler:
        """What runs the episodes; made when first needed."""
        if self._sampler is None:
            self._sampler = make_sampler(self.family, self.num_workers)
        return self._sampler

    def close(self) -> None:
        """End the workers; they start again when needed."""
        if self._sampler is not None:
            self._sampler.close()
            self._sampler = None

    def learn(
        self,
        total_timesteps: int,
        callback: Callbacks = None,
        log_interval: int = 1,
        progress_bar: bool = False,
    ) -> Self:
        """Meta-train until this many environment steps have been taken in all; call again to go on.

        Args:
            total_timesteps: environment steps, those of earlier calls included.
            callback: Stable-Baselines3 callbacks; `on_step` is called once a meta-iteration.
            log_interval: meta-iterations between two lines of the log.
            progress_bar: show returns and steps per second.

        Raises:
            ValueError: if training diverges, or something in an episode is not finite.
        """
        check_whole("total_timesteps", total_timesteps, 1)
        check_whole("log_interval", log_interval, 1)
        _ = self.sampler  # workers that cannot start say so before anything is shown or logged
        callbacks = _as_callback(callback)
        callbacks.init_callback(self)  # type: ignore[arg-type]
        callbacks.on_training_start(locals(), globals())
        with one_torch_thread(), Progress(total_timesteps, shown=progress_bar) as progress:
            while self.num_timesteps < total_timesteps:
                callbacks.on_rollout_start()
                start, before = time.perf_counter(), self.num_timesteps
                scalars = self._meta_iteration()
                self.iteration += 1
                self._check_convergence()
                rate = (self.num_timesteps - before) / (time.perf_counter() - start)
                scalars |= {"time/fps": rate, "time/iterations": self.iteration}
                self._log(scalars, log_interval)
                progress.update(self.num_timesteps, scalars)
                callbacks.on_rollout_end()
                if not callbacks.on_step():
                    break
        callbacks.on_training_end()
        return self

    def _check_convergence(self) -> None:
        check_finite(
            self._state().items(),
            f"training diverged at iteration {self.iteration}, lower outer_lr or inner_lr",
        )

    def _log(self, scalars: Mapping[str, float], log_interval: int) -> None:
        if self.iteration % log_interval:
            return
        for name, value in scalars.items():
            self.logger.record(name, value)
        self.logger.record("time/total_timesteps", self.num_timesteps)
        self.logger.dump(step=self.num_timesteps)

    def set_logger(self, logger: Logger) -> None:
        """Log to a Stable-Baselines3 logger.

        Raises:
            ValueError: if it is none.
        """
        if not isinstance(logger, Logger):
            raise ValueError(
                "set_logger takes a Stable-Baselines3 logger, as stable_baselines3.common.logger.configure(folder) "
                f"returns, got {logger!r}"
            )
        self.logger = logger

    def get_env(self) -> None:
        """Return nothing: environments live in the workers. Callbacks ask for it."""
        return

    def move_to(self, family: Any) -> None:
        """Train and adapt on another family of the same name and spaces from now on, such as one in another physics.

        Raises:
            ValueError: if it is of another name, or its spaces do not match.
        """
        check_family(family)
        if family.name != self.family.name:
            raise ValueError(f"the learner is one of {self.family.name}, got {family.name}")
        check_same_spaces(family, self.family)
        self.close()
        self.family = family

    # Adaptation -----------------------------------------------------------------------------------

    @one_torch_thread()
    def adapt(
        self,
        task: Task | gymnasium.Env[Any, Any],
        episodes: int = 10,
        *,
        updates: int = 1,
        seed: int = 0,
    ) -> BaseAlgorithm:
        """Return a plain Stable-Baselines3 model that is adapted to one task by its own experience.

        Args:
            task: a task of the family; or an environment, such as a robot, that is used as it is.
            episodes: experience of each update, in episodes.
            updates: how often to collect and update.
            seed: of the episodes and actions.

        Raises:
            ValueError: if there are no episodes, the spaces do not match, or something is not finite.
        """
        state = self.adapt_state(task, episodes, updates=updates, seed=seed)
        return self.model_of(state, task)

    def model_of(self, state: Any, task: Task | gymnasium.Env[Any, Any]) -> BaseAlgorithm:
        """Return the policy of a state as a plain Stable-Baselines3 model on a task or an environment."""
        if isinstance(task, gymnasium.Env):
            return self.make_model(state, task)
        env = self.family.make_env()
        task_setter(env)(task)
        return self.make_model(state, env)

    @one_torch_thread()
    def adapt_state(
        self,
        task: Task | gymnasium.Env[Any, Any],
        episodes: int = 10,
        *,
        updates: int = 1,
        seed: int = 0,
    ) -> Any:
        """Return the state that `adapt` makes a model of; see there."""
        check_whole("episodes", episodes, 1)
        check_whole("updates", updates, 0)
        check_seed(seed)
        env = task if isinstance(task, gymnasium.Env) else None
        if env is not None:
            check_same_spaces(env, self.family)
        else:
            check_task(task, self.family)
        sampler = LocalSampler(self.family, env=env)
        state = self.initial_state()
        try:
            for step in range(updates):
                (state,) = self.adapt_states(
                    [state],
                    [task if env is None else None],
                    step=step,
                    episodes=episodes,
                    seeds=[derive_seed(seed, step)],
                    sampler=sampler,
                )
        finally:
            sampler.close()
        return state

    @one_torch_thread()
    def adapt_from(
        self, episodes: Sequence[EpisodeBatch] | Recorded, *, off_policy: OffPolicy = "refuse"
    ) -> BaseAlgorithm:
        """Return a model adapted on recorded episodes: one update per batch, each from the policy before it.

        Args:
            episodes: batches; or a log, as `deploy.read_log` returns it, of which the episodes of one policy make a
                batch. A log is checked: it has to be without faults, of one task, of the family's signals, and of the
                policy that is updated.
            off_policy: what becomes of a log's episodes of another policy: "refuse" them, or "weight" each step by
                how much likelier its action is now.

        Raises:
            ValueError: if there is nothing to learn from, or the log does not fit.
            TypeError: if this learner adapts by trying things out.
        """
        state = self.adapt_state_from(episodes, off_policy=off_policy)
        return self.make_model(state, self.family.make_env())

    @one_torch_thread()
    def adapt_state_from(
        self, episodes: Sequence[EpisodeBatch] | Recorded, *, off_policy: OffPolicy = "refuse"
    ) -> Any:
        """Return the state that `adapt_from` makes a model of; see there."""
        _check_experience(episodes)
        state = self.initial_state()
        if isinstance(episodes, Recorded):
            for step, (batch, recorded) in enumerate(usable_stages(episodes, self.family)):
                # Of the ways in which it may have acted, the one that it did act in.
                own = min(
                    self.log_probs(state, batch),
                    key=lambda found: distance(recorded, found, batch.mask),
                )
                ratios = importance(recorded, own, batch.mask, off_policy, episodes.source)
                state = self.update(state, batch, step, ratios=ratios)
            return state
        for step, batch in enumerate(episodes):
            state = self.update(state, batch, step)
        return state

    # Files ----------------------------------------------------------------------------------------

    def save(
        self,
        path: str | Path,
        notes: Mapping[str, Any] | None = None,
        *,
        with_optimizer: bool = True,
    ) -> Path:
        """Write a checkpoint that `load` and then `learn` go on from to the same bits; return where.

        A file that is there is replaced, whole or not at all; folders that are missing are made.

        Args:
            path: where.
            notes: what else must be current together with it, as JSON has it; `read_checkpoint` returns it under this
                name.
            with_optimizer: keep what the outer optimiser remembers; without it the file takes a third of the space and
                serves for adaptation, and training goes on from it with a new optimiser.
        """
        tensors = self._state()
        if not with_optimizer:
            tensors = {name: own for name, own in tensors.items() if not name.startswith(PREFIX)}
        extra = {} if notes is None else {"notes": dict(notes)}
        return write_checkpoint(path, tensors, {**self._document(), **extra})

    def _document(self) -> dict[str, Any]:
        return {
            "learner": type(self).__name__,
            "config": dataclasses.asdict(self.config),
            "algorithm": algorithm_entry(self.algorithm),
            "policy": policy_entry(self.policy),
            "base_kwargs": kwargs_entry(self.base_kwargs),
            "family": family_entry(self.family),
            "seed": self.seed,
            "iteration": self.iteration,
            "num_timesteps": self.num_timesteps,
            "versions": versions(),
        }

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        family: Any = None,
        algorithm: type[BaseAlgorithm] | None = None,
        policy: type[BasePolicy] | None = None,
        base_kwargs: Mapping[str, Any] | None = None,
        num_workers: int = 0,
    ) -> Self:
        """Return the learner that was saved.

        Args:
            path: of the checkpoint, or the name of one that comes with the package, as "zoo:PandaReach/maml".
            family: needed if it is not one of this package's.
            algorithm: needed if it is not one of Stable-Baselines3's.
            policy: needed if it is a class that is not one of Stable-Baselines3's.
            base_kwargs: needed, all of them, if a class or function of yours was among them.
            num_workers: as for the constructor.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is damaged, of another learner, or does not fit the family; or if the zoo has none of this
                name.
        """
        if not isinstance(path, str | os.PathLike):
            raise ValueError(
                f"{cls.__name__}.load takes the path of a checkpoint, or 'zoo:' and the name of one that comes with "
                f"the package, got {path!r}"
            )
        path = zoo.path_of(path) if zoo.is_named(path) else path
        tensors, document = read_checkpoint(path)
        if document["learner"] != cls.__name__:
            raise ValueError(f"{path} was saved by {document['learner']}, not by {cls.__name__}")
        if family is None:
            family = find_family(document, path)
        check_family_name(document, family, path)
        try:
            config = cls.Config(**document["config"])
        except TypeError as error:  # a setting that this version does not know
            raise ValueError(
                f"{path} was saved by another version of metamotor: {error}"
            ) from error
        learner = cls(
            algorithm or find_algorithm(document, path),
            policy or find_policy(document, path),
            family,
            config,
            base_kwargs=base_kwargs or find_base_kwargs(document, path),
            num_workers=num_workers,
            seed=document["seed"],
        )
        try:
            learner._load_state(tensors)
        except ValueError as error:
            raise ValueError(
                f"the weights in {path} do not fit {family.name} with observations "
                f"{family.observation_space.shape} and actions {family.action_space}: {error}"
            ) from error
        check_family_settings(document, family, path)
        learner.iteration = document["iteration"]
        learner.num_timesteps = document["num_timesteps"]
        return learner

    def snapshot(self) -> Params:
        """Return copies of the state's tensors, for keeping the best in memory."""
        return copy.deepcopy(self._state())

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take a snapshot back."""
        self._load_state(tensors)


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    return {
        "metamotor": metamotor.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "stable_baselines3": stable_baselines3.__version__,
    }


def _as_callback(callback: Callbacks) -> BaseCallback:
    if isinstance(callback, BaseCallback):
        return callback
    listed = [] if callback is None else callback
    if not isinstance(listed, list | tuple) or not all(
        isinstance(one, BaseCallback) for one in listed
    ):
        raise ValueError(
            f"callback must be a Stable-Baselines3 callback (BaseCallback) or a list of these, got {callback!r}"
        )
    return CallbackList(list(listed))


def _check_experience(episodes: Any) -> None:
    """Refuse what is neither a log nor batches of episodes."""
    if isinstance(episodes, Recorded):
        return
    if isinstance(episodes, str | os.PathLike):
        raise ValueError(
            f"adapt_from takes a log or batches of episodes, got the path {os.fspath(episodes)!r} for one: pass "
            f"deploy.read_log({os.fspath(episodes)!r})"
        )
    if not isinstance(episodes, list | tuple) or not all(
        isinstance(batch, EpisodeBatch) for batch in episodes
    ):
        raise ValueError(
            "adapt_from takes a log, as deploy.read_log returns it, or a list of batches of episodes "
            f"(EpisodeBatch), got {type(episodes).__name__}"
        )
    if not episodes:
        raise ValueError("adapt_from needs at least one batch of episodes, got none")
