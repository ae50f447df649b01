"""Stepping on the spot for bipeds: joint targets from how the trunk is held and moves, by closed formulas.

The legs swing by turns. What keeps the body up is the feedback of SIMBICON (Yin, Loken and van de Panne 2007, ACM
Transactions on Graphics 26(3), 105): the hip of the leg in stance holds the trunk upright, and the leg in swing, held
against the world and not the trunk, is put down farther on the side to which the trunk moves. Nothing here needs a
simulator.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, sin
from typing import NamedTuple

from metamotor.robots.attitude import Attitude


class LegTargets(NamedTuple):
    """Where the joints of a leg shall be [rad]."""

    abduction: float
    """Of the hip, outwards."""
    turn: float
    """Of the hip, outwards."""
    flexion: float
    """Of the hip, thigh forwards."""
    bend: float
    """Of the knee."""


@dataclass(frozen=True)
class Gait:
    """How a biped steps; gains are on what the trunk does."""

    period: float
    """Of a cycle: a swing of each leg [s]."""
    crouch: float
    """Flexion of a leg in stance; the knee bends twice as far [rad]."""
    lift: float
    """How much more the knee of a leg in swing bends [rad]."""
    share: float
    """What share of that its hip flexes."""
    abduction: float
    """Of both legs, outwards [rad]."""
    ahead: float
    """Of the flexion in swing, on velocity [rad·s/m]."""
    aside: float
    """Of the abduction in swing, on velocity [rad·s/m]."""
    pitch: float
    """Of the extension in stance, on pitch."""
    pitch_rate: float
    """The same on its rate [s]."""
    roll: float
    """Of the abduction in stance, on roll."""
    roll_rate: float
    """The same on its rate [s]."""
    yaw: float
    """Of the turn in stance, on yaw."""
    yaw_rate: float
    """The same on its rate [s]."""


class Stepping:
    """The state of a stepping biped: its phase.

    Args:
        gait: how it steps.
    """

    phase: float
    """Share of the cycle that is over, in [0, 1); the left leg swings first."""

    def __init__(self, gait: Gait) -> None:
        self.gait = gait
        self.phase = 0.0

    def advance(self, seconds: float, trunk: Attitude) -> tuple[LegTargets, LegTargets]:
        """Return where the right and the left leg shall be.

        Args:
            seconds: until it is asked again.
            trunk: how the trunk is held and moves.
        """
        swing = sin(2 * pi * self.phase)
        self.phase = (self.phase + seconds / self.gait.period) % 1.0
        return self._leg(max(0.0, -swing), -1.0, trunk), self._leg(max(0.0, swing), 1.0, trunk)

    def _leg(self, swing: float, side: float, trunk: Attitude) -> LegTargets:
        """Return a leg's targets; the side is 1 on the left, −1 on the right."""
        gait = self.gait
        forwards, left, _ = trunk.velocity
        roll_rate, pitch_rate, yaw_rate = trunk.angular_velocity
        # A leg counts as in swing soon after it has left the ground, and as in stance shortly before it comes down.
        free = min(1.0, 3.0 * swing)
        stands = 1.0 - free
        flexion = free * (gait.crouch + gait.share * gait.lift * swing + gait.ahead * forwards)
        flexion += free * trunk.pitch
        flexion += stands * (gait.crouch - gait.pitch * trunk.pitch - gait.pitch_rate * pitch_rate)
        outwards = free * (gait.aside * left - trunk.roll)
        outwards += stands * (gait.roll * trunk.roll + gait.roll_rate * roll_rate)
        turn = stands * (gait.yaw * trunk.yaw + gait.yaw_rate * yaw_rate)
        return LegTargets(
            abduction=gait.abduction + side * outwards,
            turn=side * turn,
            flexion=flexion,
            bend=2 * gait.crouch + gait.lift * swing,
        )
