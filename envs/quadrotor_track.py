"""Tracking: a quadrotor must follow a figure of eight, whatever it carries, and whatever blows.

What is hidden, action, observation, reward and end are in `quadrotor_flight`. Where the vehicle should be goes round x
= sin φ, y = ½ sin 2φ [m], 2 m above the ground, once in 8 s: at up to 1.1 m/s. It is observed: beside the way to go,
where it will be in 0.2 and 0.4 s, from where it is. An episode has 125 steps of 0.04 s. It starts at a random φ, up to
0.3 m away from the figure along x and y by its estimate, level, with the velocity that it should have. With all actions
at zero the vehicle drifts away or sinks: of 125 that could be earned it gets about 10.
"""

from __future__ import annotations

from math import cos, pi, sin
from typing import ClassVar

from metamotor.envs.core import Array, Signal, TaskFamily
from metamotor.envs.quadrotor_flight import (
    ACTION_SIGNALS,
    OBSERVATION_SIGNALS,
    PARAMETERS,
    POSITION_UNIT,
    REWARD_TERMS,
    QuadrotorEnv,
    QuadrotorTask,
)
from metamotor.robots.quadrotor import Quadrotor
from metamotor.robots.simulator import Vector

LENGTH = 1.0
"""Half the length of the figure, along x [m]."""
WIDTH = 0.5
"""Half its width, along y [m]."""
HEIGHT = 2.0
"""Above the ground [m]."""
RATE = 2 * pi / 8.0
"""How fast φ grows [rad/s]."""
AHEAD = (0.2, 0.4)
"""How much later it will be where the preview says [s]."""
START_OFFSET = 0.3
"""Farthest that it starts from the figure along x and y [m]."""


def place(phase: float) -> Vector:
    """Return where the figure is at φ [m]."""
    return (LENGTH * sin(phase), WIDTH * sin(2 * phase), HEIGHT)


def pace(phase: float) -> Vector:
    """Return how fast the figure is flown at φ [m/s]."""
    return (LENGTH * RATE * cos(phase), 2 * WIDTH * RATE * cos(2 * phase), 0.0)


class QuadrotorTrackEnv(QuadrotorEnv):
    """One quadrotor that should fly a figure of eight."""

    def __init__(self, family: QuadrotorTrack, render_mode: str | None = None) -> None:
        super().__init__(family, render_mode)
        self._phase = 0.0

    def _begin(self) -> Array:
        self._phase = float(self.np_random.uniform(-pi, pi))
        self._goal, self._pace = place(self._phase), pace(self._phase)
        x, y = self.np_random.uniform(-START_OFFSET, START_OFFSET, size=2).tolist()
        # By its estimate, so that the first observation does not tell how far off that is.
        x, y = x - self.task.error_x, y - self.task.error_y
        self.robot.reset((self._goal[0] + x, self._goal[1] + y, HEIGHT), self._pace)
        return self._observe(self.robot.read())

    def _aim(self) -> None:
        self._phase += RATE * self.family.dt
        self._goal, self._pace = place(self._phase), pace(self._phase)

    def _foresee(self, cosine: float, sine: float) -> list[float]:
        numbers = []
        for later in AHEAD:
            ahead = place(self._phase + RATE * later)
            x, y = ahead[0] - self._goal[0], ahead[1] - self._goal[1]
            numbers += [
                (cosine * x + sine * y) / POSITION_UNIT,
                (cosine * y - sine * x) / POSITION_UNIT,
            ]
        return numbers


class QuadrotorTrack(TaskFamily):
    """Follow a figure of eight; see the module's docstring for the protocol."""

    name = "QuadrotorTrack-v0"
    task_type = QuadrotorTask
    dt = Quadrotor.TIME_STEP * Quadrotor.SUBSTEPS
    default_horizon = 125
    parameters: ClassVar = PARAMETERS
    observation_signals = (
        *OBSERVATION_SIGNALS,
        *(
            Signal(f"ahead_{later}.{axis}", f"{POSITION_UNIT} m", -10.0, 10.0)
            for later in AHEAD
            for axis in ("x", "y")
        ),
    )
    action_signals = ACTION_SIGNALS
    reward_terms = REWARD_TERMS

    def make_env(self, *, render_mode: str | None = None) -> QuadrotorTrackEnv:
        """Return one quadrotor."""
        return QuadrotorTrackEnv(self, render_mode)
