from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from metamotor.robots import Panda, PandaGripper


@pytest.fixture(scope="module")
def made() -> Iterator[PandaGripper]:
    with PandaGripper() as robot:
        yield robot


@pytest.fixture
def robot(made: PandaGripper) -> PandaGripper:
    """The same robot for every test, above the brick with nominal properties."""
    made.configure(**{name: own.nominal for name, own in made.PROPERTIES.items()})
    made.reset(made.ABOVE)
    return made


def move(
    robot: PandaGripper, place: tuple[float, float, float], opening: float, periods: int
) -> None:
    for _ in range(periods):
        robot.grip(opening)
        way = 0.5 * np.subtract(place, robot.hand_position)
        robot.move_hand((way * min(1.0, 0.03 / np.abs(way).max())).tolist())
        robot.advance()
        robot.sense()


def lift(robot: PandaGripper, opening: float = 0.0) -> float:
    """Take the brick from the table, hold it for a second; return how high it then is above where it stood [m]."""
    move(robot, (0.45, 0.0, 0.02), robot.OPENING, 14)
    move(robot, (0.45, 0.0, 0.02), opening, 10)
    move(robot, (0.45, 0.0, 0.2), opening, 40)
    return robot.brick()[0][2] - robot.BRICK_HEIGHT / 2


def test_the_arm_is_a_pandas(robot: PandaGripper) -> None:
    assert pytest.approx(Panda.TIME_STEP * Panda.SUBSTEPS) == robot.TIME_STEP * robot.SUBSTEPS
    masses = [robot.simulator.mass(robot.body, link) for link in range(10)]
    assert sum(masses) == pytest.approx(15.06)


def test_the_pose_above_is_over_the_brick_and_points_down(robot: PandaGripper) -> None:
    assert robot.hand_position == pytest.approx((0.45, 0.0, 0.09), abs=1e-3)
    assert robot.ABOVE[1] - robot.ABOVE[3] - robot.ABOVE[5] == pytest.approx(0.0, abs=1e-3)


def test_the_brick_rests_on_the_table(robot: PandaGripper) -> None:
    robot.reset(robot.ABOVE, (0.55, 0.1))
    for _ in range(30):
        robot.advance()
    position, velocity = robot.brick()
    assert position == pytest.approx((0.55, 0.1, robot.BRICK_HEIGHT / 2), abs=1e-3)
    assert np.abs(velocity).max() < 5e-3


@pytest.mark.parametrize("width", PandaGripper.BRICK_WIDTHS)
def test_fingers_close_on_the_brick_and_take_it_along(robot: PandaGripper, width: float) -> None:
    robot.configure(brick_width=width)
    robot.reset(robot.ABOVE)
    assert robot.opening() == pytest.approx(robot.OPENING)
    assert lift(robot) == pytest.approx(0.18, abs=0.02)
    assert robot.opening() == pytest.approx(width, abs=3e-3)


def test_open_fingers_leave_it_where_it_is(robot: PandaGripper) -> None:
    assert lift(robot, robot.OPENING) == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize(("mass", "held"), [(0.9, True), (1.6, False)])
def test_friction_holds_what_two_fingers_forces_bear(
    robot: PandaGripper, mass: float, held: bool
) -> None:
    """Coulomb: m g ≤ 2 µ F, here 1.22 kg; carried slowly."""
    assert robot.FINGER_FORCE == 20.0
    robot.configure(brick_mass=mass, brick_friction=0.3)
    robot.reset(robot.ABOVE)
    move(robot, (0.45, 0.0, 0.02), robot.OPENING, 14)
    move(robot, (0.45, 0.0, 0.02), 0.0, 10)
    for step in range(60):
        move(robot, (0.45, 0.0, 0.02 + 0.002 * step), 0.0, 1)
    height = robot.brick()[0][2] - robot.BRICK_HEIGHT / 2
    assert (height > 0.08) == held, height


def test_the_brick_slides_as_far_as_friction_lets_it(robot: PandaGripper) -> None:
    robot.configure(brick_friction=0.4, brick_mass=0.5)
    robot.reset(robot.ABOVE, (0.6, 0.2))
    base = robot._brick_base.base()
    robot._brick_base.place(base._replace(linear_velocity=(0.5, 0.0, 0.0)))
    for _ in range(30):
        robot.advance()
    assert robot.brick()[0][0] - 0.6 == pytest.approx(0.5**2 / (2 * 0.4 * 9.81), rel=0.15)


def test_the_brick_has_its_mass(robot: PandaGripper) -> None:
    robot.configure(brick_mass=0.6)
    assert robot.simulator.mass(robot._brick, -1) == 0.6
    moments = [0.05 * (a * a + b * b) for a, b in ((0.055, 0.05), (0.04, 0.05), (0.04, 0.055))]
    assert robot.simulator.inertia(robot._brick, -1) == pytest.approx(moments)


def test_a_width_that_the_brick_has_not_is_refused(robot: PandaGripper) -> None:
    with pytest.raises(ValueError, match=r"one of \(0.04, 0.055\) m, got 0.05"):
        robot.configure(brick_width=0.05)
    assert robot.properties["brick_width"] == 0.04


def test_what_was_changed_leaves_no_trace(robot: PandaGripper) -> None:
    def motion() -> str:
        robot.reset(robot.ABOVE)
        lift(robot)
        return repr(robot.joints.read()) + repr(robot.brick())

    expected = motion()
    for changed in ({"brick_mass": 0.6}, {"brick_friction": 0.5}, {"brick_width": 0.055}):
        robot.configure(**changed)
        assert motion() != expected, changed
        robot.configure(**{name: robot.PROPERTIES[name].nominal for name in changed})
        assert motion() == expected, changed
