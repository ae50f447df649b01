"""Frames by MuJoCo's own renderer, of a model that only shows: the one that moves knows no meshes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamotor.robots.mujoco.engine import mujoco
from metamotor.robots.simulator import Camera, Vector

_AMBIENT, _DIFFUSE = (0.35, 0.35, 0.35), (0.5, 0.5, 0.5)


@dataclass
class Marker:
    """A sphere that is seen and touches nothing."""

    radius: float
    """[m]."""
    color: tuple[float, float, float, float]
    position: Vector = (0.0, 0.0, 0.0)
    """[m]."""


class Drawing:
    """A renderer.

    Args:
        spec: the model, not compiled yet.
        width: of the frames.
        height: of the frames.

    Raises:
        OSError: if there is neither a display nor a library that draws without one.
    """

    def __init__(self, spec: Any, width: int, height: int) -> None:
        self.size = (width, height)
        spec.visual.headlight.ambient, spec.visual.headlight.diffuse = _AMBIENT, _DIFFUSE
        spec.visual.map.znear, spec.visual.map.zfar = 0.05, 50.0
        spec.stat.extent = 1.0
        # A white sky, as PyBullet's frames have it.
        sky = spec.add_texture(name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX)
        sky.builtin = mujoco.mjtBuiltin.mjBUILTIN_FLAT
        sky.rgb1 = sky.rgb2 = (1.0, 1.0, 1.0)
        sky.width, sky.height = 8, 48
        self._spec = spec
        self._model = spec.compile()
        self._data = mujoco.MjData(self._model)
        try:
            self._renderer = mujoco.Renderer(self._model, height, width)
        except Exception as error:  # each of its ways of drawing fails in its own way
            raise OSError(
                "MuJoCo draws nothing here; without a display it needs EGL (on Debian: apt install libegl1) "
                f"and MUJOCO_GL=egl set before it is imported: {error}"
            ) from error

    def frame(
        self, positions: NDArray[np.float64], camera: Camera, markers: Sequence[Marker]
    ) -> NDArray[np.uint8]:
        """Return a frame of the joints at these positions. Shape: (height, width, 3)."""
        model, data = self._model, self._data
        data.qpos[:] = positions
        mujoco.mj_forward(model, data)
        model.vis.global_.fovy = camera.field_of_view
        view = mujoco.MjvCamera()
        view.type = mujoco.mjtCamera.mjCAMERA_FREE
        view.lookat[:] = camera.target
        # At 0 this engine's camera looks along +x, PyBullet's along +y.
        view.distance, view.azimuth, view.elevation = (
            camera.distance,
            camera.yaw + 90.0,
            camera.pitch,
        )
        self._renderer.update_scene(data, view)
        scene = self._renderer.scene
        for marker in markers:
            mujoco.mjv_initGeom(
                scene.geoms[scene.ngeom],
                mujoco.mjtGeom.mjGEOM_SPHERE,
                np.full(3, marker.radius),
                np.array(marker.position),
                np.eye(3).ravel(),
                np.array(marker.color, dtype=np.float32),
            )
            scene.ngeom += 1
        pixels: NDArray[np.uint8] = self._renderer.render()
        return pixels

    def close(self) -> None:
        """Free what draws."""
        self._renderer.close()
