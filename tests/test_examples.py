"""The examples beyond Python: what they print and publish is what Python's runtime says."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

from metamotor import deploy, envs, meta
from metamotor.deploy.runtime import AdaptivePolicy, Episode, Policy, RecurrentPolicy, open_policy
from tests.deploy.conftest import BOX, Noise
from tests.meta import toys as toys_module

toys: Any = toys_module
EXAMPLES = Path(__file__).parents[1] / "examples"
MISSING = [name for name in ("cmake", "c++") if shutil.which(name) is None]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """A policy of the cart-pole with a head that reaches its limits."""
    env = envs.make("CartPole-v0").make_env()
    model = PPO("MlpPolicy", env, seed=0, device="cpu", policy_kwargs={"net_arch": [16]})
    head: Any = model.policy.action_net
    head.weight.data.mul_(300.0)
    path = tmp_path_factory.mktemp("policy") / "cart_pole.onnx"
    return Policy(deploy.export(model, path))


@pytest.fixture(scope="module")
def run_policy(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Build the C++ example against the library in onnxruntime's wheel; return how to run it."""
    if MISSING:
        pytest.skip(f"needs {' and '.join(MISSING)}; on Debian: apt install g++ cmake")
    build = tmp_path_factory.mktemp("build")
    configure = [f"-DPython_EXECUTABLE={sys.executable}", "-S", str(EXAMPLES / "cpp")]
    for command in (["cmake", "-B", str(build), *configure], ["cmake", "--build", str(build)]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warning:" not in done.stderr

    def run(*arguments: object, given: str = "") -> subprocess.CompletedProcess[str]:
        words = [str(build / "run_policy"), *map(str, arguments)]
        return subprocess.run(words, input=given, capture_output=True, text=True, timeout=60)

    return run


def lines(rows: NDArray[Any]) -> str:
    """Return rows of numbers with all their digits, one a line."""
    return "".join(",".join(repr(float(value)) for value in row) + "\n" for row in rows)


def numbers(done: subprocess.CompletedProcess[str]) -> NDArray[Any]:
    assert done.returncode == 0, done.stderr
    return np.array([line.split(",") for line in done.stdout.splitlines()], np.float64)


@pytest.mark.slow  # compiles
def test_cpp_prints_the_actions_of_python(policy: Policy, run_policy: Run) -> None:
    rows = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    text = "# position, velocity, angle, rate\n" + lines(rows).replace("\n", "\n\n", 1)
    found = numbers(run_policy(policy.path, given=text))
    expected = np.stack([policy(row) for row in rows])
    assert (np.abs(expected) == 1).any()
    assert (np.abs(expected) < 1).any()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_cpp_says_what_is_wrong(policy: Policy, run_policy: Run, tmp_path: Path) -> None:
    foreign, cut = tmp_path / "foreign.onnx", tmp_path / "cut.onnx"
    foreign.write_text("not a model")
    cut.write_bytes(policy.path.read_bytes()[: policy.path.stat().st_size // 2])
    for arguments, given, message in (
        ((), "", "usage: run_policy FILE"),
        ((policy.path, "--adapt"), "", "usage: run_policy FILE"),
        ((tmp_path / "absent.onnx",), "", "there is no file"),
        ((foreign,), "", "run_policy: "),
        ((cut,), "", "run_policy: "),
        ((policy.path,), "1,2,3\n", "expected an observation of 4 numbers, got 3"),
        ((policy.path,), "1,2,3,nan\n", "expects finite numbers, got nan"),
        ((policy.path,), "1,2,3,1e39\n", "not finite in float32"),
        ((policy.path,), "1,2,3,x\n", "expects finite numbers, got x"),
        ((policy.path,), "1,2,3,4;5\n", "expects finite numbers, got 4;5"),
        ((policy.path, "--adapt", foreign), "", "a plain policy"),
    ):
        done = run_policy(*arguments, given=given)
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert message in done.stderr
        assert done.stderr.count("\n") == 1


def random_episodes(robot: AdaptivePolicy, seed: int) -> list[Episode]:
    """Return three episodes of unequal lengths, in which rewards depend on what was done."""
    rng, kind = np.random.default_rng(seed), robot.metadata["action"]["kind"]
    found = []
    for steps in (25, 25, 17):
        observations = rng.normal(size=(steps, len(robot.observation_names))).astype(np.float32)
        if kind == "categorical":
            actions = rng.integers(robot.metadata["action"]["choices"], size=steps)
            rewards = actions * observations[:, 0]
        else:
            size = len(robot.metadata["action"]["low"])
            actions = rng.normal(size=(steps, size)).astype(np.float32)
            rewards = actions[:, 0] * observations[:, 0] - 0.1 * (actions**2).sum(1)
        found.append(Episode(observations, actions, rewards.astype(np.float64)))
    return found


def table(episodes: list[Episode]) -> str:
    rows = [
        np.concatenate([[index], observation, np.atleast_1d(action), [reward]])
        for index, episode in enumerate(episodes)
        for observation, action, reward in zip(*episode, strict=True)
    ]
    return lines(np.array(rows))


@pytest.mark.slow
def test_cpp_keeps_memories(remembering: RecurrentPolicy, run_policy: Run) -> None:
    rows = np.random.default_rng(1).normal(size=(40, 4)).astype(np.float32)
    found = numbers(run_policy(remembering.path, given=lines(rows[:20]) + "\n" + lines(rows[20:])))
    expected = []
    for half in (rows[:20], rows[20:]):
        remembering.reset()
        expected += [remembering(row) for row in half]
    np.testing.assert_allclose(found, np.stack(expected), rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("frames", [1, 3])
def test_cpp_keeps_the_digits_that_a_normaliser_needs(
    frames: int, run_policy: Run, tmp_path: Path
) -> None:
    space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    env: Any = DummyVecEnv([lambda: Noise(BOX, space)])
    env = VecNormalize(VecFrameStack(env, frames) if frames > 1 else env)
    env.obs_rms.mean[:] = 1e6
    model: Any = PPO("MlpPolicy", env, seed=0, device="cpu", policy_kwargs={"net_arch": [8]})
    model.policy.action_net.weight.data.mul_(100.0)
    policy = open_policy(deploy.export(model, tmp_path / "policy.onnx"))
    rows = 1e6 + np.random.default_rng(1).normal(size=(40, 2))
    policy.reset()
    expected = np.stack([policy(row) for row in rows])
    found = numbers(run_policy(policy.path, given=lines(rows)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["maml", "mpo", "es"])
def test_cpp_adapts_as_python_does(name: str, run_policy: Run, tmp_path: Path) -> None:
    learner: Any = {"maml": meta.MAML, "mpo": meta.MPO, "es": meta.ES}[name]
    learner = learner.load(f"zoo:PointNavigation/{name}")
    path = deploy.export_adaptation(learner, tmp_path / "adapt.onnx")
    robot = AdaptivePolicy(path)
    rows = np.random.default_rng(9).normal(size=(50, len(robot.observation_names)))
    rows = rows.astype(np.float32)
    words: list[object] = [path]
    before = np.stack([robot(row) for row in rows])
    np.testing.assert_allclose(numbers(run_policy(*words, given=lines(rows))), before, atol=1e-6)
    for update in range(2):
        episodes = random_episodes(robot, update)
        experience = tmp_path / f"{update}.csv"
        experience.write_text("# episode, observation, action, reward\n" + table(episodes))
        words += ["--adapt", experience]
        if robot.metadata["method"] == "hill_climbing":
            done = run_policy(*words)
            assert (done.returncode, done.stdout) == (2, "")
            assert "cannot learn from recorded episodes" in done.stderr
            return
        robot.adapt_from(episodes)
        expected = np.stack([robot(row) for row in rows])
        assert np.abs(expected - before).max() > 1e-3  # the update did something
        found = numbers(run_policy(*words, given=lines(rows)))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    experience.write_text("0,1\n")
    assert "numbers a line" in run_policy(*words).stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("head", "family"),
    [("hypernetwork", toys.Bandit()), ("film", toys.Bandit()), ("rl2", toys.Line())],
)
def test_cpp_remembers_by_every_head_or_says_so(
    head: Any, family: Any, run_policy: Run, tmp_path: Path
) -> None:
    """Choices, too, which the zoo's checkpoint does not make."""
    kwargs = {"policy_kwargs": {"net_arch": [8]}}
    learner = meta.MPO(PPO, "MlpPolicy", family, base_kwargs=kwargs, head=head, frozen_episodes=0)
    with torch.no_grad():  # untrained, it would write the same policy whatever it remembers
        for parameter in learner.network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    path = deploy.export_adaptation(learner, tmp_path / "adapt.onnx")
    robot = AdaptivePolicy(path)
    if head == "rl2":
        done = run_policy(path, given="0\n")
        assert (done.returncode, done.stdout) == (2, "")
        assert "acts by its memory alone" in done.stderr
        return
    rows = np.random.default_rng(9).normal(size=(50, robot.observation_size)).astype(np.float32)
    before = np.array([robot.outputs(row) for row in rows])
    words: list[object] = [path]
    for update in range(2):
        episodes = random_episodes(robot, update)
        (tmp_path / f"{update}.csv").write_text(table(episodes))
        words += ["--adapt", tmp_path / f"{update}.csv"]
        robot.adapt_from(episodes)
    assert np.abs(np.array([robot.outputs(row) for row in rows]) - before).max() > 1e-3
    expected = np.array([robot(row) for row in rows]).reshape(len(rows), -1)
    found = numbers(run_policy(*words, given=lines(rows)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


# The ROS 2 example, without ROS --------------------------------------------------------------------


SOURCES = {
    "cart.position": "slider/position",
    "cart.velocity": "slider/velocity",
    "pole.angle": "hinge/position",
    "pole.rate": "hinge/velocity",
}


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / "ros2" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


class Clock:
    """Time that only goes on when it is told to [ns]."""

    def __init__(self) -> None:
        self.now = 1_000_000_000

    def __call__(self) -> int:
        return self.now


class Stub:
    """A policy that answers with its first observations."""

    def __init__(self, observations: list[Any], actions: list[Any]) -> None:
        self.metadata: dict[str, Any] = {
            "control_period": 0.02,
            "observations": observations,
            "actions": actions,
            "action_space": {"type": "Box", "shape": [len(actions)]},
        }
        self.observation_size = len(observations)

    def __call__(self, observation: NDArray[Any]) -> NDArray[Any]:
        return observation[: len(self.metadata["actions"])]


def signal(name: str, unit: str, low: float | None = None, high: float | None = None) -> Any:
    return {"name": name, "unit": unit, "low": low, "high": high}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bridge(clock: Clock) -> Any:
    module = load("bridge")
    observations = [signal("a", "0.5 rad"), signal("b", "rad/s")]
    stub = Stub(observations, [signal("motor", "30 N·m", -1.0, 1.0)])
    sources = {"a": "hinge/position", "b": "hinge/velocity"}
    return module.Bridge(stub, sources, max_age=0.1, clock=clock)


def test_a_message_becomes_an_observation_in_order_and_units(policy: Policy, clock: Clock) -> None:
    module = load("bridge")
    with pytest.raises(ValueError, match=r"motor is in 'motor_strength': say in `scales`"):
        module.Bridge(policy, SOURCES, clock=clock)
    bridge = module.Bridge(policy, SOURCES, scales={"motor": module.Scale(8.0)}, clock=clock)
    assert bridge.period == 0.02
    # Joints in another order, one that nobody asked for, and no efforts.
    bridge.receive(["hinge", "other", "slider"], [0.1, 9.0, -0.6], [0.4, 9.0, 1.5], [])
    observation, stamp = bridge.observation()
    assert stamp == clock.now
    # CartPole-v0 has 2.4 m, 2 m/s, 0.35 rad and 2 rad/s for its units.
    np.testing.assert_allclose(observation, [-0.6 / 2.4, 0.75, 0.1 / 0.35, 0.2], rtol=1e-6)
    np.testing.assert_allclose(bridge.command(), 8.0 * policy(observation), rtol=1e-6)


def test_the_action_becomes_a_command(bridge: Any, clock: Clock) -> None:
    bridge.receive(["hinge"], [0.25], [7.0], [])
    assert bridge.command() == [15.0]  # 0.25 rad is half a unit, and half of 30 N·m goes out
    assert bridge.report() == "1 commands; none was replaced"
    clock.now += 20_000_000
    bridge.receive(["hinge"], [5.0], [7.0], [])  # far outside the limits: the safe command
    assert bridge.command() == [0.0]
    assert "limits 1" in bridge.report()


@pytest.mark.parametrize(
    ("joints", "values", "age", "cause"),
    [
        ([], [], 0.0, "missing 1"),
        (["other"], [0.1], 0.0, "missing 1"),
        (["hinge"], [0.1, 0.2], 0.0, "missing 1"),  # lists that do not belong together
        (["hinge"], [float("nan")], 0.0, "observation_not_finite 1"),
        (["hinge"], [0.1], 0.11, "stale 1"),
        (["hinge"], [0.1], -0.5, "stale 1"),  # stamped in the future: nobody knows how old
    ],
)
def test_whatever_arrives_the_safe_command_goes_out(
    bridge: Any, joints: list[str], values: list[float], age: float, cause: str
) -> None:
    bridge.receive(joints, values, values, [], age=age)
    assert bridge.command() == [0.0]
    assert cause in bridge.report()


def test_the_oldest_joint_decides_on_the_age(bridge: Any, clock: Clock) -> None:
    bridge.receive(["hinge"], [0.1], [], [])
    clock.now += 90_000_000
    bridge.receive(["hinge"], [], [0.1], [])
    assert bridge.command() != [0.0]
    clock.now += 20_000_000  # the position is 110 ms old, the velocity 20 ms
    assert bridge.command() == [0.0]
    assert "stale 1" in bridge.report()


def test_periods_without_a_command_are_counted(bridge: Any, clock: Clock) -> None:
    for milliseconds in (0, 20, 21, 19, 20, 75, 5, 20):  # two whole periods go by in the 75
        clock.now += milliseconds * 1_000_000
        bridge.receive(["hinge"], [0.1], [0.0], [])
        bridge.command()
    assert bridge.late == 2
    bridge.reset()
    clock.now += 10_000_000_000
    assert bridge.command() == [0.0]
    assert bridge.late == 2
    assert "missing 1" in bridge.report()


def test_sources_and_units_that_make_no_sense_are_refused(clock: Clock) -> None:
    module = load("bridge")
    stub = Stub([signal("a", "half range")], [signal("motor", "1")])
    with pytest.raises(ValueError, match="a is in 'half range': say in `scales`"):
        module.Bridge(stub, {"a": "hinge/position"})
    with pytest.raises(ValueError, match="sources must name a, got none"):
        module.Bridge(stub, {})
    with pytest.raises(ValueError, match="a has the source 'hinge'"):
        module.Bridge(stub, {"a": "hinge"})
    scales = {"a": module.Scale(2.0, offset=1.0)}
    bridge = module.Bridge(stub, {"a": "hinge/position"}, scales=scales, clock=clock)
    bridge.receive(["hinge"], [2.0], [], [])
    assert bridge.observation()[0] == pytest.approx([0.5])


def test_the_node_is_python_and_the_bridge_needs_no_ros() -> None:
    compile((EXAMPLES / "ros2" / "policy_node.py").read_text(), "policy_node.py", "exec")
    program = (
        "import sys, bridge; print(sorted(set(sys.modules) & {'rclpy', 'torch', 'gymnasium'}))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=EXAMPLES / "ros2",
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "[]\n", done.stderr


@pytest.fixture(scope="module")
def remembering(tmp_path_factory: pytest.TempPathFactory) -> RecurrentPolicy:
    """A recurrent policy of the cart-pole whose actions depend on what was before."""
    env = envs.make("CartPole-v0").make_env()
    kwargs = {"lstm_hidden_size": 8, "net_arch": [8]}
    model: Any = RecurrentPPO("MlpLstmPolicy", env, seed=0, device="cpu", policy_kwargs=kwargs)
    model.policy.action_net.weight.data.mul_(100.0)
    path = tmp_path_factory.mktemp("remembering") / "cart_pole.onnx"
    return RecurrentPolicy(deploy.export(model, path, simulate=False))


def test_a_memory_is_kept_by_the_bridge_and_begins_anew(
    remembering: RecurrentPolicy, clock: Clock
) -> None:
    scales = {"motor": load("bridge").Scale(1.0)}
    bridge = load("bridge").Bridge(remembering, SOURCES, scales=scales, clock=clock)
    rows = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    commands = []
    for t, row in enumerate(rows):
        if t == 6:
            bridge.reset()
            assert bridge.command() == [0.0]  # nothing has arrived yet, and nothing is remembered
        clock.now += 20_000_000
        slider, hinge = row[:2] * [2.4, 2.0], row[2:] * [0.35, 2.0]
        bridge.receive(["slider", "hinge"], [slider[0], hinge[0]], [slider[1], hinge[1]], [])
        commands += bridge.command()
    expected = []
    for half in (rows[:6], rows[6:]):
        remembering.reset()
        expected += [float(remembering(row)[0]) for row in half]
    np.testing.assert_allclose(commands, expected, rtol=0, atol=1e-5)
    remembering.reset()
    assert np.abs(float(remembering(rows[5])[0]) - expected[5]) > 1e-3  # the memory matters


def test_what_joints_cannot_feed_is_refused(remembering: RecurrentPolicy) -> None:
    module = load("bridge")
    stub: Any = Stub([signal("a", "1")], [signal("motor", "1")])
    stub.metadata["control_period"] = None
    with pytest.raises(ValueError, match="names no control period"):
        module.Bridge(stub, {"a": "hinge/position"})
    for shapes in ({"camera": (8, 8, 3)}, {"observation": ()}):
        stub.observation_shapes = shapes
        with pytest.raises(ValueError, match="joints make one vector of numbers, the policy takes"):
            module.Bridge(stub, {"a": "hinge/position"})


class Node:
    """What the node asks of rclpy's, and answers of parameters."""

    parameters: ClassVar[dict[str, Any]] = {}

    def __init__(self, name: str) -> None:
        self.services: dict[str, Any] = {}
        self.published: list[list[float]] = []

    def declare_parameter(self, name: str, default: Any) -> Any:
        return types.SimpleNamespace(value=self.parameters.get(name, default))

    def create_publisher(self, kind: Any, topic: str, depth: int) -> Any:
        return types.SimpleNamespace(publish=lambda message: self.published.append(message.data))

    def create_subscription(self, kind: Any, topic: str, callback: Any, profile: Any) -> None:
        pass

    def create_timer(self, period: float, callback: Any) -> None:
        pass

    def create_service(self, kind: Any, name: str, callback: Any) -> None:
        self.services[name] = callback


@pytest.fixture
def rclpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins of what the node imports."""
    stand_ins: dict[str, dict[str, Any]] = {
        "rclpy": {},
        "rclpy.executors": {"ExternalShutdownException": KeyboardInterrupt},
        "rclpy.node": {"Node": Node},
        "rclpy.qos": {"qos_profile_sensor_data": None},
        "rclpy.time": {"Time": None},
        "sensor_msgs": {},
        "sensor_msgs.msg": {"JointState": None},
        "std_msgs": {},
        "std_msgs.msg": {"Float64MultiArray": types.SimpleNamespace},
        "std_srvs": {},
        "std_srvs.srv": {"Trigger": types.SimpleNamespace(Request=None, Response=None)},
    }
    for name, contents in stand_ins.items():
        module = types.ModuleType(name)
        module.__dict__.update(contents)
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.usefixtures("rclpy")
def test_the_node_opens_recurrent_files_and_resets_them(
    remembering: RecurrentPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    load("bridge")
    sources = [f"{name}={place}" for name, place in SOURCES.items()]
    parameters = {
        "policy": str(remembering.path),
        "sources": sources,
        "scales": ["motor=8.0"],
        "max_age": 60.0,
    }
    monkeypatch.setattr(Node, "parameters", parameters)
    node = load("policy_node").PolicyNode()
    for _ in range(2):
        for _ in range(2):
            node.bridge.receive(["slider", "hinge"], [0.5, 0.1], [1.0, 0.2], [])
            node.act()
        answer = node.services["~/reset"](None, types.SimpleNamespace())
        assert answer.success
    first, second, third, fourth = node.published
    assert (first, second) == (third, fourth)
    assert first != second
