"""Episodes one step at a time, where a person looks on: returns, frames, and the time that the policy takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamotor.scripts.outputs import write_file

Array = NDArray[Any]
Act = Callable[[Array], Array]
"""A policy: observation in, action out."""

FRAMES_PER_SECOND = 15
"""Of the GIFs."""


@dataclass
class Watched:
    """What was seen of some episodes."""

    returns: list[float] = field(default_factory=list)
    frames: list[Array] = field(default_factory=list)
    """Each (height, width, 3), if they were asked for."""
    microseconds: list[float] = field(default_factory=list)
    """Time of each call of the policy [µs]."""


def watch(
    env: Any,
    act: Act,
    *,
    task: Any,
    seeds: Sequence[int],
    frames: bool = False,
) -> Watched:
    """Run one episode per seed and return what was seen.

    Args:
        env: of a task family.
        act: the policy.
        task: to be set at each reset.
        seeds: of the resets.
        frames: keep frames, about `FRAMES_PER_SECOND` of them for each second.
    """
    watched = Watched()
    every = max(1, round(1 / (FRAMES_PER_SECOND * float(env.family.dt))))
    for seed in seeds:
        observation, _ = env.reset(seed=seed, options={"task": task})
        total, step, done = 0.0, 0, False
        while not done:
            if frames and step % every == 0:
                watched.frames.append(env.render())
            called = time.perf_counter_ns()
            action = act(observation)
            watched.microseconds.append((time.perf_counter_ns() - called) / 1e3)
            observation, reward, terminated, truncated, _ = env.step(action)
            total, step, done = total + float(reward), step + 1, terminated or truncated
        watched.returns.append(total)
    return watched


def beside(films: Sequence[Sequence[Array]], titles: Sequence[str]) -> list[Array]:
    """Return films side by side, each under its title; the shorter ones stand still at their end."""
    length = max(len(film) for film in films)
    padded = [[*film, *[film[-1]] * (length - len(film))] for film in films]
    return [
        np.concatenate(
            [_titled(frame, title) for frame, title in zip(row, titles, strict=True)], axis=1
        )
        for row in zip(*padded, strict=True)
    ]


def _titled(frame: Array, title: str) -> Array:
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (frame.shape[1], frame.shape[0] + 22), "white")
    image.paste(Image.fromarray(frame), (0, 22))
    ImageDraw.Draw(image).text((6, 4), title, fill="black")
    return np.asarray(image)


def write_gif(path: Path, frames: Sequence[Array]) -> Path:
    """Write frames as an endless GIF; return where."""
    import imageio.v3 as iio

    film = iio.imwrite(
        "<bytes>",
        np.stack(frames),
        extension=".gif",
        duration=1000 / FRAMES_PER_SECOND,
        loop=0,
    )
    return write_file(path, film)


def write_contact_sheet(path: Path, frames: Sequence[Array], count: int = 5) -> Path:
    """Write some of the frames below each other as one PNG; return where."""
    import imageio.v3 as iio

    chosen = np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)
    sheet = np.concatenate([frames[index] for index in chosen], axis=0)
    return write_file(path, iio.imwrite("<bytes>", sheet, extension=".png"))
