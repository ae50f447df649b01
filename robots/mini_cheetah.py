"""The MIT Mini Cheetah: a quadruped of 9 kg; `mini_cheetah_model` says what it is made of, `quadruped` how it moves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from metamotor.robots.mini_cheetah_model import GEARS, MINI_CHEETAH, MOTOR_TORQUE, REFLECTED
from metamotor.robots.properties import Property
from metamotor.robots.quadruped import Quadruped
from metamotor.robots.quadruped_model import urdf
from metamotor.robots.simulator import Camera


class MiniCheetah(Quadruped):
    """A Mini Cheetah on a plane, facing +x."""

    LEG = MINI_CHEETAH.leg
    STANCE = LEG.stance()
    MASS = MINI_CHEETAH.mass
    CENTRE_HEIGHT = MINI_CHEETAH.trunk.centre[2]
    TOE_RADIUS = MINI_CHEETAH.toe_radius
    PAYLOAD_SIZE = MINI_CHEETAH.payload_size
    REFLECTED = REFLECTED
    STIFFNESS = 50.0
    """That of MIT's Cheetah-Software for joints, `FSM_State::jointPDControl`."""
    DAMPING = 1.0
    """The same."""
    MAX_TORQUE = (MOTOR_TORQUE * GEARS[0], MOTOR_TORQUE * GEARS[1], MOTOR_TORQUE * GEARS[2])
    """18 N·m of hip and thigh, 28 of the knee."""
    BALANCE = 0.08
    """The A1's."""
    TIME_STEP = 1 / 400
    """At the others' 1/200 s its light legs, damped so much, shake: it does not walk without a payload."""
    SUBSTEPS = 16
    GAIT_SUBSTEPS = 4

    PROPERTIES: ClassVar[Mapping[str, Property]] = {
        **Quadruped.walking_properties(STIFFNESS, DAMPING),
        # Its bearings', from MIT's code; the dry friction of 0.2 N·m there is left out.
        "joint_damping": Property("N·m·s/rad", 0.01, 0.0, 0.2),
    }

    CAMERA = Camera(target=(0.0, 0.0, 0.2), distance=1.3, yaw=40.0, pitch=-20.0)

    @classmethod
    def model(cls) -> str:
        """Return the model as the text of a URDF."""
        return urdf(MINI_CHEETAH)
