"""The Unitree A1: a quadruped of 12.5 kg; `a1_model` says what it is made of, `quadruped` how it moves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from metamotor.robots import a1_model
from metamotor.robots.properties import Property
from metamotor.robots.quadruped import Quadruped
from metamotor.robots.simulator import Camera
from metamotor.robots.trot import Leg, reach


class A1(Quadruped):
    """An A1 on a plane, facing +x."""

    LEG = Leg(
        hip_x=0.183,
        hip_y=0.047,
        abduction=0.08505,
        thigh=0.2,
        shank=0.2,
        shortest=reach(0.2, 0.2, 2.69653369433),
        longest=reach(0.2, 0.2, 0.916297857297),
        height=0.25,
    )
    STANCE = LEG.stance()
    MASS = 12.458
    TOE_RADIUS = 0.02
    PAYLOAD_SIZE = a1_model.PAYLOAD_SIZE
    STIFFNESS = 80.0
    """Between the 55 of RMA (Kumar et al. 2021, arXiv:2107.04034) and the 100 of the motion imitation code of Peng et
    al. 2020 (arXiv:2004.00784), both for the real robot."""
    DAMPING = 1.0
    """0.8 there, and 1 to 2."""
    MAX_TORQUE = (33.5, 33.5, 33.5)
    """From Unitree's data sheet."""
    BALANCE = 0.08
    """Without it one in two trots under random commands falls sideways; with a quarter of the period, Raibert's neutral
    point, it walks sideways a tenth slower."""

    PROPERTIES: ClassVar[Mapping[str, Property]] = Quadruped.walking_properties(STIFFNESS, DAMPING)

    CAMERA = Camera(target=(0.0, 0.0, 0.2), distance=1.3, yaw=40.0, pitch=-20.0)

    @classmethod
    def model(cls) -> str:
        """Return the model as the text of a URDF."""
        return a1_model.urdf()
