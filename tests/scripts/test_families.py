"""The pages of the task families."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metamotor import envs
from metamotor.scripts import bench
from metamotor.scripts.benchmarks.families import _documents, episode, family_page

SMALL = ["--num-tasks", "4", "--episodes", "1", "--rounds", "1", "--resets", "20"]
NAMES = ("PointNavigation-v0", "CartPole-v0")
PAGES = Path(__file__).parents[2] / "docs" / "families"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("pages")
    results = tmp_path_factory.mktemp("results")
    returns = {"robust": [{"value": 12.25}], "oracle": [{"value": 98.5}]}
    document = {"methods": {"MAML": {"returns": {"stochastic": returns}}}}
    (results / "CartPole-v0.json").write_text(json.dumps(document))
    words = ["families", "--families", *NAMES, *SMALL, "--results", str(results)]
    bench.main([*words, "--out", str(found)])
    return found


def numbers(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "families.json").read_text())["families"][name]
    return found


def test_a_page_says_all_that_the_family_does(folder: Path) -> None:
    for name in NAMES:
        page, family = (folder / f"{name}.md").read_text(), envs.make(name)
        for part in (*family.parameters, *(s.name for s in family.signals)):
            assert f"| `{part}` |" in page
    assert "| `motor_sign` | 1 | -1 or 1 | -1 or 1 |  |" in page
    assert "| `pole_length` | m | 0.9 to 1.6 | 1 to 1.5 | 0.8 to 0.9 and 1.6 to 2 |" in page
    assert "The reward is 1 for each step that ends upright" in page
    assert "| `cart_mass` | kg | 1 | 0.001 to ∞ |" in page
    assert "| 12.2 | 98.5 |" in page


def test_the_committed_pages_say_what_the_code_does_now() -> None:
    numbers = json.loads((PAGES / "families.json").read_text())["families"]
    assert set(numbers) == set(envs.FAMILIES)
    for name, found in numbers.items():
        page = PAGES / f"{name}.md"
        pictured = page.with_suffix(".png").is_file()
        assert family_page(envs.make(name), found, pictured=pictured) == page.read_text(), name


def test_results_that_are_not_there_are_told_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no folder .*nowhere; leave out --results"):
        bench.main(["families", "--results", str(tmp_path / "nowhere"), "--out", str(tmp_path)])


def test_a_page_has_what_its_module_refers_to() -> None:
    names = {
        family: [name for name, _ in _documents(envs.FAMILIES[family].__module__)]
        for family in envs.FAMILIES
    }
    assert names["HopperDynamics-v0"] == ["hopper_dynamics", "legged_dynamics", "planar_runner"]
    assert names["QuadrotorTrack-v0"][:2] == ["quadrotor_track", "quadrotor_flight"]
    for family, modules in names.items():
        text = " ".join(text for _, text in _documents(envs.FAMILIES[family].__module__))
        assert "reward" in text, f"{family}'s page does not say what is rewarded: {modules}"


def test_a_family_that_can_be_drawn_has_a_picture(folder: Path) -> None:
    assert (folder / "CartPole-v0.png").read_bytes().startswith(b"\x89PNG")
    assert not (folder / "PointNavigation-v0.png").exists()
    assert ".png" not in (folder / "PointNavigation-v0.md").read_text()


def test_standing_still_and_acting_at_random_are_measured(folder: Path) -> None:
    # A point that stands still is as far from its goal as at the start, for all 100 steps.
    tasks = envs.make("PointNavigation-v0").sample(4, split="test", seed=1)
    distances = sorted(np.hypot(task.goal_x, task.goal_y) for task in tasks)
    expected = -100 * np.mean(distances[1:3])
    assert numbers(folder, "PointNavigation-v0")["still"] == pytest.approx(expected)
    env = envs.make("CartPole-v0").make_env()
    (task,) = env.family.sample(1, seed=0)
    assert episode(env, task, 0, 1.0) == episode(env, task, 0, 1.0) < 100
    env.close()


def test_costs_are_measured(folder: Path) -> None:
    found = numbers(folder, "CartPole-v0")
    assert found["steps_per_second"] > 1_000
    assert 0.05 < found["of_the_engine"] < 2.0
    assert 0.0 < found["reset_milliseconds"] < 50.0
    assert numbers(folder, "PointNavigation-v0")["of_the_engine"] is None


def test_nothing_is_replaced_unasked(folder: Path) -> None:
    with pytest.raises(FileExistsError, match="there already"):
        bench.main(["families", "--families", "CartPole-v0", *SMALL, "--out", str(folder)])
