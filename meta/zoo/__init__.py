"""Checkpoints that come with the package: small, ready to be adapted, with the scores that were measured of them.

They lie beside this module, `<family>/<method>.safetensors`, with what was measured in `index.json`. Their weights are
the project's own, trained by `metamotor bench learning`, and under its license.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PREFIX = "zoo:"
"""Stands before the name of a checkpoint where the path of one is expected."""
FOLDER = Path(__file__).parent
INDEX = "index.json"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One checkpoint and what was measured of it: stochastic policies, interquartile means over held-out tasks."""

    family: str
    """Id of the task family."""
    method: str
    """The meta-learner, or the variant of one, that trained it."""
    seed: int
    """Training seed: of several, the one that was best on validation tasks."""
    support_episodes: int
    """Episodes before each update."""
    robot_seconds: float
    """What these take on a robot [s]."""
    returns: tuple[float, ...]
    """Before adaptation, and after each update."""
    best_other: float
    """The best of what needs no meta-training, after one update."""
    oracle: float
    """A policy that is told its task."""
    num_timesteps: int
    """Environment steps of its training."""
    cpu_seconds: float
    """CPU time of its training [s]."""

    @property
    def name(self) -> str:
        """What it is called behind `zoo:`."""
        return name_of(self.family, self.method)

    @property
    def path(self) -> Path:
        """Where it lies."""
        return FOLDER / f"{self.name}.safetensors"


def name_of(family: str, method: str) -> str:
    """Return the name of a family's and a method's checkpoint.

    >>> name_of("PandaReach-v0", "MAML")
    'PandaReach/maml'
    """
    return f"{family.rpartition('-v')[0]}/{method.lower()}"


@cache
def entries() -> Mapping[str, Entry]:
    """Return all checkpoints by name."""
    return read_index(FOLDER)


def read_index(folder: Path) -> dict[str, Entry]:
    """Return what is listed in a folder, by name; nothing where there is no index."""
    index = folder / INDEX
    listed = json.loads(index.read_text()) if index.is_file() else []
    found = [Entry(**{**entry, "returns": tuple(entry["returns"])}) for entry in listed]
    return {entry.name: entry for entry in found}


def is_named(path: str | Path) -> bool:
    """Say whether a path stands for a checkpoint of the zoo."""
    return str(path).startswith(PREFIX)


def path_of(name: str | Path) -> Path:
    """Return the file of `zoo:<family>/<method>`.

    Raises:
        ValueError: if there is no such checkpoint, with those that there are.
    """
    wanted = str(name).removeprefix(PREFIX)
    if wanted not in entries():
        known = ", ".join(entries()) or "none"
        raise ValueError(f"there is no checkpoint {PREFIX}{wanted} in the zoo; there are: {known}")
    return entries()[wanted].path
