"""Own parts by name: what is accepted, what is refused, and what may be imported."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from slicing_rllib import register, registry
from slicing_rllib.env import SlicingEnv
from slicing_rllib.radio import Simulator, make_scenario
from slicing_rllib.registry import (
    KINDS,
    OwnParts,
    allow_parts,
    foreign_names,
    get_part,
)
from slicing_rllib.runs.config_loading import dump_resolved_yaml, load_config
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.storage.errors import ConfigError
from slicing_rllib.transfer import TransferSettings

OWN = '''
"""Own parts."""
from dataclasses import replace

import numpy as np

from slicing_rllib.radio import Simulator
from slicing_rllib.radio.interference import RANDOM
from slicing_rllib.radio.kpis import served_share
from slicing_rllib.radio.propagation import WINNER_C2

def users_apart(cells):
    mean = np.stack([cell.raw.mean(axis=0) for cell in cells])
    return np.abs(mean[:, None] - mean[None]).sum(axis=2)

def copy_nothing(transfer):
    from slicing_rllib.transfer.methods import start_from_scratch
    return start_from_scratch(transfer)

def largest_load(network):
    present = network.neighbours >= 0
    return lambda load: (load[network.neighbours] * present[:, :, None]).max(axis=1)

def observe_load(reports, network, message):
    load = reports.measured[-1].kpis.load
    return {"load": load, "heard": message(load)}

def mean_satisfaction(kpis, network):
    return np.minimum(kpis.throughput_mbps / network.sla_throughput_mbps, 1.0).mean(axis=1)

class FirstSlice:
    def __init__(self, scenario):
        self.n_slices = scenario.n_slices

    def prb_ratio(self, view):
        return np.eye(self.n_slices)[np.zeros(len(view.kpis.load), int)]

class Alternating:
    """Half of the UEs are active, in every second step."""

    def __init__(self, network, seed, high=0.5):
        self.shape, self.high = (len(network.cells), len(network.slices)), high

    def at_step(self, step):
        return np.full(self.shape, self.high * (step % 2))

    def hour_at_step(self, step):
        return None

def halved(share, required):
    return served_share(share, required) / 2

class Tanh:
    """An actor, or a critic, of one hidden layer."""

    def __new__(cls, obs_size, n_actions):
        from torch import nn
        return nn.Sequential(nn.Linear(obs_size, 8), nn.Tanh(), nn.Linear(8, n_actions))

def value(obs_size, n_actions):
    import torch
    from torch import nn

    class Value(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(obs_size + n_actions, 1)

        def forward(self, obs, action):
            return self.layer(torch.cat([obs, action], dim=-1))[:, 0]

    return Value()

class Slow(Simulator):
    """A network of which half of the throughput arrives."""

    def step(self, prb_ratio):
        kpis = super().step(prb_ratio)
        return kpis._replace(throughput_mbps=kpis.throughput_mbps / 2)

calm_city = replace(WINNER_C2, nlos_sigma_db=0.0)
anywhere = RANDOM
not_a_function = 3
'''


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """The name of a module with own parts, which nothing has imported."""
    name = f"own_parts_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "_parts", {})
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setenv(registry.ALLOWED, "")
    yield name
    sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in KINDS for name in KINDS[kind].built_in]
)
def test_every_built_in_part_is_of_its_kind(kind, name):
    """`get_part` raises for a thing of another kind; a second call gives the same thing."""
    assert get_part(kind, name) is get_part(kind, name)


def test_a_registered_part_is_found_by_its_name(own_module):

    def distance(cells):
        return np.zeros((len(cells), len(cells)))

    register("measure", "nothing", distance)

    assert get_part("measure", "nothing") is distance
    assert TransferSettings(measure="nothing").measure == "nothing"
    assert "nothing" in str(TypeAdapter(TransferSettings).json_schema())


@pytest.mark.parametrize(
    ("kind", "name", "thing", "problem"),
    [
        ("metric", "mine", max, "kind: expected one of measure, method"),
        ("measure", "sla", max, "none of the built-in names"),
        ("measure", "a b", max, "letters, digits"),
        ("measure", "mine", 3, "expected a function f.cells. -> .source, target. distances"),
        ("observation", "mine", lambda measured: {}, "f.reports, network, message"),
    ],
)
def test_what_cannot_be_a_part_is_refused(own_module, kind, name, thing, problem):
    with pytest.raises(ValueError, match=problem):
        register(kind, name, thing)


@pytest.mark.parametrize(
    ("attribute", "problem"),
    [
        ("absent", "cannot be imported"),
        ("not_a_function", "expected a function"),
        ("users apart", "MODULE:NAME"),
    ],
)
def test_a_module_without_such_a_part_is_refused_in_one_line(own_module, attribute, problem):
    with pytest.raises(ValidationError, match=problem):
        TransferSettings(measure=f"{own_module}:{attribute}")


def test_a_file_of_others_imports_nothing(own_module):
    """`os:system` is importable, but no file of a stranger makes a part of it."""
    with foreign_names():
        for name in (f"{own_module}:users_apart", "os:system"):
            with pytest.raises(ValueError, match="--allow-parts"):
                get_part("measure", name)
        assert own_module not in sys.modules
        allow_parts([own_module])
        assert get_part("measure", f"{own_module}:users_apart")


def test_a_part_that_is_in_use_is_found_in_files_of_others(own_module):
    part = get_part("measure", f"{own_module}:users_apart")

    with foreign_names():
        assert get_part("measure", f"{own_module}:users_apart") is part


def test_a_run_directory_imports_nothing(own_module, tmp_path):
    config = load_config("quick", [f"env.reward={own_module}:mean_satisfaction"])
    run = RunDirectory.create(tmp_path / "run", config)
    registry._parts.clear()

    with pytest.raises(ConfigError, match=f"--allow-parts {own_module} permits it"):
        run.config()
    allow_parts([own_module])
    assert run.config() == config


def test_registered_parts_travel_with_a_pickle(own_module):
    register("measure", "largest", sorted)
    packed = pickle.dumps(OwnParts())
    registry._parts.clear()
    registry._registered.clear()

    pickle.loads(packed)

    assert get_part("measure", "largest") is sorted


def test_an_own_reward_observation_and_message_are_the_environments(own_module):
    env = SlicingEnv(
        make_scenario("paper"),
        reward=f"{own_module}:mean_satisfaction",
        observation=f"{own_module}:observe_load",
        message=f"{own_module}:largest_load",
    )

    obs, _ = env.reset(seed=1)
    _, reward, *_ = env.step({cell: np.ones(4, np.float32) for cell in env.agents})

    kpis = env.kpis
    level = np.minimum(kpis.throughput_mbps / env.scenario.sla_throughput_mbps, 1.0)
    assert list(reward.values()) == pytest.approx(level.mean(axis=1))
    assert obs["cell_1"].shape == (8,)
    assert env.observation_space("cell_1").contains(obs["cell_1"])
    assert env.counterfactual is None


def test_own_traffic_propagation_placement_and_queue_are_the_simulators(own_module):
    radio = {"environment": f"{own_module}:calm_city", "placement": f"{own_module}:anywhere"}
    mask = {"kind": f"{own_module}:Alternating", "settings": {"high": 0.25}}
    changes = [f"scenario.radio.{name}={value}" for name, value in radio.items()]
    changes += [f"scenario.mask={json.dumps(mask)}", f"scenario.queue={own_module}:halved"]
    scenario = load_config("quick", changes).scenario
    usual = load_config("quick", [*changes, "scenario.queue=processor_sharing"]).scenario

    own, other = (Simulator(each, 1) for each in (scenario, usual))
    steps = [[simulator.step(np.ones((12, 4))) for _ in range(2)] for simulator in (own, other)]

    assert steps[0][0].users.sum() == 0
    assert steps[0][1].users.sum() == pytest.approx(0.25 * 12 * 4 * 32)
    served = steps[1][1].users > 0
    halved = steps[0][1].throughput_mbps[served] / steps[1][1].throughput_mbps[served]
    assert halved == pytest.approx(0.5)
    yaml_text = dump_resolved_yaml(load_config("quick", changes))
    assert yaml.safe_load(yaml_text)["scenario"]["mask"] == mask


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_own_parts_train_with_env_runners_resume_and_are_evaluated(own_module, tmp_path):
    """From the command line, as their user would: a YAML file beside the module."""
    parts = {
        "base": "paper",
        "env": {
            "observation": f"{own_module}:observe_load",
            "message": f"{own_module}:largest_load",
            "reward": f"{own_module}:mean_satisfaction",
            "deployments": [{"cell": "cell_12", "off_until": 40, "default_action_until": 80}],
            "default_action_steps": 40,
        },
        "transfer": {
            "measure": f"{own_module}:users_apart",
            "method": f"{own_module}:copy_nothing",
        },
        "scenario": {
            "like": "paper",
            "network": {"kind": f"{own_module}:Slow"},
            "queue": f"{own_module}:halved",
            "radio": {
                "environment": f"{own_module}:calm_city",
                "placement": f"{own_module}:anywhere",
            },
            "mask": {"kind": f"{own_module}:Alternating"},
        },
        "learning": {
            "actor": f"{own_module}:Tanh",
            "critic": f"{own_module}:value",
            "exploration_steps": 20,
            "training_steps": 180,
            "steps_per_iteration": 20,
        },
        "evaluation": {
            "steps": 20,
            "seeds": 2,
            "policies": ["td3_transferred", "equal", f"{own_module}:FirstSlice"],
        },
        "num_env_runners": 2,
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(parts), encoding="utf-8")

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [str(Path(sys.executable).with_name("slicing-rllib")), *arguments]
        return subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=170)

    trained = command("train", "own.yaml", "--out", "run")
    assert trained.returncode == 0, trained.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    assert f"{own_module}:FirstSlice" in summary["policies"]
    events = (tmp_path / "run" / "events.jsonl").read_text(encoding="utf-8")
    assert f"nearest by {own_module}:users_apart" in events
    refused = command("evaluate", "run", "--steps", "5", "--seeds", "1")
    assert refused.returncode == 2
    assert f"--allow-parts {own_module}" in refused.stderr
    allowed = command(
        "evaluate", "run", "--steps", "5", "--seeds", "1", "--allow-parts", own_module
    )
    assert allowed.returncode == 0, allowed.stderr
    resumed = command("train", "own.yaml", "--out", "run", "--resume")
    assert resumed.returncode == 0, resumed.stderr
