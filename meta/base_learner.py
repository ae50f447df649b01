"""Stable-Baselines3 algorithms as base learners: a model of the algorithm as a template, parameters out and in.

Shapes: as in Stable-Baselines3's policies; parameters are mappings from the names of their tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor

from metamotor.meta.checks import check_net_arch, check_spaces
from metamotor.meta.functional.inner_step import Params
from metamotor.meta.rollouts import task_setter


class BaseLearner:
    """What any meta-learner needs of an algorithm.

    The adapter holds one model of the algorithm as a template: its policy class, hyper-parameters and initial weights.
    The template itself is never changed.

    Args:
        algorithm: the algorithm's class, such as `PPO` or `SAC`.
        policy: as for the algorithm, such as "MlpPolicy" or a policy class.
        family: the task family, for its spaces and environment.
        base_kwargs: the algorithm's own arguments (`gamma`, `policy_kwargs`, …).
        seed: of the initial weights.

    Raises:
        ValueError: if a space or an option is not supported.
    """

    def __init__(
        self,
        algorithm: type[BaseAlgorithm],
        policy: str | type[BasePolicy],
        family: Any,
        base_kwargs: Mapping[str, Any] | None = None,
        seed: int | None = None,
    ) -> None:
        check_spaces(family)
        self.algorithm = algorithm
        self.policy = policy
        self.family = family
        self.base_kwargs = dict(base_kwargs or {})
        if refused := sorted(
            {"env", "seed", "device", "_init_setup_model"} & set(self.base_kwargs)
        ):
            raise ValueError(f"base_kwargs may not hold {refused}: the meta-learner sets these")
        check_net_arch(self.base_kwargs)
        self.seed = seed
        self.template: Any = self._new_template()
        self.template.env = None  # only its spaces were needed; a model keeps no simulator alive

    def _new_template(self) -> BaseAlgorithm:
        env = self.family.make_env()
        task_setter(env)  # is there, or training ends here
        try:
            return self._new_model(env)
        except Exception as error:  # whatever the policy's and the algorithm's own code runs into
            raise ValueError(
                f"Stable-Baselines3 cannot make {self.algorithm.__name__} with the policy "
                f"{self.policy!r} and {self.base_kwargs}: {error}"
            ) from error

    def _new_model(self, env: Any) -> BaseAlgorithm:
        make: Any = self.algorithm  # the bases' own constructors differ
        model: BaseAlgorithm = make(
            self.policy,
            DummyVecEnv([lambda: Monitor(env)]),
            device="cpu",
            seed=self.seed,
            **self.base_kwargs,
        )
        return model

    def initial_params(self) -> Params:
        """Return copies of the template's parameters, actor and critic, by name."""
        return {
            name: parameter.detach().clone()
            for name, parameter in self.template.policy.named_parameters()
        }

    def make_model(self, params: Mapping[str, Tensor], env: Any) -> BaseAlgorithm:
        """Return a new model of the algorithm with these parameters, on this environment."""
        model = self._new_model(env)
        with torch.no_grad():
            for name, parameter in model.policy.named_parameters():
                parameter.copy_(params[name])
        return model
