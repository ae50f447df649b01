"""Settings that work, one set per family and meta-learner: what `metamotor train FAMILY` starts from."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from metamotor import meta
from metamotor.meta.maml import MAMLConfig
from metamotor.scripts.options import BaseLearner, ValidationOptions


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Everything that `train` needs for one family and one meta-learner."""

    total_timesteps: int = 1_000_000
    """Environment steps of meta-training."""
    base: BaseLearner = field(default_factory=BaseLearner)
    config: Any = field(default_factory=MAMLConfig)
    """The meta-learner's own `Config`."""
    validation: ValidationOptions = field(default_factory=ValidationOptions)
    support_episodes: int = 10
    """Episodes before each update when adaptation is measured."""


PRESETS = {
    ("PointNavigation-v0", "MAML"): Preset(
        total_timesteps=2_320_000,
        base=BaseLearner(log_std_init=-0.7),
        config=MAMLConfig(meta_batch_size=20, episodes_per_task=20, outer_lr=1.5e-3),
        validation=ValidationOptions(validation_interval=4),
    ),
    ("PandaReach-v0", "MAML"): Preset(
        total_timesteps=700_000,
        base=BaseLearner(gamma=0.85, gae_lambda=0.8, normalize_advantage=False, log_std_init=-0.7),
        config=MAMLConfig(
            meta_batch_size=10,
            episodes_per_task=10,
            inner_lr=0.4,
            inner_lr_lr=2e-2,
            outer_lr=2e-3,
            n_epochs=10,
        ),
        validation=ValidationOptions(validation_interval=7),
    ),
    ("HalfCheetahDirection-v0", "MAML"): Preset(
        total_timesteps=600_000,
        base=BaseLearner(log_std_init=-0.7),
        config=MAMLConfig(meta_batch_size=4, episodes_per_task=12, outer_lr=1.5e-3),
        validation=ValidationOptions(validation_interval=6),
    ),
    ("CartPole-v0", "MAML"): Preset(
        total_timesteps=500_000,
        base=BaseLearner(gae_lambda=0.95, log_std_init=-0.7),
        config=MAMLConfig(meta_batch_size=20, episodes_per_task=10, outer_lr=1.5e-3),
        validation=ValidationOptions(validation_interval=4),
    ),
    ("A1Locomotion-v0", "MAML"): Preset(
        total_timesteps=500_000,
        base=BaseLearner(gamma=0.95, gae_lambda=0.9, log_std_init=-0.7),
        config=MAMLConfig(meta_batch_size=10, episodes_per_task=10, outer_lr=1.5e-3),
        validation=ValidationOptions(validation_interval=6),
    ),
    ("CartPoleSwingUp-v0", "MAML"): Preset(
        total_timesteps=2_000_000,
        base=BaseLearner(gamma=0.97, gae_lambda=0.95, log_std_init=-0.5),
        config=MAMLConfig(
            meta_batch_size=10,
            episodes_per_task=10,
            inner_lr=1.0,
            inner_lr_lr=5e-2,
            inner_lr_per_parameter=True,
            outer_lr=3e-3,
        ),
        validation=ValidationOptions(validation_interval=10),
    ),
}
"""By the family's id and the meta-learner's name."""


def preset(family: str, learner: str = "MAML") -> Preset:
    """Return the preset of a family and a learner; the learner's defaults over the family's base learner if none."""
    if (family, learner) in PRESETS:
        return PRESETS[family, learner]
    start = PRESETS.get((family, "MAML"), Preset())
    if learner not in meta.LEARNERS:
        return start
    return dataclasses.replace(start, config=meta.LEARNERS[learner].Config())
