"""What the quadrupeds with three joints a leg may be told: a trot's velocities, offsets of it, or joint targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metamotor import envs, meta
from metamotor.envs.quadruped_locomotion import (
    ACTIONS,
    CLEARANCE,
    JOINT_UNIT,
    RESIDUAL_UNIT,
    Action,
)
from metamotor.robots import Quadruped
from metamotor.robots.trot import Trot
from tests.envs.test_simulated import disturb, fingerprint

LEGGED = ("A1Locomotion-v0", "LaikagoLocomotion-v0", "MiniCheetahLocomotion-v0", "A1Terrain-v0")
PLAIN: tuple[Action, ...] = ("residual", "joints")


def ahead(family: Any) -> Any:
    """Straight ahead, everything else as easy as it can be."""
    easy = {"motor_strength": 1.0, "knee_strength": 1.0}
    return family.task_type(**{name: easy.get(name, 0.0) for name in family.parameters})


@pytest.mark.parametrize("name", LEGGED)
class TestEveryFamily:
    def test_a_trot_is_the_usual_action_and_is_not_written_down(self, name: str) -> None:
        usual, told = envs.make(name), envs.make(name, action="trot")
        assert usual.config == told.config
        assert "action" not in usual.config
        assert usual.action_space.shape == (5,)

    @pytest.mark.parametrize("action", PLAIN)
    def test_another_one_is_remembered(self, name: str, action: Action) -> None:
        family: Any = envs.make(name, action=action, horizon=9)
        assert family.action_space.shape == (12,)
        assert family.config["action"] == action
        again: Any = envs.make(name, **family.config)
        oracle: Any = family.replace(reveal_task=True)
        assert again.action == oracle.action == action
        unit = RESIDUAL_UNIT if action == "residual" else JOINT_UNIT
        assert {signal.unit for signal in family.action_signals} == {f"{unit} rad"}
        assert [s.name.split(".")[0] for s in family.action_signals] == [*Quadruped.JOINTS]
        assert len(type(family).action_signals) == 5, "those of the class are a trot's"

    def test_an_unknown_one_is_refused_with_those_there_are(self, name: str) -> None:
        message = rf"action of {name} must be one of {', '.join(ACTIONS)}, got 'torque'"
        with pytest.raises(ValueError, match=message):
            envs.make(name, action="torque")


def test_a_checkpoint_remembers_it(tmp_path: Path) -> None:
    family = envs.make("MiniCheetahLocomotion-v0", action="joints", horizon=9)
    learner = meta.MAML("PPO", "MlpPolicy", family)
    learner.save(tmp_path / "learner")
    learner.close()
    loaded = meta.MAML.load(tmp_path / "learner.safetensors")
    assert loaded.family.config == family.config
    assert loaded.family.action_space == family.action_space
    loaded.close()


@pytest.mark.parametrize("action", PLAIN)
@pytest.mark.parametrize("name", LEGGED)
def test_an_episode_does_not_depend_on_those_before(name: str, action: Action) -> None:
    env = envs.make(name, action=action, horizon=25).make_env()
    expected = fingerprint(env)
    disturb(env, 0)
    assert fingerprint(env) == expected
    env.close()


@pytest.mark.parametrize("name", LEGGED)
class TestTargets:
    def test_none_stand_still(self, name: str) -> None:
        env: Any = envs.make(name, action="joints").make_env()
        observation, _ = env.reset(seed=0, options={"task": ahead(env.family)})
        total = sum(env.step(np.zeros(12))[1] for _ in range(30))
        assert abs(total) < 1.5
        assert env.robot.trunk().uprightness > 0.99
        # The clock goes on: 30 periods of 0.04 s are 3 cycles of 0.4 s.
        clock = env.step(np.zeros(12))[0][9:11]
        assert clock == pytest.approx([np.sin(0.2 * np.pi), np.cos(0.2 * np.pi)], abs=1e-4)
        assert observation[9:11] == pytest.approx([0.0, 1.0])
        env.close()

    def test_those_of_a_trot_walk(self, name: str) -> None:
        """A trot outside tells joint targets; its torques are not told, so that it must do with the springs."""
        env: Any = envs.make(name, action="joints").make_env()
        robot = env.robot
        trot = Trot(robot.GAIT_PERIOD, robot.LEG, robot.BALANCE)
        env.reset(seed=0, options={"task": ahead(env.family)})
        for _ in range(50):
            along, left, _ = robot.trunk().velocity
            for _ in range(4):
                targets, _ = trot.advance(
                    0.01,
                    forwards=0.5,
                    sideways=0.0,
                    turn=-2.0 * robot.trunk().yaw,
                    clearance=0.06,
                    support=0.0,
                    velocity=(along, left),
                )
            action = (np.array(targets) - robot.STANCE) / JOINT_UNIT
            assert not env.step(action)[2]
        assert robot.trunk().position[0] > 0.25
        env.close()


class TestResiduals:
    def test_none_leave_the_trot_on_the_spot(self) -> None:
        plain: Any = envs.make("A1Locomotion-v0").make_env()
        about: Any = envs.make("A1Locomotion-v0", action="residual").make_env()
        for env, size in ((plain, 5), (about, 12)):
            env.reset(seed=0, options={"task": ahead(env.family)})
            for _ in range(20):
                env.step(np.zeros(size))
        assert about.robot._base.state() == plain.robot._base.state()
        plain.close()
        about.close()

    def test_are_added_to_the_targets(self) -> None:
        env: Any = envs.make("A1Locomotion-v0", action="residual").make_env()
        env.reset(seed=0, options={"task": ahead(env.family)})
        trot, robot = Trot(0.4, env.robot.LEG, env.robot.BALANCE), env.robot
        numbers = np.random.default_rng(0).uniform(-0.5, 0.5, 12)
        along, left, _ = robot.trunk().velocity
        env.step(numbers)
        for _ in range(4):
            targets, _ = trot.advance(
                0.01,
                forwards=0.0,
                sideways=0.0,
                turn=0.0,
                clearance=CLEARANCE,
                support=61.0,
                velocity=(along, left),
            )
        assert robot._motors._sent[0] == pytest.approx(targets + RESIDUAL_UNIT * numbers)
        env.close()
