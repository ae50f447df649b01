"""Try the metamotor installed beside this interpreter; `smoke` calls it outside the checkout.

Arguments: `full` or `robot`, and the version to expect. Standard input: the files that must be installed.
"""

import importlib
import importlib.metadata
import pkgutil
import sys
from pathlib import Path

import metamotor


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
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)

    from metamotor import envs

    assert "PointNavigation-v0" in envs.FAMILIES
    for name in envs.FAMILIES:
        env = envs.make(name).make_env()
        env.reset(seed=0)
        observation, *_ = env.step(env.action_space.sample())
        assert env.observation_space.contains(observation), f"{name}: {observation}"
        env.close()


if __name__ == "__main__":
    kind, version = sys.argv[1:]
    check_installation(version, sys.stdin.read().split())
    if kind == "full":
        check_everything()
    else:
        importlib.import_module("metamotor.deploy.runtime")
