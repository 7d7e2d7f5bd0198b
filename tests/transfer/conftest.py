"""A small network in which a cell comes up after a hundred steps."""

from collections.abc import Callable

import pytest

from slicing_rllib.env import Deployment, SlicingEnv
from slicing_rllib.learning import TD3, TD3Config
from slicing_rllib.radio import built_in, hexagonal
from slicing_rllib.transfer import TransferSettings, WarmStartCallback
from slicing_rllib.transfer.settings import GuardSettings, VaeSettings

TARGET = "cell_6"
WINDOW, CAME_UP, TOOK_OVER = 60, 100, 160
QUICK_VAE = VaeSettings(updates=60, members=2)
QUICK_GUARD = GuardSettings(window_steps=60, cool_down_steps=10)


@pytest.fixture
def network() -> dict:
    """Two sites: sources show themselves under the default action, then the last cell comes up."""
    scenario = hexagonal(1, 2, like=built_in("paper"))
    joins = Deployment(cell=TARGET, off_until=CAME_UP, default_action_until=TOOK_OVER)
    others = tuple(
        Deployment(cell=cell, off_until=0, default_action_until=WINDOW)
        for cell in scenario.cells
        if cell != TARGET
    )
    return {"scenario": scenario, "deployments": (joins, *others)}


@pytest.fixture
def built(ray_session: None, network: dict):
    """Algorithms by transfer settings; stopped at the end."""
    made: list[TD3] = []

    def build(*, workers: int = 0, networks=None, **settings) -> TD3:
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
            .callbacks(WarmStartCallback.configured(chosen))
            .debugging(seed=4)
        )
        algorithm = config.build_algo()
        assert isinstance(algorithm, TD3)
        made.append(algorithm)
        return algorithm

    yield build
    for algorithm in made:
        algorithm.stop()


@pytest.fixture
def trained() -> Callable[[TD3, int], list]:
    """Trains up to so many network steps of each worker; what happened on the way."""

    def until(algorithm: TD3, steps: int) -> list:
        happened = []
        workers = max(algorithm.config.num_env_runners or 0, 1)
        while algorithm.env_steps < steps * workers:
            algorithm.train()
            happened += algorithm.take_events()
        return happened

    return until
