from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from metamotor import envs
from metamotor.envs import PUBLISHED, Vary, choice, log_uniform, normal, uniform
from metamotor.envs.randomization import Randomizer
from metamotor.robots import Property

A1 = "A1Locomotion-v0"
MAKERS: list[Callable[..., Vary]] = [uniform, log_uniform, normal]


def draws(how: Vary, count: int = 4000) -> Any:
    generator = np.random.default_rng(0)
    return np.array([how.draw(generator) for _ in range(count)])


class TestVary:
    def test_distributions_are_what_they_are_called(self) -> None:
        even = draws(uniform(2.0, 6.0))
        assert (even.min(), even.max()) == pytest.approx((2.0, 6.0), abs=0.01)
        assert np.quantile(even, [0.25, 0.75]) == pytest.approx([3.0, 5.0], abs=0.1)
        logs = np.log(draws(log_uniform(0.1, 10.0)))
        assert np.quantile(logs, [0.25, 0.75]) == pytest.approx(
            [-np.log(10) / 2, np.log(10) / 2], abs=0.12
        )
        bell = draws(normal(3.0, 0.5))
        assert (bell.mean(), bell.std()) == pytest.approx((3.0, 0.5), abs=0.03)
        some = draws(choice(1.0, 2.0, 5.0))
        assert set(some) == {1.0, 2.0, 5.0}
        assert (some == 5.0).mean() == pytest.approx(1 / 3, abs=0.03)

    def test_operations_are_what_they_are_called(self) -> None:
        assert uniform(0, 1).apply(3.0, 0.5) == 0.5
        assert uniform(0, 1, operation="scale").apply(3.0, 0.5) == 1.5
        assert uniform(0, 1, operation="add").apply(3.0, 0.5) == 3.5

    @pytest.mark.parametrize(
        ("made", "message"),
        [
            (lambda: uniform(2, 1), "low and a high"),
            (lambda: log_uniform(0, 1), "above 0"),
            (lambda: normal(0, -1), "standard deviation"),
            (lambda: choice(), "finite numbers"),
            (lambda: uniform(0, float("nan")), "finite numbers"),
            (lambda: uniform(0, 1, when="always"), "when must be one of task, episode"),
            (lambda: uniform(0, 1, operation="times"), "operation must be one of"),
            (lambda: uniform(0, 1, when="step"), r"probability= lies in \(0, 1\]"),
            (lambda: uniform(0, 1, when="step", probability=0.0), "probability"),
            (lambda: uniform(0, 1, probability=0.5), "probability"),
            (lambda: uniform(0, 1, when="interval"), "interval= is a whole number"),
            (lambda: uniform(0, 1, when="interval", interval=2.5), "interval"),
            (lambda: uniform(0, 1, interval=3), "interval"),
        ],
    )
    def test_refuses_what_cannot_be_drawn(self, made: Callable[[], Vary], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            made()


TOY = {"mass": Property("kg", 2.0), "grip": Property("1", 0.5, 0.1, 1.0)}


class TestRandomizer:
    def of(self, **varied: Vary) -> Randomizer:
        return Randomizer(varied, TOY, "Toy-v0", published=None)

    def test_varies_about_the_task_or_else_the_nominal_value(self) -> None:
        twice = self.of(mass=choice(2.0, operation="scale"), grip=choice(0.2, operation="add"))
        generator = np.random.default_rng(0)
        assert twice.start((), {}, generator) == pytest.approx({"mass": 4.0, "grip": 0.7})
        assert twice.start((), {"mass": 3.0}, generator)["mass"] == 6.0

    def test_stays_inside_the_limits(self) -> None:
        wide = self.of(grip=normal(0.5, 5.0))
        found = {wide.start((), {}, np.random.default_rng(seed))["grip"] for seed in range(50)}
        assert min(found) == 0.1
        assert max(found) == 1.0

    def test_of_a_task_is_the_same_in_all_its_episodes(self) -> None:
        once = self.of(mass=uniform(1, 3, when="task"), grip=uniform(0.2, 0.9))
        found = [
            once.start(task, {}, np.random.default_rng(seed))
            for task in ((1, -0.0), (1.0, 0.5))
            for seed in (0, 1)
        ]
        masses = [values["mass"] for values in found]
        assert masses[0] == masses[1] != masses[2] == masses[3]
        assert len({values["grip"] for values in found}) == 2

    def test_is_drawn_anew_when_due(self) -> None:
        generator = np.random.default_rng(0)
        often = self.of(
            mass=uniform(1, 3, when="interval", interval=4),
            grip=uniform(0.2, 0.9, when="step", probability=0.1),
        )
        often.start((), {}, generator)
        drawn = [often.due(step, generator) for step in range(4000)]
        assert [step for step, values in enumerate(drawn) if "mass" in values] == [
            *range(4, 4000, 4)
        ]
        count = sum("grip" in values for values in drawn)
        assert count == pytest.approx(400, abs=4 * np.sqrt(4000 * 0.1 * 0.9))
        assert set(often.draw(["grip"], generator)) == {"grip"}
        once = self.of(mass=uniform(1, 3))
        once.start((), {}, generator)
        assert once.due(4, generator) == []

    def test_what_the_task_says_is_not_replaced(self) -> None:
        generator = np.random.default_rng(0)
        with pytest.raises(ValueError, match="Toy-v0: mass is part of the task"):
            self.of(mass=uniform(1, 3)).start((), {"mass": 2.5}, generator)
        published = Randomizer(
            {"mass": uniform(1, 3), "grip": uniform(0.2, 0.9)}, TOY, "Toy-v0", published="toys"
        )
        assert list(published.start((), {"mass": 2.5}, generator)) == ["grip"]
        assert set(published.start((), {}, generator)) == {"mass", "grip"}

    def test_refuses_what_would_do_nothing_or_be_one_value(self) -> None:
        generator = np.random.default_rng(0)
        still = {"calm": Property("m/s", 0.0)}
        idle = Randomizer(
            {"calm": uniform(0.5, 2, operation="scale")}, still, "Toy-v0", published=None
        )
        with pytest.raises(ValueError, match="calm is 0, which no factor changes"):
            idle.start((), {}, generator)
        with pytest.raises(ValueError, match=r"grip must lie in \[0.1, 1\] 1, got uniform"):
            self.of(grip=uniform(5, 10))
        with pytest.raises(ValueError, match="sensor_bias is drawn once an episode"):
            envs.make(
                A1, randomization={"sensor_bias": uniform(0, 1, when="interval", interval=2)}
            ).make_env()

    def test_of_a_task_does_not_depend_on_what_else_varies(self) -> None:
        generator = np.random.default_rng(0)
        kept = {"mass": uniform(1, 3, when="task"), "grip": uniform(0.2, 0.9, when="task")}
        both = self.of(**kept).start((1.0, 0.0), {}, generator)
        turned = self.of(grip=kept["grip"], mass=kept["mass"]).start((1, -0.0), {}, generator)
        assert turned == both
        assert self.of(mass=kept["mass"]).start((1, 0), {}, generator) == {"mass": both["mass"]}

    def test_names_what_there_is(self) -> None:
        with pytest.raises(ValueError, match="Toy-v0 has no weight to vary; it has mass, grip"):
            self.of(weight=uniform(1, 2), mass=uniform(1, 2))

    def test_takes_from_a_published_set_what_there_is(self) -> None:
        varied = {"weight": uniform(1, 2), "mass": uniform(3, 4)}
        some = Randomizer(varied, TOY, "Toy-v0", published="toys")
        message = "Toy-v0 takes only mass of the published set 'toys', and leaves out weight, which is nothing"
        with pytest.warns(UserWarning, match=message):
            assert list(some.start((), {}, np.random.default_rng(0))) == ["mass"]
        some.start((), {}, np.random.default_rng(0))  # told once

    def test_of_a_published_set_what_is_nought_is_told_and_what_the_task_says_is_not(self) -> None:
        calm = {**TOY, "calm": Property("m/s", 0.0)}
        varied = {
            "mass": uniform(3, 4),
            "calm": uniform(0.5, 2, operation="scale"),
            "grip": uniform(0.2, 0.9),
        }
        some = Randomizer(varied, calm, "Toy-v0", published="toys")
        message = r"takes only grip of the .* 'toys', and leaves out calm, which is 0, which no factor changes$"
        with pytest.warns(UserWarning, match=message):
            some.start((), {"mass": 3.0}, np.random.default_rng(0))

    def test_of_a_published_set_it_cannot_be_nothing(self) -> None:
        with pytest.raises(ValueError, match="has no weight"):
            Randomizer({"weight": uniform(1, 2)}, TOY, "Toy-v0", published="toys")


@pytest.fixture
def a1() -> Iterator[Any]:
    how = {
        "friction": uniform(0.5, 1.25),
        "payload": uniform(0.5, 1.5, operation="scale"),
        "motor_strength": uniform(0.8, 1.2, when="interval", interval=5),
        "sensor_noise": choice(0.05),
    }
    env = envs.make(A1, randomization=how).make_env()
    yield env
    env.close()


def episode(env: Any, seed: int, task: Any, steps: int = 12) -> list[Any]:
    observation, _ = env.reset(seed=seed, options={"task": task})
    record = [(observation.tobytes(), dict(env.robot.properties))]
    for _ in range(steps):
        observation = env.step(np.full(env.action_space.shape, 0.3, np.float32))[0]
        record.append((observation.tobytes(), dict(env.robot.properties)))
    return record


class TestFamily:
    def test_gives_the_robot_what_was_drawn(self, a1: Any) -> None:
        first, second = a1.family.sample(2, split="test", seed=0)
        records = [episode(a1, seed, task) for seed in (0, 1) for task in (first, second)]
        at_start = [record[0][1] for record in records]
        assert len({values["friction"] for values in at_start}) == 2, "drawn from the seed alone"
        for values, task in zip(at_start, (first, second) * 2, strict=True):
            assert 0.5 <= values["friction"] <= 1.25
            assert 0.5 * task.payload <= values["payload"] <= 1.5 * task.payload
        strengths = [values["motor_strength"] for _, values in records[0]]
        assert [*map(len, map(set, (strengths[:6], strengths[6:11], strengths[11:])))] == [1, 1, 1]
        assert len(set(strengths)) == 3

    def test_gives_the_same_bits_whatever_came_between(self, a1: Any) -> None:
        first, second = a1.family.sample(2, split="test", seed=0)
        expected = episode(a1, 3, first)
        episode(a1, 4, second, steps=7)
        assert episode(a1, 3, first) == expected
        fresh = a1.family.make_env()
        assert episode(fresh, 3, first) == expected
        fresh.close()

    def test_nothing_of_it_shows_without(self) -> None:
        plain, still = envs.make(A1).make_env(), {"sensor_noise": choice(0.0)}
        spoilt: Any = envs.make(A1, randomization=still).make_env()
        (task,) = plain.family.sample(1, split="test", seed=0)
        assert [bits for bits, _ in episode(plain, 0, task)] == [
            bits for bits, _ in episode(spoilt, 0, task)
        ]
        plain.close()
        spoilt.close()

    def test_config_makes_it_again(self) -> None:
        for given in ({"payload": uniform(0, 2, operation="add")}, "rma-2021"):
            family = envs.make(A1, randomization=given)
            again = envs.make(A1, **json.loads(json.dumps(family.config)))
            assert again.randomization == family.randomization
            assert family.replace(reveal_task=True).randomization == family.randomization
        assert "randomization" not in envs.make(A1).config

    def test_refuses_what_it_does_not_know(self) -> None:
        with pytest.raises(ValueError, match=r"no randomization 'tan'; there are tan-2018"):
            envs.make(A1, randomization="tan")
        with pytest.raises(TypeError, match="must be a mapping"):
            envs.make(A1, randomization=3)
        with pytest.raises(TypeError, match="takes uniform"):
            envs.make(A1, randomization={"payload": 3.0})
        with pytest.raises(ValueError, match="has no weight to vary; it has payload, mass_scale"):
            envs.make(A1, randomization={"weight": uniform(0, 1)}).make_env()

    @pytest.mark.filterwarnings("ignore:A1Locomotion-v0 takes only")
    @pytest.mark.parametrize("name", PUBLISHED)
    def test_published_sets_fit_a_robot(self, name: str) -> None:
        env = envs.make(A1, randomization=name).make_env()
        env.reset(seed=0)
        before = dict(env.robot.properties)  # type: ignore[attr-defined]
        env.reset(seed=1, options={"task": env.family.sample(1, seed=9)[0]})
        now = env.robot.properties  # type: ignore[attr-defined]
        for property_, how in PUBLISHED[name].items():
            # An A1 has no battery, and a nominal damping of 0 that no factor changes.
            if property_ != "battery" and (
                how.operation != "scale" or property_ != "joint_damping"
            ):
                assert now[property_] != before[property_]
        env.close()

    def test_a_robot_that_cannot_be_is_drawn_again(self) -> None:
        light = {"cart_mass": uniform(0.01, 1.0), "pole_mass": uniform(0.1, 1.0)}
        family = envs.make("PendulumMass-v0", randomization={"joint_damping": uniform(0.0, 0.1)})
        family.make_env().reset(seed=0)
        with pytest.raises(ValueError, match="cart_mass is part of the task"):
            envs.make("CartPole-v0", randomization=light).make_env().reset(seed=0)
        scaled = {
            "cart_mass": uniform(0.05, 1.0, operation="scale"),
            "pole_mass": uniform(1.0, 8.0, operation="scale", when="step", probability=0.3),
        }
        env: Any = envs.make("CartPole-v0", randomization=scaled).make_env()
        tasks = env.family.sample(100, split="out_of_range", seed=0)
        masses = {
            episode(env, seed, task, steps=1)[-1][1]["pole_mass"] for seed, task in enumerate(tasks)
        }
        assert len(masses) == 100
        env.close()
        hopeless = {"cart_mass": choice(0.1), "pole_mass": choice(1.0), "pole_length": choice(2.0)}
        own: Any = envs.make("CartPole-v0", randomization={"sensor_noise": choice(0.1)}).make_env()
        own._randomizer = Randomizer(hopeless, own.properties, "CartPole-v0", published="none")
        own._task_properties = dict
        with pytest.raises(ValueError, match=r"drawn 100 times so that it cannot be: .* too light"):
            own.reset(seed=0)
        own.close()

    def test_a_refused_task_is_not_kept(self) -> None:
        env: Any = envs.make("PendulumMass-v0").make_env()
        good = env.family.sample(1, seed=0)[0]
        env.set_task(good)
        with pytest.raises(ValueError, match="bob_mass of Pendulum"):
            env.set_task(dataclasses.replace(good, bob_mass=-1.0))
        assert env.task == good
        env.reset(seed=0)
        assert env.robot.properties["bob_mass"] == good.bob_mass
        env.close()

    def test_a_point_varies_one_by_one(self) -> None:
        family = envs.make("PointNavigation-v0", randomization={"sensor_noise": choice(0.1)})
        assert family.make_batch_env() is None
        assert envs.make("PointNavigation-v0").make_batch_env() is not None
