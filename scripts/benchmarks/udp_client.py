"""The robot's side of `metamotor bench robot`: a control loop that needs numpy, onnxruntime, mcap and deploy only.

It drives a robot behind UDP as it is told to over its standard input, and answers on its standard output: one line of
JSON for each order and each answer. `python udp_client.py '{"adapt": "adapt.onnx", …}'` says what with.
"""

import json
import sys
import time
from typing import Any

from metamotor import deploy
from metamotor.deploy.runtime import (
    AdaptivePolicy,
    ControlLoop,
    Explorer,
    Guard,
    Policy,
    Report,
    UdpRobot,
)

FOREIGN = ("torch", "stable_baselines3", "gymnasium", "pybullet", "onnx", "safetensors")
PERIODS_OLD = 3.0
"""How many periods old an observation may be, as with `metamotor run`."""
ATTEMPTS = 4
"""Times as many episodes as are needed are run at most."""


class Client:
    """Runs episodes on one robot.

    Args:
        told: "adapt", the file; "log", where to record; "host", "port"; "period" [s]; "episodes" of an update;
            "seed" of the noise.
    """

    def __init__(self, told: dict[str, Any]) -> None:
        self.period = float(told["period"])
        policy = AdaptivePolicy(told["adapt"], episodes=told["episodes"], seed=told["seed"])
        self.explorer = Explorer(policy)
        self.robot = UdpRobot(
            (told["host"], told["port"]),
            observation_size=len(policy.observation_names),
            action_size=len(policy.metadata["policy"]["actions"]),
            timeout=20.0,
        )
        self.recorder = deploy.Recorder(
            told["log"], policy=self.explorer, control_period=self.period
        )

    def show(self, policy: str, episodes: int) -> dict[str, Any]:
        """Return what a policy file earns."""
        guard = Guard(Policy(policy), **self._limits())
        loop = ControlLoop(guard, self.robot, period=self.period)
        returns, endings = [], []
        for _ in range(episodes):
            report = loop.run(self.explorer.policy.horizon)
            returns.append(report.return_)
            endings.append(report.ended)
        return {"returns": returns, "endings": endings, **told_of(loop.report)}

    def explore(self, save: str) -> dict[str, Any]:
        """Collect the episodes of one update, recorded; adapt by them, and save the policy.

        Raises:
            OSError: if too many episodes were abandoned.
        """
        explorer, policy = self.explorer, self.explorer.policy
        guard = Guard(explorer, **self._limits())
        loop = ControlLoop(
            guard, explorer.on(self.robot), period=self.period, recorder=self.recorder
        )
        abandoned = explorer.abandoned
        begin = time.monotonic()
        for _ in range(ATTEMPTS * policy.episodes):
            if policy.ready:
                break
            loop.run(policy.horizon)
        else:
            raise OSError(
                f"of {ATTEMPTS * policy.episodes} episodes only {len(policy.collected)} could be learned from: "
                f"{told_of(loop.report)}"
            )
        adapted = policy.adapt()
        policy.save(save)
        self.recorder.use_policy(explorer)
        return {
            "adapted": adapted._asdict(),
            "abandoned": explorer.abandoned - abandoned,
            "robot_seconds": loop.report.steps * self.period,
            "wall_seconds": time.monotonic() - begin,
            **told_of(loop.report),
        }

    def close(self) -> dict[str, Any]:
        """Finish the log; return what the socket counted."""
        self.recorder.close()
        self.robot.stop()
        return {
            "datagrams": self.robot.counts,
            "steps_recorded": self.recorder.num_steps,
            "foreign": [name for name in FOREIGN if name in sys.modules],
        }

    def _limits(self) -> dict[str, Any]:
        return {"period": self.period, "max_age": PERIODS_OLD * self.period}


def told_of(report: Report) -> dict[str, Any]:
    """Return what is kept of a report."""
    return {
        "steps": report.steps,
        "missed": report.missed,
        "skipped": report.skipped,
        "step_us": report.step._asdict(),
        "inference_us": report.inference._asdict(),
        "guard": dict(report.guard),
        "errors": dict(report.errors),
    }


def main() -> None:
    """Do as told until told to close, or until nobody tells any more."""
    client = Client(json.loads(sys.argv[1]))
    for line in sys.stdin:
        order = json.loads(line)
        match order.pop("order"):
            case "ready":
                answer = {}
            case "show":
                answer = client.show(**order)
            case "explore":
                answer = client.explore(**order)
            case _:
                answer = client.close()
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
