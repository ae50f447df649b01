"""`metamotor adapt`: adapt a checkpoint to one task by its own experience, and keep the model."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from rich.table import Table
from tyro.conf import arg

from metamotor import deploy
from metamotor.deploy.log.reader import Log
from metamotor.meta.learner import MetaLearner
from metamotor.meta.recordings import OffPolicy, task_of
from metamotor.meta.rollouts import RolloutJob, derive_seed
from metamotor.meta.workers import LocalSampler
from metamotor.scripts.checkpoints import load_adaptable
from metamotor.scripts.log import Faulty, checked, opened
from metamotor.scripts.options import PhysicsName, TaskChoice, parse
from metamotor.scripts.outputs import writable, write_file
from metamotor.scripts.runs import checkpoint_in
from metamotor.scripts.wording import counted, new_console, next_step, placed

_PURPOSE = 104_729
"""Sets the seeds of the measurement apart from those of adaptation."""


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """How a checkpoint is adapted."""

    episodes: int | None = None
    """Episodes of experience before each update; without it, as many as in the checkpoint's training."""
    updates: int = 1
    """Updates; 0 leaves the policy as it was meta-trained."""
    seed: int = 0
    """Of the episodes and actions."""
    physics: PhysicsName | None = None
    """The physics engine that the task is in; without it, that of training. MuJoCo comes with metamotor[mujoco]."""

    def of(self, learner: MetaLearner) -> Adaptation:
        """Return it with the number of episodes that this learner is adapted on."""
        if self.episodes == 0 and self.updates:
            raise ValueError("an update takes at least 1 episode, got 0; --updates 0 makes none")
        if self.episodes is not None:
            return self
        return dataclasses.replace(self, episodes=learner.trained_episodes)

    def words(self) -> list[str]:
        """Return what has to be typed to adapt in this way again."""
        default = Adaptation()
        return [
            word
            for name, value in dataclasses.asdict(self).items()
            if value != getattr(default, name)
            for word in (f"--{name}", str(value))
        ]


@dataclass(frozen=True, kw_only=True)
class Adapt:
    """Adapt a checkpoint to one task, print its returns before and after, and save the Stable-Baselines3 model.

    With --from-log, adapt on what a robot recorded instead of new episodes; --out may then be a policy file (*.onnx).
    The file is Stable-Baselines3's own; `PPO.load` unpickles parts of it, so load only files that you trust.
    """

    checkpoint: Annotated[Path, arg(name="from")]
    """A checkpoint (*.safetensors); a run folder, which stands for its best one; or one of `metamotor zoo`, such as
    zoo:PandaReach/maml."""
    from_log: Path | None = None
    """A log (*.mcap) to adapt on: one update for each policy that it was recorded under."""
    off_policy: OffPolicy = "refuse"
    """What becomes of a log's episodes of another policy than the checkpoint's: "refuse" them, or "weight" each step
    by how much likelier its action is under the checkpoint's."""
    faulty: Faulty = "refuse"
    """What becomes of a log's episodes with faults: "refuse" adapts on none, "drop" leaves them out, "bridge" too, but
    for those in which only frames were dropped."""
    task: TaskChoice = field(default_factory=TaskChoice)
    adaptation: Adaptation = field(default_factory=Adaptation)
    measured_episodes: int = 10
    """Episodes that measure each policy."""
    out: Path = Path("adapted.zip")
    """Where the model goes (*.zip); from a log also the policy file (*.onnx)."""
    overwrite: bool = False
    """Replace the file if it is there already."""


def main(argv: Sequence[str]) -> None:
    """Run the subcommand."""
    options: Adapt = parse(Adapt, argv, "adapt")
    if options.measured_episodes < 1:
        raise ValueError(f"measured_episodes must be at least 1, got {options.measured_episodes}")
    if options.from_log is not None:
        _from_log(options, options.from_log)
        return
    out = writable(options.out, ".zip", overwrite=options.overwrite)
    learner = load_adaptable(options.checkpoint, options.adaptation.physics)
    task, adaptation = options.task.of(learner.family), options.adaptation.of(learner)
    adapted = learner.adapt_state(
        task, _episodes(adaptation), updates=adaptation.updates, seed=adaptation.seed
    )
    before = measure(learner, learner.initial_state(), task, options.measured_episodes)
    after = measure(learner, adapted, task, options.measured_episodes)
    model = learner.model_of(adapted, task)
    console = new_console()
    console.print(f"{placed(learner.family)}, {task}", soft_wrap=True)
    console.print(_table(before, after, adaptation))
    console.print("Return: sum of an episode's rewards, more is better.")
    if options.adaptation.updates and (note := untrained_note(learner)):
        console.print(note, soft_wrap=True)
    write_file(out, model.save)
    console.print(f"Saved {out}", soft_wrap=True)
    words = [*options.task.words(), *options.adaptation.words()]
    policy = out.with_suffix(".onnx")
    print(
        next_step(
            "write it as one file", "export", "--from", options.checkpoint, *words, "--out", policy
        )
    )


def _from_log(options: Adapt, path: Path) -> None:
    """Adapt on a log, and write the model or the policy file."""
    if (options.task, options.adaptation) != (TaskChoice(), Adaptation()):
        raise ValueError(
            "with --from-log, the task and the episodes are those of the log: leave out --task, --split, --task-seed, "
            "--episodes, --updates, --seed and --physics"
        )
    suffix = ".onnx" if options.out.suffix == ".onnx" else ".zip"
    out = writable(options.out, suffix, overwrite=options.overwrite)
    console = new_console()
    checkpoint = checkpoint_in(options.checkpoint)
    learner = load_adaptable(checkpoint)
    log = checked(opened(path, console), options.faulty, console)
    adapted = learner.adapt_state_from(log, off_policy=options.off_policy)
    stated = task_of(log)
    task = None if stated is None else learner.family.task_type.from_json(json.dumps(stated))
    model = learner.make_model(adapted, learner.family.make_env())
    returns = [episode.total_reward for episode in log.episodes]
    spent = f"{counted(len(returns), 'episode')}, {log.robot_seconds:.2f} s of the robot's time"
    console.print(f"{placed(learner.family)}, {task or 'a task that the log does not name'}")
    console.print(f"{path}: {spent}, mean return {np.mean(returns):.1f}", soft_wrap=True)
    if note := untrained_note(learner):
        console.print(note, soft_wrap=True)
    if suffix == ".zip":
        write_file(out, model.save)
        console.print(f"Saved {out}", soft_wrap=True)
        return
    deploy.export(model, out, task=task, metadata=_origin(learner, checkpoint, log, options))
    console.print(f"Wrote {out}", soft_wrap=True)
    print(next_step("run it in the simulator", "run", out))


def origin_of(learner: MetaLearner, checkpoint: Path) -> dict[str, Any]:
    """Return what a policy file says of where it comes from: by which `metamotor run` makes the same family again."""
    settings = getattr(learner.family, "config", {})
    return {
        "horizon": learner.family.horizon,
        "physics": learner.family.physics,
        "randomization": settings.get("randomization"),
        "action": settings.get("action"),
        "checkpoint_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
    }


def _origin(learner: MetaLearner, checkpoint: Path, log: Log, options: Adapt) -> dict[str, Any]:
    """Return it with the log that the policy was adapted from."""
    return {
        **origin_of(learner, checkpoint),
        "adaptation": {
            "log_sha256": log.sha256,
            "policies": list(log.policies),
            "episodes": len(log),
            "robot_seconds": log.robot_seconds,
            "off_policy": options.off_policy,
        },
    }


def untrained_note(learner: MetaLearner) -> str:
    """Return a warning if a learner was not trained to adapt, else nothing."""
    if learner.trained_updates:
        return ""
    return (
        "Note: this run was not trained to adapt (inner_steps=0, `train --arm robust`): its updates "
        "take a step size that nothing has tuned, and may make it worse"
    )


def adapted_model(learner: MetaLearner, task: Any, adaptation: Adaptation) -> Any:
    """Return the learner's model for a task; without one, as it was meta-trained."""
    if task is None:
        return learner.make_model(learner.initial_state(), learner.family.make_env())
    return learner.adapt(
        task, _episodes(adaptation), updates=adaptation.updates, seed=adaptation.seed
    )


def _episodes(adaptation: Adaptation) -> int:
    assert adaptation.episodes is not None  # `of` was called
    return adaptation.episodes


def measure(
    learner: MetaLearner, state: Any, task: Any, episodes: int
) -> dict[str, np.ndarray[Any, Any]]:
    """Return the returns of a state's policy, stochastic and deterministic."""
    sampler = LocalSampler(learner.family)
    actor = learner.make_actor(state)
    seed = derive_seed(learner.seed, _PURPOSE)
    try:
        return {
            name: sampler.collect([RolloutJob(task, actor, episodes, seed, mode)])[
                0
            ].episode_returns
            for name, mode in (("stochastic", False), ("deterministic", True))
        }
    finally:
        sampler.close()


def _table(before: Any, after: Any, adaptation: Adaptation) -> Table:
    updates = counted(adaptation.updates, "update")
    episodes = counted(adaptation.updates * _episodes(adaptation), "episode")
    measured = counted(len(before["stochastic"]), "episode")
    title = f"return, mean ± standard deviation of {measured}"
    table = Table("policy", "before", f"after {updates} from {episodes}", title=title)
    for name in before:
        cells = [
            f"{returns[name].mean():.1f} ± {returns[name].std():.1f}" for returns in (before, after)
        ]
        table.add_row(name, *cells)
    return table
