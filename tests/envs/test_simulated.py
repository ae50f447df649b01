"""What the simulated families add: determinism whatever happened before, recovery, pictures."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest

from metamotor import envs
from metamotor.robots.simulator import BaseState, BodyState

HAS_MUJOCO = find_spec("mujoco") is not None
SIMULATED = [
    (name, physics)
    for name, family in envs.FAMILIES.items()
    for physics in family.engines
    if physics != "numpy" and (HAS_MUJOCO or physics != "mujoco")
]


def fingerprint(env: Any, seed: int = 3) -> str:
    """A hash of all bits of an episode: what is observed, what is earned, and the robot's whole state."""
    digest = hashlib.sha256()
    task = env.family.sample(1, split="test", seed=seed)[0]
    observation, _ = env.reset(seed=seed, options={"task": task})
    generator = np.random.default_rng(seed)
    ended = False
    while not ended:
        action = 0.5 * generator.standard_normal(env.action_space.shape)
        observation, reward, terminated, truncated, _ = env.step(action)
        digest.update(observation.tobytes() + np.float64(reward).tobytes())
        digest.update(repr(env.robot.simulator.body(env.robot.body).state()).encode())
        ended = terminated or truncated
    return digest.hexdigest()


def fingerprint_of(variant: tuple[str, str]) -> str:
    """The same of a family in a physics, in whatever process calls it."""
    name, physics = variant
    return fingerprint(envs.make(name, physics=physics).make_env())


def frame_of(env: Any) -> Any:
    """A frame, where anything can be drawn: MuJoCo without a display needs EGL."""
    try:
        return env.render()
    except OSError as error:
        if env.family.physics != "mujoco":
            raise
        pytest.skip(str(error))


def disturb(env: Any, seed: int) -> None:
    """Do something else for a random while, and leave in the middle of it."""
    generator = np.random.default_rng(seed)
    env.reset(seed=seed, options={"task": env.family.sample(1, split="out_of_range", seed=seed)[0]})
    for _ in range(int(generator.integers(1, env.family.horizon))):
        if env.step(generator.uniform(-1, 1, env.action_space.shape))[2]:
            env.reset()


@pytest.fixture(params=SIMULATED, ids="-".join)
def env(request: pytest.FixtureRequest) -> Iterator[Any]:
    name, physics = request.param
    env = envs.make(name, physics=physics).make_env()
    yield env
    env.close()


class TestDeterminism:
    def test_an_episode_does_not_depend_on_those_before(self, env: Any) -> None:
        expected = fingerprint(env)
        for seed in range(4):
            disturb(env, seed)
            assert fingerprint(env) == expected

    @pytest.mark.parametrize(
        "name",
        [
            "A1Locomotion-v0",
            "AntDirection-v0",
            "HalfCheetahDirection-v0",
            "HopperDynamics-v0",
            "MinitaurBattery-v0",
            "HuskyTraction-v0",
            "LaikagoLocomotion-v0",
            "MiniCheetahLocomotion-v0",
            "A1Terrain-v0",
            "RacecarDrift-v0",
        ],
    )
    def test_runners_are_in_contact_meanwhile(self, name: str) -> None:
        env = envs.make(name).make_env()
        fingerprint(env)
        assert env.robot.simulator.contact_count(env.robot.body) > 0  # type: ignore[attr-defined]
        env.close()

    def test_drawing_changes_nothing(self, env: Any) -> None:
        expected = fingerprint(env)
        drawn = env.family.make_env(render_mode="rgb_array")
        drawn.reset(seed=0)
        frame_of(drawn)
        assert fingerprint(drawn) == expected
        drawn.close()

    def test_a_new_process_gives_the_same_bits(self) -> None:
        # Unlike a multiprocessing.Pool it does not wait for ever where the process cannot import this module.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            elsewhere = list(pool.map(fingerprint_of, SIMULATED))
        assert elsewhere == [fingerprint_of(variant) for variant in SIMULATED]


class TestBlowingUp:
    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_is_reported_and_leaves_no_trace(self, env: Any, value: float) -> None:
        expected = fingerprint(env)
        env.reset(seed=0)
        body = env.robot.simulator.body(env.robot.body)
        joints = (value,) * len(body.state().joint_positions)
        vector = (value, value, value)
        base = BaseState(vector, (*vector, value), vector, vector)
        body.restore(BodyState(base, joints, joints))
        still = np.zeros(env.family.action_space.shape)
        with pytest.raises(FloatingPointError, match=f"{env.family.name} blew up in step 1"):
            env.step(still)
        with pytest.raises(RuntimeError, match="reset"):
            env.step(still)
        assert fingerprint(env) == expected


class TestWindow:
    def test_is_opened_for_people(self, env: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        if env.family.physics == "mujoco":
            with pytest.raises(ValueError, match="opens no window"):
                env.family.make_env(render_mode="human")
            return
        from metamotor.robots.simulator.engine import pybullet

        connect, asked = pybullet.connect, []

        def invisible(mode: int) -> int:
            asked.append(mode)
            return int(connect(pybullet.DIRECT))

        monkeypatch.setattr(pybullet, "connect", invisible)
        monkeypatch.setenv("DISPLAY", ":0")
        shown = env.family.replace(horizon=3).make_env(render_mode="human")
        assert asked == [pybullet.GUI]
        shown.reset(seed=0)
        start = time.perf_counter()
        for _ in range(3):
            shown.step(np.zeros(env.family.action_space.shape))
        assert time.perf_counter() - start > 2 * env.family.dt
        assert shown.render() is None, "a window draws itself"
        shown.close()


class TestRender:
    def test_gives_frames_when_asked(self, env: Any) -> None:
        env.reset(seed=0)
        assert env.render() is None
        drawn = env.family.make_env(render_mode="rgb_array")
        drawn.reset(seed=0)
        frame = frame_of(drawn)
        assert frame.shape == (240, 320, 3)
        assert frame.dtype == np.uint8
        drawn.close()

    def test_shows_the_goal_of_a_reach_in_red(self) -> None:
        env: Any = envs.make("PandaReach-v0").make_env(render_mode="rgb_array")
        places = set()
        for goal in ((0.55, 0.1, 0.6), (0.5, -0.2, 0.25), (0.6, 0.0, 0.25)):  # not behind the arm
            env.reset(seed=0, options={"task": env.family.task_type(*goal)})
            frame = env.render().astype(int)
            red = np.argwhere(frame[:, :, 0] - frame[:, :, 1] > 60)
            assert len(red) > 5
            places.add(tuple(red.mean(axis=0).round()))
        assert len(places) == 3
        env.close()
