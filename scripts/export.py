"""`metamotor export`: adapt a checkpoint to one task and write the policy to one ONNX file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from metamotor import deploy
from metamotor.meta.learner import MetaLearner
from metamotor.scripts.adapt import Adaptation, adapted_model, origin_of, untrained_note
from metamotor.scripts.checkpoints import load_adaptable
from metamotor.scripts.options import TaskChoice, parse
from metamotor.scripts.outputs import writable
from metamotor.scripts.runs import checkpoint_in
from metamotor.scripts.wording import counted, next_step, placed


@dataclass(frozen=True, kw_only=True)
class Export:
    """Adapt a checkpoint to one task and write the policy to one ONNX file, which `metamotor run` runs.

    Only metamotor's own checkpoints are taken. Loading a Stable-Baselines3 model (*.zip) unpickles it, which can run
    code that its author put there; if you trust it, write in Python: deploy.export(PPO.load("a.zip"), "policy.onnx").
    """

    checkpoint: Annotated[Path | None, arg(name="from")] = None
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
    stochastic: bool = False
    """Sample actions: the file takes noise, which deploy.runtime draws, and gives log-probabilities."""
    verify: Path | None = None
    """Check a policy file instead of writing one: against the steps that are stored in it and, with --from, against the
    model, which is adapted again as the file says."""


def main(argv: Sequence[str]) -> None:
    """Run the subcommand."""
    options: Export = parse(Export, argv, "export")
    if options.verify is not None:
        verify(options.verify, options)
        return
    if options.checkpoint is None:
        raise ValueError("give the checkpoint to export: --from, or a file to check: --verify")
    if options.adaptive:
        _check_adaptive(options)
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
    adaptation = options.adaptation.of(learner)
    task = None
    if adaptation.updates or options.task != TaskChoice():
        task = options.task.of(learner.family)
    model = adapted_model(learner, task, adaptation)
    export_model(learner, model, path, adaptation, out, stochastic=options.stochastic)
    parity = deploy.runtime.open_policy(out).metadata["parity"]
    print(f"{placed(learner.family)}, {task or 'adapted to no task'}")
    print(f"Wrote {out}: {_compared(parity)}")
    if options.adaptation.updates and (note := untrained_note(learner)):
        print(note)
    print(next_step("run it in the simulator", "run", out))


def _check_adaptive(options: Export) -> None:
    """Refuse what only the policy for one task has."""
    physics = Adaptation(physics=options.adaptation.physics)
    if options.task != TaskChoice() or options.adaptation != physics or options.stochastic:
        raise ValueError(
            "--adaptive writes what adapts on the robot, for any task: leave out --task, --split, --task-seed, "
            "--episodes, --updates, --seed and --stochastic"
        )


def export_adaptive(learner: MetaLearner, checkpoint: Path, out: Path) -> None:
    """Write a learner's adaptation with where it comes from, and say what was compared."""
    origin = origin_of(learner, checkpoint)
    policy = deploy.runtime.AdaptivePolicy(deploy.export_adaptation(learner, out, metadata=origin))
    parity = policy.metadata["parity"]
    print(f"{placed(learner.family)}, any task: {counted(policy.episodes, 'episode')} an update")
    print(
        f"Wrote {out}: its updates are at most {parity['update_error']:.1e} of their length away from the learner's own"
    )


def export_model(
    learner: MetaLearner,
    model: Any,
    checkpoint: Path,
    adaptation: Adaptation,
    out: Path,
    *,
    stochastic: bool = False,
) -> Path:
    """Write an adapted model with where it comes from; return where."""
    origin = {**origin_of(learner, checkpoint), "adaptation": dataclasses.asdict(adaptation)}
    return deploy.export(model, out, metadata=origin, stochastic=stochastic)


def verify(file: Path, options: Export) -> None:
    """Check a policy file and say how far it is from what it should do.

    Raises:
        ValueError: if it does something else, options are given that only exporting has, or the checkpoint is not the
            one that the file came from.
    """
    allowed = Export(verify=file, checkpoint=options.checkpoint)
    if options != allowed:
        raise ValueError(
            "--verify goes with --from only: task and adaptation are those that the file names"
        )
    model = None
    if options.checkpoint is not None:
        model = model_of(deploy.runtime.open_policy(file).metadata, options.checkpoint, file)
    found = deploy.verify(file, model)
    print(
        f"{file} repeats the {found.steps} steps stored in it: at most {found.stored_error:.1e} away"
    )
    if found.parity is None:
        print("Against its model: not checked; give --from, the checkpoint that it came from")
    else:
        print(f"Against the model of {options.checkpoint}: {_compared(found.parity._asdict())}")


def model_of(metadata: Mapping[str, Any], checkpoint: Path, file: Path) -> Any:
    """Return the model that a file was made of, adapted anew.

    Raises:
        ValueError: if the file came from another checkpoint, or does not say how it was adapted.
    """
    path = checkpoint_in(checkpoint)
    if metadata.get("checkpoint_sha256") != _sha256(path):
        raise ValueError(
            f"{file} did not come from {path}: it names the checkpoint with the hash "
            f"{metadata.get('checkpoint_sha256')}, this one has {_sha256(path)}"
        )
    try:
        adaptation = Adaptation(**metadata["adaptation"])
        learner = load_adaptable(path, adaptation.physics)
        named = metadata["task"]
        task = named and learner.family.task_type.from_json(json.dumps(named))
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{file} does not say how its model was adapted ({error}); it was not written by `metamotor export`"
        ) from error
    return adapted_model(learner, task, adaptation)


def _compared(parity: Mapping[str, Any]) -> str:
    said = (
        f"at most {parity['max_error']:.1e} of half the action's range away from the model on "
        f"{counted(parity['observations'], 'observation')}"
    )
    steps = parity["episode_steps"]
    return f"{said} and an episode of {counted(steps, 'step')}" if steps else said


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
