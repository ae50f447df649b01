"""Episodes that a person looks on at."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from metamotor import envs
from metamotor.scripts.episodes import beside, watch, write_contact_sheet, write_gif


def test_watching_returns_what_happened() -> None:
    family = envs.make("CartPole-v0", horizon=8)
    task = family.sample(1, seed=0)[0]
    env = family.make_env(render_mode="rgb_array")
    seen = watch(env, lambda _: np.zeros(1), task=task, seeds=[1, 1], frames=True)
    env.close()
    assert seen.returns[0] == seen.returns[1]
    assert 0 < len(seen.microseconds) <= 16
    assert len(seen.frames) >= 2
    assert seen.frames[0].shape[2] == 3


def test_films_of_two_lengths_stand_side_by_side(tmp_path: Path) -> None:
    dark, light = (np.full((20, 30, 3), value, dtype=np.uint8) for value in (0, 200))
    frames = beside([[dark], [light, dark, light]], ["a", "b"])
    assert len(frames) == 3
    assert frames[0].shape == (42, 60, 3)
    assert (frames[2][22:, :30] == 0).all(), "the shorter film stands still at its end"
    assert (frames[2][22:, 30:] == 200).all()
    assert len(iio.imread(write_gif(tmp_path / "film.gif", frames))) == 3
    sheet = iio.imread(write_contact_sheet(tmp_path / "sheet.png", frames, count=2))
    assert sheet.shape == (84, 60, 3)


def test_a_family_that_cannot_be_drawn_says_so() -> None:
    with pytest.raises(ValueError, match="has no picture"):
        envs.make("PointNavigation-v0").make_env(render_mode="rgb_array")
