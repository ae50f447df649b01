"""The methods that are compared: meta-learners, each with the settings that make it what its name says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from metamotor.scripts.presets import Preset, preset


@dataclass(frozen=True)
class Method:
    """One row of a comparison."""

    learner: str
    """The meta-learner's name."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """What differs from its preset, by the names in its `Config`."""
    changes_on: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What differs besides, by the family's id."""
    about: str = ""
    """What it is, for the page."""

    def preset(self, family: str) -> Preset:
        """Return the settings that it starts from on a family."""
        return preset(family, self.learner)

    def words(self, family: str) -> tuple[str, ...]:
        """Return what has to be typed behind `metamotor train FAMILY`."""
        words = ["--learner", self.learner]
        for name, value in {**self.changes, **self.changes_on.get(family, {})}.items():
            option = name.replace("_", "-")
            if isinstance(value, bool):
                words.append(f"--{option}" if value else f"--no-{option}")
            else:
                words += [f"--{option}", str(value)]
        return tuple(words)


PLAIN = {
    "adapted": "all",
    "context_size": 0,
    "inner_normalize": False,
    "inner_gamma": None,
    "inner_gae_lambda": None,
}
"""Adaptation by plain gradient steps of all parameters, where a preset has another kind."""

METHODS: Mapping[str, Method] = {
    "MAML": Method(
        "MAML",
        about="second order, learned step sizes, clipped outer surrogate",
    ),
    "ProMP": Method(
        "MAML",
        {"learn_inner_lr": False, "kl_coef": 5e-4},
        {
            "HalfCheetahDirection-v0": {**PLAIN, "inner_lr": 0.5, "support_episodes": 8},
            "A1Locomotion-v0": {**PLAIN, "inner_lr": 0.5, "support_episodes": None},
        },
        about="as published (Rothfuss et al. 2019): fixed step size, and a penalty on the KL before adaptation",
    ),
    "FOMAML": Method("MAML", {"first_order": True}, about="MAML without second derivatives"),
    "Reptile": Method("Reptile", about="the base learner's own learning, outer interpolation"),
    "ES": Method("ES", about="evolution strategies on the return after adaptation"),
    "MPO": Method("MPO", about="a recurrent encoder whose hypernetwork writes the policy"),
    "RL2": Method(
        "MPO", {"head": "rl2"}, about="the same encoder acting by itself (Duan et al. 2016)"
    ),
}
"""By the name that tables have."""

STUDIED = (
    "PointNavigation-v0",
    "PandaReach-v0",
    "HalfCheetahDirection-v0",
    "A1Locomotion-v0",
    "CartPoleSwingUp-v0",
)
"""The families that they are compared on."""
