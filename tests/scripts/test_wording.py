"""What is said on the screen agrees with the families, with the README, and with what is measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from metamotor import envs
from metamotor.scripts import report
from metamotor.scripts.benchmarks.learning import comparisons_in
from metamotor.scripts.benchmarks.overview import by_seeds, overview_page, summary, trials
from metamotor.scripts.wording import METHODS, REWARDS, counted, legend

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_plurals() -> None:
    assert [counted(count, "task") for count in (0, 1, 2)] == ["0 tasks", "1 task", "2 tasks"]


def test_every_word_of_a_table_is_explained() -> None:
    assert list(METHODS) == list(report.METHODS.values())
    for name in METHODS:
        assert f"{name}: " in legend("PandaReach-v0")
        assert f"**{name}**" in README
    assert "–: no gap" in legend("PandaReach-v0")
    assert "25 cm" in legend("PandaReach-v0")
    assert "reward here" not in legend("MyOwn-v0")


@pytest.mark.parametrize("name", envs.FAMILIES)
def test_every_family_says_what_is_rewarded_and_how_long(name: str) -> None:
    family = envs.make(name)
    assert name in REWARDS, "scripts/wording.py lacks the family"
    rows = [line for line in README.splitlines() if line.startswith(f"| `{name}` |")]
    assert len(rows) == 1, "README's table of families lacks the family"
    seconds = f"{family.horizon * family.dt:.1f}".removesuffix(".0")
    reward = REWARDS[name].replace("|", r"\|")  # a table's cell ends at a bare one
    assert rows[0].endswith(f"| {reward} | {family.horizon} steps, {seconds} s |")


def test_the_page_over_all_has_every_family_that_was_measured() -> None:
    results = ROOT / "docs" / "results"
    page = (results / "learning.md").read_text()
    assert page == overview_page(comparisons_in(results))


def test_the_readme_has_the_tables_that_were_measured() -> None:
    studied, tried = by_seeds(comparisons_in(ROOT / "docs" / "results"))
    expected = []
    for head, rows in (summary(studied), trials(tried)):
        expected += [
            f"| {' | '.join(row)} |".replace("](", "](docs/results/") for row in [head, *rows]
        ]
    found = README.partition("<!-- results: begin -->")[2].partition("<!-- results: end -->")[0]
    tables = [line for line in found.splitlines() if line.startswith("| ")]
    assert tables == expected, "copy the first table of docs/results/learning.md, and its trials"
