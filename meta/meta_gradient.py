"""The meta-objective of MAML and its gradient, task by task.

    J(θ, α) = mean over tasks of J_T(θ′) − η KL(θ_old ‖ θ),    θ′ = θ − α ∘ ∇L_T(θ), as often as there is support

The gradient goes through the adaptation (Finn et al. 2017, arXiv:1703.03400, eq. 4). A task's gradient depends on that
task alone, so tasks are worked on side by side: small ones in one vectorised computation (`torch.vmap`), which saves
the cost of each call; large ones apart, by the worker processes if there are any. On one core vectorising takes a fifth
of the time for 20 tasks of 50 samples, two fifths of it for 200, and more than one after another for 1,000
(`docs/results/meta-gradient.md`).

Which of them is taken depends on the number of samples only: results do not depend on the number of workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from metamotor.meta.base_learner import Recipe
from metamotor.meta.experience import Experience, surrogate_loss
from metamotor.meta.functional import surrogates
from metamotor.meta.functional.inner_step import Params, inner_step
from metamotor.meta.on_policy import OnPolicyAdapter
from metamotor.meta.rollouts import Workplace
from metamotor.meta.threads import one_torch_thread

if TYPE_CHECKING:
    from metamotor.meta.maml import MAMLConfig
    from metamotor.meta.workers import Sampler

Array = NDArray[Any]
StepSizes = Sequence[Mapping[str, Tensor]]
"""α of each update, by name."""

MAX_VECTORISED = 400
"""Samples of a task's query up to which all tasks are worked on in one computation."""


@dataclass(frozen=True)
class TaskData:
    """One task's experience in a meta-iteration."""

    support: tuple[Experience, ...]
    """Before each update of adaptation."""
    query: Experience
    """After the last one."""
    score: float = 0.0
    """The mean return after adaptation, normalised over the tasks of the meta-batch."""


class Gradient(NamedTuple):
    """The meta-gradient of some tasks."""

    tensors: Params
    """Of the objective, summed over the tasks, by name of the leaf."""
    objective: float
    """Summed over the tasks."""


class Leaves(NamedTuple):
    """Where the meta-gradient is taken: tensors without a graph."""

    params: Params
    """θ, all of it."""
    step_sizes: tuple[Params, ...]
    """α."""
    old: Params
    """θ when the experience was collected, for the KL."""


class MetaObjective:
    """The meta-objective as a pure function.

    Args:
        adapter: the base learner.
        config: of MAML.
    """

    def __init__(self, adapter: OnPolicyAdapter, config: MAMLConfig) -> None:
        self.adapter = adapter
        self.config = config
        self._is_vectorisable = _is_vectorisable(adapter)

    def inner_loss(self, experience: Experience) -> Any:
        """Return what adaptation descends on one batch, as a function of all parameters."""
        return lambda params: surrogate_loss(
            self.config.inner_loss, self.adapter, params, experience
        )

    def adapted(
        self,
        params: Params,
        step_sizes: StepSizes,
        support: Sequence[Experience],
        *,
        vectorised: bool = False,
    ) -> Params:
        """Return θ′ as a differentiable function of θ and α, on one task's support experience."""
        for sizes, experience in zip(step_sizes, support, strict=True):
            params = inner_step(
                self.inner_loss(experience),
                params,
                sizes,
                first_order=self.config.first_order,
                normalize=self.config.inner_normalize,
                vectorised=vectorised,
            )
        return params

    def of_task(
        self,
        params: Params,
        step_sizes: StepSizes,
        support: Sequence[Experience],
        query: Experience,
        score: Tensor | float = 0.0,
        *,
        vectorised: bool = False,
    ) -> Tensor:
        """Return one task's objective, to be maximised: the clipped surrogate of θ′ on its query."""
        config = self.config
        adapted = self.adapted(params, step_sizes, support, vectorised=vectorised)
        outputs = self.adapter.outputs(adapted, query.observations)
        log_probs = self.adapter.log_prob_of(adapted, outputs, query.actions)
        objective = surrogates.clipped(
            log_probs, query.old_log_probs, query.advantages, query.weights, config.clip_range
        )
        ent_coef = float(getattr(self.adapter.template, "ent_coef", 0.0))
        if ent_coef:
            entropy = self.adapter.entropy_of(adapted, outputs)
            objective = objective + ent_coef * (entropy * query.weights).sum()
        if config.exploration_coef and support:
            objective = objective + config.exploration_coef * self._exploration(
                params, support[0], score
            )
        return objective

    def _exploration(self, params: Params, first: Experience, score: Tensor | float) -> Tensor:
        """Return what credits the return after adaptation to the actions of θ that it was learned from."""
        log_probs = self.adapter.log_prob(params, first.observations, first.actions)
        return surrogates.clipped(
            log_probs * (first.weights > 0),
            first.old_log_probs,
            torch.ones_like(log_probs) * score,
            first.weights,
            self.config.clip_range,
        )

    def penalised(
        self,
        leaves: Leaves,
        support: Sequence[Experience],
        query: Experience,
        score: Tensor | float,
        *,
        vectorised: bool = False,
    ) -> Tensor:
        """Return one task's objective less the penalty on the KL before adaptation (ProMP, eq. 14)."""
        params, step_sizes, old = leaves
        value = self.of_task(params, step_sizes, support, query, score, vectorised=vectorised)
        if self.config.kl_coef and support:
            kl = self.adapter.kl(old, params, support[0].observations)
            value = value - self.config.kl_coef * (kl * support[0].weights).sum()
        return value

    # Gradients ------------------------------------------------------------------------------------

    def gradient_of_one(self, leaves: Leaves, names: Sequence[str], data: TaskData) -> Gradient:
        """Return the gradient of one task by the named leaves; see `named` for the names."""
        leaves, wanted = _with_grad(leaves, names)
        value = self.penalised(leaves, data.support, data.query, data.score)
        return Gradient(_gradients(value, wanted), float(value.detach()))

    def gradient_of_all(
        self, leaves: Leaves, names: Sequence[str], data: Sequence[TaskData]
    ) -> Gradient:
        """Return the summed gradient of tasks, in one computation."""
        leaves, wanted = _with_grad(leaves, names)
        support = tuple(_stacked(stage) for stage in zip(*(d.support for d in data), strict=True))
        query = _stacked([d.query for d in data])
        scores = torch.tensor([d.score for d in data], dtype=query.advantages.dtype)

        def of_one(support: Sequence[Experience], query: Experience, score: Tensor) -> Tensor:
            return self.penalised(leaves, support, query, score, vectorised=True)

        value = torch.vmap(of_one)(support, query, scores).sum()
        return Gradient(_gradients(value, wanted), float(value.detach()))

    def fits_vectorising(self, data: Sequence[TaskData]) -> bool:
        """Say whether tasks are small enough to be worked on in one computation, and can be."""
        # PPO's own loss picks the steps that were taken, whose number depends on the data.
        if not self._is_vectorisable or (
            self.config.inner_loss == "base" and self.config.inner_steps
        ):
            return False
        samples = max(d.query.weights.numel() for d in data)
        return len(data) > 1 and samples <= MAX_VECTORISED


@dataclass(frozen=True)
class GradientJob:
    """The gradient of one task, for a worker process; tensors as arrays."""

    task: Any
    """For error messages."""
    recipe: Recipe
    """Of the base learner."""
    config: MAMLConfig
    leaves: tuple[Any, ...]
    names: tuple[str, ...]
    data: tuple[Any, ...]

    @one_torch_thread()
    def run(self, workplace: Workplace) -> tuple[dict[str, Array], float]:
        """Return the gradient by name and the objective."""
        key = ("meta-objective", repr(self.recipe), self.config)
        if key not in workplace.kept:
            own = self.recipe
            # Its weights are never looked at: the seed is as good as any.
            adapter = OnPolicyAdapter(
                own.algorithm, own.policy, workplace.family, own.base_kwargs, 0
            )
            workplace.kept[key] = MetaObjective(adapter, self.config)
        params, step_sizes, old = self.leaves
        leaves = Leaves(_tensors(params), tuple(map(_tensors, step_sizes)), _tensors(old))
        support, query, score = self.data
        data = TaskData(
            tuple(Experience(*map(torch.from_numpy, stage)) for stage in support),
            Experience(*map(torch.from_numpy, query)),
            score,
        )
        found = workplace.kept[key].gradient_of_one(leaves, self.names, data)
        return {name: tensor.numpy() for name, tensor in found.tensors.items()}, found.objective


def meta_gradient(
    objective: MetaObjective,
    leaves: Leaves,
    names: Sequence[str],
    data: Sequence[TaskData],
    sampler: Sampler | None = None,
) -> Gradient:
    """Return the gradient of the mean over tasks by the named leaves.

    Args:
        objective: what is differentiated.
        leaves: where.
        names: of the leaves wanted: those of parameters, and `inner_lr.<update>.<name>` for step sizes.
        data: of each task.
        sampler: its workers share the tasks; None keeps them in this process.
    """
    if objective.fits_vectorising(data):
        found = objective.gradient_of_all(leaves, names, data)
        return Gradient(
            {name: tensor / len(data) for name, tensor in found.tensors.items()},
            found.objective / len(data),
        )
    if sampler is None:
        parts = [objective.gradient_of_one(leaves, names, own) for own in data]
    else:
        results = sampler.collect(_jobs(objective, leaves, names, data))
        parts = [Gradient(_tensors(tensors), value) for tensors, value in results]
    # In the order of the tasks, whoever worked on them: sums depend on it in their last bits.
    tensors = {
        name: torch.stack([part.tensors[name] for part in parts]).sum(0) / len(data)
        for name in names
    }
    return Gradient(tensors, sum(part.objective for part in parts) / len(data))


def _jobs(
    objective: MetaObjective, leaves: Leaves, names: Sequence[str], data: Sequence[TaskData]
) -> list[GradientJob]:
    return [
        GradientJob(
            index,
            objective.adapter.recipe,
            objective.config,
            (_arrays(leaves.params), tuple(map(_arrays, leaves.step_sizes)), _arrays(leaves.old)),
            tuple(names),
            (
                tuple(tuple(part.numpy() for part in stage) for stage in own.support),
                tuple(part.numpy() for part in own.query),
                own.score,
            ),
        )
        for index, own in enumerate(data)
    ]


def named(params: Params, step_sizes: StepSizes) -> Params:
    """Return parameters and step sizes by the names of leaves."""
    sizes = {
        f"inner_lr.{step}.{name}": size
        for step, own in enumerate(step_sizes)
        for name, size in own.items()
    }
    return {**params, **sizes}


def _with_grad(leaves: Leaves, names: Sequence[str]) -> tuple[Leaves, Params]:
    """Return the leaves with the named ones asking for a gradient, and these by name."""
    params = {name: value.detach() for name, value in leaves.params.items()}
    sizes = [{name: size.detach() for name, size in own.items()} for own in leaves.step_sizes]
    every = named(params, sizes)
    wanted = {name: every[name].requires_grad_() for name in names}
    return Leaves(params, tuple(sizes), leaves.old), wanted


def _gradients(value: Tensor, wanted: Params) -> Params:
    """Return the gradient by the leaves that are wanted; zero by those that the value does not depend on."""
    found = torch.autograd.grad(value, list(wanted.values()), allow_unused=True)
    return {
        name: torch.zeros_like(leaf) if gradient is None else gradient
        for (name, leaf), gradient in zip(wanted.items(), found, strict=True)
    }


def _is_vectorisable(adapter: OnPolicyAdapter) -> bool:
    """Say whether torch can vectorise the networks: not a user's own that, say, branches on what it observes."""

    def slope(params: Params, observations: Tensor) -> Params:
        found: Params = torch.func.grad(lambda own: adapter.outputs(own, observations).sum())(
            params
        )
        return found

    observations = torch.zeros(2, 1, *adapter.family.observation_space.shape)
    try:
        torch.vmap(slope, in_dims=(None, 0))(adapter.initial_params(), observations)
    except RuntimeError:
        return False
    return True


def _stacked(batches: Sequence[Experience]) -> Experience:
    """Return the batches of several tasks as one, with episodes padded to the longest."""
    length = max(batch.weights.shape[1] for batch in batches)

    def padded(part: Tensor) -> Tensor:
        missing = length - part.shape[1]
        return pad(part, (0, 0) * (part.dim() - 2) + (0, missing)) if missing else part

    return Experience(
        *(torch.stack([padded(part) for part in parts]) for parts in zip(*batches, strict=True))
    )


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, Array]:
    return {name: tensor.detach().numpy() for name, tensor in tensors.items()}


def _tensors(arrays: Mapping[str, Array]) -> Params:
    return {name: torch.from_numpy(np.asarray(array)) for name, array in arrays.items()}
