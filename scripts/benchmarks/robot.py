"""Adaptation on a pretend robot: behind UDP, in real time, on a bad line, its dynamics outside of training.

Three processes a task: `metamotor robot` is the robot; `udp_client.py` is what runs on it, with numpy and onnxruntime
only; here is the desk.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from matplotlib.ticker import FixedLocator
from numpy.typing import NDArray
from rich.console import Console

from metamotor import deploy
from metamotor.deploy.adaptation.parity import distance
from metamotor.deploy.log.findings import GAPS
from metamotor.deploy.log.reader import Log
from metamotor.deploy.runtime import AdaptivePolicy
from metamotor.deploy.runtime.onnx_file import initializers
from metamotor.envs import Split
from metamotor.meta.learner import MetaLearner
from metamotor.meta.rollouts import RolloutJob, derive_seed
from metamotor.meta.statistics import interquartile_mean
from metamotor.meta.workers import LocalSampler
from metamotor.scripts.benchmarks.adaptation import robot_weights
from metamotor.scripts.benchmarks.results import place, write_results
from metamotor.scripts.checkpoints import load, load_adaptable
from metamotor.scripts.figures import COLORS, new_figure, save
from metamotor.scripts.robot import Faults
from metamotor.scripts.wording import counted, placed

Array = NDArray[Any]

PROGRAM = Path(__file__).with_name("udp_client.py")
WAYS = {"robot": "adapted on the robot", "desk": "adapted at the desk, from the log"}


@dataclass(frozen=True, kw_only=True)
class RealTime:
    """Adaptation on pretend robots behind UDP: returns by robot seconds, at the desk from the log and on the robot."""

    checkpoint: Path
    """Of a meta-learner: a checkpoint, a run folder, or one of the zoo, such as zoo:PandaReach/maml."""
    robust: Path | None = None
    """A checkpoint of `train --arm robust` to drive on the same robots."""
    oracle: Path | None = None
    """A checkpoint of `train --arm oracle`: what it earns on the same tasks in simulation, where it is told them."""
    split: Split = "out_of_range"
    """Where the robots' hidden tasks are from."""
    tasks: int = 8
    """Robots."""
    at_once: int = 4
    """Robots that run at the same time."""
    episodes: int = 10
    """Of an update."""
    updates: tuple[int, ...] = (1, 5)
    """After how many updates the policy is measured."""
    measured_episodes: int = 5
    """Episodes that measure a policy on a robot."""
    faults: Faults = field(default_factory=lambda: Faults(drop=0.01, delay=0.01, garbage=0.05))
    rates: tuple[float, ...] = (50.0, 100.0, 200.0)
    """Rates at which the loop is shown to keep its time [Hz]; none leaves it out."""
    rates_checkpoint: Path = Path("zoo:CartPoleSwingUp/maml")
    """Whose policy and family they are shown with."""
    real_time: bool = False
    """Give robots and clients the kernel's real-time priority (SCHED_FIFO), which needs the right to it; without it, a
    busy machine makes them late."""
    seed: int = 0
    """Of tasks, episodes, actions and the line."""
    out: Path | None = None
    """Folder of the results; without it, a new one in runs/."""
    overwrite: bool = False
    """Replace results that are in it already."""


def run(options: RealTime, command: str, console: Console) -> None:
    """Measure and write the results."""
    _check(options)
    out = place(options, "robot", (".md", ".json", ".png"))
    learner = load_adaptable(options.checkpoint)
    tasks = learner.family.sample(
        options.tasks, split=options.split, seed=derive_seed(options.seed, 0)
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = _files(learner, options, folder)
        desk = _Desk(learner, folder)
        console.print(f"{placed(learner.family)}: {counted(options.tasks, 'robot')} …")

        def measured(index: int) -> dict[str, Any]:
            return measure(options, index, tasks[index], files, desk, folder)

        with ThreadPoolExecutor(options.at_once) as pool:
            robots = list(pool.map(measured, range(options.tasks)))
        rates = [paced(options, rate, folder) for rate in options.rates]
    oracle = None if options.oracle is None else simulated(options.oracle, tasks, options)
    numbers = {
        "family": learner.family.name,
        "period": learner.family.dt,
        "horizon": learner.family.horizon,
        "points": _points(options),
        "robots": robots,
        "oracle": oracle,
        "rates": rates,
        "summary": summary(robots, oracle),
    }
    draw(numbers, options, out / "robot.png")
    write_results(
        out,
        "robot",
        command=command,
        about=_about(options, learner, numbers),
        header=["policy", *(f"{_seconds(n, numbers):g} s" for n in numbers["points"])],
        rows=_rows(numbers),
        numbers=numbers,
        console=console,
        figure="robot.png",
    )


def _check(options: RealTime) -> None:
    for name in ("tasks", "at_once", "episodes", "measured_episodes"):
        if getattr(options, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(options, name)}")
    if not options.updates or sorted(set(options.updates)) != list(options.updates):
        raise ValueError(f"updates must be numbers that rise, got {options.updates}")
    if options.updates[0] < 1:
        raise ValueError(f"updates must be at least 1, got {options.updates[0]}")
    if any(not 0 < rate <= 1000 for rate in options.rates):
        raise ValueError(f"rates must be above 0 and at most 1000 Hz, got {options.rates}")


def _points(options: RealTime) -> list[int]:
    """Return after how many updates is measured, before the first one included."""
    return [0, *options.updates]


def _files(learner: MetaLearner, options: RealTime, folder: Path) -> dict[str, Path]:
    """Write what goes to the robots."""
    adapt = deploy.export_adaptation(learner, folder / "adapt.onnx")
    files = {"adapt": adapt, "meta": AdaptivePolicy(adapt).save(folder / "meta.onnx")}
    if options.robust is not None:
        robust = load(options.robust)
        model = robust.make_model(robust.initial_state(), robust.family.make_env())
        files["robust"] = deploy.export(model, folder / "robust.onnx")
    return files


# One robot ------------------------------------------------------------------------------------------


class Driven:
    """A pretend robot in one process and what drives it in another.

    Args:
        family: name of its family.
        task: which it has and does not tell.
        rate: its control periods a second [Hz].
        faults: of the line.
        seed: of its episodes, and of the noise.
        told: what the client is told besides.
        real_time: whether both processes have real-time priority.
    """

    def __init__(
        self,
        family: str,
        task: Any,
        rate: float,
        faults: Faults,
        seed: int,
        told: dict[str, Any],
        *,
        real_time: bool,
    ) -> None:
        self._stack = ExitStack()
        with ExitStack() as stack:
            words = ["robot", "--family", family, "--task", task.to_json(), "--port", "0"]
            words += ["--rate", repr(rate), "--seed", str(seed)]
            for name, value in dataclasses.asdict(faults).items():
                words += [f"--{name}", repr(value)]
            robot = stack.enter_context(_process([*_PYTHON, "-m", "metamotor.scripts.cli", *words]))
            host, port = _address(robot)
            orders = {"host": host, "port": port, "period": 1 / rate, "seed": seed, **told}
            self._client = stack.enter_context(
                _process([*_PYTHON, str(PROGRAM), json.dumps(orders)])
            )
            self("ready")  # what it imports has no priority
            if real_time:
                for process in (robot, self._client):
                    os.sched_setscheduler(process.pid, os.SCHED_FIFO, os.sched_param(1))
            self._stack = stack.pop_all()

    def __call__(self, order: str, **told: Any) -> dict[str, Any]:
        """Return the client's answer to an order.

        Raises:
            OSError: if its process has ended; its own words stand on the screen.
        """
        assert self._client.stdin is not None
        assert self._client.stdout is not None
        try:
            self._client.stdin.write(json.dumps({"order": order, **told}) + "\n")
            self._client.stdin.flush()
        except BrokenPipeError:
            pass  # what it says then is nothing, as below
        line = self._client.stdout.readline()
        if not line:
            raise OSError(f"the robot's client ended with code {self._client.wait(timeout=60)}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End both processes."""
        self._stack.close()


_PYTHON = (sys.executable, "-W", "ignore")


class _process:  # noqa: N801 (it is used as a function)
    """A process that ends with the block."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> subprocess.Popen[str]:
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate(timeout=60)


def _address(robot: subprocess.Popen[str]) -> tuple[str, int]:
    """Return where a robot says that it listens."""
    assert robot.stdout is not None
    for line in robot.stdout:
        if line.startswith("listening at "):
            host, _, port = line.removeprefix("listening at ").partition(",")[0].rpartition(":")
            return host, int(port)
    raise OSError(f"the pretend robot ended with code {robot.wait(timeout=60)}")


def measure(
    options: RealTime,
    index: int,
    task: Any,
    files: Mapping[str, Path],
    desk: _Desk,
    folder: Path,
) -> dict[str, Any]:
    """Return all that is measured on one robot."""
    log = folder / f"robot-{index}.mcap"
    told = {"adapt": str(files["adapt"]), "log": str(log), "episodes": options.episodes}
    seed = derive_seed(options.seed, 1, index) % 2**31
    family = desk.learner.family
    found: dict[str, Any] = {"task": json.loads(task.to_json()), "shown": {}, "explored": []}
    count = options.measured_episodes

    with Driven(
        *(family.name, task, 1 / family.dt, options.faults, seed, told), real_time=options.real_time
    ) as robot:

        def shown(name: str, path: Path) -> None:
            found["shown"][name] = robot("show", policy=str(path), episodes=count)

        shown("robot_0", files["meta"])
        if "robust" in files:
            shown("robust", files["robust"])
        for update in range(1, options.updates[-1] + 1):
            saved = folder / f"robot-{index}-{update}.onnx"
            found["explored"].append(robot("explore", save=str(saved)))
            if update in options.updates:
                shown(f"robot_{update}", saved)
        closed = robot("close")
        adapted, about = desk.adapt(log, options.updates, index)
        found |= {"line": closed, "log": about}
        for update, path in adapted.items():
            shown(f"desk_{update}", path)
    return found


class _Desk:
    """Where logs are adapted on, one at a time.

    Args:
        learner: that is adapted.
        folder: for policy files.
    """

    def __init__(self, learner: MetaLearner, folder: Path) -> None:
        self.learner = learner
        self._folder = folder
        self._start = robot_weights(learner, learner.initial_state())
        self._lock = threading.Lock()

    def adapt(
        self, path: Path, updates: Sequence[int], index: int
    ) -> tuple[dict[int, Path], dict[str, Any]]:
        """Return the policy file after each number of updates on a log, and what is to be said of it."""
        with self._lock:
            log = deploy.read_log(path)
            sound = log.sound(bridge=True)
            about: dict[str, Any] = {
                "episodes": len(log),
                "kept": len(sound),
                "with_dropped_frames": len({one.episode for one in sound.findings if one.is_fault}),
                "robot_seconds": log.robot_seconds,
                "left_out": [str(one) for one in log.findings if one.is_fault and one.kind != GAPS],
                "distance": {},
            }
            files = {}
            for count in updates:
                state = self.learner.adapt_state_from(_first(sound, count))
                name = f"robot-{index}-{count}.onnx"
                held = initializers((self._folder / name).read_bytes())
                own = robot_weights(self.learner, state)
                about["distance"][str(count)] = distance(self._start, own, held)[0]
                model = self.learner.make_model(state, self.learner.family.make_env())
                files[count] = deploy.export(model, self._folder / f"desk-{index}-{count}.onnx")
            return files, about


def _first(log: Log, policies: int) -> Log:
    """Return a log's episodes of its first so many policies."""
    kept = [episode for episode in log.episodes if episode.steps["policy"].max() < policies]
    return dataclasses.replace(log, episodes=tuple(kept))


def paced(options: RealTime, rate: float, folder: Path) -> dict[str, Any]:
    """Return how a loop at some rate keeps its time, recorded, on a robot whose time runs as fast."""
    learner = load_adaptable(options.rates_checkpoint)
    (task,) = learner.family.sample(1, split=options.split, seed=derive_seed(options.seed, 2))
    files = folder / "paced.onnx"
    if not files.exists():
        deploy.export_adaptation(learner, files)
    log = folder / f"paced-{rate:g}.mcap"
    # Episodes enough for five seconds, if none ends by itself.
    episodes = max(1, round(5 * rate / learner.family.horizon))
    told = {"adapt": str(files), "log": str(log), "episodes": episodes}
    seed = derive_seed(options.seed, 3) % 2**31
    with Driven(
        *(learner.family.name, task, rate, options.faults, seed, told), real_time=options.real_time
    ) as robot:
        explored = robot("explore", save=str(folder / f"paced-{rate:g}.onnx"))
        closed = robot("close")
    recorded = deploy.read_log(log)
    kept = recorded.sound(bridge=True)
    return {
        "rate": rate,
        "family": learner.family.name,
        **explored,
        "line": closed,
        "log": {"episodes": len(recorded), "kept": len(kept)},
    }


def simulated(path: Path, tasks: Sequence[Any], options: RealTime) -> list[float]:
    """Return what a policy earns on each task in simulation, on no line, without noise."""
    learner = load(path)
    sampler = LocalSampler(learner.family)
    actor = learner.make_actor(learner.initial_state())
    count, seed = 2 * options.measured_episodes, derive_seed(options.seed, 4)
    try:
        jobs = [RolloutJob(task, actor, count, seed, deterministic=True) for task in tasks]
        return [float(batch.episode_returns.mean()) for batch in sampler.collect(jobs)]
    finally:
        sampler.close()


# What is written ------------------------------------------------------------------------------------


def mean_returns(robots: Sequence[Mapping[str, Any]], name: str) -> Array:
    """Return the mean return of each robot. Shape: (T,)."""
    return np.array([np.mean(robot["shown"][name]["returns"]) for robot in robots])


def summary(robots: Sequence[Mapping[str, Any]], oracle: Sequence[float] | None) -> dict[str, Any]:
    """Return interquartile means over the robots, of returns and of gains, and what went wrong altogether."""
    names = list(robots[0]["shown"])
    returns = {name: mean_returns(robots, name) for name in names}
    before = returns["robot_0"]
    gains = {
        name: own - before for name, own in returns.items() if name not in ("robot_0", "robust")
    }
    if oracle is not None:
        returns["oracle"] = np.array(oracle)
    loops = [loop for robot in robots for loop in (*robot["shown"].values(), *robot["explored"])]
    return {
        "returns": {name: _estimate(own) for name, own in returns.items()},
        "gains": {
            name: {**_estimate(own), "better_on": int((own > 0).sum())}
            for name, own in gains.items()
        },
        "steps": sum(loop["steps"] for loop in loops),
        "missed": sum(loop["missed"] for loop in loops),
        "guard": _sums([loop["guard"] for loop in loops]),
        "errors": _sums([loop["errors"] for loop in loops]),
        "datagrams": _sums([robot["line"]["datagrams"] for robot in robots]),
        "episodes": sum(robot["log"]["episodes"] for robot in robots),
        "kept": sum(robot["log"]["kept"] for robot in robots),
        "with_dropped_frames": sum(robot["log"]["with_dropped_frames"] for robot in robots),
        "distance": max(max(robot["log"]["distance"].values()) for robot in robots),
        "step_us_p50": float(np.median([loop["step_us"]["p50"] for loop in loops])),
        "step_us_p99": float(np.median([loop["step_us"]["p99"] for loop in loops])),
        "update_ms": float(
            np.median([e["adapted"]["milliseconds"] for r in robots for e in r["explored"]])
        ),
        "foreign": sorted({name for robot in robots for name in robot["line"]["foreign"]}),
    }


def _estimate(values: Array) -> dict[str, float]:
    return interquartile_mean(values[np.newaxis])._asdict()


def _sums(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    names = sorted({name for own in counts for name in own})
    return {name: sum(own.get(name, 0) for own in counts) for name in names}


def _seconds(updates: int, numbers: Mapping[str, Any]) -> float:
    """Return the robot seconds of whole episodes behind so many updates."""
    first = numbers["robots"][0]["explored"][0]["adapted"]
    return float(updates * first["episodes"] * numbers["horizon"] * numbers["period"])


def _rows(numbers: Mapping[str, Any]) -> list[list[str]]:
    told, points = numbers["summary"], numbers["points"]
    before = _interval(told["returns"]["robot_0"])
    rows = [
        [label, before, *(_interval(told["returns"][f"{way}_{n}"]) for n in points[1:])]
        for way, label in WAYS.items()
    ]
    rows += [
        [f"gain, {label}", "", *(_gain(told["gains"][f"{way}_{n}"], numbers) for n in points[1:])]
        for way, label in WAYS.items()
    ]
    for index, robot in enumerate(numbers["robots"]):
        task = ", ".join(f"{name} {value:.2f}" for name, value in robot["task"].items())
        own = [float(mean_returns([robot], f"robot_{n}")[0]) for n in points]
        rows.append([f"robot {index + 1} ({task})", *(f"{value:.1f}" for value in own)])
    for name, label in (
        ("robust", "one policy for all tasks"),
        ("oracle", "oracle, in simulation"),
    ):
        if name in told["returns"]:
            rows.append([label, _interval(told["returns"][name]), *[""] * (len(points) - 1)])
    return rows


def _interval(estimate: Mapping[str, float]) -> str:
    return f"{estimate['value']:.1f} ({estimate['low']:.1f} to {estimate['high']:.1f})"


def _gain(estimate: Mapping[str, float], numbers: Mapping[str, Any]) -> str:
    count = len(numbers["robots"])
    return f"{_interval(estimate)}, better on {estimate['better_on']:.0f} of {count}"


def _about(options: RealTime, learner: MetaLearner, numbers: Mapping[str, Any]) -> str:
    told, faults = numbers["summary"], options.faults
    sent = told["datagrams"]
    garbage = sent["foreign"] + sent["malformed"]
    priority = " with real-time priority" if options.real_time else ""
    foreign = ", ".join(told["foreign"]) or "nothing of torch, onnx, Gymnasium or the simulator"
    sentences = [
        f"{learner.family.name} ({options.split.replace('_', ' ')} tasks) as "
        f"{counted(options.tasks, 'pretend robot')} in processes of their own behind UDP, at "
        f"{1 / learner.family.dt:g} Hz of real time, {options.at_once} at once{priority}.",
        f"{faults.drop:.0%} of the datagrams are lost each way, observations are up to {faults.delay * 1e3:g} ms late, "
        f"{faults.garbage:.0%} are followed by garbage.",
        f"The meta-policy explores, is recorded, and is updated every {options.episodes} episodes: on the robot by "
        "AdaptivePolicy, and at the desk by adapt_from on the log.",
        "Returns without noise, measured on the same robots "
        f"({counted(options.measured_episodes, 'episode')} a policy), by the robot seconds of exploring; interquartile "
        "means over robots with 95 % intervals.",
        f"The loops took {told['steps']:,} steps (median p50 {told['step_us_p50']:.0f} µs, p99 "
        f"{told['step_us_p99']:.0f} µs) and missed {told['missed']:,} deadlines; the guard stepped in: "
        f"{_listed(told['guard'])}; errors: {_listed(told['errors'])}.",
        f"Of {sent['received'] + sent['lost']:,} observations {sent['lost']:,} did not arrive, {sent['late']:,} were "
        f"overtaken; {garbage:,} datagrams were garbage.",
        f"Of {told['episodes']} recorded episodes {told['kept']} were learned from, {told['with_dropped_frames']} of "
        "them with dropped frames.",
        f"The weights of both ways differ by at most {told['distance']:.1e} of the updates' length; an update on the "
        f"robot takes {told['update_ms']:.1f} ms.",
        f"The robot's program imported besides numpy and onnxruntime: {foreign}.",
    ]
    if numbers["rates"]:
        paced = [
            f"{one['rate']:g} Hz {one['missed']} of {one['steps']} deadlines missed, p50 {one['step_us']['p50']:.0f} "
            f"µs, p99 {one['step_us']['p99']:.0f} µs"
            for one in numbers["rates"]
        ]
        sentences.append(f"The same loop on {numbers['rates'][0]['family']}: {'; '.join(paced)}.")
    return " ".join(sentences)


def _listed(counts: Mapping[str, int]) -> str:
    return (
        ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items()) or "none"
    )


def draw(numbers: Mapping[str, Any], options: RealTime, path: Path) -> None:
    """Draw returns over robot seconds, a panel for each way."""
    figure, axes = new_figure(len(WAYS), width=4.6, height=4.0)
    told, robots, points = numbers["summary"], numbers["robots"], numbers["points"]
    seconds = [_seconds(n, numbers) for n in points]
    for axis, (way, label) in zip(axes, WAYS.items(), strict=True):
        names = ["robot_0", *(f"{way}_{n}" for n in points[1:])]
        lines = np.array([mean_returns(robots, name) for name in names])
        axis.plot(seconds, lines, color=COLORS["adapted"], alpha=0.3, linewidth=1)
        means = [told["returns"][name] for name in names]
        values = [own["value"] for own in means]
        errors = np.array(
            [[own["value"] - own["low"], own["high"] - own["value"]] for own in means]
        )
        axis.errorbar(
            *(seconds, values),
            yerr=errors.T,
            color=COLORS["adapted"],
            marker="o",
            linewidth=2,
            capsize=3,
            label="interquartile mean, each robot thin",
        )
        for name, said in (("robust", "one policy for all"), ("oracle", "oracle (simulation)")):
            if name in told["returns"]:
                value = told["returns"][name]["value"]
                axis.axhline(value, color=COLORS[name], linestyle="--", linewidth=1, label=said)
        axis.set(xlabel="robot seconds", title=label)
        axis.xaxis.set_major_locator(FixedLocator(seconds))
    axes[0].set_ylabel("return without noise")
    axes[0].sharey(axes[1])
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False
    )
    title = f"{numbers['family']}, {options.split.replace('_', ' ')}: real time, over UDP"
    figure.suptitle(title, fontsize=11)
    save(figure, path)
