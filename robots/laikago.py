"""The Unitree Laikago: a quadruped of 25 kg; `laikago_model` says what it is made of, `quadruped` how it moves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from metamotor.robots.laikago_model import LAIKAGO
from metamotor.robots.properties import Property
from metamotor.robots.quadruped import Quadruped
from metamotor.robots.quadruped_model import urdf
from metamotor.robots.simulator import Camera


class Laikago(Quadruped):
    """A Laikago on a plane, facing +x."""

    LEG = LAIKAGO.leg
    STANCE = LEG.stance()
    MASS = LAIKAGO.mass
    CENTRE_HEIGHT = LAIKAGO.trunk.centre[2]
    TOE_RADIUS = LAIKAGO.toe_radius
    PAYLOAD_SIZE = LAIKAGO.payload_size
    STIFFNESS = 220.0
    """That of the motion imitation code of Peng et al. 2020 (arXiv:2004.00784)."""
    DAMPING = 2.0
    """The same code's, of thighs and knees."""
    MAX_TORQUE = (18.954, 40.0, 40.0)
    """From Unitree's description of the robot."""
    BALANCE = 0.14
    """With the A1's 0.08 it falls when it walks sideways with a load, with 0.17 now and then while it explores."""

    PROPERTIES: ClassVar[Mapping[str, Property]] = Quadruped.walking_properties(STIFFNESS, DAMPING)

    CAMERA = Camera(target=(0.0, 0.0, 0.3), distance=1.9, yaw=40.0, pitch=-20.0)

    @classmethod
    def model(cls) -> str:
        """Return the model as the text of a URDF."""
        return urdf(LAIKAGO)
