"""A trot for quadrupeds: from a velocity to joint targets, by closed formulas over plain floats.

Diagonal legs move together, the two pairs half a cycle apart. A leg in stance moves its foot back as fast as the trunk
shall move forwards. A leg in swing brings its foot from where it lifted off to where the next stance shall begin: half
of a stance's way ahead of its neutral place, and farther on the side to which the trunk is faster than it shall be
(Raibert 1986, Legged Robots That Balance, section 2). Nothing here needs a simulator: the same code drives the robot.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import acos, atan2, cos, hypot, pi, sin, sqrt

LEGS = (("FR", 1, -1), ("FL", 1, 1), ("RR", -1, -1), ("RL", -1, 1))
"""Name of each leg, whether it is in front (1) or behind (-1), and on the left (1) or right (-1)."""


@dataclass(frozen=True)
class Leg:
    """The geometry of four legs of three joints, each other's mirror images.

    The hip turns about the x axis, thigh and knee about the y axis; at zero a leg points straight down.
    """

    hip_x: float
    """Distance of the hips from the trunk's middle, forwards and backwards [m]."""
    hip_y: float
    """The same, sideways [m]."""
    abduction: float
    """From the hip's axis outwards to the plane in which thigh and shank move [m]."""
    thigh: float
    """Length of the thigh [m]."""
    shank: float
    """Length of the shank, down to the middle of the toe [m]."""
    shortest: float
    """From the thigh's axis to the toe when the knee is bent to its limit [m]."""
    longest: float
    """The same when it is stretched to its limit [m]."""
    height: float
    """Height of the hips above the middle of a toe in stance [m]."""

    def joints(self, x: float, y: float, z: float, side: int) -> tuple[float, float, float]:
        """Return the joint positions that put a toe somewhere; what is out of reach is approached.

        Args:
            x: from the hip forwards [m].
            y: from the hip to the left [m].
            z: from the hip upwards; the toe must be below it [m].
            side: 1 for a left leg, -1 for a right one.

        Returns:
            Hip, thigh and knee [rad].
        """
        abduction, shortest = self.abduction, self.shortest
        # Seen from the front, the leg is the hypotenuse over the abduction and the leg's plane.
        drop = sqrt(max(y * y + z * z - abduction * abduction, shortest * shortest))
        hip = atan2(z, y) + atan2(drop, side * abduction)
        # Seen from the side, thigh and shank are two sides of a triangle (law of cosines).
        length = min(max(sqrt(x * x + drop * drop), shortest), self.longest)
        thigh, shank = self.thigh, self.shank
        longer = (thigh * thigh - shank * shank) / length
        bend = acos((length + longer) / (2 * thigh))
        return hip, atan2(-x, drop) + bend, -(bend + acos((length - longer) / (2 * shank)))

    def stance(self) -> tuple[float, ...]:
        """Return the joint positions of standing, in the order of `LEGS` [rad]."""
        return tuple(
            angle
            for _, _, side in LEGS
            for angle in self.joints(0.0, side * self.abduction, -self.height, side)
        )


def reach(thigh: float, shank: float, knee: float) -> float:
    """Return how far the toe is from the thigh's axis [m].

    Args:
        thigh: its length [m].
        shank: its length [m].
        knee: how far it is bent [rad].
    """
    # The law of cosines, told by half of the angle.
    return hypot(thigh - shank, 2 * sqrt(thigh * shank) * cos(knee / 2))


class Trot:
    """The state of a trot: its phase, and where the feet are.

    Args:
        period: of a cycle: a stance and a swing of each leg [s].
        leg: what the legs are like.
        balance: how far aside a foot is put for each m/s that the trunk is too fast [s].
    """

    def __init__(self, period: float, leg: Leg, balance: float) -> None:
        self.period = period
        self.leg = leg
        self.balance = balance
        # Each foot's neutral place in the trunk's frame [m, m], its side, and by how much its phase is ahead.
        self._feet = tuple(
            (
                front * leg.hip_x,
                side * (leg.hip_y + leg.abduction),
                side,
                0.0 if front * side < 0 else 0.5,
            )
            for _, front, side in LEGS
        )
        self.reset()

    def reset(self) -> None:
        """Stand with the feet in their neutral places; FR and RL are about to be in stance."""
        self.phase = 0.0
        """Share of the cycle that is over, in [0, 1); FR and RL are in stance in its first half."""
        self._offsets = [(0.0, 0.0)] * len(LEGS)
        self._lift_offs = [(0.0, 0.0)] * len(LEGS)

    def tick(self, seconds: float) -> float:
        """Let time pass for the phase alone, and return it; `seconds` are less than the period [s]."""
        phase = self.phase + seconds / self.period
        self.phase = phase = phase - 1.0 if phase >= 1.0 else phase
        return phase

    def advance(
        self,
        seconds: float,
        *,
        forwards: float,
        sideways: float,
        turn: float,
        clearance: float,
        support: float,
        velocity: tuple[float, float],
    ) -> tuple[list[float], list[float]]:
        """Let time pass and return joint targets [rad] and torques [N·m] at its end, both in the order of `LEGS`.

        The torques are what holds the support force at a toe in stance, τ = −Jᵀ F; motors add them to what they do
        about their position error, which stays small then.

        Args:
            seconds: much less than half of the period [s].
            forwards: velocity wanted [m/s].
            sideways: velocity wanted to the left [m/s].
            turn: yaw rate wanted, to the left [rad/s].
            clearance: how high a foot is lifted in the middle of its swing [m].
            support: upwards force of the ground on a foot in stance [N].
            velocity: of the trunk, forwards and to the left [m/s].

        Returns:
            Two lists of twelve: hip, thigh and knee of each leg.
        """
        phase = self.tick(seconds)
        ahead, geometry = self.period / 4, self.leg
        abduction, height, shank = geometry.abduction, geometry.height, geometry.shank
        balance = self.balance
        excess_x = balance * (velocity[0] - forwards)
        excess_y = balance * (velocity[1] - sideways)
        targets: list[float] = []
        torques: list[float] = []
        for leg, (place_x, place_y, side, lead) in enumerate(self._feet):
            own = phase + lead
            own = own - 1.0 if own >= 1.0 else own
            # How fast the ground shall pass below the foot.
            velocity_x = forwards - turn * place_y
            velocity_y = sideways + turn * place_x
            if own < 0.5:
                x, y = self._offsets[leg]
                x -= velocity_x * seconds
                y -= velocity_y * seconds
                self._lift_offs[leg] = self._offsets[leg] = (x, y)
                y += side * abduction
                hip, thigh, knee = geometry.joints(x, y, -height, side)
                upright = support * cos(hip)
                torques += (-support * y, upright * x, -upright * shank * sin(thigh + knee))
            else:
                x, y = self._lift_offs[leg]
                # From 0 to 1, at rest at both ends.
                share = 0.5 + 0.5 * cos(2 * pi * own)
                x += share * (velocity_x * ahead + excess_x - x)
                y += share * (velocity_y * ahead + excess_y - y)
                self._offsets[leg] = (x, y)
                lift = clearance * (0.5 - 0.5 * cos(4 * pi * own))
                hip, thigh, knee = geometry.joints(x, y + side * abduction, lift - height, side)
                torques += (0.0, 0.0, 0.0)
            targets += (hip, thigh, knee)
        return targets, torques
