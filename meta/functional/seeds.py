"""Seeds for one purpose each, derived from one seed: the same in a worker, at the desk and on a robot."""

from __future__ import annotations

import numpy as np


def derive_seed(*path: int) -> int:
    """Return a seed for one purpose, independent of those of other paths (`numpy.random.SeedSequence`).

    Args:
        path: what the seed is for, each number below 2³².
    """
    # numpy fills up with zeros: without its length, a path would be the same as one with zeros behind it.
    return int(np.random.SeedSequence((len(path), *path)).generate_state(1)[0])
