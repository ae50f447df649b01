"""A trot for the A1: from a velocity to joint targets, by closed formulas over plain floats.

Diagonal legs move together, the two pairs half a cycle apart. A leg in stance moves its foot back as fast as the trunk
shall move forwards. A leg in swing brings its foot from where it lifted off to where the next stance shall begin: half
of a stance's way ahead of its neutral place, and farther on the side to which the trunk is faster than it shall be
(Raibert 1986, Legged Robots That Balance, section 2). Nothing here needs a simulator: the same code drives the robot.
"""

from __future__ import annotations

from math import acos, atan2, cos, pi, sin, sqrt

HIP_X = 0.183
"""Distance of the hips from the trunk's middle, forwards and backwards [m]."""
HIP_Y = 0.047
"""The same, sideways [m]."""
ABDUCTION = 0.08505
"""From the hip's axis outwards to the plane in which thigh and shank move [m]."""
SEGMENT = 0.2
"""Length of the thigh, and of the shank down to the middle of the toe [m]."""
SHORTEST = 2 * SEGMENT * cos(2.69653369433 / 2)
"""From the thigh's axis to the toe when the knee is bent to its limit [m]."""
LONGEST = 2 * SEGMENT * cos(0.916297857297 / 2)
"""The same when it is stretched to its limit [m]."""
HEIGHT = 0.25
"""Height of the hips above the middle of a toe in stance [m]."""
BALANCE = 0.08
"""How far aside a foot is put for each m/s that the trunk is too fast [s]. Without it one in two trots under random
commands falls sideways; with a quarter of the period, Raibert's neutral point, it walks sideways a tenth slower."""
LEGS = (("FR", 1, -1), ("FL", 1, 1), ("RR", -1, -1), ("RL", -1, 1))
"""Name of each leg, whether it is in front (1) or behind (-1), and on the left (1) or right (-1)."""
_FEET = tuple(
    (front * HIP_X, side * (HIP_Y + ABDUCTION), side, 0.0 if front * side < 0 else 0.5)
    for _, front, side in LEGS
)
"""Each foot's neutral place in the trunk's frame [m, m], its side, and by how much its phase is ahead."""


def leg_joints(x: float, y: float, z: float, side: int) -> tuple[float, float, float]:
    """Return the joint positions that put a toe somewhere; what is out of reach is approached.

    Args:
        x: from the hip forwards [m].
        y: from the hip to the left [m].
        z: from the hip upwards; the toe must be below it [m].
        side: 1 for a left leg, -1 for a right one.

    Returns:
        Hip, thigh and knee [rad].
    """
    # Seen from the front, the leg is the hypotenuse over the abduction and the leg's plane.
    drop = sqrt(max(y * y + z * z - ABDUCTION * ABDUCTION, SHORTEST * SHORTEST))
    hip = atan2(z, y) + atan2(drop, side * ABDUCTION)
    # Seen from the side, thigh and shank are the equal sides of a triangle.
    length = min(max(sqrt(x * x + drop * drop), SHORTEST), LONGEST)
    bend = acos(length / (2 * SEGMENT))
    return hip, atan2(-x, drop) + bend, -2 * bend


class Trot:
    """The state of a trot: its phase, and where the feet are.

    Args:
        period: of a cycle: a stance and a swing of each leg [s].
    """

    def __init__(self, period: float) -> None:
        self.period = period
        self.reset()

    def reset(self) -> None:
        """Stand with the feet in their neutral places; FR and RL are about to be in stance."""
        self.phase = 0.0
        """Share of the cycle that is over, in [0, 1); FR and RL are in stance in its first half."""
        self._offsets = [(0.0, 0.0)] * len(LEGS)
        self._lift_offs = [(0.0, 0.0)] * len(LEGS)

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
        phase = self.phase + seconds / self.period
        self.phase = phase = phase - 1.0 if phase >= 1.0 else phase
        ahead = self.period / 4
        excess_x = BALANCE * (velocity[0] - forwards)
        excess_y = BALANCE * (velocity[1] - sideways)
        targets: list[float] = []
        torques: list[float] = []
        for leg, (place_x, place_y, side, lead) in enumerate(_FEET):
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
                y += side * ABDUCTION
                hip, thigh, knee = leg_joints(x, y, -HEIGHT, side)
                upright = support * cos(hip)
                torques += (-support * y, upright * x, -upright * SEGMENT * sin(thigh + knee))
            else:
                x, y = self._lift_offs[leg]
                # From 0 to 1, at rest at both ends.
                share = 0.5 + 0.5 * cos(2 * pi * own)
                x += share * (velocity_x * ahead + excess_x - x)
                y += share * (velocity_y * ahead + excess_y - y)
                self._offsets[leg] = (x, y)
                lift = clearance * (0.5 - 0.5 * cos(4 * pi * own))
                hip, thigh, knee = leg_joints(x, y + side * ABDUCTION, lift - HEIGHT, side)
                torques += (0.0, 0.0, 0.0)
            targets += (hip, thigh, knee)
        return targets, torques
