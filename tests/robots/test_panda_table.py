from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from metamotor.robots import Panda, PandaTable


@pytest.fixture
def robot() -> Iterator[PandaTable]:
    with PandaTable() as table:
        yield table


def shove(robot: PandaTable, speed: float) -> float:
    """How far the puck slides by itself [m]."""
    robot.reset(PandaTable.PUSHING, (0.6, 0.2))
    base = robot._puck_base.base()
    robot._puck_base.place(base._replace(linear_velocity=(speed, 0.0, 0.0)))
    for _ in range(60):
        robot.advance()
    (x, y), velocity = robot.puck()
    assert y == pytest.approx(0.2, abs=2e-3)
    assert np.abs(velocity).max() < 5e-3
    return x - 0.6


def push(robot: PandaTable, x: float, y: float, periods: int) -> None:
    for _ in range(periods):
        robot.push(x, y)
        robot.advance()
        robot.sense()


def test_the_arm_is_a_pandas(robot: PandaTable) -> None:
    assert pytest.approx(Panda.TIME_STEP * Panda.SUBSTEPS) == robot.TIME_STEP * robot.SUBSTEPS
    covered = 1 - (1 - robot.properties["gain"]) ** robot.SUBSTEPS
    assert covered == pytest.approx(1 - (1 - Panda.GAIN) ** Panda.SUBSTEPS, abs=5e-3)
    masses = [robot.simulator.mass(robot.body, link) for link in range(10)]
    assert sum(masses) == pytest.approx(15.06)


def test_the_pushing_pose_is_before_the_puck(robot: PandaTable) -> None:
    robot.reset(PandaTable.PUSHING)
    assert robot.hand_position == pytest.approx((0.38, 0.0, PandaTable.HAND_HEIGHT), abs=1e-3)


def test_the_puck_rests_on_the_table(robot: PandaTable) -> None:
    robot.reset(PandaTable.PUSHING, (0.6, 0.1))
    for _ in range(30):
        robot.advance()
    position, turn, velocity, _ = robot._puck_base.base()
    assert position == pytest.approx((0.6, 0.1, PandaTable.PUCK_HEIGHT / 2), abs=1.5e-3)
    assert turn == pytest.approx((0.0, 0.0, 0.0, 1.0), abs=1e-3)
    assert np.abs(velocity).max() < 5e-3


@pytest.mark.parametrize("friction", [0.2, 0.5])
@pytest.mark.parametrize("mass", [0.1, 0.6])
def test_the_puck_slides_as_far_as_friction_lets_it(
    robot: PandaTable, friction: float, mass: float
) -> None:
    robot.configure(puck_friction=friction, puck_mass=mass)
    assert shove(robot, 0.5) == pytest.approx(0.5**2 / (2 * friction * 9.81), rel=0.1)


def test_the_puck_has_its_mass(robot: PandaTable) -> None:
    robot.configure(puck_mass=0.5)
    assert robot.simulator.mass(robot._puck, -1) == 0.5
    # Of a solid cylinder.
    along, across = 0.5 * 0.05**2 / 2, 0.5 * (3 * 0.05**2 + 0.04**2) / 12
    assert robot.simulator.inertia(robot._puck, -1) == pytest.approx((across, across, along))


@pytest.mark.parametrize("angle", [-0.5, 0.0, 0.5])
def test_the_fork_takes_the_puck_along(robot: PandaTable, angle: float) -> None:
    robot.reset(PandaTable.PUSHING, (0.43, 0.0))
    start = np.array(robot.puck()[0])
    push(robot, 0.02 * np.cos(angle), 0.02 * np.sin(angle), 16)
    moved = robot.puck()[0] - start
    assert np.linalg.norm(moved) > 0.12
    assert np.arctan2(moved[1], moved[0]) == pytest.approx(angle, abs=0.12)
    between = np.subtract(robot.puck()[0], robot.hand_position[:2])
    # It lies against both pegs.
    assert pytest.approx(np.sqrt((0.05 + 0.012) ** 2 - 0.045**2), abs=1e-4) == PandaTable.SEAT
    assert between == pytest.approx([PandaTable.SEAT, 0.0], abs=0.015)
    assert robot._puck_base.base().position[2] == pytest.approx(0.02, abs=2e-3)


def test_the_hand_keeps_its_height(robot: PandaTable) -> None:
    robot.reset(PandaTable.PUSHING, (0.6, 0.3))
    for step in (0.02, -0.02):
        push(robot, step, step / 2, 10)
        assert robot.hand_position[2] == pytest.approx(PandaTable.HAND_HEIGHT, abs=3e-3)
