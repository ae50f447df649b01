"""Meta-learners over Stable-Baselines3 algorithms.

Names are looked up when they are first used: a rollout worker, which runs policies in numpy, then starts without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metamotor.meta.es import ES, ESConfig
    from metamotor.meta.learner import MetaLearner
    from metamotor.meta.maml import MAML, MAMLConfig
    from metamotor.meta.mpo import MPO, MPOConfig
    from metamotor.meta.reptile import Reptile, ReptileConfig

_MODULES = {
    "ES": "es",
    "ESConfig": "es",
    "MAML": "maml",
    "MAMLConfig": "maml",
    "MPO": "mpo",
    "MPOConfig": "mpo",
    "MetaLearner": "learner",
    "Reptile": "reptile",
    "ReptileConfig": "reptile",
}
_LEARNERS = ("MAML", "Reptile", "ES", "MPO")


def __getattr__(name: str) -> Any:
    if name == "LEARNERS":
        return {learner: __getattr__(learner) for learner in _LEARNERS}
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


__all__ = [
    "ES",
    "MAML",
    "MPO",
    "ESConfig",
    "MAMLConfig",
    "MPOConfig",
    "MetaLearner",
    "Reptile",
    "ReptileConfig",
]
