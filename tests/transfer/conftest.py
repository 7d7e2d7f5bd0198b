"""A small network in which a cell joins after a hundred steps."""

from collections.abc import Callable

import pytest

from slicing_rllib.env import Deployment, SlicingEnv
from slicing_rllib.learning import TD3, TD3Config
from slicing_rllib.learning.td3 import Event
from slicing_rllib.radio import make_hexagonal_scenario, make_scenario
from slicing_rllib.transfer import TransferSettings, WarmStartCallback
from slicing_rllib.transfer.transfer_settings import GuardSettings, VaeSettings

TARGET = "cell_6"
COLLECTED, JOINED, TOOK_OVER = 60, 100, 160
"""Steps at which the sources' default action ends, the target joins, and its policy acts."""
QUICK_VAE = VaeSettings(updates=60, members=2)
QUICK_GUARD = GuardSettings(window_steps=60, cool_down_steps=10)


class Events(list):
    """Reported events, the oldest first."""

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self]

    def find(self, kind: str) -> Event:
        """The first event of a kind."""
        return next(event for event in self if event.kind == kind)


@pytest.fixture
def network() -> dict:
    """Two sites. The sources first run under the default action; then the last cell joins."""
    scenario = make_hexagonal_scenario(1, 2, like=make_scenario("paper"))
    joins = Deployment(cell=TARGET, off_until=JOINED, default_action_until=TOOK_OVER)
    others = tuple(
        Deployment(cell=cell, off_until=0, default_action_until=COLLECTED)
        for cell in scenario.cells
        if cell != TARGET
    )
    return {"scenario": scenario, "deployments": (joins, *others)}


@pytest.fixture
def build(ray_session: None, network: dict):
    """A function that builds an algorithm with transfer settings; all are stopped at the end."""
    made: list[TD3] = []

    def build_algorithm(*, workers: int = 0, networks=None, **settings) -> TD3:
        chosen = TransferSettings(
            **{
                "vae": QUICK_VAE,
                "guard": QUICK_GUARD,
                "samples": 60,
                "transferred_transitions": 100,
            }
            | settings
        )
        config = (
            TD3Config()
            .environment(SlicingEnv, env_config=network)
            .training(
                exploration_steps=20,
                replay_capacity=400,
                steps_per_iteration=20,
                networks=networks,
            )
            .env_runners(num_env_runners=workers)
            .callbacks(WarmStartCallback.bind(chosen))
            .debugging(seed=4)
        )
        algorithm = config.build_algo()
        assert isinstance(algorithm, TD3)
        made.append(algorithm)
        return algorithm

    yield build_algorithm
    for algorithm in made:
        algorithm.stop()


@pytest.fixture
def train_until() -> Callable[[TD3, int], Events]:
    """A function that trains up to a step of each network and returns the reported events."""

    def train(algorithm: TD3, steps: int) -> Events:
        events = Events()
        workers = max(algorithm.config.num_env_runners or 0, 1)
        while algorithm.env_steps < steps * workers:
            algorithm.train()
            events += algorithm.take_events()
        return events

    return train
