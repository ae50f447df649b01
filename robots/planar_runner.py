"""What planar runners have in common: a torso that slides and turns in the plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from metamotor.robots.planar_model import PlanarModel
from metamotor.robots.runner import Runner
from metamotor.robots.simulator import Camera, JointState


class PlanarRunner(Runner):
    """A planar robot on level ground, facing +x."""

    MODEL: ClassVar[PlanarModel]
    ROOT: ClassVar[tuple[str, ...]] = ("rootx", "rootz", "rooty")
    """Where the torso is: forwards [m], upwards from the model's root height [m], pitch, nose down [rad]."""
    REST: ClassVar[tuple[float, ...]]
    """Root joints when it stands in the neutral stance [m, m, rad]."""

    def __init__(self, *, gui: bool = False) -> None:
        super().__init__(gui=gui)
        self.reset((*self.REST, *self.NEUTRAL))

    def _load(self) -> tuple[int, Sequence[int]]:
        simulator = self.simulator
        body = simulator.load_urdf_text(self.MODEL.urdf(), fixed_base=True, own_inertia=True)
        simulator.joints(body, self.ROOT).use_forces()
        self.joints = simulator.joints(body, (*self.ROOT, *self.JOINTS))
        # The root's sliders carry massless links.
        return body, self.joints.links[2:]

    def reset(self, positions: Sequence[float]) -> None:
        """Put it at rest, its motors holding the pose.

        Args:
            positions: of the root joints [m, m, rad] and the hinges [rad].
        """
        self.simulator.forget_contacts()
        self.joints.reset(positions)
        self._hinges.command(positions[len(self.ROOT) :])

    def read(self) -> Sequence[JointState]:
        """Return the state of each joint, the root's first."""
        return self.joints.read()

    def camera(self) -> Camera:
        """Return a camera beside the torso."""
        _, y, z = self.CAMERA.target
        return replace(self.CAMERA, target=(self.read()[0][0], y, z))
