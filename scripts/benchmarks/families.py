"""What there is to adapt to: a page for each task family, and what an environment of it costs."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import itertools
import re
import resource
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console

from metamotor import envs
from metamotor.envs import Choice, Interval, RewardTerm, Signal, TaskFamily
from metamotor.meta.statistics import iqm
from metamotor.robots import Property, raw_periods_per_second
from metamotor.scripts.benchmarks.results import place, write_results
from metamotor.scripts.options import FamilyIds
from metamotor.scripts.outputs import write_file
from metamotor.scripts.runs import read_json
from metamotor.scripts.wording import counted

SECONDS = 0.1
"""How long each rate is measured in a round [s]: short, so that a machine whose pace drifts drifts for both alike."""
REFERENCE = re.compile(r"`(?:envs\.)?(\w+)`")
"""How a docstring refers to a module beside its own."""
PICTURED_STEP = 25
"""Which step of an episode at random is drawn."""


@dataclass(frozen=True, kw_only=True)
class Families:
    """Write a page for each task family: what is hidden, what is sensed and done, what nobody and everybody achieves.

    Measures environments too: steps per second, without a policy, against the engine alone on the same robot; resets;
    and how the memory grows over them.
    """

    families: FamilyIds = tuple(envs.FAMILIES)
    """The task families."""
    num_tasks: int = 40
    """Test tasks on which standing still and acting at random are measured."""
    episodes: int = 2
    """Episodes on each."""
    seed: int = 1
    """Of tasks and episodes."""
    rounds: int = 15
    """How often rates are measured; the table shows medians."""
    resets: int = 10_000
    """Resets that are timed, each to another task."""
    results: Path | None = None
    """Folder of `metamotor bench learning`'s results: robust policy and oracle are taken from there."""
    out: Path | None = None
    """Folder of the pages; without it, a new one in runs/."""
    overwrite: bool = False
    """Replace pages that are in it already."""


def run(options: Families, command: str, console: Console) -> None:
    """Measure and write the pages.

    Raises:
        ValueError: if a number is too small, a family unknown, or the folder of results missing.
    """
    for name in ("num_tasks", "episodes", "rounds", "resets"):
        if getattr(options, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(options, name)}")
    if options.results is not None and not options.results.is_dir():
        raise ValueError(
            f"there is no folder {options.results}; leave out --results, or name that of the results"
        )
    families = [envs.make(name) for name in options.families]
    suffixes = (".md", ".png")
    out = place(options, "families", (*suffixes, ".json"))
    for family in families:
        place(options, family.name, suffixes)
    numbers = {}
    for family in families:
        with console.status(family.name):
            numbers[family.name] = found = measure(family, options)
            pictured = _draw(family, out / f"{family.name}.png")
            page = family_page(family, found, pictured=pictured)
            write_file(out / f"{family.name}.md", page.encode())
    write_results(
        out,
        "families",
        command=command,
        about=f"Returns on {counted(options.num_tasks, 'test task')}, interquartile means, of standing still and of "
        "acting at random, and where they were trained of a robust policy and of the oracle (stochastic). Control "
        f"steps per second of one environment without a policy, medians of {counted(options.rounds, 'round')}, over "
        "those of the engine alone, which may be lower where its own commands move the robot more than random actions "
        f"do; median reset of {options.resets:,}, and by how much the process grew meanwhile.",
        header=[
            *("family", "still", "random", "robust", "oracle"),
            *("steps/s", "ratio", "reset [ms]", "growth [MB]"),
        ],
        rows=[_row(family, numbers[family.name]) for family in families],
        numbers={"families": numbers},
        console=console,
        link=lambda name: f"[{name}]({name}.md)",
    )


def measure(family: TaskFamily, options: Families) -> dict[str, Any]:
    """Return all numbers of one family."""
    env: Any = family.make_env()
    tasks = family.sample(options.num_tasks, split="test", seed=options.seed)
    found: dict[str, Any] = {}
    for name, scale in (("still", 0.0), ("random", 1.0)):
        returns = [
            [episode(env, task, len(tasks) * k + i, scale) for k in range(options.episodes)]
            for i, task in enumerate(tasks)  # each from a start of its own
        ]
        found[name] = iqm(np.mean(returns, axis=1))
    found |= _trained(family.name, options.results)
    robot = getattr(env, "robot", None)
    rates = []
    for round_ in range(options.rounds):
        engine = None if robot is None else raw_periods_per_second(robot, SECONDS, seed=round_)
        # A round may last for one episode only: each has other tasks.
        turned = [*tasks[round_ % len(tasks) :], *tasks[: round_ % len(tasks)]]
        rates.append((_steps_per_second(env, turned, round_), engine))
    found["steps_per_second"] = median(rate for rate, _ in rates)
    found["of_the_engine"] = (
        median(rate / engine for rate, engine in rates if engine) if robot is not None else None
    )
    found |= _resets(env, family.sample(options.resets, seed=options.seed))
    env.close()
    return found


def episode(env: Any, task: Any, seed: int, scale: float) -> float:
    """Return what an episode earns under uniform actions of ±`scale`."""
    generator = np.random.default_rng(seed)
    env.reset(seed=seed, options={"task": task})
    total, done = 0.0, False
    while not done:
        action = generator.uniform(-scale, scale, env.action_space.shape).astype(np.float32)
        _, reward, terminated, truncated, _ = env.step(action)
        total, done = total + float(reward), terminated or truncated
    return total


def _trained(name: str, results: Path | None) -> dict[str, float | None]:
    path = None if results is None else results / f"{name}.json"
    if path is None or not path.is_file():
        return {"robust": None, "oracle": None}
    first = next(iter(read_json(path)["methods"].values()))["returns"]["stochastic"]
    return {key: float(first[key][0]["value"]) for key in ("robust", "oracle")}


def _steps_per_second(env: Any, tasks: Sequence[Any], seed: int) -> float:
    generator = np.random.default_rng(seed)
    actions = generator.uniform(-1.0, 1.0, (100, *env.action_space.shape)).astype(np.float32)
    count, spent, endless = 0, 0.0, itertools.cycle(tasks)
    while spent < SECONDS:
        env.reset(seed=seed, options={"task": next(endless)})
        start = time.perf_counter()
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            count += 1
            if terminated or truncated:
                break
        spent += time.perf_counter() - start
    return count / spent


def _resets(env: Any, tasks: Sequence[Any]) -> dict[str, float]:
    times: list[float] = []
    for task in tasks[:100]:  # what is allocated once is no growth
        env.reset(seed=0, options={"task": task})
    before = _resident_megabytes()
    for seed, task in enumerate(tasks):
        start = time.perf_counter()
        env.reset(seed=seed, options={"task": task})
        times.append(time.perf_counter() - start)
    grown = _resident_megabytes() - before
    return {"reset_milliseconds": 1e3 * median(times), "growth_megabytes": grown}


def _resident_megabytes() -> float:
    """Return the memory that this process holds now; its peak would hide what stays below an earlier one."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _draw(family: TaskFamily, path: Path) -> bool:
    """Write a picture; say whether the family can be drawn."""
    import imageio.v3 as iio

    try:
        env: Any = family.make_env(render_mode="rgb_array")
    except ValueError:
        return False
    env.reset(seed=0, options={"task": family.sample(1, split="test", seed=0)[0]})
    generator = np.random.default_rng(0)
    for _ in range(min(PICTURED_STEP, family.horizon - 1)):
        if env.step(0.5 * generator.uniform(-1.0, 1.0, env.action_space.shape))[2]:
            break
    write_file(path, iio.imwrite("<bytes>", env.render(), extension=".png"))
    env.close()
    return True


def _row(family: TaskFamily, found: dict[str, Any]) -> list[str]:
    growth = found["growth_megabytes"]
    return [
        family.name,
        *(_number(found[name]) for name in ("still", "random", "robust", "oracle")),
        f"{found['steps_per_second'] / 1000:.1f}k",
        "" if found["of_the_engine"] is None else f"{found['of_the_engine']:.2f}",
        f"{found['reset_milliseconds']:.2f}",
        f"{growth:.1f}",
    ]


def _number(value: float | None) -> str:
    """Write a return, in at most five characters where it is below 10,000."""
    if value is None:
        return ""
    return f"{value:.{1 if abs(value) < 99.95 else 0}f}".replace("-", "−")


# Pages --------------------------------------------------------------------------------------------


def family_page(family: TaskFamily, found: dict[str, Any], *, pictured: bool) -> str:
    """Return the page of a family, in Markdown."""
    (_, about), *referred = _documents(type(family).__module__)
    lines = [f"# {family.name}", "", about, ""]
    if pictured:
        lines += [f"![{family.name}]({family.name}.png)", ""]
    lines += [
        f"An episode has at most {family.horizon} steps of {family.dt:.4g} s.",
        "",
        "## Hidden",
        "",
        *_table(
            ["parameter", "unit", "training", "test", "out of range"],
            [_parameter_row(name, own) for name, own in family.parameters.items()],
        ),
        "## Observation",
        "",
        *_table(["number", "unit", "bounds"], [_signal(s) for s in family.observation_signals]),
        "## Action",
        "",
        *_table(["number", "unit", "bounds"], [_signal(s) for s in family.action_signals]),
        "## Reward",
        "",
        "The reward of a step is the sum of weight × formula; `env.reward_terms()` gives what each term of the last "
        "step added.",
        "",
        *_table(
            ["term", "formula", "unit", "weight"], [_term_row(own) for own in family.reward_terms]
        ),
        "## Returns",
        "",
        "Interquartile means over test tasks; robust policy and oracle are trained (stochastic).",
        "",
        *_table(
            ["still", "random", "robust", "oracle"],
            [[_number(found[name]) or "–" for name in ("still", "random", "robust", "oracle")]],
        ),
    ]
    for name, text in referred:
        lines += [f"## {name}", "", text, ""]
    env = family.make_env()
    if properties := env.properties:
        lines += [
            "## What else may vary",
            "",
            "Properties of the robot and its world, for `randomization`; [how](../randomization.md).",
            "",
            *_table(
                ["property", "unit", "nominal", "limits"],
                [_property_row(name, own) for name, own in properties.items()],
            ),
        ]
    env.close()
    return "\n".join(lines)


def _documents(module: str) -> list[tuple[str, str]]:
    """Return a module's name and docstring, and likewise those of this package's families that it refers to."""
    found: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop(0)
        short = name.rpartition(".")[2]
        if short in found:
            continue
        found[short] = inspect.getdoc(importlib.import_module(name)) or ""
        for other in REFERENCE.findall(found[short]):
            candidate = f"{envs.__name__}.{other}"
            if importlib.util.find_spec(candidate) is not None:
                waiting.append(candidate)
    return list(found.items())


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(row)} |" for row in (header, *rows)]
    return [lines[0], f"|{'---|' * len(header)}", *lines[1:], ""]


def _parameter_row(name: str, parameter: Interval | Choice) -> list[str]:
    if isinstance(parameter, Choice):
        values = " or ".join(f"{value:g}" for value in parameter.values)
        return [f"`{name}`", parameter.unit, values, values, ""]
    beyond = " and ".join(_range(*band) for band in parameter.out_of_range)
    return [
        f"`{name}`",
        parameter.unit,
        _range(*parameter.train),
        _range(*parameter.test),
        beyond,
    ]


def _range(low: float, high: float) -> str:
    return f"{low:.4g} to {high:.4g}".replace("-", "−")


def _signal(signal: Signal) -> list[str]:
    return [f"`{signal.name}`", signal.unit, _range(signal.low, signal.high)]


def _term_row(term: RewardTerm) -> list[str]:
    formula = term.formula.replace("|", "\\|")  # which would end the cell
    return [f"`{term.name}`", formula, term.unit, f"{term.weight:g}".replace("-", "−")]


def _property_row(name: str, own: Property) -> list[str]:
    numbers = asdict(own)
    limits = f"{numbers['low']:g} to {numbers['high']:g}".replace("inf", "∞").replace("-", "−")
    return [f"`{name}`", own.unit, f"{own.nominal:g}", limits]
