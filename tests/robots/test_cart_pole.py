import numpy as np
import pytest
from numpy.typing import NDArray

from metamotor import envs
from metamotor.robots import CartPole

RODS = [
    {"pole_length": 0.8, "pole_mass": 0.45, "cart_mass": 0.5},
    {"pole_length": 1.0, "pole_mass": 0.1, "cart_mass": 1.0},
    {"pole_length": 2.0, "pole_mass": 0.3, "cart_mass": 0.7},
]


Array = NDArray[np.float64]
Rod = dict[str, float]


def rod_on_a_cart(rod: Rod, angle: float, force: float, seconds: float) -> Array:
    """Cart position, angle, cart velocity and angular velocity of a uniform rod on a cart, by Runge and Kutta."""
    length, pole, cart = rod["pole_length"], rod["pole_mass"], rod["cart_mass"]

    def slope(state: Array) -> Array:
        _, theta, speed, rate = state
        coupling = pole * length / 2 * np.cos(theta)
        inertia = np.array([[cart + pole, coupling], [coupling, pole * length**2 / 3]])
        first = pole * length / 2 * np.sin(theta)
        return np.array(
            [speed, rate, *np.linalg.solve(inertia, [force + first * rate**2, 9.81 * first])]
        )

    state, h = np.array([0.0, angle, 0.0, 0.0]), seconds / 500
    for _ in range(500):
        a = slope(state)
        b = slope(state + h / 2 * a)
        c = slope(state + h / 2 * b)
        d = slope(state + h * c)
        state = state + h / 6 * (a + 2 * b + 2 * c + d)
    return state


def simulate(robot: CartPole, rod: Rod, angle: float, force: float, periods: int) -> Array:
    robot.configure(**rod)
    robot.reset(0.0, angle)
    for _ in range(periods):
        robot.push(force)
    (position, speed, *_), (lean, rate, *_) = robot.read()
    return np.array([position, lean, speed, rate])


@pytest.mark.parametrize("rod", RODS)
@pytest.mark.parametrize(("angle", "force"), [(0.1, 0.0), (0.1, 3.0), (-0.2, -2.0), (1.0, 1.0)])
def test_lumped_masses_move_as_the_rod_does(rod: Rod, angle: float, force: float) -> None:
    class Fine(CartPole):
        TIME_STEP = 1 / 8000
        SUBSTEPS = 40

    with Fine() as robot:
        moved = simulate(robot, rod, angle, force, periods=80)
    np.testing.assert_allclose(moved, rod_on_a_cart(rod, angle, force, 0.4), atol=4e-3, rtol=1e-3)


def test_steps_are_as_exact_as_documented() -> None:
    tasks = envs.make("CartPole-v0").sample(20, split="train", seed=0)
    with CartPole() as robot:
        for task in tasks:
            rod = {name: getattr(task, name) for name in robot.PROPERTIES}
            for share in (-1.0, 0.3, 1.0):
                force = share * task.motor_strength
                moved = simulate(robot, rod, 0.05, force, periods=20)
                expected = rod_on_a_cart(rod, 0.05, force, 0.4)
                velocities = np.abs(expected[2:])
                assert (np.abs(moved[2:] - expected[2:]) < 0.003 * velocities).all()
                # Steps twice as long would be off by 5 ms of the velocity.
                assert (np.abs(moved[:2] - expected[:2]) < 0.6 * 0.005 * velocities).all()


def test_rods_can_be_exchanged_and_leave_no_trace() -> None:
    with CartPole() as robot:
        once = simulate(robot, RODS[0], 0.1, 1.0, periods=20)
        simulate(robot, RODS[2], 0.1, 1.0, periods=20)
        np.testing.assert_array_equal(simulate(robot, RODS[0], 0.1, 1.0, periods=20), once)


def test_total_mass_is_that_of_rod_and_cart() -> None:
    with CartPole() as robot:
        for rod in RODS:
            robot.configure(**rod)
            masses = [robot.simulator.mass(robot.body, link) for link in robot.joints.links]
            assert sum(masses) == pytest.approx(rod["pole_mass"] + rod["cart_mass"])


def test_starts_as_fast_as_it_is_told() -> None:
    with CartPole() as robot:
        robot.reset(0.2, 1.0, -0.5, 1.5)
        assert [state[:2] for state in robot.read()] == [(0.2, -0.5), (1.0, 1.5)]
        robot.reset(0.2, 1.0)
        assert [state[:2] for state in robot.read()] == [(0.2, 0.0), (1.0, 0.0)]


def test_hangs_still_when_it_hangs() -> None:
    with CartPole() as robot:
        moved = simulate(robot, RODS[1], np.pi, 0.0, periods=50)
    assert moved == pytest.approx([0.0, np.pi, 0.0, 0.0], abs=1e-6)


@pytest.mark.parametrize(
    "change",
    [{"pole_length": 0.75}, {"pole_mass": 0.0}, {"cart_mass": 0.1}, {"pole_length": float("nan")}],
)
def test_refuses_what_it_cannot_express(change: Rod) -> None:
    with CartPole() as robot, pytest.raises(ValueError, match=r"CartPole|too light"):
        robot.configure(**{**RODS[2], **change})
