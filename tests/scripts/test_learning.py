"""The study of methods: what it trains, that it goes on where it was, and what its tables say."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metamotor.meta.evaluation import Curve, Evaluation, Protocol
from metamotor.meta.zoo import Entry, read_index
from metamotor.scripts.benchmarks import zoo
from metamotor.scripts.benchmarks.comparison import (
    COLORS,
    Comparison,
    Training,
    draw,
    family_page,
    rows,
)
from metamotor.scripts.benchmarks.learning import Learning
from metamotor.scripts.benchmarks.overview import overview_page
from metamotor.scripts.benchmarks.records import Record, RunRecord, find_record
from metamotor.scripts.benchmarks.study import Study
from metamotor.scripts.cells import is_finished
from metamotor.scripts.checkpoints import load
from metamotor.scripts.figures import COLORS as BASELINE_COLORS
from metamotor.scripts.methods import METHODS, STUDIED
from metamotor.scripts.report import MODES, summarise
from metamotor.scripts.runs import finite, read_json
from metamotor.scripts.train import build, parse_train
from tests.scripts.conftest import Program

TINY = (
    *("--families", "PointNavigation-v0", "--methods", "MAML", "MPO", "--horizon", "20"),
    *("--total-timesteps", "400", "--num-tasks", "2", "--num-updates", "2", "--query-episodes"),
    *("1", "--validation-tasks", "1", "--jobs", "2", "--seeds", "3"),
    "--train-options=--meta-batch-size 2 --net-arch 8 --validation-tasks 2 --validation-episodes 1",
)
MACHINE: Mapping[str, Any] = {"versions": {}, "cores": 2, "processor": "none"}


@pytest.mark.parametrize("family", STUDIED)
@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_what_its_words_say(family: str, name: str) -> None:
    method = METHODS[name]
    learner = build(parse_train([family, *method.words(family)]))
    assert type(learner).__name__ == method.learner
    for option, value in {**method.changes, **method.changes_on.get(family, {})}.items():
        assert getattr(learner.config, option) == value


def test_runs_are_of_the_method_the_arm_and_the_seed() -> None:
    study = Study(Learning(horizon=30, total_timesteps=100), "PandaReach-v0")
    cell = study.cell("FOMAML", 7)
    assert cell.folder == Path("runs/bench/PandaReach-v0-30/FOMAML-7")
    options = parse_train(cell.argv)
    assert (options.seed, options.arm, options.horizon) == (7, "adapted", 30)
    assert options.config.first_order
    oracle = parse_train(study.cell("oracle", 7).argv)
    assert (oracle.arm, oracle.total_timesteps) == ("oracle", 100)
    assert not is_finished(cell)


def test_baselines_have_the_steps_that_they_need() -> None:
    study = Study(Learning(), "CartPole-v0")
    steps = {
        name: parse_train(study.cell(name, 0).argv).total_timesteps
        for name in ("MAML", "oracle", "robust")
    }
    assert steps == {"MAML": 500_000, "oracle": 1_500_000, "robust": 1_500_000}


def test_further_options_do_not_take_the_place_of_the_method_and_the_seed() -> None:
    given = "--seed 5 --head film --horizon 9 --outer-lr 0.5"
    study = Study(Learning(horizon=30, train_options=given), "PandaReach-v0")
    options = parse_train(study.cell("RL2", 7).argv)
    assert (options.seed, options.config.head, options.horizon) == (7, "rl2", 30)
    assert options.config.outer_lr == 0.5


@pytest.mark.slow
@pytest.mark.usefixtures("cells_here")
def test_a_study_goes_on_where_it_was(
    metamotor: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["bench", "learning", *TINY]
    words += ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    words += ["--zoo", str(tmp_path / "zoo")]
    done = metamotor(*words)
    assert done.code == 0, done.err
    runs = tmp_path / "runs" / "PointNavigation-v0-20"
    made = [*runs.glob("*/summary.json"), *runs.glob("*.json")]
    before = {path: path.stat().st_mtime_ns for path in made}
    assert len(before) == 4 + 3
    refused = metamotor(*words)
    assert refused.code == 2
    assert "PointNavigation-v0.md is there already" in refused.err
    done = metamotor(*words, "--overwrite")
    assert done.code == 0, done.err
    assert before == {path: path.stat().st_mtime_ns for path in made}
    # Nor where there is nothing but the records.
    elsewhere = ["bench", "learning", *TINY]
    elsewhere += ["--runs", str(tmp_path / "new"), "--out", str(tmp_path / "again")]
    done = metamotor(*elsewhere, "--records", str(tmp_path / "runs"))
    assert done.code == 0, done.err
    assert not [*(tmp_path / "new").rglob("*.json")]
    results = read_json(tmp_path / "out" / "PointNavigation-v0.json")
    again = read_json(tmp_path / "again" / "PointNavigation-v0.json")
    assert again["methods"] == results["methods"]
    assert set(results["methods"]) == {"MAML", "MPO"}
    for report in results["methods"].values():
        assert report["training_seeds"] == [3]
    # All share the baselines, and are measured on the same tasks with the same random numbers.
    returns = [report["returns"]["stochastic"] for report in results["methods"].values()]
    assert all(own["idle"] == returns[0]["idle"] for own in returns)
    assert all(len(run["cpu_seconds"]) == 1 for run in results["training"].values())
    _check_zoo(tmp_path / "zoo", results, runs)
    monkeypatch.setattr(zoo, "LARGEST", 10)
    done = metamotor(*words[:-1], str(tmp_path / "small"), "--overwrite")
    assert "MAML is left out of the zoo: more than 10 bytes" in done.out
    assert not list((tmp_path / "small").rglob("*.safetensors"))
    assert read_index(tmp_path / "small") == {}
    for name in ("PointNavigation-v0", "learning"):
        assert (tmp_path / "out" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "out" / "PointNavigation-v0.md").read_text()
    assert "metamotor bench learning" in page
    assert "| MAML |" in (tmp_path / "out" / "learning.md").read_text()


def _check_zoo(folder: Path, results: Mapping[str, Any], runs: Path) -> None:
    """Compare a zoo with the runs and the results that it was made of."""
    listed = json.loads((folder / "index.json").read_text())
    assert [entry["method"] for entry in listed] == ["MAML", "MPO"]
    for entry in listed:
        path = folder / "PointNavigation" / f"{entry['method'].lower()}.safetensors"
        trained = load(runs / f"{entry['method']}-3")
        small, whole = load(path), trained.snapshot()
        for name, tensor in small.snapshot().items():
            np.testing.assert_array_equal(tensor, whole[name], err_msg=name)
        assert not any(name.startswith("optimizer") for name in small.snapshot())
        report = results["methods"][entry["method"]]
        measured = report["returns_per_seed"]["stochastic"]["adapted"][0]
        np.testing.assert_allclose(entry["returns"], measured, atol=0.005)
        own = report["returns_per_seed"]["stochastic"]
        others = [points[0][1] for name, points in own.items() if name not in ("adapted", "oracle")]
        assert ("untrained" in own) == (entry["method"] == "MPO")
        assert entry["best_other"] == pytest.approx(max(others), abs=0.005)


def test_the_index_of_a_zoo_grows(tmp_path: Path) -> None:
    def entry(family: str, method: str, seed: int) -> Entry:
        return Entry(
            family=family,
            method=method,
            seed=seed,
            support_episodes=1,
            robot_seconds=1.0,
            returns=(0.0, 1.0),
            best_other=0.0,
            oracle=1.0,
            num_timesteps=1,
            cpu_seconds=1.0,
        )

    zoo.write_index([entry("A-v0", "MAML", 0), entry("B-v0", "MAML", 0)], tmp_path)
    zoo.write_index([entry("A-v0", "MAML", 2), entry("A-v0", "ES", 1)], tmp_path)
    found = [(one.family, one.method, one.seed) for one in read_index(tmp_path).values()]
    assert found == [("A-v0", "MAML", 2), ("A-v0", "ES", 1), ("B-v0", "MAML", 0)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--methods", "MAML", "RL²"), "there is no method RL²; there are MAML, ProMP, FOMAML"),
        (("--methods", "ES", "ES"), "methods must be at least one, no two alike"),
        (("--seeds", "1", "1"), "seeds must be at least one, no two alike"),
        (("--num-tasks", "0"), "num_tasks must be at least 1, got 0"),
        (("--total-timesteps", "0"), "total_timesteps must be at least 1, got 0"),
        (("--num-updates", "0"), "num_updates must be at least 1, got 0"),
        (("--families", "Moon-v0"), "Moon-v0"),
    ],
)
def test_a_study_of_nothing_is_refused(
    metamotor: Program, words: tuple[str, ...], message: str
) -> None:
    refused = metamotor("bench", "learning", *words)
    assert refused.code == 2
    assert message in refused.err


# Tables -------------------------------------------------------------------------------------------


def curve(*points: float) -> Curve:
    """The same return on all four tasks at each point."""
    returns = np.tile(np.array(points, dtype=float), (4, 1))
    return Curve(returns, returns + 1.0, (1.0,) * (len(points) - 1))


def comparison(oracle: float = 10.0, *, seeds: int = 2) -> Comparison:
    baselines = {
        "idle": curve(0, 0, 0),
        "robust": curve(1, 1, 1),
        "fine_tuned": curve(1, 2, 4),
        "scratch": curve(-5, -4, -3),
        "oracle": curve(oracle, oracle, oracle),
    }
    reports = {}
    for name, after, episodes in (("MAML", (0, 8, 9), 10), ("MPO", (0, 4, 4), 1)):
        protocol = Protocol(num_tasks=4, num_updates=2, support_episodes=episodes)
        curves = {**baselines, "adapted": curve(*after)}
        if name == "MPO":
            curves["untrained"] = curve(0, 3, 3)
        done = [
            Evaluation("PandaReach-v0", protocol, seed, curves, 1.5 * episodes)
            for seed in range(seeds)
        ]
        reports[name] = summarise(done, name)
    settings = {
        **{"learner": "MAML", "algorithm": "PPO", "config": {"inner_lr": 0.1}},
        **{"base_kwargs": {"gamma": 0.9}, "total_timesteps": 1000},
    }
    cost = Training(settings, (61.7,), (1_200_000,), (30,), (1_000_000,))
    training = {name: cost for name in ("robust", "oracle", "MAML", "MPO")}
    return Comparison("PandaReach-v0", 10, reports, training, {"MAML": 3.0})


def test_a_row_has_returns_gaps_and_what_they_cost() -> None:
    table = {row[0]: row[1:] for row in rows(comparison(), "stochastic")}
    assert list(table) == [
        *("idle", "robust", "fine-tuned", "scratch", "**MAML**", "**MPO**"),
        *("MPO, untrained", "oracle"),
    ]
    assert table["**MAML**"] == [
        *("0.0 [0.0, 0.0]", "8.0 [8.0, 8.0]", "9.0 [9.0, 9.0]"),
        *("0.75 [0.75, 0.75]", "0.83 [0.83, 0.83]"),
        *("10 episodes, 15.0 s", "1.20M", "62 CPU s"),
    ]
    # Untrained it got to 3, more than the fine-tuned 2: that is what it has to beat.
    assert table["**MPO**"][3:6] == ["0.14 [0.14, 0.14]", "0.00 [0.00, 0.00]", "1 episode, 1.5 s"]
    assert table["MPO, untrained"][:3] == ["0.0 [0.0, 0.0]", "3.0 [3.0, 3.0]", "3.0 [3.0, 3.0]"]
    assert table["fine-tuned"][-3:] == ["10 episodes, 15.0 s", "", ""]
    assert table["idle"] == ["0.0 [0.0, 0.0]", *[""] * 7]
    assert len({len(row) for row in table.values()}) == 1


def test_no_two_methods_of_a_figure_have_the_same_colour() -> None:
    assert set(COLORS) == set(METHODS)
    # Neither is drawn there: methods have names of their own, and are drawn after training.
    baselines = [BASELINE_COLORS[n] for n in BASELINE_COLORS if n not in ("adapted", "untrained")]
    drawn = [*COLORS.values(), *baselines]
    assert len(set(drawn)) == len(drawn)


def test_no_gap_is_claimed_where_there_is_none() -> None:
    table = {row[0]: row[1:] for row in rows(comparison(oracle=3.0), "stochastic")}
    assert table["**MAML**"][3:5] == ["6.00 [6.00, 6.00]", "–"]


def test_runs_of_other_code_are_told() -> None:
    done = comparison()
    made = {name: dataclasses.replace(own, sources=("abc",)) for name, own in done.training.items()}
    done = dataclasses.replace(done, training=made)
    page = family_page(done, "metamotor bench learning", {**MACHINE, "sources": "abc"})
    assert "Digests of the code" not in page
    made["MPO"] = dataclasses.replace(made["MPO"], sources=("xyz",))
    page = family_page(done, "metamotor bench learning", {**MACHINE, "sources": "abc"})
    told = "that trained: abc: robust, oracle, MAML; xyz: MPO; that evaluated: unknown. That of the code"
    assert told in page
    done = dataclasses.replace(done, training={}, evaluation_sources={"MAML": ("abc", "xyz")})
    page = family_page(done, "metamotor bench learning", {**MACHINE, "sources": "abc"})
    assert "that evaluated: abc: MAML; xyz: MAML." in page


def test_pages_and_figures(tmp_path: Path) -> None:
    both = [comparison(), comparison(oracle=1.0)]
    page = family_page(both[0], "metamotor bench learning", MACHINE)
    assert "MAML: fine-tuned after 1, fine-tuned after 2" in page
    assert "MPO: untrained after 1, fine-tuned after 2" in page
    assert "| MAML | 0.0 → 8.0 → 9.0 |" in page
    overview = overview_page(both)
    assert "| MAML | **0.75 [0.75, 0.75]** | – |" in overview
    assert "| MPO | 0.14 [0.14, 0.14] | – |" in overview
    assert "15 s, 1.20M, 62 CPU s" in overview
    assert draw(both, tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_families_of_one_seed_stand_apart() -> None:
    tried = dataclasses.replace(comparison(seeds=1), family="KukaReach-v0")
    page = overview_page([comparison(), tried])
    studied, trial = page.split("## Trials")
    assert "KukaReach" not in studied
    assert (
        "| [`KukaReach-v0`](KukaReach-v0.md) | 0.0; 1.0 | 2.0; −4.0 | 0.0 → 8.0; **0.75** [0.75, 0.75] "
        "| 0.0 → 4.0; 0.14 [0.14, 0.14] | 10.0 |"
    ) in trial
    assert "learning.png" not in overview_page([tried])


def test_a_comparison_comes_back_from_its_json() -> None:
    for done in (comparison(), comparison(oracle=3.0)):
        values = json.loads(json.dumps(finite(done.as_json())))
        found = Comparison.from_json(values)
        assert found.training == done.training
        for name, report in done.reports.items():
            assert found.reports[name].returns == report.returns
            assert found.reports[name].per_seed == report.per_seed
        for mode in MODES:
            assert rows(found, mode) == rows(done, mode)
        assert finite(found.as_json()) == values


def test_a_method_that_was_not_measured_everywhere_leaves_its_cell_empty() -> None:
    whole = comparison()
    part = dataclasses.replace(whole, reports={"MAML": whole.reports["MAML"]})
    assert "| MPO | 0.14 [0.14, 0.14] |  |" in overview_page([whole, part])


def test_a_record_is_used_for_the_same_settings_and_protocol_only(tmp_path: Path) -> None:
    protocol = Protocol(num_tasks=4, num_updates=2, support_episodes=10)
    curves = {"adapted": curve(0.123456, 8, 9)}
    done = Evaluation("PandaReach-v0", protocol, 3, curves, 15.0)
    settings = {"config": {"inner_lr": 0.1}, "seed": 3}
    run = RunRecord(settings, 61.7, 1_200_000, 30, 1_000_000, 4.5, "abc")
    path = Record({"MAML": run}, done, 12.5, "abc").save(tmp_path / "PandaReach-v0" / "MAML-3.json")
    found = find_record(path, protocol, {"MAML": settings})
    assert found.runs == {"MAML": run}
    assert found.evaluation_cpu_seconds == 12.5
    np.testing.assert_allclose(
        found.evaluation.curves["adapted"].stochastic, curves["adapted"].stochastic, atol=1e-4
    )
    with pytest.raises(ValueError, match="recorded with another MAML's seed than is asked"):
        find_record(path, protocol, {"MAML": {**settings, "seed": 4}})
    with pytest.raises(ValueError, match="with another num_tasks, seed than"):
        find_record(path, dataclasses.replace(protocol, seed=9, num_tasks=5), {"MAML": settings})
    path.write_text("{}")
    with pytest.raises(ValueError, match="is not a record of `metamotor bench learning`"):
        find_record(path, protocol, {"MAML": settings})
