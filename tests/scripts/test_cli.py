"""The program as a user has it: what it writes, and what it says to a mistake."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from onnx import TensorProto, helper
from stable_baselines3 import PPO

from metamotor import deploy, meta
from metamotor.scripts.presets import PRESETS
from metamotor.scripts.runs import read_json, read_progress
from tests.scripts.conftest import TINY, Program


def run(*argv: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "metamotor.scripts.cli", *argv],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
    )


# What it does -------------------------------------------------------------------------------------


def test_help_starts_without_heavy_imports(tmp_path: Path) -> None:
    code = (
        "import sys; from metamotor.scripts.cli import main; main(['--help']);"
        "sys.exit(any(name in sys.modules for name in ('torch', 'pybullet', 'gymnasium')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0
    for command in ("train", "adapt", "evaluate", "export", "run", "demo", "bench"):
        assert f"  {command} " in done.stdout


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("train", "--inner-lr"),
        ("adapt", "--task-seed"),
        ("evaluate", "--num-tasks"),
        ("export", "--updates"),
        ("run", "--gif"),
        ("demo", "--quick"),
        ("bench", "learning"),
    ],
)
def test_each_command_has_help(metamotor: Program, command: str, option: str) -> None:
    done = metamotor(command, "--help")
    assert done.code == 0
    assert option in done.out


def test_the_help_of_train_shows_the_preset_of_the_family(metamotor: Program) -> None:
    for (family, learner), preset in PRESETS.items():
        told = metamotor("train", family, "--learner", learner, "--help").out
        # Wherever the terminal's width broke the line.
        told = " ".join(told.replace("│", " ").split())
        assert f"(default: {preset.total_timesteps})" in told


def test_a_run_folder_holds_everything(arms: dict[str, Path]) -> None:
    folder = arms["adapted"]
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {
        "config.json",
        "summary.json",
        "progress.csv",
        "checkpoints/best.safetensors",
        "checkpoints/last.safetensors",
        "figures/learning_curve.png",
    } <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    config = read_json(folder / "config.json")
    assert config["config"]["meta_batch_size"] == 2
    assert config["config"]["clip_range"] == 0.3, "defaults belong into the file too"
    assert config["family"] == {
        "name": "PointNavigation-v0",
        "config": {"horizon": 20, "reveal_task": False},
    }
    assert config["command"].startswith("metamotor train PointNavigation-v0")
    assert {"torch", "metamotor", "python"} <= set(config["machine"]["versions"])
    summary = read_json(folder / "summary.json")
    assert summary["status"] == "finished"
    assert summary["num_timesteps"] >= 400
    assert summary["cpu_seconds"] > 0
    lines = read_progress(folder)
    assert any("rollout/post_1" in line for line in lines)
    assert any("eval/post_1" in line for line in lines)


def test_training_says_what_it_took_and_what_is_next(metamotor: Program, tmp_path: Path) -> None:
    heard = [word for word in TINY if word != "--quiet"]
    done = metamotor("train", *heard, "--out", tmp_path / "more")
    # 2 tasks × 3 episodes × 20 steps, before and after the update.
    assert "of 400 steps · " in done.err, "no terminal: progress comes in lines"
    assert "Trained for 480 environment steps (400 asked for;" in done.out
    done = metamotor("train", *heard, "--total-timesteps", "480", "--out", tmp_path / "exact")
    assert f"Trained for 480 environment steps: {tmp_path}" in done.out
    done = metamotor("train", *TINY, "--arm", "robust", "--out", tmp_path / "robust")
    assert done.err == ""
    assert f"--robust {tmp_path / 'robust'} --oracle ORACLE" in done.out


def test_the_next_command_can_be_typed(
    metamotor: Program, arms: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    task = '{"goal_x": 0.1, "goal_y": 0.3}'
    done = metamotor("adapt", "--from", arms["adapted"], "--task", task, "--out", "my model.zip")
    for command in ("export", "run"):
        line = next(line for line in done.out.splitlines() if line.startswith("Next, "))
        words = shlex.split(line.partition(": metamotor ")[2])
        assert words[0] == command
        done = metamotor(*words)
        assert done.code == 0, done.err
    assert "goal_x=0.1, goal_y=0.3" in done.out


def test_a_run_that_was_not_trained_to_adapt_is_told(
    metamotor: Program, arms: dict[str, Path], tmp_path: Path
) -> None:
    for arm, count in (("robust", 1), ("adapted", 0)):
        words = ("--from", arms[arm], "--episodes", "2", "--out")
        adapted = metamotor("adapt", *words, tmp_path / f"{arm}.zip")
        exported = metamotor("export", *words, tmp_path / f"{arm}.onnx")
        as_it_is = metamotor("export", *words, tmp_path / f"{arm}-0.onnx", "--updates", "0")
        assert (adapted.code, exported.code, as_it_is.code) == (0, 0, 0)
        assert adapted.out.count("not trained to adapt") == count
        assert exported.out.count("not trained to adapt") == count
        assert "not trained to adapt" not in as_it_is.out


def test_a_file_is_overwritten_only_if_asked(
    metamotor: Program, arms: dict[str, Path], tmp_path: Path
) -> None:
    for command, name in (("adapt", "model.zip"), ("export", "policy.onnx")):
        out = tmp_path / name
        out.write_text("mine")
        refused = metamotor(command, "--from", arms["adapted"], "--out", out)
        assert refused.code == 2
        assert f"{out} is there already" in refused.err
        assert out.read_text() == "mine"
        assert metamotor(command, "--from", arms["adapted"], "--out", out, "--overwrite").code == 0
        assert out.read_bytes() != b"mine"
    film = tmp_path / "film.gif"
    film.write_text("mine")
    refused = metamotor("run", tmp_path / "policy.onnx", "--gif", film)
    assert refused.code == 2
    assert f"{film} is there already" in refused.err


def test_arms_differ_as_they_should(arms: dict[str, Path]) -> None:
    configs = {arm: read_json(path / "config.json") for arm, path in arms.items()}
    steps = {arm: config["config"].pop("inner_steps") for arm, config in configs.items()}
    assert steps == {"adapted": 1, "robust": 0, "oracle": 0}
    revealed = {arm: config["family"]["config"]["reveal_task"] for arm, config in configs.items()}
    assert revealed == {"adapted": False, "robust": False, "oracle": True}
    assert configs["adapted"]["config"] == configs["robust"]["config"]


def test_a_run_without_a_folder_gets_a_new_one_each_time(
    metamotor: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert metamotor("train", *TINY, "--total-timesteps", "10").code == 0
    folders = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert len(folders) == 2
    assert all(name.startswith("PointNavigation-v0-maml-0-") for name in folders)


def test_adapt_saves_a_model_that_sb3_loads(
    metamotor: Program, arms: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "adapted.zip"
    done = metamotor(
        "adapt", "--from", arms["adapted"], "--episodes", "3", "--task-seed", "7", "--out", out
    )
    assert done.code == 0, done.err
    assert "stochastic" in done.out
    assert "deterministic" in done.out
    assert PPO.load(out, device="cpu").observation_space.shape == (2,)


def test_export_and_run(metamotor: Program, arms: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "policy.onnx"
    task = '{"goal_x": 0.1, "goal_y": 0.3}'
    checkpoint = arms["adapted"] / "checkpoints" / "last.safetensors"
    done = metamotor(
        "export", "--from", checkpoint, "--task", task, "--episodes", "3", "--out", out
    )
    assert done.code == 0, done.err
    metadata = deploy.runtime.Policy(out).metadata
    assert metadata["task"] == json.loads(task)
    assert metadata["horizon"] == 20
    assert len(metadata["checkpoint_sha256"]) == 64
    done = metamotor("run", out, "--episodes", "2", "--fast")
    assert done.code == 0, done.err
    assert "goal_x=0.1, goal_y=0.3" in done.out
    assert "over 40 calls" in done.out
    assert metamotor("run", out, "--task-seed", "1", "--fast").out.count("goal_x=0.1,") == 0
    done = metamotor("export", "--verify", out)
    assert done.code == 0, done.err
    assert "repeats the 8 steps stored in it" in done.out
    done = metamotor("export", "--verify", out, "--from", checkpoint)
    assert done.code == 0, done.err
    assert "and an episode of 20 steps" in done.out
    done = metamotor("export", "--verify", out, "--from", arms["robust"])
    assert done.code == 2
    assert "did not come from" in done.err
    done = metamotor("export", "--verify", out, "--episodes", "3")
    assert done.code == 2
    assert "--verify goes with --from only" in done.err


def test_evaluate_writes_table_figure_and_numbers(
    metamotor: Program, arms: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "evaluation"
    checkpoints = [word for arm, path in arms.items() for word in (f"--{arm}", str(path))]
    protocol = ("--num-tasks", "3", "--num-updates", "1", "--validation-tasks", "1")
    episodes = ("--support-episodes", "2", "--query-episodes", "1")
    done = metamotor("evaluate", *checkpoints, *protocol, *episodes, "--out", out)
    assert done.code == 0, done.err
    for row in ("idle", "robust", "fine-tuned", "scratch", "MAML, adapted", "oracle", "gap closed"):
        assert row in done.out
    names = {path.name for path in out.iterdir()}
    assert names == {"evaluation-0.json", "report.json", "report.md", "returns.png"}
    assert read_json(out / "report.json")["protocol"]["num_tasks"] == 3


@pytest.mark.slow
def test_tracking_stays_inside_the_run_folder(
    metamotor: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_MODE", "WANDB_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, "")  # so that what the program sets is taken back
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    folder = tmp_path / "run"
    done = run("train", *TINY, "--track", "--out", str(folder), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(folder.glob("wandb/offline-run-*/*.wandb"))
    assert list((folder / "wandb-data").rglob("*")), "artifacts are staged in the run folder"


# What it says to a mistake ------------------------------------------------------------------------

MISTAKES = {
    "no command": ((), None),
    "words behind --version": (("--version", "extra"), "--version takes nothing behind it"),
    "unknown command": (("fly",), "unknown command 'fly'"),
    "unknown family": (("train", "Nowhere-v0"), "unknown task family 'Nowhere-v0'; there are"),
    "unknown learner": (
        ("train", *TINY, "--learner", "SNAIL"),
        "invalid choice 'SNAIL' for argument '--learner'",
    ),
    "off-policy algorithm": (("train", *TINY, "--algorithm", "SAC"), "MAML takes PPO, A2C or TRPO"),
    "algorithm in small letters": (
        ("train", *TINY, "--algorithm", "ppo"),
        "invalid choice 'ppo' for argument '--algorithm'. Expected one of ('PPO', 'A2C', 'TRPO',",
    ),
    "negative seed": (("train", *TINY, "--seed", "-1"), "seed must be"),
    "no units": (("train", *TINY, "--net-arch", "0"), "net_arch"),
    "folder that cannot be made": (
        ("train", *TINY, "--out", "/proc/run"),
        "cannot make the folder /proc/run",
    ),
    "folder in a file": (("train", *TINY, "--out", "/dev/null/run"), "expected a folder's name"),
    "file for a folder": (("train", *TINY, "--out", "/dev/null"), "/dev/null is a file"),
    "unknown policy": (("train", *TINY, "--policy", "Nothing"), "Nothing"),
    "unknown argument": (
        ("train", *TINY, "--base-kwargs", '{"foo": 1}'),
        "unexpected keyword argument 'foo'",
    ),
    "a policy without memory": (
        ("train", *TINY, "--learner", "Reptile", "--algorithm", "RecurrentPPO"),
        "RecurrentPPO has no policy 'MlpPolicy'; policy must be one of MlpLstmPolicy",
    ),
    "choices for an algorithm that has none": (
        ("train", *TINY, "--learner", "Reptile", "--algorithm", "DQN"),
        "Discrete",
    ),
    "policy for images": (("train", *TINY, "--policy", "CnnPolicy"), "CnnPolicy"),
    "no width": (("train", *TINY, "--net-arch", "-1"), "-1"),
    "no rollout": (("train", *TINY, "--base-kwargs", '{"n_steps": 0}'), "n_steps"),
    "no JSON": (("train", *TINY, "--base-kwargs", "foo"), "expects a JSON object, got 'foo'"),
    "no steps": (("train", *TINY, "--total-timesteps", "0"), "total_timesteps must be at least 1"),
    "no horizon": (("train", *TINY, "--horizon", "0"), "horizon must be a whole number"),
    "no tasks": (("train", *TINY, "--meta-batch-size", "0"), "meta_batch_size must be at least 1"),
    "no validation": (("train", *TINY, "--validation-tasks", "0"), "validation_tasks must be"),
    "negative workers": (("train", *TINY, "--num-workers", "-1"), "num_workers must not be"),
    "no number": (
        ("train", *TINY, "--seed", "one"),
        "Error parsing --seed: invalid literal for int() with base 10: 'one'",
    ),
    "unknown option": (
        ("train", *TINY, "--no-such-option"),
        "Unrecognized options: --no-such-option",
    ),
    "no family": (("train",), "Id of the task family"),
    "a place without --from": (("adapt", "nowhere"), "Missing from metamotor adapt: --from PATH"),
    "no checkpoint": (("adapt", "--from", "nowhere"), "there is no checkpoint at nowhere"),
    "no policy file": (("run", "nowhere.onnx"), "there is no policy file nowhere.onnx"),
    "SB3's file": (("export", "--from", "model.zip"), "unpickles"),
    "no episodes to run": (("run", "x.onnx", "--episodes", "0"), "episodes must be at least 1"),
    "no seeds": (("bench", "learning", "--seeds"), "seeds must be at least one"),
    "a window and a film": (
        ("run", "x.onnx", "--gui", "--gif", "x.gif"),
        "--gui and --gif exclude each other",
    ),
    "no benchmark": (("bench", "nothing"), "Available subcommands: all, sampling"),
}


@pytest.mark.parametrize(("argv", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_gives_one_message_and_code_2(
    metamotor: Program,
    argv: tuple[str, ...],
    message: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = metamotor(*argv)
    assert done.code == 2
    assert "Traceback" not in done.err
    if message is not None:
        assert done.err.startswith("metamotor: error: ")
        assert message in done.err
        assert done.err.count("\n") == 1, "one line"
    assert not (tmp_path / "runs").exists(), "a mistake leaves no run folder behind"


def test_a_run_folder_is_never_overwritten(metamotor: Program, arms: dict[str, Path]) -> None:
    before = {path: path.read_bytes() for path in arms["adapted"].rglob("*") if path.is_file()}
    done = metamotor("train", *TINY, "--out", arms["adapted"])
    assert done.code == 2
    assert "never overwritten" in done.err
    after = {path: path.read_bytes() for path in arms["adapted"].rglob("*") if path.is_file()}
    assert before == after


def test_a_damaged_checkpoint_is_told(
    metamotor: Program, arms: dict[str, Path], tmp_path: Path
) -> None:
    whole = (arms["adapted"] / "checkpoints" / "best.safetensors").read_bytes()
    truncated = tmp_path / "truncated.safetensors"
    for length in (0, 4, 100, len(whole) // 2, len(whole) - 1):
        truncated.write_bytes(whole[:length])
        done = metamotor("adapt", "--from", truncated)
        assert done.code == 2
        assert "not a whole metamotor checkpoint" in done.err


def test_a_file_of_another_kind_is_told(
    metamotor: Program, arms: dict[str, Path], tmp_path: Path
) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("hello")
    assert "expected a checkpoint" in metamotor("adapt", "--from", other).err
    assert metamotor("run", other).code == 2
    checkpoint = arms["adapted"] / "checkpoints" / "best.safetensors"
    assert metamotor("run", checkpoint).code == 2
    assert "checkpoints/best" in metamotor("adapt", "--from", tmp_path).err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--episodes", "0"), "an update takes at least 1 episode, got 0"),
        (("--updates", "-1"), "updates must be at least 0, got -1"),
        (("--measured-episodes", "0"), "measured_episodes must be at least 1"),
        (("--task", "{}"), "goal_x"),
        (("--task", '{"goal_x": NaN, "goal_y": 0.0}'), "finite"),
        (("--out", "model.onnx"), "ends in .zip"),
        (("--out", "nowhere/model.zip"), "no folder nowhere"),
        (("--out", "/proc/model.zip"), "cannot write model.zip to /proc"),
        (
            ("--task", '{"goal_x": 1e200, "goal_y": 0.0}'),
            "goal_x of PointNavigation-v0 must be in [-0.75, 0.75] m, got 1e+200",
        ),
    ],
)
def test_adapt_refuses(
    metamotor: Program, arms: dict[str, Path], options: tuple[str, ...], message: str
) -> None:
    done = metamotor("adapt", "--from", arms["adapted"], *options)
    assert done.code == 2
    assert message in done.err


def test_arms_in_the_wrong_place_are_told(metamotor: Program, arms: dict[str, Path]) -> None:
    adapted, robust, oracle = arms.values()
    wrong = metamotor("evaluate", "--adapted", robust, "--robust", adapted, "--oracle", oracle)
    assert wrong.code == 2
    assert f"but {robust} holds a policy that is not told its task" in wrong.err
    uneven = metamotor(
        "evaluate", "--adapted", adapted, adapted, "--robust", robust, "--oracle", oracle
    )
    assert "got 2 --adapted, 1 --robust, 1 --oracle" in uneven.err
    assert "nothing to adapt to" in metamotor("adapt", "--from", oracle).err


def test_a_seed_that_comes_twice_is_told(
    metamotor: Program, arms: dict[str, Path], tmp_path: Path
) -> None:
    adapted, robust, oracle = arms.values()
    others = ("--robust", robust, robust, "--oracle", oracle, oracle)
    best = adapted / "checkpoints" / "best.safetensors"
    same = metamotor("evaluate", "--adapted", adapted, best, *others, "--out", tmp_path / "out")
    assert same.code == 2
    assert "--adapted names a checkpoint twice" in same.err
    copy = shutil.copy(best, tmp_path / "copy.safetensors")
    done = metamotor("evaluate", "--adapted", adapted, copy, *others, "--out", tmp_path / "out")
    assert done.code == 2
    assert (
        "--adapted expects a checkpoint for each training seed, got those of seeds 0, 0" in done.err
    )
    assert not (tmp_path / "out").exists()


def test_no_folder_is_left_of_an_evaluation_by_no_workers(
    metamotor: Program, arms: dict[str, Path], tmp_path: Path
) -> None:
    checkpoints = [word for arm, path in arms.items() for word in (f"--{arm}", path)]
    done = metamotor("evaluate", *checkpoints, "--num-workers", "-1", "--out", tmp_path / "out")
    assert done.code == 2
    assert "num_workers must not be negative" in done.err
    assert not (tmp_path / "out").exists()


def test_no_folder_is_left_of_a_study_that_fails_at_once(
    metamotor: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["bench", "learning", "--families", "CartPole-v0", "--train-options=--nope 3"]
    done = metamotor(*words)
    assert done.code == 2
    assert "Unrecognized options: --nope" in done.err
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_run_is_told(
    metamotor: Program, arms: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "policy.onnx"
    assert metamotor("export", "--from", arms["adapted"], "--episodes", "2", "--out", out).code == 0
    done = metamotor("run", out, "--horizon", "0")
    assert done.code == 2
    assert "horizon must be a whole number of at least 1, got 0" in done.err
    done = metamotor("run", out, "--gui")
    assert done.code == 2
    assert "PointNavigation-v0 has no picture: leave out render_mode='human'" in done.err
    film = metamotor("run", out, "--gif", tmp_path / "film.gif")
    assert film.code == 2
    assert "--gif" in film.err
    assert not (tmp_path / "film.gif").exists()
    # All else is checked before anything is printed, too.
    log, kept = tmp_path / "run.mcap", tmp_path / "kept.mcap"
    kept.write_text("mine")
    for words, message in (
        (("--max-rate", "-1"), "max_rate must be above 0"),
        (("--max-age", "0"), "max_age must be a time in seconds above 0"),
        (("--spin", "nan", "--fast"), "spin must be a time in seconds of at least 0, got nan"),
        (("--spin", "9"), "below the period of 1.0 s, got 9.0"),
        (("--record", kept, "--overwrite"), "a log is never overwritten"),
        (("--record", "run.log"), "*.mcap"),
        (("--record", "nowhere/run.mcap"), "no folder nowhere"),
        (("--horizon", "1e3"), "--horizon: invalid literal for int() with base 10: '1e3'"),
    ):
        record = () if "--record" in words else ("--record", log)
        done = metamotor("run", out, *words, *record)
        assert (done.code, done.out) == (2, ""), words
        assert message in done.err
        assert not log.exists(), words
    assert kept.read_text() == "mine"


def test_a_file_that_adapts_is_not_run_nor_made_for_one_task(
    metamotor: Program, arms: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "adapt.onnx"
    words = ("export", "--from", arms["adapted"], "--adaptive", "--out", out)
    for option in (("--task-seed", "3"), ("--updates", "2"), ("--stochastic",)):
        refused = metamotor(*words, *option)
        assert refused.code == 2
        assert "for any task: leave out" in refused.err
        assert not out.exists()
    given, result = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("in", "out")
    )
    node = helper.make_node("Identity", ["in"], ["out"])
    model = helper.make_model(helper.make_graph([node], "no policy", [given], [result]))
    helper.set_model_props(model, {"metamotor_adaptation": "{}"})
    out.write_bytes(model.SerializeToString())
    for command in (("run", out), ("export", "--verify", out)):
        done = metamotor(*command)
        assert done.code == 2
        assert "open it with deploy.runtime.AdaptivePolicy" in done.err


def test_what_does_not_fit_into_memory_is_told(
    metamotor: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError("Unable to allocate 9 TiB")

    monkeypatch.setattr(meta.MAML, "learn", fail)
    done = metamotor("train", *TINY, "--out", tmp_path / "run")
    assert done.code == 2
    assert "does not fit into this machine's memory (Unable to allocate 9 TiB)" in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "run").exists(), "it could never be trained"


def test_a_folder_without_a_best_checkpoint_is_told_of_the_last(
    metamotor: Program, tmp_path: Path
) -> None:
    last = tmp_path / "checkpoints" / "last.safetensors"
    last.parent.mkdir()
    last.write_bytes(b"")
    done = metamotor("adapt", "--from", tmp_path)
    assert done.code == 2
    assert str(last) in done.err
    assert f"--resume {tmp_path}" in done.err


def test_a_benchmark_need_not_be_named(metamotor: Program) -> None:
    told = metamotor("bench", "--help").out
    assert "(default: all)" in told
    assert "(required)" not in told


def test_a_policy_for_another_robot_is_told(
    metamotor: Program, arms: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "policy.onnx"
    assert metamotor("export", "--from", arms["adapted"], "--episodes", "2", "--out", out).code == 0
    done = metamotor("run", out, "--family", "CartPole-v0")
    assert done.code == 2
    assert "takes 2 observations and gives 2 actions, but CartPole-v0 has 4 and 1" in done.err


def test_what_is_not_finite_stops_the_training(
    metamotor: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metamotor.envs.point_navigation import PointBatchEnv

    step = PointBatchEnv.step

    def broken(self: PointBatchEnv, actions: object) -> object:
        observations, rewards, terminated = step(self, actions)  # type: ignore[arg-type]
        return observations, rewards * float("nan"), terminated

    monkeypatch.setattr(PointBatchEnv, "step", broken)
    done = metamotor("train", *TINY, "--out", tmp_path / "run")
    assert done.code == 2
    assert "not finite" in done.err
    assert read_json(tmp_path / "run" / "summary.json")["status"] == "failed"


def test_debug_shows_the_traceback(metamotor: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Traceback" in metamotor("train", "Nowhere-v0", "--debug").err
    monkeypatch.setenv("METAMOTOR_DEBUG", "1")
    done = metamotor("train", "Nowhere-v0")
    assert "Traceback" in done.err
    assert done.code == 2


def test_a_bug_is_told_as_one(metamotor: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise KeyError("surprise")

    monkeypatch.setattr("metamotor.scripts.train.train", broken)
    monkeypatch.setattr("metamotor.scripts.train.parse_train", broken)
    done = metamotor("train", *TINY)
    assert done.code == 1
    assert "KeyError" in done.err
    assert "Traceback" not in done.err


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "1"])
def test_ctrl_c_saves_what_was_trained(tmp_path: Path, workers: str) -> None:
    folder = tmp_path / "run"
    options = ("--total-timesteps", "100000000", "--num-workers", workers, "--out", str(folder))
    process = subprocess.Popen(
        [sys.executable, "-m", "metamotor.scripts.cli", "train", *TINY, *options],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    end = time.monotonic() + 60
    while len(read_progress(folder)) < 6 and time.monotonic() < end:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it too
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    summary = read_json(folder / "summary.json")
    assert summary["status"] == "interrupted"
    learner = meta.MAML.load(folder / "checkpoints" / "last")
    assert learner.iteration == summary["iterations"] > 1
    assert learner.num_timesteps == summary["num_timesteps"]


def test_the_installed_program_runs(tmp_path: Path) -> None:
    program = shutil.which("metamotor", path=str(Path(sys.executable).parent))
    assert program is not None
    done = subprocess.run([program, "--version"], capture_output=True, text=True)
    assert done.stdout.startswith("metamotor ")
