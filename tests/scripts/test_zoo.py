"""The checkpoints that come with the package: all there, small, and as good as they are said to be."""

from __future__ import annotations

import numpy as np
import pytest

from metamotor.meta import zoo
from metamotor.meta.evaluation import Evaluator, Protocol
from metamotor.meta.statistics import iqm
from metamotor.meta.workers import LocalSampler
from metamotor.scripts.checkpoints import load
from metamotor.scripts.methods import METHODS
from tests.scripts.conftest import Program

ENTRIES = list(zoo.entries().values())
each = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)


def test_what_lies_there_is_listed() -> None:
    found = {str(path.relative_to(zoo.FOLDER)) for path in zoo.FOLDER.rglob("*.safetensors")}
    assert found == {f"{entry.name}.safetensors" for entry in ENTRIES}
    assert ENTRIES


@each
def test_a_checkpoint_is_small_and_what_it_is_said_to_be(entry: zoo.Entry) -> None:
    assert entry.path.stat().st_size <= 200_000
    learner = load(entry.path)
    assert learner.family.name == entry.family
    assert type(learner).__name__ == METHODS[entry.method].learner
    assert learner.seed == entry.seed
    assert len(entry.returns) >= 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "entry",
    # The others take seconds for each task.
    [entry for entry in ENTRIES if METHODS[entry.method].learner in ("MAML", "ES")],
    ids=lambda entry: entry.name,
)
def test_a_checkpoint_is_as_good_as_it_is_said_to_be(entry: zoo.Entry) -> None:
    """On a few other tasks than those that its score was measured on."""
    learner = load(entry.path)
    protocol = Protocol(
        num_tasks=6,
        num_updates=1,
        support_episodes=entry.support_episodes,
        query_episodes=2,
        validation_tasks=1,
        seed=77,
    )
    sampler = LocalSampler(learner.family)
    state = learner.initial_state()
    curve = Evaluator(learner.family, protocol).curve(state, learner, sampler, (1.0,))
    gained = entry.returns[1] - entry.returns[0]
    measured = curve.stochastic[:, 1] - curve.stochastic[:, 0]
    assert abs(iqm(measured) - gained) < max(0.6 * abs(gained), 2 * float(np.std(measured)))


def test_an_unknown_name_is_told_with_those_that_there_are(metamotor: Program) -> None:
    done = metamotor("adapt", "--from", "zoo:Panda/mamml")
    assert done.code == 2
    assert "there is no checkpoint zoo:Panda/mamml in the zoo; there are: " in done.err
    assert "PandaReach/maml" in done.err


def test_they_are_listed_with_their_scores(metamotor: Program) -> None:
    done = metamotor("zoo")
    assert done.code == 0
    for entry in ENTRIES:
        (line,) = (line for line in done.out.splitlines() if line.strip().startswith(entry.name))
        assert f"{entry.returns[0]:.1f}" in line
        assert f"{entry.returns[1]:.1f}" in line
    assert f"metamotor adapt --from zoo:{ENTRIES[0].name}" in done.out
