"""Weights & Biases as one more output of Stable-Baselines3's logger, offline unless the user says otherwise.

wandb's own callback logs no metrics and overwrites one model file, so it is not used. Everything is kept inside the run
folder, so that copying the folder from a robot copies all there is to be synchronised: offline, wandb would otherwise
leave artifacts in the user's home.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stable_baselines3.common.logger import KVWriter


class WandbWriter(KVWriter):
    """Sends every scalar that is logged to a W&B run of its own.

    Args:
        folder: the run folder; its name becomes the run's.
        config: shown beside the curves.
        run: the id of the W&B run; one that there is already goes on.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], run: str) -> None:
        folder = folder.resolve()
        os.environ.setdefault("WANDB_DIR", str(folder))
        os.environ.setdefault("WANDB_DATA_DIR", str(folder / "wandb-data"))
        (folder / "wandb-data").mkdir(exist_ok=True)
        import wandb

        self._wandb = wandb
        self._run = wandb.init(
            project="metamotor",
            name=folder.name,
            id=run,
            resume="allow",
            config=dict(config),
            mode=_mode(os.environ.get("WANDB_MODE")),
            settings=wandb.Settings(silent=True, console="off"),
        )

    def write(
        self,
        key_values: dict[str, Any],
        key_excluded: dict[str, tuple[str, ...]],
        step: int = 0,
    ) -> None:
        """Log what are numbers, over environment steps."""
        numbers = {
            name: value for name, value in key_values.items() if isinstance(value, int | float)
        }
        self._run.log({**numbers, "time/total_timesteps": step})

    def save_checkpoint(self, path: Path) -> None:
        """Keep a checkpoint beside the curves."""
        artifact = self._wandb.Artifact(f"checkpoint-{self._run.id}", type="model")
        artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def close(self) -> None:
        """End the run; all of it is on disk when this returns."""
        self._run.finish()


def _mode(asked: str | None) -> Any:
    """Return the mode of W&B: what the user asked for, else offline."""
    known = ("online", "offline", "disabled", "shared")
    if asked and asked not in known:
        raise ValueError(f"WANDB_MODE must be one of {', '.join(known)}, got {asked!r}")
    return asked or "offline"
