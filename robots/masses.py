"""What the links of a body weigh, to be scaled and set back."""

from __future__ import annotations

from collections.abc import Sequence

from metamotor.robots.simulator import Physics


class Masses:
    """The masses and moments of inertia of some links as they were loaded.

    Args:
        simulator: that the body is in.
        body: its number.
        links: their numbers; −1 is the base.
    """

    def __init__(self, simulator: Physics, body: int, links: Sequence[int]) -> None:
        self._simulator, self._body = simulator, body
        self._loaded = [
            (link, simulator.mass(body, link), simulator.inertia(body, link)) for link in links
        ]

    def scale(self, mass: float, inertia: float) -> None:
        """Set masses to factors of what was loaded; moments of inertia go with them, and by a factor of their own."""
        for link, loaded, moments in self._loaded:
            x, y, z = (mass * inertia * moment for moment in moments)
            self._simulator.set_dynamics(
                self._body, link, mass=mass * loaded, localInertiaDiagonal=(x, y, z)
            )
