"""Try the metamotor installed beside this interpreter; `smoke` calls it outside the checkout.

Arguments: `full` or `robot`, and the version to expect. Standard input: the files that must be installed.
"""

import importlib
import importlib.metadata
import pkgutil
import sys
from pathlib import Path

import metamotor

EXTRA = "metamotor.robots.mujoco"
"""What needs more than the package asks for."""


def check_installation(version: str, files: list[str]) -> None:
    """Check where metamotor lies, its version, and that it is complete."""
    root = Path(metamotor.__file__).parent
    assert root.is_relative_to(Path(sys.prefix).resolve()), f"{root} is not in {sys.prefix}"
    assert metamotor.__version__ == version == importlib.metadata.version("metamotor")
    missing = [name for name in [*files, "py.typed"] if not (root / name).is_file()]
    assert not missing, f"not installed: {missing}"


def check_everything() -> None:
    """Import every module, and step an environment of every family."""
    for module in pkgutil.walk_packages(metamotor.__path__, "metamotor."):
        if not module.name.endswith(".__main__") and not module.name.startswith(EXTRA):
            importlib.import_module(module.name)

    from metamotor import envs

    assert "PointNavigation-v0" in envs.FAMILIES
    for name in envs.FAMILIES:
        env = envs.make(name).make_env()
        env.reset(seed=0)
        observation, *_ = env.step(env.action_space.sample())
        assert env.observation_space.contains(observation), f"{name}: {observation}"
        env.close()
    try:
        envs.make("PandaReach-v0", physics="mujoco").make_env()
    except ImportError as error:
        told = str(error)
    else:
        told = "nothing: MuJoCo is here, which is an extra"
    assert "pip install metamotor[mujoco]" in told, told


def export_policy(path: Path) -> None:
    """Write the policy file that `run_policy` runs."""
    from stable_baselines3 import PPO

    from metamotor import deploy, envs

    deploy.export(PPO("MlpPolicy", envs.make("PointNavigation-v0").make_env()), path)


def run_policy(path: Path) -> None:
    """Run the exported policy as a robot does, where nothing of what training needs is installed."""
    from metamotor import deploy

    policy = deploy.runtime.Policy(path)
    action = policy([0.0] * policy.observation_size)
    assert action.shape == (policy.action_size,), action


if __name__ == "__main__":
    kind, version = sys.argv[1:]
    check_installation(version, sys.stdin.read().split())
    if kind == "full":
        check_everything()
        export_policy(Path("policy.onnx"))
    else:
        run_policy(Path("policy.onnx"))
