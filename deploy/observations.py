"""What stands between the sensors and the network: the wrappers of a model's environment, inside the graph.

Stable-Baselines3 normalises, stacks and transposes observations in wrappers of the vectorised environment. A robot has
none, so they are folded into the graph, in their order. Observations are dictionaries of tensors by key here; those of
a space without keys have the one key `INPUT`.

Shapes: N observations in the batch, then the shape of the space.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import (
    VecCheckNan,
    VecEnv,
    VecEnvWrapper,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
    VecVideoRecorder,
)
from stable_baselines3.common.vec_env.stacked_observations import StackedObservations
from torch import Tensor, nn

from metamotor.deploy.runtime import INPUT

Tensors = dict[str, Tensor]
Arrays = dict[str, NDArray[Any]]
LOOKING_ON = (VecCheckNan, VecMonitor, VecVideoRecorder)
"""Wrappers that leave observations as they are."""


class Port(NamedTuple):
    """An input or output of the graph."""

    name: str
    dtype: str
    """"float32", "float64", "uint8" or "int64"."""
    shape: tuple[int | None, ...]
    """None where the batch is."""

    @property
    def batch_axis(self) -> int:
        """Which axis is the batch."""
        return self.shape.index(None)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The other axes."""
        return tuple(size for size in self.shape if size is not None)

    def zeros(self, n: int) -> Tensor:
        """Return zeros for a batch of n."""
        shape = [n if size is None else size for size in self.shape]
        return torch.zeros(shape, dtype=getattr(torch, self.dtype))


def by_key(space: spaces.Space[Any]) -> dict[str, spaces.Space[Any]]:
    """Return the parts of an observation space by key."""
    return dict(space.spaces) if isinstance(space, spaces.Dict) else {INPUT: space}


def observation_port(name: str, space: spaces.Space[Any], *, exact: bool = False) -> Port:
    """Return how an observation goes in.

    Vectors and matrices are flat float32; what has three dimensions or more, such as an image, keeps its shape, and
    uint8 if it is that; choices are int64.

    Args:
        name: of the input.
        space: of the observation, or of its part.
        exact: whether digits that float32 does not have count: float64 in place of float32 then.

    Raises:
        ValueError: if there is no input for such a space.
    """
    shape = space.shape or ()
    if isinstance(space, spaces.Box):
        kind = "float64" if exact else "float32"
        if len(shape) < 3:
            return Port(name, kind, (None, int(np.prod(shape))))
        return Port(name, "uint8" if space.dtype == np.uint8 else kind, (None, *shape))
    if isinstance(space, spaces.MultiBinary):
        return Port(name, "float32", (None, int(np.prod(shape))))
    if isinstance(space, spaces.Discrete):
        return Port(name, "int64", (None,))
    if isinstance(space, spaces.MultiDiscrete) and len(shape) == 1:
        return Port(name, "int64", (None, *shape))
    raise ValueError(
        f"cannot export an observation {name!r} of {space}; supported: Box, Discrete, MultiDiscrete and MultiBinary, "
        "and dictionaries of them"
    )


class Normalizer(nn.Module):
    """The observation statistics of a `VecNormalize` for one key.

    They stay float64, as in `VecNormalize`: a signal with a large mean and a small deviation loses its digits in
    float32, and the file would disagree with the training.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, statistics: RunningMeanStd, *, epsilon: float, clip: float) -> None:
        super().__init__()
        std = np.sqrt(statistics.var + epsilon)
        self.register_buffer("mean", torch.tensor(statistics.mean, dtype=torch.float64))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float64))
        self.clip = float(clip)

    def forward(self, observation: Tensor) -> Tensor:
        """Return the normalised and clipped observation, float32."""
        scaled = (observation.to(torch.float64) - self.mean) / self.std
        return scaled.clamp(-self.clip, self.clip).to(torch.float32)


class Normalize(nn.Module):
    """A `VecNormalize`: `normalizers` by the place of their key, since a module's name may not hold a dot."""

    def __init__(self, keys: list[str], normalizer: VecNormalize) -> None:
        super().__init__()
        self.keys = keys
        statistics = statistics_of(normalizer)
        self.normalizers = nn.ModuleList(
            Normalizer(statistics[key], epsilon=normalizer.epsilon, clip=normalizer.clip_obs)
            for key in keys
        )

    def forward(self, observations: Tensors) -> Tensors:
        """Return the observations with those that have statistics normalised."""
        normalized = {
            key: module(observations[key])
            for key, module in zip(self.keys, self.normalizers, strict=True)
        }
        return {**observations, **normalized}


class Transpose(nn.Module):
    """A `VecTransposeImage`: images from (N, H, W, C) to (N, C, H, W)."""

    def __init__(self, keys: list[str]) -> None:
        super().__init__()
        self.keys = keys

    def forward(self, observations: Tensors) -> Tensors:
        """Return the observations with the images transposed."""
        transposed = {key: observations[key].permute(0, 3, 1, 2) for key in self.keys}
        return {**observations, **transposed}


class Stack(nn.Module):
    """A `VecFrameStack`: the frames before the newest are a state, zeros when an episode starts."""

    def __init__(
        self,
        before: spaces.Space[Any],
        axes: Mapping[str, int],
        frames: int,
        exact: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.exact = exact
        self.axes = dict(axes)
        """The axis along which a key's frames stand one behind the other, the batch not counted."""
        self.sizes = {key: cast(Any, by_key(before)[key].shape)[axes[key]] for key in axes}
        self.frames = frames
        self.names = {key: "stack" if key == INPUT else f"stack.{key}" for key in axes}
        self.ports = [self._port(key, space) for key, space in by_key(before).items()]

    def _port(self, key: str, space: spaces.Space[Any]) -> Port:
        shape = list(cast(tuple[int, ...], space.shape))
        shape[self.axes[key]] *= self.frames - 1
        dtype = "float64" if key in self.exact else "float32"
        if len(shape) >= 3 and space.dtype == np.uint8:
            dtype = "uint8"
        return Port(self.names[key], dtype, (None, *shape))

    def forward(self, observations: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        """Return the stacked observations and the next state."""
        stacked, following = dict(observations), {}
        for key, axis in self.axes.items():
            dim = axis + 1 if axis >= 0 else axis
            frames = torch.cat([state[self.names[key]], observations[key]], dim=dim)
            size = frames.shape[dim]
            stacked[key] = frames
            following[self.names[key]] = frames.narrow(dim, self.sizes[key], size - self.sizes[key])
        return stacked, following


@dataclass(frozen=True)
class Step:
    """One wrapper, as a module and as what Stable-Baselines3 has for it."""

    module: Normalize | Transpose | Stack
    wrapper: Any


@dataclass(frozen=True)
class Pipeline:
    """The wrappers between what the sensors say and what the policy takes, the innermost first."""

    space: spaces.Space[Any]
    """What the sensors say."""
    steps: list[Step] = field(default_factory=list)
    exact: frozenset[str] = frozenset()
    """Keys of which digits that float32 does not have reach a normaliser."""

    @property
    def normalized(self) -> bool:
        """Whether observation statistics are among them."""
        return any(isinstance(step.module, Normalize) for step in self.steps)

    @property
    def stacked(self) -> int:
        """How many frames the policy sees, 1 without a stack."""
        return int(
            np.prod([step.module.frames for step in self.steps if isinstance(step.module, Stack)])
        )


def statistics_of(normalizer: VecNormalize) -> dict[str, RunningMeanStd]:
    """Return a normaliser's statistics by key."""
    statistics = cast(Any, normalizer.obs_rms)
    return dict(statistics) if isinstance(statistics, dict) else {INPUT: statistics}


def pipeline_of(model: BaseAlgorithm, normalizer: VecNormalize | None) -> Pipeline:
    """Return the pipeline of a model's environment.

    Args:
        model: the model.
        normalizer: statistics to use in place of the environment's; for a model without an environment, its own
            wrapped environment tells what stands below it.

    Raises:
        ValueError: if the statistics do not fit, or are not finite.
    """
    env = model.get_env()
    wrappers = _wrappers(env)
    if normalizer is None:
        _check_reached(model.get_vec_normalize_env(), env, wrappers)
    if normalizer is not None:
        if any(isinstance(wrapper, VecNormalize) for wrapper in wrappers):
            wrappers = [
                normalizer if isinstance(wrapper, VecNormalize) else wrapper for wrapper in wrappers
            ]
        elif env is None:
            wrappers = _wrappers(normalizer)
        else:
            wrappers = [*wrappers, normalizer]
    space = _innermost(env if env is not None else normalizer, wrappers, model)
    pipeline, reached = Pipeline(space, exact=_exact(space, wrappers, 0)), space
    for index, wrapper in enumerate(wrappers):
        step, reached = _step(wrapper, reached, _exact(space, wrappers, index))
        if step is not None:
            pipeline.steps.append(step)
    _close(pipeline, reached, model)
    return pipeline


def _wrappers(env: VecEnv | None) -> list[VecEnvWrapper]:
    """Return the known wrappers from inside to outside, only those outside of any that is not known."""
    found: list[VecEnvWrapper] = []
    while isinstance(env, VecEnvWrapper) and _is_known(env):
        found.append(env)
        env = getattr(env, "venv", None)
    return found[::-1]


def _is_known(env: VecEnvWrapper) -> bool:
    """Whether a wrapper gives what Stable-Baselines3's own does: one that derives from it may do otherwise."""
    known = (VecNormalize, VecFrameStack, VecTransposeImage, *LOOKING_ON)
    return any(
        isinstance(env, kind)
        and all(getattr(type(env), name) is getattr(kind, name) for name in ("reset", "step_wait"))
        for kind in known
    )


def _check_reached(
    inner: VecNormalize | None, env: VecEnv | None, wrappers: list[VecEnvWrapper]
) -> None:
    """Refuse a normaliser inside of a wrapper that is not known, which may change what it gives."""
    if inner is None or not inner.norm_obs or any(inner is wrapper for wrapper in wrappers):
        return
    while any(env is wrapper for wrapper in wrappers):
        env = cast(VecEnvWrapper, env).venv
    raise ValueError(
        f"a VecNormalize stands inside of a {type(env).__name__}, and what that does to observations is not known: "
        "put the VecNormalize outside, or, if observations pass through unchanged, give "
        "normalizer=model.get_vec_normalize_env()"
    )


def _innermost(
    env: VecEnv | None, wrappers: list[VecEnvWrapper], model: BaseAlgorithm
) -> spaces.Space[Any]:
    if env is None:
        return model.observation_space
    if isinstance(env, VecNormalize) and getattr(env, "venv", None) is None:
        # Statistics that were loaded without an environment.
        return env.observation_space
    inner: VecEnv = env
    while isinstance(inner, VecEnvWrapper) and any(inner is wrapper for wrapper in wrappers):
        inner = inner.venv
    return inner.observation_space


def _exact(
    space: spaces.Space[Any], wrappers: Sequence[VecEnvWrapper], index: int
) -> frozenset[str]:
    """Return the keys of which float32 would lose digits on their way from a wrapper to a normaliser.

    `VecNormalize` computes in float64 and gives float32. Near 1e6 the numbers of float32 lie 0.06 apart, which is much
    to a deviation of 1. Without a normaliser the policy itself rounds to float32, first of all.
    """

    def normalized(some: Sequence[VecEnvWrapper]) -> set[str]:
        return {
            key
            for wrapper in some
            if isinstance(wrapper, VecNormalize) and wrapper.norm_obs
            for key in statistics_of(wrapper)
        }

    wide = {
        key
        for key, part in by_key(space).items()
        if isinstance(part, spaces.Box) and not np.can_cast(part.dtype, np.float32)
    }
    return frozenset(wide & normalized(wrappers[index:]) - normalized(wrappers[:index]))


def _step(
    wrapper: VecEnvWrapper, space: spaces.Space[Any], exact: Collection[str]
) -> tuple[Step | None, spaces.Space[Any]]:
    """Return a wrapper's step, None if it changes nothing, and the space behind it."""
    parts = by_key(space)
    if isinstance(wrapper, VecNormalize) and wrapper.norm_obs:
        keys = list(statistics_of(wrapper))
        _check_statistics(wrapper, parts)
        return Step(Normalize(keys, wrapper), wrapper), _floats(space, wrapper, keys)
    if isinstance(wrapper, VecTransposeImage) and not wrapper.skip:
        keys = [key for key, part in parts.items() if is_image_space(part)]
        return Step(Transpose(keys), wrapper), wrapper.observation_space
    if isinstance(wrapper, VecFrameStack) and wrapper.stacked_obs.n_stack > 1:
        stacks = cast(Any, wrapper.stacked_obs)
        single = getattr(stacks, "sub_stacked_observations", {INPUT: stacks})
        axes = {key: stack.repeat_axis for key, stack in single.items()}
        return Step(Stack(space, axes, stacks.n_stack, exact), wrapper), wrapper.observation_space
    return None, space


def _floats(space: spaces.Space[Any], wrapper: VecNormalize, keys: list[str]) -> spaces.Space[Any]:
    """Return the space behind a normaliser: images are none any more, all else is as before."""
    clip = wrapper.clip_obs

    def behind(key: str, part: spaces.Space[Any]) -> spaces.Space[Any]:
        if key not in keys or not is_image_space(part):
            return part
        return spaces.Box(-clip, clip, part.shape, np.float32)

    if isinstance(space, spaces.Dict):
        return spaces.Dict({key: behind(key, part) for key, part in space.spaces.items()})
    return behind(INPUT, space)


def _check_statistics(wrapper: VecNormalize, parts: Mapping[str, spaces.Space[Any]]) -> None:
    for key, statistics in statistics_of(wrapper).items():
        shape = parts[key].shape if key in parts else None
        if statistics.mean.shape != shape:
            of = "" if key == INPUT else f" for {key!r}"
            raise ValueError(
                f"the normaliser has statistics of shape {statistics.mean.shape}{of}, the policy takes observations of "
                f"shape {shape}; give the VecNormalize that the model was trained with"
            )
        if not (np.isfinite(statistics.mean).all() and np.isfinite(statistics.var).all()):
            raise ValueError(
                "the normaliser's statistics are not finite; one of its observations was not"
            )


def _close(pipeline: Pipeline, reached: spaces.Space[Any], model: BaseAlgorithm) -> None:
    """Check that the pipeline gives what the policy takes; transpose images where a loaded model has no wrapper."""
    wanted = by_key(cast(Any, model.observation_space))
    found = by_key(reached)
    turned = [
        key
        for key, part in wanted.items()
        if key in found
        and is_image_space(part)
        and part.shape != found[key].shape
        and part.shape == tuple(np.roll(cast(Any, found[key].shape), 1))
    ]
    if turned:
        pipeline.steps.append(Step(Transpose(turned), turned))
    shapes = {key: part.shape for key, part in found.items() if key not in turned}
    if {key: part.shape for key, part in wanted.items() if key not in turned} != shapes:
        raise ValueError(
            f"the environment's wrappers give observations {reached}, the policy takes {model.observation_space}; "
            "export the model with the environment that it was trained in"
        )


class Preprocess(nn.Module):
    """What Stable-Baselines3 does before its features extractor: images to [0, 1], choices to one of N."""

    def __init__(self, space: spaces.Space[Any], *, normalize_images: bool) -> None:
        super().__init__()
        self.parts = by_key(space)
        self.single = not isinstance(space, spaces.Dict)
        self.images = [
            key for key, part in self.parts.items() if normalize_images and is_image_space(part)
        ]

    def forward(self, observations: Tensors, dtype: torch.dtype) -> Tensor | Tensors:
        """Return what the features extractor takes: one tensor, or one for each key."""
        prepared = {key: self._prepare(key, observations[key], dtype) for key in self.parts}
        return prepared[INPUT] if self.single else prepared

    def _prepare(self, key: str, value: Tensor, dtype: torch.dtype) -> Tensor:
        space = self.parts[key]
        if isinstance(space, spaces.Discrete):
            return _one_of(value, int(space.n), dtype)
        if isinstance(space, spaces.MultiDiscrete):
            sizes = [int(size) for size in space.nvec]
            return torch.cat(
                [_one_of(value[:, index], size, dtype) for index, size in enumerate(sizes)], dim=1
            )
        return value.to(dtype) / 255.0 if key in self.images else value.to(dtype)


def _one_of(index: Tensor, n: int, dtype: torch.dtype) -> Tensor:
    return (index[:, None] == torch.arange(n)).to(dtype)


class Wrappers:
    """The pipeline as Stable-Baselines3 computes it, in numpy: what the graph is compared with.

    Args:
        pipeline: the pipeline.
        num: N, the episodes that run beside each other.
    """

    def __init__(self, pipeline: Pipeline, num: int) -> None:
        self._pipeline = pipeline
        self._stacks = {
            index: _fresh(step.wrapper, step.module, num)
            for index, step in enumerate(pipeline.steps)
            if isinstance(step.module, Stack)
        }

    def __call__(self, raw: Any, starts: NDArray[np.bool_]) -> Any:
        """Return what the policy takes: an array or a dictionary of arrays.

        Args:
            raw: (N, ...) what the sensors say, likewise.
            starts: (N,) whether an episode starts with it.
        """
        observation = raw
        for index, step in enumerate(self._pipeline.steps):
            if isinstance(step.module, Normalize):
                observation = step.wrapper.normalize_obs(observation)
            elif isinstance(step.module, Transpose):
                observation = _transposed(observation, step.module.keys)
            else:
                observation, _ = self._stacks[index].update(
                    observation,
                    starts,
                    [{"terminal_observation": row} for row in _rows(observation)],
                )
        return observation


def _fresh(wrapper: VecFrameStack, module: Stack, num: int) -> Any:
    order = {key: "first" if axis == 0 else "last" for key, axis in module.axes.items()}
    space = cast(Any, wrapper.venv.observation_space)
    return StackedObservations(
        num,
        module.frames,
        space,
        order if isinstance(space, spaces.Dict) else order[INPUT],
    )


def _rows(observation: Any) -> list[Any]:
    if isinstance(observation, dict):
        length = len(next(iter(observation.values())))
        return [{key: value[row] for key, value in observation.items()} for row in range(length)]
    return list(observation)


def _transposed(observation: Any, keys: list[str]) -> Any:
    transpose = VecTransposeImage.transpose_image
    if isinstance(observation, dict):
        return {
            key: transpose(value) if key in keys else value for key, value in observation.items()
        }
    return transpose(observation)
