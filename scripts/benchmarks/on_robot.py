"""The robot's side of `metamotor bench adaptation`: a program that needs numpy, onnxruntime and deploy.runtime only.

It adapts by a file and then shows what it has become, on a robot that it reaches over its standard input and output:
one line of JSON for each command and each answer. `python on_robot.py adapt.onnx` reads a first line with what to do.
"""

import json
import sys
import time
from typing import Any

import numpy as np

from metamotor.deploy.runtime import AdaptivePolicy

FOREIGN = ("torch", "stable_baselines3", "gymnasium", "pybullet", "onnx", "safetensors")


def ask(**command: Any) -> dict[str, Any]:
    """Return the answer to a command."""
    sys.stdout.write(json.dumps(command) + "\n")
    sys.stdout.flush()
    answer: dict[str, Any] = json.loads(sys.stdin.readline())
    return answer


def observed(answer: dict[str, Any]) -> Any:
    """Return the observation of an answer."""
    return np.array(answer["observation"], np.float32)


def adapt(policy: AdaptivePolicy, task: int) -> float:
    """Collect the episodes of one update and adapt; return how long the update took [ms]."""
    while not policy.ready:
        for seed in policy.episode_seeds:
            observation, over = observed(ask(task=task, reset=seed)), False
            while not over:
                answer = ask(action=policy.act(observation).tolist())
                observation = observed(answer)
                over = policy.observe(answer["reward"], answer["terminated"], answer["truncated"])
    return policy.adapt().milliseconds


def show(policy: AdaptivePolicy, task: int, seeds: list[int]) -> float:
    """Return the mean return of the adapted policy without noise."""
    total = 0.0
    for seed in seeds:
        observation = observed(ask(task=task, reset=seed))
        for _ in range(policy.horizon):
            answer = ask(action=policy(observation).tolist())
            observation, total = observed(answer), total + answer["reward"]
            if answer["terminated"] or answer["truncated"]:
                break
    return total / len(seeds)


def main() -> None:
    """Adapt to each task in turn, and say what came of it."""
    begin = time.perf_counter()
    policy = AdaptivePolicy(sys.argv[1])
    opened = time.perf_counter() - begin
    orders = ask(ready=True)
    returns, milliseconds = [], []
    for task, seed in enumerate(orders["seeds"]):
        policy.seed = seed
        policy.forget()
        milliseconds += [adapt(policy, task) for _ in range(orders["updates"])]
        returns.append(show(policy, task, orders["query_seeds"]))
    ask(
        returns=returns,
        milliseconds=milliseconds,
        opened=opened,
        foreign=[name for name in FOREIGN if name in sys.modules],
    )


if __name__ == "__main__":
    main()
