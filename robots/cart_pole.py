"""A pole hinged to a cart that a force drives along a rail.

Model: `cartpole.urdf` of pybullet_data, which notes no licence for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from metamotor.robots.properties import Property
from metamotor.robots.robot import Robot
from metamotor.robots.simulator import Camera, JointState, data_path


class CartPole(Robot):
    """A uniform rod on a cart."""

    MODEL: ClassVar[str] = "cartpole.urdf"
    JOINTS: ClassVar[tuple[str, ...]] = ("slider_to_cart", "cart_to_pole")
    """Where the cart is [m], and the pole's angle from upright, leaning forwards [rad]."""
    CENTRE: ClassVar[float] = 0.5
    """Distance of the pole's centre of mass from the hinge in the model file [m]."""
    SHORTEST: ClassVar[float] = 1.55 * CENTRE
    """Length of a rod that can be expressed with that centre of mass; the limit is 1.5 times it [m]."""
    PROPERTIES: ClassVar[Mapping[str, Property]] = {
        "pole_length": Property("m", 1.0, SHORTEST),
        "pole_mass": Property("kg", 0.1, 1e-3),
        "cart_mass": Property("kg", 1.0, 1e-3),
    }
    """Of the rod, and of the cart."""

    TIME_STEP = 1 / 200
    """[s]. On the training tasks of `CartPole-v0`, after 0.4 s of a constant force that their motors have, velocities
    are exact to 0.3 %, and positions to what is passed in 0.6 steps."""
    SUBSTEPS = 4
    SOLVER_ITERATIONS = 10
    """Nothing to solve: there are no contacts, and no motors but the force."""
    CAMERA = Camera(target=(0.0, 0.0, 0.4), distance=3.5, yaw=0.0, pitch=-10.0)

    def __init__(self, *, gui: bool = False) -> None:
        super().__init__(gui=gui)
        self.body = self.simulator.load_urdf(data_path(self.MODEL), fixed_base=True)
        self.joints = self.simulator.joints(self.body, self.JOINTS)
        self.joints.use_forces()
        # What drives it is one joint, which the engine takes half as long to be told as two.
        self.motor = self.simulator.joints(self.body, self.JOINTS[:1])
        self.motor.use_forces()
        self._cart, self._pole = self.joints.links
        for link in self.joints.links:
            self.simulator.set_dynamics(
                self.body, link, linearDamping=0.0, angularDamping=0.0, jointDamping=0.0
            )
        self._configured(self.properties)

    def _configured(self, changed: Mapping[str, float]) -> None:
        """Put a uniform rod on a cart.

        The engine cannot move a link's centre of mass, and need not: with the total mass, the pole's first moment
        about the hinge and its second moment about the hinge, the equations of motion are complete. A rod of length L
        and mass µ on a cart of mass M moves as a pole with the model's centre at c does if the pole has the mass
        m = µ (L/2) / c and the moment of inertia µ L²/3 − m c², and the cart the mass M + µ − m.

        Raises:
            ValueError: if no such link exists, because the cart is too light.
        """
        now = self.properties
        pole_length, pole_mass, cart_mass = now["pole_length"], now["pole_mass"], now["cart_mass"]
        pole = pole_mass * pole_length / (2 * self.CENTRE)
        moment = pole_mass * pole_length**2 / 3 - pole * self.CENTRE**2
        cart = cart_mass + pole_mass - pole
        if not cart > 0:
            raise ValueError(f"a cart of {cart_mass!r} kg is too light for this pole")
        simulator, body = self.simulator, self.body
        simulator.set_dynamics(body, self._cart, mass=cart)
        simulator.set_dynamics(body, self._pole, mass=pole, localInertiaDiagonal=(moment,) * 3)

    def reset(self, position: float, angle: float, speed: float = 0.0, rate: float = 0.0) -> None:
        """Put the cart [m] and the pole [rad], moving at a speed [m/s] and a rate [rad/s]."""
        self.simulator.forget_contacts()
        self.joints.reset((position, angle), (speed, rate))

    def read(self) -> tuple[JointState, JointState]:
        """Return the state of the cart's and of the pole's joint."""
        cart, pole = self.joints.read()
        return cart, pole

    def push(self, force: float) -> None:
        """Let one control period pass with a force on the cart [N]."""
        self.simulator.step(self.SUBSTEPS, self.motor.command, (force,))

    def excite(self, generator: np.random.Generator) -> None:
        """Start anew from a random lean (a force would be gone after one step)."""
        self.reset(0.0, float(generator.uniform(-0.3, 0.3)))
