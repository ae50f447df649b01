"""An adaptive policy in the control loop: it explores, and is told what came of it.

explorer = deploy.runtime.Explorer(deploy.runtime.AdaptivePolicy("adapt.onnx"))
loop = ControlLoop(Guard(explorer), explorer.on(robot), period=0.02)
while not explorer.policy.ready:
    loop.run(explorer.policy.horizon)
explorer.policy.adapt()
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike, NDArray

from metamotor.deploy.runtime.adaptive import AdaptivePolicy
from metamotor.deploy.runtime.loop import Reading, Robot
from metamotor.deploy.runtime.policy import Sample

_NOTHING = Reading(None, 0)
"""What is heard of a robot that does not answer."""


class Explorer:
    """What a `Guard` asks for actions; `on` gives what the loop drives.

    An episode in which the guard acted without asking, as on a stale observation, is abandoned: what came of its
    actions is not the policy's doing. So is one that ends before the robot or the horizon ends it. The rest of an
    abandoned episode is acted without noise, by the weights of the last update.

    Args:
        policy: collects the episodes; between two of them it may `adapt`.
    """

    def __init__(self, policy: AdaptivePolicy) -> None:
        self.policy = policy
        self.abandoned = 0
        """Episodes that were not collected."""
        self._explores = True
        self._is_asked = False
        self._has_begun = False

    def __call__(self, observation: ArrayLike) -> Sample | NDArray[Any]:
        """Return an action that explores with its log-probability; one without noise if the episode is not collected.

        Raises:
            ValueError: if the observation is not (O,) finite numbers, or nothing was heard since the last action.
        """
        if not self._explores or self.policy.ready:
            return self.policy(observation)
        chosen = self.policy.sample(observation)
        self._is_asked = self._has_begun = True
        return chosen

    def hear(self, reading: Reading) -> None:
        """Take what came of the last action.

        Raises:
            ValueError: if the reward is not finite.
        """
        if not self._explores:
            return
        if self._is_asked:
            over = self.policy.observe(reading.reward, reading.terminated, reading.truncated)
            self._is_asked = False
            if over:
                self._explores = self._has_begun = False
        elif not self.policy.ready:
            self._abandon()
            self._explores = False

    def reset(self) -> None:
        """Begin an episode; one that has not ended is abandoned."""
        if self._has_begun:
            self._abandon()
        self._explores, self._is_asked = True, False

    def on(self, robot: Robot) -> Robot:
        """Return the robot as the loop is to drive it, so that this explorer hears its readings."""
        return _Heard(robot, self)

    @property
    def path(self) -> Path:
        """The policy's file."""
        return self.policy.path

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Of the policy with the weights that it acts by, as `Guard` and `deploy.Recorder` take it."""
        return self.policy.acting_metadata

    @property
    def observation_size(self) -> int:
        """Numbers in one observation, O."""
        return len(self.policy.observation_names)

    def _abandon(self) -> None:
        self.policy.abandon()
        self._is_asked = self._has_begun = False
        self.abandoned += 1


class _Heard:
    """A robot whose readings an explorer hears, before anything is chosen on them."""

    def __init__(self, robot: Robot, explorer: Explorer) -> None:
        self._robot = robot
        self._explorer = explorer

    def __getattr__(self, name: str) -> Any:
        """Return what the robot has besides, such as its counts."""
        return getattr(self._robot, name)

    def reset(self) -> Reading:
        return self._robot.reset()

    def read(self) -> Reading:
        try:
            reading = self._robot.read()
        except Exception:  # counted by the loop, which goes on with the reading before
            self._explorer.hear(_NOTHING)
            raise
        self._explorer.hear(reading if isinstance(reading, Reading) else _NOTHING)
        return reading

    def write(self, action: NDArray[Any]) -> None:
        self._robot.write(action)

    def stop(self) -> None:
        self._robot.stop()
