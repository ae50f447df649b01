"""A few of the combinations that `metamotor bench parity` goes through, each in its own wrapped environment."""

import pytest

from metamotor.scripts.benchmarks.parity import LIMIT, Combination, combinations, measure

QUICK = [
    Combination("RecurrentPPO", "MultiInputPolicy", "Box", "stack, normalize", stochastic=True),
    Combination("SAC", "CnnPolicy", "Box", "none", gsde=True, stochastic=True),
]
MORE = [
    Combination("PPO", "CnnPolicy", "MultiDiscrete", "stack, normalize", stochastic=True),
    Combination("RecurrentPPO", "MlpPolicy", "MultiBinary", "normalize", stochastic=True),
    Combination("TQC", "MlpPolicy", "Box", "stack, normalize", gsde=True),
    Combination("DQN", "MultiInputPolicy", "Discrete", "normalize", stochastic=True),
    Combination("DDPG", "CnnPolicy", "Box", "normalize"),
]


@pytest.mark.parametrize(
    "combination",
    [*QUICK, *(pytest.param(one, marks=pytest.mark.slow) for one in MORE)],
    ids=str,
)
def test_a_file_does_what_its_model_does(combination: Combination) -> None:
    difference = measure(combination, steps=150)
    assert difference.largest <= LIMIT
    assert difference.episodes == 3


def test_all_combinations_are_tried_once() -> None:
    found = list(combinations(("PPO", "SAC", "TD3", "DQN")))
    assert len(found) == len(set(found))
    assert {one.action for one in found if one.algorithm == "PPO"} >= {"MultiDiscrete", "Box"}
    assert not any(one.stochastic for one in found if one.algorithm == "TD3")
    assert {one.action for one in found if one.algorithm == "DQN"} == {"Discrete"}
