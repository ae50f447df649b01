"""The demo films goals by a rule, and refuses mistakes before it makes its folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from metamotor import envs
from metamotor.meta.evaluation import Curve
from metamotor.scripts.demo import FAMILY, Demo, _cells, _distance_to_goal, typical
from metamotor.scripts.train import parse_train
from tests.scripts.conftest import Program


def curve(*after: float) -> Curve:
    returns = np.stack([np.full(len(after), -50.0), np.array(after)], axis=1)
    return Curve(returns - 1000.0, returns)


def test_goals_at_the_quartiles_are_filmed() -> None:
    goals = typical(list("abcde"), curve(-5.0, -1.0, -400.0, -3.0, -2.0))
    assert [(goal.task, goal.index, goal.place, goal.after) for goal in goals] == [
        ("a", 0, "lower quartile", -5.0),
        ("d", 3, "median", -3.0),
        ("e", 4, "upper quartile", -2.0),
    ]
    assert {goal.before for goal in goals} == {-50.0}


def test_no_goal_is_filmed_twice() -> None:
    assert [goal.task for goal in typical(["a", "b"], curve(-1.0, -9.0))] == ["b", "a"]
    assert [goal.task for goal in typical(["a"], curve(-1.0))] == ["a"]


def test_the_distance_is_that_of_the_reward() -> None:
    env = envs.make(FAMILY).make_env()
    env.reset(seed=0)
    _, reward, *_ = env.step(env.action_space.sample())
    assert float(reward) == pytest.approx(-((_distance_to_goal(env) / 0.25) ** 2))
    env.close()


def test_the_demo_has_a_budget_of_its_own(tmp_path: Path) -> None:
    for options, steps in ((Demo(), 300_000), (Demo(quick=True), 1500)):
        made = [parse_train(cell.argv) for cell in _cells(options, tmp_path)]
        assert [cell.arm for cell in made] == ["adapted", "robust", "oracle"]
        assert {cell.total_timesteps for cell in made} == {steps}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--jobs", "0"), "jobs must be at least 1, got 0"),
        (("--total-timesteps", "0"), "total_timesteps must be at least 1, got 0"),
        (("--seed", "-1"), "seed must be from 0 to 4294967295, got -1"),
    ],
)
def test_a_mistake_leaves_no_folder(
    metamotor: Program, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    done = metamotor("demo", "--quick", *words, "--out", tmp_path / "demo")
    assert done.code == 2
    assert message in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.usefixtures("cells_here")
def test_the_demo_runs_to_its_end(metamotor: Program, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    done = metamotor("demo", "--quick", "--out", folder)
    assert done.code == 0, done.err
    names = {path.name for path in folder.iterdir()}
    assert {
        *("adapted", "robust", "oracle", "evaluation.json", "report.md", "returns.png"),
        *("before_and_after.gif", "before_and_after.png", "panda_reach.onnx"),
    } <= names
    assert "gap closed" in done.out
    assert "quartiles" in done.out
    assert " cm" in done.out
    assert "oracle: 100%" in done.out, "no terminal: progress comes in lines"
    assert metamotor("run", folder / "panda_reach.onnx", "--episodes", "1").code == 0
