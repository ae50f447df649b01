"""`metamotor export`: adapt a checkpoint to one task and write the policy to one ONNX file."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from metamotor import deploy
from metamotor.meta.learner import MetaLearner
from metamotor.scripts.adapt import Adaptation, adapted_model, untrained_note
from metamotor.scripts.checkpoints import load_adaptable
from metamotor.scripts.options import TaskChoice, parse
from metamotor.scripts.outputs import writable
from metamotor.scripts.runs import checkpoint_in
from metamotor.scripts.wording import next_step, placed


@dataclass(frozen=True, kw_only=True)
class Export:
    """Adapt a checkpoint to one task and write the policy to one ONNX file, which `metamotor run` runs.

    Only metamotor's own checkpoints are taken. Loading a Stable-Baselines3 model (*.zip) unpickles it, which can run
    code that its author put there; if you trust it, write in Python: deploy.export(PPO.load("a.zip"), "policy.onnx").
    """

    checkpoint: Annotated[Path, arg(name="from")]
    """A checkpoint (*.safetensors); a run folder, which stands for its best one; or one of `metamotor zoo`, such as
    zoo:PandaReach/maml."""
    task: TaskChoice = field(default_factory=TaskChoice)
    adaptation: Adaptation = field(default_factory=Adaptation)
    adaptive: bool = False
    """Write what adapts on the robot itself (deploy.runtime.AdaptivePolicy), for any task, in place of a policy that is
    adapted to one here."""
    out: Path = Path("policy.onnx")
    """Where the policy goes (*.onnx)."""
    overwrite: bool = False
    """Replace the file if it is there already."""


def main(argv: Sequence[str]) -> None:
    """Run the subcommand."""
    options: Export = parse(Export, argv, "export")
    out = writable(options.out, ".onnx", overwrite=options.overwrite)
    if options.checkpoint.suffix == ".zip":
        raise ValueError(
            f"export takes a checkpoint of metamotor, got {options.checkpoint}: loading a "
            "Stable-Baselines3 model unpickles it, which can run code that its author put there; if "
            'you trust it, write deploy.export(PPO.load("adapted.zip"), "policy.onnx") in Python'
        )
    path = checkpoint_in(options.checkpoint)
    learner = load_adaptable(path, options.adaptation.physics)
    if options.adaptive:
        export_adaptive(learner, path, out)
        return
    task = options.task.of(learner.family)
    adaptation = options.adaptation.of(learner)
    model = adapted_model(learner, task, adaptation)
    export_model(learner, model, path, adaptation, out)
    parity = deploy.runtime.Policy(out).metadata["parity"]
    print(f"{placed(learner.family)}, {task}")
    print(
        f"Wrote {out}: at most {parity['max_error']:.1e} of half the action's range away from the model "
        f"on {parity['observations']} observations"
    )
    if options.adaptation.updates and (note := untrained_note(learner)):
        print(note)
    print(next_step("run it in the simulator", "run", out))


def export_adaptive(learner: MetaLearner, checkpoint: Path, out: Path) -> None:
    """Write a learner's adaptation with where it comes from, and say what was compared."""
    origin = {"checkpoint_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest()}
    policy = deploy.runtime.AdaptivePolicy(deploy.export_adaptation(learner, out, metadata=origin))
    parity = policy.metadata["parity"]
    print(f"{placed(learner.family)}, any task: {policy.episodes} episodes an update")
    print(
        f"Wrote {out}: its updates are at most {parity['update_error']:.1e} of their length away from the learner's own"
    )


def export_model(
    learner: MetaLearner, model: Any, checkpoint: Path, adaptation: Adaptation, out: Path
) -> Path:
    """Write an adapted model with where it comes from; return where."""
    origin = {
        "horizon": learner.family.horizon,
        "physics": learner.family.physics,
        "randomization": getattr(learner.family, "config", {}).get("randomization"),
        "adaptation": dataclasses.asdict(adaptation),
        "checkpoint_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
    }
    return deploy.export(model, out, metadata=origin)
