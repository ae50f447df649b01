"""What the messages of a log are made of: fields of fixed size, packed, little-endian, described in the file itself.

The description is a ROS 1 message definition (MCAP's schema encoding `ros1msg`, message encoding `ros1`), so that other
tools read the numbers too; nothing of ROS is needed for it. Arrays have a fixed length, and so no count before them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

FORMAT: Final = 1
"""The version of the layout that is written; a reader takes this and older ones."""
PROFILE: Final = "metamotor"
"""Stands in the file's header: whose log it is."""
RUN, POLICY, EPISODE, STEP, END = "/run", "/policy", "/episode", "/step", "/end"
"""The topics: what was run, a policy from now on, an episode begins, one step, an episode has ended."""
JSON_TOPICS: Final = (RUN, POLICY, EPISODE)

NUMBERS: Final[Mapping[str, str]] = {
    "bool": "?",
    "uint16": "<u2",
    "uint32": "<u4",
    "int64": "<i8",
    "float32": "<f4",
    "float64": "<f8",
}
"""Types of a field, and what numpy calls them."""
MAX_LENGTH: Final = 1_000_000
"""Numbers in one field; more is no robot."""
_LINE = re.compile(r"(\w+)(?:\[(\d+)\])? (\w+)")


def step_definition(observation: str, action: str) -> str:
    """Return the definition of a step.

    Args:
        observation: type and length of an observation, such as "float32[48]".
        action: of an action, such as "float32[12]".
    """
    return (
        "# One step: what was seen, what was done, and what came of it.\n"
        "int64 observed_ns  # when the observation was complete, by the monotonic clock\n"
        "int64 acted_ns  # when the action was handed over\n"
        "uint32 episode\n"
        "uint32 step\n"
        "uint16 policy  # number of the last message of /policy that counts\n"
        "bool terminated  # the episode ended by itself with this step\n"
        "bool truncated  # it was cut off behind this step\n"
        "float64 reward\n"
        "float64 log_prob  # of the action; NaN: not known\n"
        f"{observation} observation\n"
        f"{action} action  # as the policy chose it\n"
        f"{action} applied  # as the robot got it\n"
    )


def end_definition(observation: str) -> str:
    """Return the definition of an episode's end; see `step_definition`."""
    return (
        "# The end of an episode.\n"
        "uint32 episode\n"
        "uint32 steps\n"
        "bool observed  # whether the last observation is known\n"
        "int64 observed_ns\n"
        f"{observation} observation  # behind the last step\n"
    )


STEP_FIELDS: Final[Mapping[str, str | None]] = {
    "observed_ns": "int64",
    "acted_ns": "int64",
    "episode": "uint32",
    "step": "uint32",
    "policy": "uint16",
    "terminated": "bool",
    "truncated": "bool",
    "reward": "float64",
    "log_prob": "float64",
    "observation": None,
    "action": None,
    "applied": None,
}
"""What a reader needs of a step, and of which type; None: any number, as an array."""
END_FIELDS: Final[Mapping[str, str | None]] = {
    "episode": "uint32",
    "steps": "uint32",
    "observed": "bool",
    "observed_ns": "int64",
    "observation": None,
}


def read_definition(text: str, fields: Mapping[str, str | None]) -> np.dtype[Any]:
    """Return the layout that a definition describes.

    Args:
        text: of the definition.
        fields: those that must be in it, with their types.

    Raises:
        ValueError: naming the line that is not understood, or the field that is missing.
    """
    found: list[tuple[Any, ...]] = []
    for line in text.splitlines():
        code = line.split("#")[0].strip()
        if not code:
            continue
        match = _LINE.fullmatch(code)
        if match is None or match[1] not in NUMBERS:
            raise ValueError(f"its schema has a line that is not understood: {code!r}")
        length = None if match[2] is None else int(match[2])
        if length is not None and not 1 <= length <= MAX_LENGTH:
            raise ValueError(f"its schema has an array of {length} numbers: {code!r}")
        kind = NUMBERS[match[1]]
        found.append((match[3], kind) if length is None else (match[3], kind, (length,)))
    try:
        layout = np.dtype(found)
    except ValueError as error:
        raise ValueError(f"its schema is no layout: {error}") from None
    for name, expected in fields.items():
        if name not in (layout.names or ()) or (layout[name].shape == ()) != (expected is not None):
            raise ValueError(f"its schema lacks {name}, or has it in another shape")
        if expected is not None and layout[name] != np.dtype(NUMBERS[expected]):
            raise ValueError(f"its schema has {name} as {layout[name]}, expected {expected}")
    return layout
